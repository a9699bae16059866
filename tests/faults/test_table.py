"""The table counts what was survived, what took a person and what was lost, and says why."""

from pathlib import Path

import pytest

from faults.harness import Fault, Outcome, table, try_all

pytestmark = pytest.mark.faults


def crash(folder: Path) -> Outcome:
    raise AssertionError("nothing to kill")


def test_the_table_counts_and_names_what_was_not_survived(tmp_path: Path) -> None:
    attempts = {
        "whole": lambda folder: Outcome(True, kills=("SIGKILL to job", "SIGTERM to group"), resumed=True),
        "by hand": lambda folder: Outcome(True, manual=1, reason="returned 1"),
        "other bytes": lambda folder: Outcome(False, manual=1, reason="2 files differ"),
        "crash": crash,
    }
    faults = [Fault("kill in train" if name != "crash" else "full disk", name, each) for name, each in attempts.items()]
    outcomes = sorted(try_all(faults, tmp_path), key=lambda outcome: [*attempts].index(outcome.case))
    head, train, disk, every, *reasons = table(outcomes).splitlines()
    assert head.split() == ["fault", "tried", "survived", "lost", "manual", "steps", "kills", "resumed", "seconds"]
    assert train.split() == ["kill", "in", "train", "3", "1", "1", "2", "2", "1", "0"]
    assert disk.split() == ["full", "disk", "1", "0", "1", "0", "0", "0", "0"]
    assert every.split() == ["all", "4", "1", "2", "2", "2", "1", "0"]
    named = [(words.split(": ")[2], words) for words in reasons]
    assert [name for name, _ in named] == ["by hand", "other bytes", "crash"]
    assert "returned 1" in reasons[0]
    assert "2 files differ" in reasons[1]
    assert "nothing to kill" in reasons[2]
