"""What is kept of an interrupted run is shown, from files and without torch."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
import yaml

from dacs.config import load
from dacs.errors import Interrupted
from dacs.jobs import RunRequest, requests
from dacs.layout import RunDir
from dacs.settings import Params
from dacs.training import loop
from dacs.training.run import Run
from dacs.training.run_cache import make_run
from dacs.training.status import checkpoint_step, kept, runs_table

LINE = "step 2/6: loss_source 3.1, images/s 38, 4 s left\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked() -> Params:
    """The source-only run and DACS of one task, tiny."""
    content = tiny.changed("scales", {})
    content["runs"] = {"tasks": ["gta5-cityscapes"], "methods": ["source", "dacs"], "seeds": [0]}
    content["loop"] |= tiny.LOOP
    content["model"] |= tiny.MODEL
    content["train"] |= {"steps": tiny.STEPS, "bn_statistics": "live"}
    content["adapt"]["steps"] = 1
    content["remap"] |= {domain: [40, 64] for domain in ("gta5", "synthia", "cityscapes")}
    Path("params.yaml").write_text(yaml.safe_dump(content))
    return load(content)


def interrupted(ready: Path, request: RunRequest, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Train until SIGINT is received in a step."""
    real = loop.set_rate

    def watched(optimizer: Any, done: int, settings: Any) -> None:
        if done + 1 == step:
            os.kill(os.getpid(), signal.SIGINT)
        real(optimizer, done, settings)

    monkeypatch.setattr(loop, "set_rate", watched)
    run = Run(request.method, request.seed, request.settings, *request.prepared(ready))
    with pytest.raises(Interrupted):
        make_run(RunDir(Path("out")), run)


def test_the_step_of_a_checkpoint_is_shown_by_the_plan_and_after_an_interruption(
    ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = asked()
    assert list(kept(params, ready)) == []
    interrupted(ready, next(requests(params)), monkeypatch, 3)
    assert list(kept(params, ready)) == ["gta5-cityscapes, source, seed 0: checkpoint of step 3 of 6"]
    shown = runs_table(params, ready).splitlines()[1]
    assert shown.endswith("checkpoint of step 3")
    assert "at step 2 of 6, " in shown  # of the last row of its log
    Path("logs/train").mkdir(parents=True)
    Path("logs/train/gta5-cityscapes-source-seed0.log").write_text(LINE)
    assert ", 38 images/s, 4 s left, checkpoint of step 3" in runs_table(params, ready)


@pytest.mark.parametrize("step", [1, 255, 256, 65_536, 250_000])
def test_the_step_is_read_whatever_its_size(step: int) -> None:
    torch.save({"key": "a", "step": step, "rows": "[]", "student": {"step": torch.zeros(3)}}, "checkpoint.pt")
    assert checkpoint_step(Path("checkpoint.pt")) == step


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_a_damaged_checkpoint_has_no_step(content: bytes | None) -> None:
    path = Path("checkpoint.pt")
    if content is None:
        torch.save({"step": 3}, path)
        content = path.read_bytes()[:-200]
    path.write_bytes(content)
    assert checkpoint_step(path) is None
