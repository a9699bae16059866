"""Adaptation cannot read a label of the target: it is given the training images alone, and needs nothing else."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny

from dacs.files import digest, read_json, write_json
from dacs.layout import PreparedDomain, RunDir
from dacs.methods import METHODS
from dacs.training.run_cache import make_run

UNLABELLED = [name for name, row in METHODS.items() if row.labels == "source"]
WITH_TARGET = [name for name in UNLABELLED if METHODS[name].adapts or METHODS[name].recalibrates]


class Opened:
    """The files that are opened while `paths` is a list; a hook of Python cannot be removed."""

    paths: list[str] | None = None

    def __call__(self, event: str, given: tuple[Any, ...]) -> None:
        if event == "open" and self.paths is not None:
            self.paths.append(str(given[0]))


OPENED = Opened()
sys.addaudithook(OPENED)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    monkeypatch.chdir(tmp_path)
    OPENED.paths = []
    yield OPENED.paths
    OPENED.paths = None


@pytest.mark.parametrize("method", UNLABELLED)
def test_a_run_opens_nothing_of_the_target_but_its_training_images(method: str, opened: list[str]) -> None:
    """Of those alone, without all else of the target on the disk, come the same bytes."""
    init = tiny.finished_run(Path("init")) if METHODS[method].recalibrates else None
    if init:
        write_json(
            init.spec,
            read_json(init.spec) | {"sha256": {path.name: digest(path) for path in (init.weights, init.teacher)}},
        )
    run = tiny.run(tiny.prepare(Path("ready")), method, init=init)
    shutil.copytree("ready/gta5", "alone/gta5")
    shutil.copytree(run.target.path, "alone/cityscapes/train")
    opened.clear()
    make_run(RunDir(Path("one")), run)
    of_target = {Path(path).resolve() for path in opened if "ready/cityscapes" in path}
    allowed = [run.target.stats, run.target.index, *run.target.path.glob("images/*")]
    assert of_target <= {path.resolve() for path in allowed}
    assert any(path.parent.name == "images" for path in of_target) == (method in WITH_TARGET)
    shutil.rmtree(".cache")
    make_run(RunDir(Path("two")), tiny.run(Path("alone"), method, init=init))
    assert tiny.contents(Path("two")) == tiny.contents(Path("one"))


def test_the_record_of_opened_files_would_show_a_label(opened: list[str]) -> None:
    run = tiny.run(tiny.prepare(Path("ready")), "oracle")
    opened.clear()
    make_run(RunDir(Path("one")), run)
    labels = {path.name for path in PreparedDomain(Path("ready/cityscapes")).labelled.path.glob("labels/*")}
    assert labels <= {Path(path).name for path in opened if "/oracle/labels/" in path}
