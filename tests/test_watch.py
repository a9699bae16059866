"""What a person sees of a pipeline that Snakemake runs: each training, and all jobs together."""

import os
import time
from pathlib import Path

import pytest

from dacs.watch import Watcher, last_line

NAMES = ("train/a", "train/b", "evaluate/a", "evaluate/b", "figures")


@pytest.fixture
def watcher(tmp_path: Path) -> Watcher:
    """Of two trainings, two evaluations and the figures, begun a minute ago."""
    watcher = Watcher(tmp_path, [tmp_path / f"benchmarks/{name}.tsv" for name in NAMES])
    watcher.begin = time.time() - 60
    for kind in ("train", "adapt", "evaluate", "benchmarks/train", "benchmarks/evaluate"):
        (tmp_path / kind).mkdir(parents=True)
    return watcher


def finish(watcher: Watcher, name: str, seconds: float) -> None:
    (watcher.logs / f"benchmarks/{name}.tsv").write_text(f"s\th:m:s\n{seconds}\t0:00:00\n")


def test_the_last_whole_line_of_a_log_is_read(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    for content, expected in (("", ""), ("half", ""), ("one\ntwo\nhal", "two"), ("x" * 9000 + "\nend\n", "end")):
        log.write_text(content)
        assert last_line(log) == expected


def test_each_step_is_shown_once_and_logs_of_earlier_runs_are_not(watcher: Watcher) -> None:
    log, old, other = (watcher.logs / "adapt" / f"{name}.log" for name in ("dacs-seed0", "old", "other"))
    old.write_text("step 1/2: done\n")
    os.utime(old, (1, 1))
    assert list(watcher.news()) == []
    log.write_text("step 80/800: loss_source 0.389, images/s 38, 151 s left\n")
    other.write_text("Traceback\n")
    assert list(watcher.news()) == ["dacs-seed0: step 80/800: loss_source 0.389, images/s 38, 151 s left"]
    assert list(watcher.news()) == []
    log.write_text("step 160/800: loss_source 0.3, images/s 38, 120 s left\n")
    (watcher.logs / "evaluate/dacs-seed0.log").write_text("state 2 of 5: step 400\n")
    assert [line[:34] for line in watcher.news()] == [
        "dacs-seed0: step 160/800: loss_sou",
        "dacs-seed0: state 2 of 5: step 400",
    ]


def test_the_time_left_is_shown_as_soon_as_each_kind_of_job_was_timed(watcher: Watcher) -> None:
    """60 s of jobs in 60 s; then a training of 40 s, which says so itself, and an evaluation of 10 s are left."""
    assert watcher.overall() == "0 of 5 jobs"
    finish(watcher, "train/a", 50)
    assert watcher.overall() == "1 of 5 jobs"
    finish(watcher, "evaluate/a", 10)
    (watcher.logs / "train/b.log").write_text("step 20/100: images/s 38, 40 s left\n")
    assert watcher.overall() == "2 of 5 jobs, about 50 s left"
    (watcher.logs / "train/b.log").unlink()
    assert watcher.overall() == "2 of 5 jobs, about 60 s left"
    watcher.begin -= 60  # half as many at once
    assert watcher.overall() == "2 of 5 jobs, about 2 min left"


def test_jobs_of_an_earlier_command_are_not_counted(watcher: Watcher) -> None:
    finish(watcher, "train/a", 50)
    os.utime(watcher.logs / "benchmarks/train/a.tsv", (1, 1))
    assert watcher.overall() == watcher.counted() == "0 of 5 jobs"
