"""Runs are found again by what they were made with, and never taken for another."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import tiny
import torch
import yaml

from dacs import files
from dacs.config import load
from dacs.errors import BadRequest, Interrupted, RunFailed
from dacs.jobs import job_file, requests
from dacs.layout import PreparedDomain, PreparedSplit, RunDir
from dacs.locks import working_alone
from dacs.machine import processor
from dacs.provenance import ROOT
from dacs.training import loop, run_cache
from dacs.training.run import Run
from dacs.training.run_cache import STORE, adopt, make_run, spec_of
from dacs.training.status import runs_table

RESULTS = {"weights.safetensors", "teacher.safetensors", "settings.json", "log.csv"}
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder: the cache lies in the folder that commands are run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that are trained, in order."""
    real, keys = loop.train_run, []

    def watched(folder: RunDir, run: Run, key: str) -> str:
        keys.append(key)
        return real(folder, run, key)

    monkeypatch.setattr(loop, "train_run", watched)
    return keys


def make(out: str, run: Run) -> dict[str, bytes]:
    """Make a run; return the bytes of what is in its folder."""
    make_run(RunDir(Path(out)), run)
    return tiny.contents(Path(out))


def short(ready: Path, method: str = "source", **changes: Any) -> Run:
    return tiny.run(ready, method, **({} if method == "adabn" else {"steps": 1}) | changes)


def key(ready: Path, method: str = "source", **changes: Any) -> str:
    return spec_of(short(ready, method, **changes))["key"]


@contextmanager
def other_data(ready: Path, split: str) -> Iterator[Path]:
    """Prepared data that differ in one split."""
    shutil.copytree(ready, "data")
    stats = PreparedSplit(Path("data") / split).stats
    files.write_json(stats, {**files.read_json(stats), "sha256": "other"})
    yield Path("data")
    shutil.rmtree("data")


# ---- found again


def test_a_run_leaves_its_results_and_says_what_made_them(ready: Path) -> None:
    run = short(ready)
    assert {*make("runs/one", run)} == RESULTS
    spec = files.read_json(Path("runs/one/settings.json"))
    assert (spec["method"], spec["seed"]) == ("source", 0)
    assert spec["settings"] == run.settings.model_dump(mode="json", exclude_none=True)
    assert spec["key"] == key(ready)
    assert spec["trained_on"] == f"CPU, {torch.backends.cpu.get_cpu_capability()}, {processor()}"
    for name in ("weights.safetensors", "teacher.safetensors"):
        assert spec["sha256"][name] == files.digest(Path("runs/one") / name)
    assert not RunDir(STORE / spec["key"]).checkpoint.exists()


def test_an_edit_trains_again_and_undoing_it_trains_nothing(ready: Path, trained: list[str]) -> None:
    plain, edited = short(ready), short(ready, lr=0.01)
    once, other = make("runs/one", plain), make("runs/one", edited)
    assert once["weights.safetensors"] != other["weights.safetensors"]
    assert make("runs/one", plain) == make("runs/two", plain) == once
    assert make("runs/one", edited) == other
    make("runs/one", short(ready, workers=3, checkpoint_every=77, device="auto", weights_folder="elsewhere"))
    assert trained == [key(ready), key(ready, lr=0.01)]


def test_the_second_time_not_even_torch_is_imported(ready: Path) -> None:
    run = short(ready)
    once = make("runs/one", run)
    arguments = ["train", "--settings", job_file(run.settings), "--seed", "0", "--out", "runs/two"]
    arguments += ["--source", str(run.source.path), "--target", str(run.target.path)]
    program = "import sys; from dacs.cli import main; print(main(sys.argv[1:]), 'torch' in sys.modules)"
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.stdout.split() == ["0", "False"], done.stderr
    assert tiny.contents(Path("runs/two")) == once


def test_the_key_differs_by_all_that_decides_a_result(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    init = tiny.finished_run(Path("init"))
    spec = files.read_json(init.spec)
    keys = [key(ready), key(ready, seed=1), key(ready, lr=0.5), key(ready, batch=3), key(ready, snapshots=2)]
    keys += [key(ready, method) for method in ("dacs", "naive", "oracle")] + [key(ready, "dacs", threshold=0.5)]
    for weights in ("a", "b"):
        files.write_json(init.spec, {**spec, "sha256": {"start.safetensors": weights, "weights.safetensors": "c"}})
        keys.append(key(ready, "dacs", init=init))
    keys.append(unstarted := key(ready, "adabn", init=init))
    files.write_json(init.spec, {**spec, "sha256": {"start.safetensors": "a", "weights.safetensors": "c"}})
    assert key(ready, "adabn", init=init) == unstarted  # which does not start from there
    for name in ("weights.safetensors", "teacher.safetensors"):
        digests = {"start.safetensors": "a", "weights.safetensors": "c", name: "d"}
        files.write_json(init.spec, {**spec, "sha256": digests})
        assert key(ready, "dacs", init=init) in keys  # which starts from neither
        keys.append(key(ready, "adabn", init=init))
    keys += [key(ready, "adabn", init=init, frames=3), key(ready, start=1, steps=2), key(ready, steps=2)]
    for split in ("gta5/train", "cityscapes/train"):
        with other_data(ready, split) as data:
            keys.append(key(data, "dacs"))
            if split == "cityscapes/train":
                keys.append(key(data, "adabn", init=init))
    for name, value in (("code_digest", lambda *roots, ignore: "other"), ("version", lambda name: "0")):
        with monkeypatch.context() as patch:
            patch.setattr(run_cache, name, value)
            keys.append(key(ready))
    assert len({*keys}) == len(keys)


def test_the_key_does_not_depend_on_where_things_are_or_on_settings_without_effect(ready: Path) -> None:
    shutil.copytree(ready, "data")
    assert key(Path("data")) == key(ready)
    assert key(ready, workers=7, checkpoint_every=9, device="auto", weights_folder="elsewhere") == key(ready)


def test_training_on_the_source_does_not_depend_on_unlabelled_frames(ready: Path) -> None:
    for split, concerned in (("gta5/train", True), ("cityscapes/train", False), ("cityscapes/val", False)):
        with other_data(ready, split) as data:
            assert (key(data) != key(ready)) == concerned


CODE = """
from pathlib import Path
from dacs.config import load
from dacs.methods import METHODS
from dacs.training.run_cache import code_of
model = load(Path("params.yaml")).model
print(*(code_of(METHODS[name], model) for name in ("source", "dacs")))
"""


def test_an_edit_of_code_concerns_the_runs_that_use_it_and_no_other(home: Path) -> None:
    shutil.copytree(ROOT / "dacs", "dacs", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "params.yaml", "params.yaml")

    def codes() -> list[str]:
        environment = {**os.environ, "PYTHONPATH": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-c", CODE]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.split()

    before = codes()
    for name, old, new, concerned in (
        ("training/progress.py", "step", "stage", []),
        ("adaptation/mixing.py", "\nimport torch\n", "\nimport torch\n\n\ndef unused() -> None:\n    pass\n\n", []),
        ("adaptation/mixing.py", "torch.where(", "torch.where(True & ", ["dacs"]),
        ("adaptation/teacher.py", "softmax(1)", "softmax(-3)", ["source", "dacs"]),
    ):
        path = Path("dacs") / name
        whole = path.read_text()
        assert old in whole, name
        path.write_text(whole.replace(old, new))
        runs = zip(("source", "dacs"), before, codes(), strict=True)
        assert [method for method, earlier, now in runs if earlier != now] == concerned, name
        path.write_text(whole)


# ---- interrupted, refused, failed


@pytest.mark.parametrize("error", [Interrupted, RunFailed])
def test_a_run_that_does_not_end_leaves_no_result(
    error: type[Exception], ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_run", Mock(side_effect=error("stopped")))
        with pytest.raises(error):
            make("runs/one", short(ready))
    assert not Path("runs").exists()
    assert not RunDir(STORE / key(ready)).spec.exists()
    make("runs/one", short(ready))


def test_a_run_interrupted_while_it_writes_its_results_is_made_whole(
    ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The spec is written last: weights without it are no run."""
    with monkeypatch.context() as patch:
        patch.setattr(run_cache, "write_json", Mock(side_effect=RunFailed("full")))
        with pytest.raises(RunFailed):
            make("runs/one", short(ready))
    assert RunDir(STORE / key(ready)).weights.exists()
    assert not Path("runs").exists()
    once = make("runs/one", short(ready))
    shutil.rmtree(STORE)
    assert make("runs/two", short(ready)) == once


def test_of_two_processes_on_one_run_one_waits_for_the_other(
    ready: Path, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """As after `kill -9` of Snakemake alone, whose jobs still run."""
    held, seen = threading.Event(), list[list[str]]()

    def hold() -> None:
        with working_alone(STORE / key(ready), "a test is"):
            held.set()
            time.sleep(1)
            seen.append([*trained])

    with ThreadPoolExecutor() as pool:
        holding = pool.submit(hold)
        held.wait()
        make("runs/one", short(ready))
        holding.result()
    assert (seen, trained) == ([[]], [key(ready)])
    assert f"{STORE / key(ready)}: another process is working on this run there; waiting" in capsys.readouterr().err


@pytest.mark.parametrize(("init", "given"), [("source", False), ("backbone", True)])
def test_a_start_that_does_not_fit_the_settings_is_refused(init: str, given: bool, ready: Path) -> None:
    start = tiny.finished_run(Path("init")) if given else None
    run = replace(tiny.run(ready, "dacs", init=start), settings=tiny.settings("dacs", init=init))
    with pytest.raises(BadRequest, match="--init"):
        make("out", run)


@pytest.mark.parametrize("given", [False, True])
def test_adabn_is_given_the_source_only_run_and_source_only_none(given: bool, ready: Path) -> None:
    init = tiny.finished_run(Path("init")) if given else None
    with pytest.raises(BadRequest, match="--init"):
        make("out", short(ready, "source" if given else "adabn", init=init))


@pytest.mark.parametrize(
    ("method", "other"), [("dacs", "source"), ("oracle", "dacs"), ("adabn", "source"), ("source", "adabn")]
)
def test_settings_of_the_other_verb_are_refused(method: str, other: str, ready: Path) -> None:
    with pytest.raises(BadRequest, match=f"'{method}'"):
        make("out", replace(short(ready, method), settings=tiny.settings(other)))


def test_what_lies_beside_the_results_stays(ready: Path) -> None:
    Path("runs/one/evaluation").mkdir(parents=True)
    Path("runs/one/evaluation/metrics.json").write_text("{}")
    assert "evaluation/metrics.json" in make("runs/one", short(ready))


def test_data_that_are_not_there_are_reported(ready: Path) -> None:
    with pytest.raises(RunFailed, match=r"stats\.json: not found"):
        make("out", replace(short(ready), source=PreparedSplit(Path("nowhere"))))


def test_a_source_only_run_without_a_start_cannot_be_adapted(ready: Path) -> None:
    """Such as one that was made with adapt.init: backbone."""
    init = RunDir(Path("init"))
    make_run(init, short(ready))
    assert not init.start.exists()
    run = tiny.run(ready, "dacs", init=init)
    with pytest.raises((BadRequest, RunFailed), match="init"):
        make("out", replace(run, settings=tiny.settings("dacs", init="source")))


# ---- one run for several places


def test_an_adaptation_starts_from_the_weights_that_the_source_only_run_has_kept(ready: Path) -> None:
    make("init", short(ready, steps=3, start=2))
    init = RunDir(Path("init"))
    assert files.read_json(init.spec)["sha256"]["start.safetensors"] == files.digest(init.start)
    run = replace(tiny.run(ready, "dacs", init=init), settings=tiny.settings("dacs", init="source", steps=1))
    assert {"weights.safetensors", "settings.json"} < {*make("out", run)}
    assert files.read_json(Path("out/settings.json"))["init"] == files.digest(init.start)


def test_the_oracle_is_trained_once_for_all_tasks_of_a_target(ready: Path, trained: list[str]) -> None:
    shutil.copytree(ready, "ready")
    shutil.copytree("ready/gta5", "ready/synthia")
    content = tiny.changed("scales", {})
    tasks = ["gta5-cityscapes", "synthia-cityscapes"]
    content["runs"] = {"tasks": tasks, "methods": ["source", "oracle"], "seeds": [0]}
    content["loop"] |= tiny.LOOP
    content["model"] |= tiny.MODEL
    content["train"] |= {"steps": 2, "bn_statistics": "live"}
    content["adapt"]["steps"] = 1
    content["remap"] |= {domain: [40, 64] for domain in ("gta5", "synthia", "cityscapes")}
    oracles = [request for request in requests(load(content)) if request.method == "oracle"]
    assert [request.task for request in oracles] == tasks
    made = [
        make(f"runs/{request.task}/oracle", Run("oracle", 0, request.settings, *request.prepared(Path("ready"))))
        for request in oracles
    ]
    assert len(trained) == 1
    assert made[0] == made[1]
    assert {*made[0]} == RESULTS | {f"snapshots/step000001-{name}.safetensors" for name in ("student", "teacher")}


# ---- runs from elsewhere


def test_runs_from_elsewhere_are_adopted_and_found(ready: Path, trained: list[str]) -> None:
    name = "runs/gta5-cityscapes/dacs/seed0"
    once = make(name, short(ready, "dacs"))
    assert any(path.startswith("mixing/") for path in once)
    shutil.rmtree(STORE)
    adopt(Path("runs"))
    adopted = {path: path.stat().st_mtime_ns for path in STORE.rglob("*")}
    adopt(Path("runs"))  # leaves what is in the cache alone
    assert {path: path.stat().st_mtime_ns for path in STORE.rglob("*")} == adopted
    shutil.rmtree("runs")
    assert make(name, short(ready, "dacs")) == once
    assert len(trained) == 1


@pytest.mark.parametrize("damage", ["other", "missing"])
def test_runs_whose_weights_are_not_those_of_their_spec_are_not_adopted(
    damage: str, ready: Path, trained: list[str]
) -> None:
    out = RunDir(Path("runs/gta5-cityscapes/source/seed0"))
    make_run(out, short(ready))
    shutil.rmtree(STORE)
    if damage == "missing":
        out.teacher.unlink()
    else:
        shutil.copy(out.log, out.teacher)
    adopt(Path("runs"))
    make_run(out, short(ready))
    assert len(trained) == 2


def test_experiments_of_dvc_in_their_own_folders_share_the_cache_of_their_project() -> None:
    """DVC names the project in DVC_ROOT, whatever folder it runs the stage in."""
    program = "from dacs.training.run_cache import STORE; print(STORE)"
    for root, expected in ((None, ".cache/runs"), ("/project", "/project/.cache/runs")):
        environment = {**ENVIRONMENT, **({"DVC_ROOT": root} if root else {})}
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        assert done.stdout.strip() == expected


# ---- the plan


def test_the_plan_says_how_far_each_run_is(ready: Path) -> None:
    content = tiny.changed("scales", {})
    content["runs"] = {"tasks": ["gta5-cityscapes"], "methods": ["source", "dacs"], "seeds": [0, 1]}
    content["loop"] |= tiny.LOOP
    content["model"] |= tiny.MODEL
    content["train"] |= {"steps": 2, "bn_statistics": "live"}
    content["adapt"]["steps"] = 1
    content["remap"] |= {domain: [40, 64] for domain in ("gta5", "synthia", "cityscapes")}
    Path("params.yaml").write_text(yaml.safe_dump(content))

    def states(data: Path = ready) -> list[str]:
        return [line[56:] for line in runs_table(load(Path("params.yaml")), data).splitlines()[1:]]

    waiting = "waits for its source-only run"
    assert states(Path("nowhere")) == ["waits for its data"] * 2 + [waiting] * 2
    assert states() == ["to do"] * 2 + [waiting] * 2
    source, *_, dacs, _ = requests(load(content))
    gta5, cityscapes = PreparedDomain(ready / "gta5").train, PreparedDomain(ready / "cityscapes").train
    assert dacs.prepared(ready) == (gta5, cityscapes)
    out = RunDir(Path("runs/gta5-cityscapes/source/seed0"))
    make_run(out, Run("source", 0, source.settings, gta5, cityscapes))
    assert states() == ["finished", "to do", "to do", waiting]
    assert files.read_json(out.spec)["key"] in runs_table(load(Path("params.yaml")), ready)
    begun = RunDir(STORE / spec_of(Run("dacs", 0, dacs.settings, gta5, cityscapes, out))["key"])
    begun.path.mkdir()
    begun.checkpoint.touch()
    assert states() == ["finished", "to do", "begun; resumes from its checkpoint", waiting]
