"""Runs are found again by what they were made with, and never taken for another."""

import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
import yaml

from dacs import files, provenance
from dacs.errors import BadRequest, Interrupted, RunFailed
from dacs.provenance import ROOT
from dacs.training import loop, store
from dacs.training.run_cache import adopt, describe, plan, run

RESULTS = {"weights.safetensors", "teacher.safetensors", "settings.json", "log.csv"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder of its own: the store lies in the folder that commands are run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that are trained, in order."""
    real, keys = loop.train_run, []

    def watched(folder: Path, card: dict[str, Any], **places: Any) -> str:
        keys.append(card["key"])
        return real(folder, card, **places)

    monkeypatch.setattr(loop, "train_run", watched)
    return keys


def make(out: str, ready: Path, settings: dict[str, Any] | None = None, method: str = "source") -> Path:
    settings = settings or tiny.settings(method, steps=1)
    places = {"source": ready / "gta5/train", "target": ready / "cityscapes"}
    run(Path(out), method=method, settings=settings, seed=0, **places)
    return Path(out)


def key(ready: Path, method: str = "source", seed: int = 0, init: Path | None = None, **changes: Any) -> str:
    settings = tiny.settings(method, steps=1)
    for name, value in changes.items():
        section = "loop" if name in settings["loop"] else ("train" if method == "source" else "adapt")
        settings[section][name] = value
    source = ready / "gta5/train"
    card = describe(method=method, settings=settings, seed=seed, source=source, target=ready / "cityscapes", init=init)
    return card["key"]


@contextmanager
def other_data(ready: Path, split: str) -> Iterator[Path]:
    """Prepared data that differ in one split."""
    shutil.copytree(ready, "data")
    card = Path("data") / split / "card.json"
    files.write_json(card, {**files.read_json(card), "sha256": "other"})
    yield Path("data")
    shutil.rmtree("data")


# ---- found again


def test_a_run_leaves_its_results_and_a_card_that_tells_what_made_them(ready: Path) -> None:
    out = make("runs/one", ready)
    assert {path.name for path in out.iterdir()} == RESULTS
    card = files.read_json(out / "settings.json")
    assert (card["method"], card["seed"]) == ("source", 0)
    assert card["settings"] == tiny.settings("source", steps=1)
    assert card["key"] == key(ready)
    assert card["trained_on"] == f"CPU, {torch.backends.cpu.get_cpu_capability()}"
    for name in ("weights.safetensors", "teacher.safetensors"):
        assert card["sha256"][name] == files.digest(out / name)
    assert not (store.STORE / card["key"] / "checkpoint.pt").exists()


def test_the_second_time_nothing_is_trained(ready: Path, trained: list[str]) -> None:
    once = tiny.contents(make("runs/one", ready))
    again = tiny.contents(make("runs/two", ready))
    assert once == again
    assert len(trained) == 1


def test_the_second_time_not_even_torch_is_imported(ready: Path) -> None:
    make("runs/one", ready)
    arguments = ["train", "--settings", json.dumps(tiny.settings("source", steps=1)), "--seed", "0"]
    arguments += ["--source", str(ready / "gta5/train"), "--target", str(ready / "cityscapes"), "--out", "runs/two"]
    program = "import sys; from dacs.cli import main; print(main(sys.argv[1:]), 'torch' in sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert told.stdout.split() == ["0", "False"], told.stderr
    assert tiny.contents(Path("runs/two")) == tiny.contents(Path("runs/one"))


def test_an_edit_trains_anew_and_undoing_it_trains_nothing(ready: Path, trained: list[str]) -> None:
    plain, edited = tiny.settings("source", steps=1), tiny.settings("source", steps=1, lr=0.01)
    once = tiny.contents(make("runs/one", ready, plain))
    other = tiny.contents(make("runs/one", ready, edited))
    assert once["weights.safetensors"] != other["weights.safetensors"]
    assert tiny.contents(make("runs/one", ready, plain)) == once
    assert tiny.contents(make("runs/one", ready, edited)) == other
    assert len(trained) == 2


def test_settings_without_effect_find_the_same_run(ready: Path, trained: list[str]) -> None:
    make("runs/one", ready)
    settings = tiny.settings("source", {"workers": 3, "checkpoint_every": 77}, steps=1)
    make("runs/one", ready, settings)
    assert len(trained) == 1


def test_the_key_tells_all_apart_that_decides_a_result(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    init = tiny.finished_run(Path("init"))
    card = files.read_json(init / "settings.json")
    keys = [key(ready), key(ready, seed=1), key(ready, lr=0.5), key(ready, batch=3), key(ready, monitor_every=3)]
    keys += [key(ready, "dacs"), key(ready, "naive"), key(ready, "dacs", threshold=0.5)]
    for weights in ("a", "b"):
        files.write_json(init / "settings.json", {**card, "sha256": {"weights.safetensors": weights}})
        keys.append(key(ready, "dacs", init=init))
    for split in ("gta5/train", "cityscapes/train", "cityscapes/val"):
        with other_data(ready, split) as data:
            keys.append(key(data, "dacs"))
    for name, value in (("code_digest", lambda *modules: "other"), ("version", lambda name: "0")):
        with monkeypatch.context() as patch:
            patch.setattr(store, name, value)
            keys.append(key(ready))
    assert len(set(keys)) == len(keys)


def test_training_on_the_source_does_not_depend_on_unlabelled_frames(ready: Path) -> None:
    for split, concerned in (("gta5/train", True), ("cityscapes/train", False), ("cityscapes/val", True)):
        with other_data(ready, split) as data:
            assert (key(data) != key(ready)) == concerned


def test_the_key_does_not_tell_places_apart(ready: Path) -> None:
    shutil.copytree(ready, "data")
    assert key(Path("data")) == key(ready)
    assert key(ready, workers=7, checkpoint_every=9) == key(ready)


# ---- cut, refused, failed


def stopped(*arguments: Any, **kinds: Any) -> None:
    raise Interrupted("stopped")


def failed(*arguments: Any, **kinds: Any) -> None:
    raise RunFailed("failed")


@pytest.mark.parametrize("end", [stopped, failed])
def test_a_run_that_does_not_end_leaves_no_result(
    end: Callable[..., None], ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_run", end)
        with pytest.raises((Interrupted, RunFailed)):
            make("runs/one", ready)
    assert not Path("runs").exists()
    assert not (store.STORE / key(ready) / "settings.json").exists()
    make("runs/one", ready)


def test_a_run_cut_while_it_writes_its_results_is_made_whole(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The card is written last: weights without it are no run."""
    with monkeypatch.context() as patch:
        patch.setattr(store, "write_json", failed)
        with pytest.raises(RunFailed):
            make("runs/one", ready)
    assert (store.STORE / key(ready) / "weights.safetensors").exists()
    assert not Path("runs").exists()
    once = tiny.contents(make("runs/one", ready))
    shutil.rmtree(store.STORE)
    assert tiny.contents(make("runs/two", ready)) == once


def test_two_processes_on_one_run_are_refused(ready: Path) -> None:
    with store._alone(store.STORE / key(ready)), pytest.raises(RunFailed, match="another process") as caught:
        make("runs/one", ready)
    assert key(ready) in str(caught.value)
    make("runs/one", ready)


def test_the_lock_goes_with_its_process_however_it_ends(ready: Path) -> None:
    folder = store.STORE / key(ready)
    program = (
        "import os, signal, sys; from pathlib import Path; from dacs.training.run_cache import _alone\n"
        "with _alone(Path(sys.argv[1])): print('locked', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    told = subprocess.run([sys.executable, "-c", program, str(folder)], env=environment, capture_output=True)
    assert told.stdout == b"locked\n"
    make("runs/one", ready)


@pytest.mark.parametrize(("init", "given"), [("source", False), ("backbone", True)])
def test_a_start_that_does_not_fit_the_settings_is_refused(init: str, given: bool, ready: Path) -> None:
    start = tiny.finished_run(Path("init")) if given else None
    with pytest.raises(BadRequest, match="--init"):
        run(
            Path("out"),
            method="dacs",
            settings=tiny.settings("dacs", init=init),
            seed=0,
            source=ready / "gta5/train",
            target=ready / "cityscapes",
            init=start,
        )


@pytest.mark.parametrize(("method", "settings"), [("dacs", "source"), ("oracle", "dacs")])
def test_settings_of_the_other_verb_are_refused(method: str, settings: str, ready: Path) -> None:
    with pytest.raises(BadRequest, match=f"'{method}'"):
        make("out", ready, tiny.settings(settings), method=method)


def test_what_lies_beside_the_results_stays(ready: Path) -> None:
    Path("runs/one/evaluation").mkdir(parents=True)
    Path("runs/one/evaluation/metrics.json").write_text("{}")
    assert "evaluation/metrics.json" in tiny.contents(make("runs/one", ready))


def test_data_that_are_not_there_are_told_in_words(ready: Path) -> None:
    with pytest.raises(RunFailed, match=r"card\.json: not found"):
        run(
            Path("out"),
            method="source",
            settings=tiny.settings(),
            seed=0,
            source=Path("nowhere"),
            target=ready / "cityscapes",
        )


# ---- runs from elsewhere


def test_runs_from_elsewhere_are_adopted_and_found(ready: Path, trained: list[str]) -> None:
    settings = tiny.settings("dacs", steps=1)
    once = tiny.contents(make("runs/gta5-cityscapes/dacs/seed0", ready, settings, method="dacs"))
    assert any(name.startswith("mixing/") for name in once)
    shutil.rmtree(store.STORE)
    adopt(Path("runs"))
    shutil.rmtree("runs")
    assert tiny.contents(make("runs/gta5-cityscapes/dacs/seed0", ready, settings, method="dacs")) == once
    assert len(trained) == 1


@pytest.mark.parametrize("damage", ["other", "missing"])
def test_runs_whose_weights_are_not_those_of_their_card_are_not_adopted(
    damage: str, ready: Path, trained: list[str]
) -> None:
    out = make("runs/gta5-cityscapes/source/seed0", ready)
    shutil.rmtree(store.STORE)
    if damage == "missing":
        (out / "teacher.safetensors").unlink()
    else:
        shutil.copy(out / "log.csv", out / "teacher.safetensors")
    adopt(Path("runs"))
    make("runs/gta5-cityscapes/source/seed0", ready)
    assert len(trained) == 2


def test_adopting_leaves_what_is_in_the_store_alone(ready: Path) -> None:
    make("runs/gta5-cityscapes/source/seed0", ready)
    before = {path: path.stat().st_mtime_ns for path in store.STORE.rglob("*")}
    adopt(Path("runs"))
    assert {path: path.stat().st_mtime_ns for path in store.STORE.rglob("*")} == before


# ---- the plan


def test_the_plan_tells_how_far_each_run_is(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = tiny.changed("scales", {})
    content["runs"] = {"tasks": ["gta5-cityscapes"], "methods": ["source", "dacs"], "seeds": [0, 1]}
    content["loop"] |= tiny.LOOP
    content["train"]["steps"] = content["adapt"]["steps"] = 1
    content["remap"] |= {domain: [40, 64] for domain in ("gta5", "synthia", "cityscapes")}
    Path("params.yaml").write_text(yaml.safe_dump(content))

    def states(data: Path = ready) -> list[str]:
        return [line[51:] for line in plan(Path("params.yaml"), data).splitlines()[1:]]

    waiting = "waits for its source-only run"
    assert states(Path("nowhere")) == ["waits for its data"] * 2 + [waiting] * 2
    assert states() == ["to do"] * 2 + [waiting] * 2
    params = store.load(Path("params.yaml"))
    settings = copy.deepcopy(store.settings_for(params, "train"))
    card = files.read_json(make("runs/gta5-cityscapes/source/seed0", ready, settings) / "settings.json")
    assert states() == ["done", "to do", "to do", waiting]
    assert card["key"] in plan(Path("params.yaml"), ready)
    adapted = store.settings_for(params, "adapt", method="dacs")
    init = Path("runs/gta5-cityscapes/source/seed0")
    places = {"source": ready / "gta5/train", "target": ready / "cityscapes"}
    begun = describe(method="dacs", settings=adapted, seed=0, init=init, **places)["key"]
    (store.STORE / begun).mkdir()
    (store.STORE / begun / "checkpoint.pt").touch()
    assert states() == ["done", "to do", "begun; goes on from its checkpoint", waiting]


@pytest.mark.parametrize(("module", "concerned"), [("evaluate", False), ("confusion", False), ("shown", True)])
def test_an_edit_of_the_judge_trains_nothing(module: str, concerned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "dacs", "dacs", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "ROOT", Path.cwd())
    digests = []
    for addition in ("", "NEW = 1\n"):
        provenance._meaning.cache_clear()
        path = Path(f"dacs/evaluation/{module}.py")
        path.write_text(path.read_text() + addition)
        digests.append(provenance.code_digest("dacs.training.run_cache"))
    provenance._meaning.cache_clear()
    assert (digests[0] != digests[1]) == concerned
