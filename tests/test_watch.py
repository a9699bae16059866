"""What a person sees of running trainings under Snakemake."""

import os
from pathlib import Path

from dacs.watch import Watcher, last_line


def test_the_last_whole_line_of_a_log_is_read(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    for content, expected in (("", ""), ("half", ""), ("one\ntwo\nhal", "two"), ("x" * 9000 + "\nend\n", "end")):
        log.write_text(content)
        assert last_line(log) == expected


def test_each_step_is_shown_once_and_logs_of_earlier_runs_are_not(tmp_path: Path) -> None:
    log, old, other = tmp_path / "gta5-cityscapes-dacs-seed0.log", tmp_path / "old.log", tmp_path / "other.log"
    old.write_text("step 1/2: done\n")
    os.utime(old, (1, 1))
    watcher = Watcher([tmp_path, tmp_path / "missing"])
    assert list(watcher.news()) == []
    log.write_text("step 80/800: loss_source 0.389, images/s 38, 151 s left\n")
    other.write_text("Traceback\n")
    assert list(watcher.news()) == [
        "gta5-cityscapes-dacs-seed0: step 80/800: loss_source 0.389, images/s 38, 151 s left"
    ]
    assert list(watcher.news()) == []
    log.write_text("step 160/800: loss_source 0.3, images/s 38, 120 s left\n")
    assert [line[:40] for line in watcher.news()] == ["gta5-cityscapes-dacs-seed0: step 160/800"]
