"""The loop: equal to the reference implementation, the same however it is run, and wrong never without an error."""

import copy
import csv
import io
import itertools
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F
from PIL import Image
from plain import Reference
from safetensors.torch import load_file
from torch import Tensor, nn

from dacs.adaptation.sampling import Frames, Order, Pick, seed_of, shuffled
from dacs.cli import main
from dacs.errors import Interrupted, MemoryFull, RunFailed
from dacs.jobs import job_file
from dacs.layout import PreparedSplit, RunDir
from dacs.loading.split import Split
from dacs.loading.stream import Batch, Crops, batches
from dacs.methods import METHODS, MIXED_LOSS, SOURCE_LOSS
from dacs.models.build import build
from dacs.models.segmenter import Segmenter
from dacs.models.statistics import re_estimate
from dacs.provenance import ROOT
from dacs.settings import RunSettings
from dacs.training import checkpoint, loop, objectives, progress
from dacs.training.batches import step_batches
from dacs.training.objectives import Losses, Networks, StepBatch, Term
from dacs.training.run import Run

CPU = torch.device("cpu")
RESULTS = ("weights.safetensors", "teacher.safetensors", "log.csv", "mixing", "start.safetensors", "snapshots")
TRAINED = [name for name, row in METHODS.items() if row.terms]
Results = dict[str, bytes]
Whole = dict[str, Results]
Patch = pytest.MonkeyPatch
Capture = pytest.CaptureFixture[str]
AtStep = Callable[[int, Callable[[], None]], None]


def train(folder: Path, run: Run) -> Results:
    """The results of a run by name, made in `folder`, or resumed there."""
    loop.train_run(RunDir(folder), run, "key")
    return {name: content for name, content in tiny.contents(folder).items() if name.startswith(RESULTS)}


def weights(results: Results) -> tuple[bytes, bytes]:
    return results["weights.safetensors"], results["teacher.safetensors"]


def log(results: Results) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(results["log.csv"].decode())))


@pytest.fixture(scope="module")
def whole(ready: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The results of uninterrupted runs of two methods, to which others are compared."""
    folder = tmp_path_factory.mktemp("whole")
    return {method: train(folder / method, tiny.run(ready, method)) for method in ("source", "dacs")}


@pytest.fixture
def at_step(monkeypatch: Patch) -> AtStep:
    """Let something happen once, when the loop begins a step (counted from 1)."""

    def arrange(step: int, act: Callable[[], None]) -> None:
        set_rate, waiting = loop.set_rate, [act]

        def watched(optimizer: torch.optim.Optimizer, done: int, settings: RunSettings) -> None:
            if done + 1 == step and waiting:
                waiting.pop()()
            set_rate(optimizer, done, settings)

        monkeypatch.setattr(loop, "set_rate", watched)

    return arrange


def stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


# ---- the reference implementation: the step written the obvious way, one loss, one backward

# Thresholds that some pixels of so young a network reach and others do not.
REVIEW = {"lambda_scope": "image", "lambda_counts": "mixed", "lambda_applies_to": "all", "teacher_bn": "running"}
CODE = {"lambda_scope": "batch", "lambda_counts": "target", "lambda_applies_to": "target", "teacher_bn": "batch"}
READINGS: dict[str, dict[str, Any]] = {
    "review": REVIEW | {"threshold": 0.065},
    "code": CODE | {"draw_void": True, "threshold": 0.12},
}
SGD = {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 5e-4, "poly_power": 0.9, "warmup": 0}


def stream(run: Run, role: str, prepared: PreparedSplit) -> Iterator[Batch]:
    section, split, seed = run.settings.loop, Split(prepared), seed_of(run.seed, role)
    crops = Crops(split, shuffled(split, seed), seed, section.batch, section.crop, section.flip)
    return batches(crops, start_step=0)


def initial_network(run: Run) -> Segmenter:
    return build(run.settings.model, seed_of(run.seed, "weights")).train()


def in_float64(found: Iterator[StepBatch]) -> Iterator[StepBatch]:
    for batch in found:
        images, labels = batch.source
        yield batch._replace(source=Batch(images.double(), labels), target=batch.target.double())


@pytest.mark.parametrize("augmented", [0.0, 1.0], ids=["plain", "augmented"])
@pytest.mark.parametrize("reading", READINGS)
def test_the_step_equals_the_reference_implementation(reading: str, augmented: float, ready: Path) -> None:
    coins = {"jitter_probability": augmented, "blur_probability": augmented}
    run = tiny.run(ready, "dacs", 3, **SGD, **coins, **READINGS[reading], lr=0.02)
    state = loop.initial_state(run, CPU)
    for network in (state.student, state.teacher.network):
        network.double()
    inputs: list[Tensor] = []
    state.student.register_forward_pre_hook(lambda module, images: inputs.append(images[0]))
    networks, found_batches = loop.networks_of(state, run), in_float64(step_batches(run, 0, CPU))

    student = initial_network(run).double()
    optimizer = torch.optim.SGD(student.parameters(), lr=1.0, momentum=0.9, weight_decay=5e-4)
    reference = Reference(student, optimizer, run.settings.adapt, taps=11)
    sources, targets = stream(run, "source", run.source), stream(run, "target", run.target)
    lambdas = []
    for step in range(5):
        loop.set_rate(state.optimizer, state.step, run.settings)
        state.optimizer.zero_grad()
        found = loop.backward(state, networks, found_batches, accumulate=1)
        state.optimizer.step()
        state.teacher.update(state.student, state.step)
        state.step += 1

        (images, labels), target = next(sources), next(targets).images
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / tiny.STEPS) ** 0.9
        generator = torch.Generator().manual_seed(seed_of(3, "mix", step))
        expected = reference.step(images.double(), labels, target.double(), generator)
        assert found["loss_source"].item() == pytest.approx(expected.loss_source, abs=1e-9)
        assert found["loss_mixed"].item() == pytest.approx(expected.loss_mixed, abs=1e-9)
        assert found["lambda"].item() == pytest.approx(expected.lambda_, abs=1e-9)
        assert (inputs[-1] - expected.images).abs().max() < 1e-9
        for ours, theirs in zip(state.student.parameters(), student.parameters(), strict=True):
            assert (ours.grad - theirs.grad).abs().max() < 1e-9
        for ours, theirs in ((state.student, student), (state.teacher.network, reference.teacher)):
            for name, value in ours.state_dict().items():
                assert (value - theirs.state_dict()[name]).abs().max() < 1e-9, name
        lambdas.append(expected.lambda_)
    assert sum(0.05 < value < 0.95 for value in lambdas) > 2


def test_source_only_training_is_plain_training(ready: Path, tmp_path: Path) -> None:
    """Cross-entropy by SGD, and nothing else happens to the weights; the teacher is a mean of the students so far."""
    run = tiny.run(ready, seed=5, **SGD, nesterov=True, steps=3, lr=0.01)
    train(tmp_path, run)
    student, states = initial_network(run), list[dict[str, Tensor]]()
    optimizer = torch.optim.SGD(student.parameters(), lr=1.0, momentum=0.9, nesterov=True, weight_decay=5e-4)
    for step, (images, labels) in enumerate(itertools.islice(stream(run, "source", run.source), 3)):
        optimizer.param_groups[0]["lr"] = 0.01 * (1 - step / 3) ** 0.9
        optimizer.zero_grad()
        F.cross_entropy(student(images), labels, ignore_index=255).backward()
        optimizer.step()
        states.append(copy.deepcopy(student.state_dict()))
    saved, teacher = load_file(RunDir(tmp_path).weights), load_file(RunDir(tmp_path).teacher)
    assert saved.keys() == teacher.keys() == states[-1].keys()
    for name, value in states[-1].items():
        assert torch.allclose(saved[name].double(), value.double(), atol=1e-6), name
        if value.is_floating_point():
            assert torch.allclose(teacher[name], torch.stack([state[name] for state in states]).mean(0), atol=1e-6), (
                name
            )


# ---- the same however it is run


@pytest.mark.parametrize("method", TRAINED)
def test_the_same_seed_twice_gives_the_same_bytes_and_another_one_does_not(
    method: str, ready: Path, tmp_path: Path
) -> None:
    one, other = (train(tmp_path / name, tiny.run(ready, method, steps=3)) for name in ("one", "other"))
    assert one == other
    assert weights(train(tmp_path / "seed", tiny.run(ready, method, 1, steps=3))) != weights(one)
    pictures = "source target mask mixed augmented source_label pseudo label weight".split() * METHODS[method].mixes
    snapshots = [f"snapshots/step{step:06d}-{name}.safetensors" for step in (1, 2) for name in ("student", "teacher")]
    mixing = [f"mixing/step{step:06d}/{name}.png" for step in (1, 2, 3) for name in pictures]
    assert set(one) == {*RESULTS[:3], *mixing, *snapshots}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_pictures_are_of_the_steps_that_are_kept_and_change_no_weight(
    accumulate: int, ready: Path, tmp_path: Path
) -> None:
    """A teacher that is never certain gives pixels no weight, so that of a pixel is whether it is pasted."""
    given = {"steps": 4, "accumulate": accumulate, "threshold": 1.0, "pixel_weight": "threshold", "margins": [0, 0]}
    one, three = (
        train(tmp_path / str(number), tiny.run(ready, "dacs", snapshots=number, **given)) for number in (1, 3)
    )
    assert weights(one) == weights(three)
    steps = {name.split("/")[1] for name in three if name.startswith("mixing/")}
    assert steps == {"step000001", "step000003", "step000004"}
    assert len({three[f"mixing/{step}/source.png"] for step in steps}) == 3
    last = {name: content for name, content in one.items() if name.startswith("mixing/")}
    assert last == {name: three[name] for name in last}
    for step in steps:
        mask, weight = (np.asarray(Image.open(tmp_path / f"3/mixing/{step}/{name}.png")) for name in ("mask", "weight"))
        assert {*np.unique(mask)} == {0, 255}
        assert np.array_equal(mask, weight)


@pytest.mark.parametrize(
    ("method", "number", "accumulate"),
    [("source", signal.SIGINT, 1), ("dacs", signal.SIGTERM, 1), ("dacs", signal.SIGINT, 2)],
    ids=["source", "dacs", "accumulated"],
)
def test_a_run_stopped_in_every_step_is_resumed_to_the_same_bytes(
    method: str, number: int, accumulate: int, ready: Path, tmp_path: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    """Also between two rows of the log, whose means include the steps before the interruption."""
    run, folder = tiny.run(ready, method, accumulate=accumulate), tmp_path / "run"
    expected = train(tmp_path / "whole", run)
    set_rate, before = loop.set_rate, signal.getsignal(number)
    monkeypatch.setattr(loop, "set_rate", lambda *given: (os.kill(os.getpid(), number), set_rate(*given)))
    for step in range(1, tiny.STEPS):
        with pytest.raises(Interrupted, match=rf"stopped at step {step} of 6; {folder}/checkpoint\.pt keeps it"):
            train(folder, run)
        assert signal.getsignal(number) is before
        kept = [f"snapshots/step{done:06d}-student.safetensors" for done in (2, 4) if done <= step]
        assert {"checkpoint.pt", *kept} <= set(tiny.contents(folder)) <= {"checkpoint.pt", *set(expected)}
    assert train(folder, run) == expected  # a signal in the last step comes too late
    assert "resuming from the checkpoint at step 5 of 6" in capsys.readouterr().err


KILLED = """
import os, signal, sys
from dacs.cli import main
from dacs.training import loop
set_rate, fatal, number = loop.set_rate, int(sys.argv[1]), getattr(signal, sys.argv[2])
def watched(optimizer, done, settings):
    if done + 1 == fatal:
        os.kill(os.getpid(), number)
    set_rate(optimizer, done, settings)
loop.set_rate = watched
sys.exit(main(sys.argv[3:]))
"""


@pytest.mark.parametrize(
    ("number", "code", "resumes_at"),
    [("SIGKILL", -signal.SIGKILL, 4), ("SIGTERM", 75, 5), ("SIGUSR1", 75, 5)],
    ids=["kill", "term", "usr1"],
)
def test_a_killed_process_is_resumed_from_its_checkpoint_by_the_same_command(
    number: str,
    code: int,
    resumes_at: int,
    ready: Path,
    tmp_path: Path,
    whole: Whole,
    monkeypatch: Patch,
    capsys: Capture,
) -> None:
    monkeypatch.chdir(tmp_path)
    run = tiny.run(ready, "dacs")
    arguments = ["adapt", "--method", "dacs", "--settings", job_file(run.settings), "--seed", "0", "--out", "run"]
    arguments += ["--source", str(run.source.path), "--target", str(run.target.path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, "5", number, *arguments], env=environment, capture_output=True
    )
    assert ended.returncode == code, ended.stderr.decode()
    assert (b"Run the same command again" in ended.stderr) == (number != "SIGKILL")
    assert not Path("run").exists()
    assert main(arguments) == 0
    assert f"resuming from the checkpoint at step {resumes_at} of {tiny.STEPS}" in capsys.readouterr().err
    found = tiny.contents(Path("run"))
    assert {name: found[name] for name in whole["dacs"]} == whole["dacs"]


@pytest.mark.parametrize("changes", [{"workers": 2}, {"checkpoint_every": 1}, {"checkpoint_every": 1000}])
def test_settings_without_effect_change_no_byte(
    changes: dict[str, int], ready: Path, tmp_path: Path, whole: Whole
) -> None:
    assert train(tmp_path, tiny.run(ready, "dacs", **changes)) == whole["dacs"]


@pytest.mark.parametrize("teacher_bn", ["running", "batch"])
def test_measuring_and_logging_change_no_weight(teacher_bn: str, ready: Path, tmp_path: Path) -> None:
    expected = train(tmp_path / "expected", tiny.run(ready, "dacs", teacher_bn=teacher_bn, steps=4))
    for changes in (
        {"snapshots": 1},
        {"snapshots": 4},
        {"log_every": 1},
        {"log_every": 5},
    ):
        run = tiny.run(ready, "dacs", teacher_bn=teacher_bn, steps=4, **changes)
        assert weights(train(tmp_path / str(changes), run)) == weights(expected), changes


def test_a_snapshot_is_the_result_of_a_run_that_ends_there(ready: Path, tmp_path: Path) -> None:
    """Of equal learning rates: poly_power 0."""
    train(tmp_path / "whole", tiny.run(ready, "dacs", poly_power=0, snapshots=3))
    whole, short = RunDir(tmp_path / "whole"), RunDir(tmp_path / "short")
    assert whole.kept_steps == [2, 4]
    train(short.path, tiny.run(ready, "dacs", poly_power=0, steps=2, snapshots=1))
    assert short.kept_steps == []
    assert whole.snapshot(2, "student").read_bytes() == short.weights.read_bytes()
    assert whole.snapshot(2, "teacher").read_bytes() == short.teacher.read_bytes()


def test_where_the_data_are_changes_no_byte(ready: Path, tmp_path: Path, whole: Whole, monkeypatch: Patch) -> None:
    shutil.copytree(ready, tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    assert train(Path("run"), tiny.run(Path("elsewhere"), "dacs")) == whole["dacs"]


# ---- every setting reaches the step

SOURCE: dict[str, Any] = {"flip": False, "warmup": 0, "ema": 0.99, "steps": 4}
SOURCE_SGD = SOURCE | {"optimizer": "sgd", "nesterov": False, "momentum": 0.9}
ADAPT = SOURCE | {"threshold": 0.065, "jitter_probability": 0.5, "blur_probability": 0.5}
# fmt: off
CHANGES: list[tuple[str, dict[str, Any], list[tuple[str, Any]]]] = [
    ("dacs", ADAPT, [
        ("pseudo_labels", "student"), ("teacher_bn", "batch"), ("ema", 0.3), ("threshold", 0.2),
        ("pixel_weight", "threshold"), ("pixel_weight", "none"), ("lambda_scope", "batch"),
        ("lambda_counts", "target"), ("lambda_applies_to", "target"), ("consistency_weight", 0.5), ("draw_void", True),
        ("bn_statistics", "frozen"), ("bn_statistics", "target"),
        ("jitter_probability", 1.0), ("jitter_strength", 0.1), ("blur_probability", 1.0), ("blur_sigma", [1.0, 1.1]),
    ]),
    ("cowmix", ADAPT, [("cow_sigma", [3.0, 4.0]), ("cow_share", 0.3)]),
    ("source", SOURCE, [
        ("lr", 0.001), ("flip", True), ("weight_decay", 0.1), ("poly_power", 0.5), ("warmup", 3), ("batch", 3),
        ("backbone_lr_factor", 3.0), ("head_lr_factor", 10.0), ("crop", [24, 40]), ("optimizer", "sgd"),
        ("bn_statistics", "frozen"),
    ]),
    ("source", SOURCE_SGD, [("momentum", 0.5), ("nesterov", True)]),
]
# fmt: on


@pytest.fixture(scope="module")
def student_of(ready: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """The student of a short run; each run is made once."""
    known: dict[str, bytes] = {}

    def student(method: str, changes: dict[str, Any]) -> bytes:
        key = f"{method} {changes}"
        if key not in known:
            results = train(tmp_path_factory.mktemp("run"), tiny.run(ready, method, **changes))
            known[key] = results["weights.safetensors"]
        return known[key]

    return student


@pytest.mark.parametrize(
    ("method", "base", "name", "value"),
    [pytest.param(method, base, *each, id=each[0]) for method, base, changes in CHANGES for each in changes],
)
def test_every_setting_makes_a_difference(
    method: str, base: dict[str, Any], name: str, value: Any, student_of: Callable[..., bytes]
) -> None:
    assert student_of(method, base) != student_of(method, base | {name: value})


# ---- where a run starts


@pytest.mark.parametrize("method", ["source", "dacs"])
def test_a_run_starts_from_the_weights_of_its_seed_or_from_those_that_are_given(method: str, tmp_path: Path) -> None:
    init = tiny.finished_run(tmp_path / "init", seed=9)
    for given, tensors in ((init, load_file(init.start)), (None, initial_network(tiny.run()).state_dict())):
        found = loop.initial_state(tiny.run(method=method, init=given), CPU).student.state_dict()
        assert all(torch.equal(found[name], value) for name, value in tensors.items())


def test_weights_that_adaptation_starts_from_are_those_of_a_run_of_so_many_steps(ready: Path, tmp_path: Path) -> None:
    """The student, not the teacher, and the rest of the run goes on from it at a new learning rate."""
    part = train(tmp_path / "part", tiny.run(ready, steps=4, log_every=1))
    found = train(tmp_path / "whole", tiny.run(ready, steps=6, start=4, log_every=1))
    assert found["start.safetensors"] == part["weights.safetensors"] != part["teacher.safetensors"]
    assert "start.safetensors" not in part
    assert found["weights.safetensors"] != found["start.safetensors"]
    rows, alone = log(found), log(part) + log(train(tmp_path / "rest", tiny.run(ready, steps=2, log_every=1)))
    assert [row["lr"] for row in rows] == [row["lr"] for row in alone]


@pytest.mark.parametrize("start", [2, 3, 4, 5])
def test_an_interruption_around_that_step_changes_none_of_its_weights(start: int, ready: Path, tmp_path: Path) -> None:
    run = tiny.run(ready, start=start, checkpoint_every=1000)
    folder, expected = tmp_path / "run", train(tmp_path / "whole", run)
    assert "start.safetensors" in expected
    for step in (2, 3, 5):
        with pytest.MonkeyPatch.context() as patch:
            set_rate = loop.set_rate
            patch.setattr(
                loop,
                "set_rate",
                lambda optimizer, done, settings, step=step, real=set_rate: (
                    stop() if done + 1 == step else None,
                    real(optimizer, done, settings),
                ),
            )
            with pytest.raises(Interrupted, match=f"stopped at step {step} of 6"):
                train(folder, run)
        assert ("start.safetensors" in tiny.contents(folder)) == (start <= step)
    assert train(folder, run) == expected


def test_a_run_that_ends_between_that_step_and_a_checkpoint_writes_them_again(
    ready: Path, tmp_path: Path, at_step: AtStep
) -> None:
    run, folder = tiny.run(ready, start=3, checkpoint_every=2), tmp_path / "run"
    expected = train(tmp_path / "whole", run)

    def fail() -> None:
        raise KeyError("power")

    at_step(4, fail)
    with pytest.raises(KeyError, match="power"):
        train(folder, run)
    assert {"checkpoint.pt", "start.safetensors"} <= set(tiny.contents(folder))
    assert not RunDir(folder).weights.exists()
    RunDir(folder).start.write_bytes(b"half")
    assert train(folder, run) == expected


def test_statistics_of_the_target_are_an_average_over_its_batches(ready: Path) -> None:
    """Of the target alone, each layer normalising by the batch; all images are normalised by this average."""
    run = tiny.run(ready, "dacs", bn_statistics="target")
    state, batch = loop.initial_state(run, CPU), next(step_batches(run, 0, CPU))
    observed = copy.deepcopy(state.student)
    observed.frozen_statistics = False
    observed.train()
    observed(batch.target)  # moves the statistics by the momentum that a batch has
    expected = {name: value for name, value in observed.state_dict().items() if "running" in name}
    assert len(expected) > 4

    def statistics(network: nn.Module) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in network.state_dict().items() if name in expected}

    before, seen = statistics(state.student), list[dict[str, Tensor]]()
    state.student.register_forward_pre_hook(lambda network, given: seen.append(statistics(network)))
    loop.backward(state, loop.networks_of(state, run), iter([batch]), accumulate=1)
    found = statistics(state.student)
    for name, value in expected.items():
        assert torch.allclose(found[name], value, atol=1e-6), name
        assert not torch.equal(value, before[name])
    source, target, mixed = seen
    assert all(torch.equal(source[name], before[name]) and torch.equal(target[name], before[name]) for name in before)
    assert all(torch.equal(mixed[name], found[name]) for name in before)
    assert not any(module.training for module in state.student.modules() if isinstance(module, nn.BatchNorm2d))
    state.teacher.update(state.student, 0)
    assert all(torch.equal(value, found[name]) for name, value in statistics(state.teacher.network).items())


def test_the_first_statistics_of_the_target_are_estimated_on_its_images(ready: Path) -> None:
    """Of student and teacher, so that no pseudo-label is made with those of the initial weights."""
    run = tiny.run(ready, "dacs", bn_statistics="target")
    state, expected = loop.initial_state(run, CPU), initial_network(run)
    re_estimate(expected, Split(run.target).spread_images(1000))
    for network in (state.student, state.teacher.network):
        found = network.state_dict()
        assert all(torch.equal(found[name], value) for name, value in expected.state_dict().items())
    assert state.student.training


@pytest.mark.parametrize("statistics", ["frozen", "live"])
def test_frozen_statistics_stay_as_they_are_through_a_whole_run(statistics: str, ready: Path, tmp_path: Path) -> None:
    """Those of student and teacher, also where the teacher normalises each batch by itself; weights are trained."""
    run = tiny.run(ready, "dacs", bn_statistics=statistics, teacher_bn="batch", steps=2, warmup=0)
    before = initial_network(run).state_dict()
    train(tmp_path, run)
    for path in (RunDir(tmp_path).weights, RunDir(tmp_path).teacher):
        after = load_file(path)
        kept = {name: torch.equal(value, before[name]) for name, value in after.items()}
        names = [name for name in kept if "running" in name]
        assert len(names) > 4
        assert {kept[name] for name in names} == {statistics == "frozen"}
        assert not any(kept[name] for name in kept if name.endswith("weight"))


def test_a_run_from_random_weights_starts_from_the_backbone_that_is_named(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    tensors = resnet18(weights=None).state_dict()
    torch.save(tensors, tmp_path / "mine.pth")
    run = tiny.run(network="deeplab_resnet18", weights=str(tmp_path / "mine.pth"))
    assert torch.equal(loop.initial_state(run, CPU).student.backbone[0].weight, tensors["conv1.weight"])


# ---- wrong never without an error


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize(("loss", "method"), [("source_loss", "source"), ("mixed_loss", "dacs")])
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(
    loss: str, method: str, bad: float, ready: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    """The first bad step is named, though it is noticed later, when the next row or checkpoint is due."""
    real, calls = getattr(objectives, loss), itertools.count(1)
    monkeypatch.setattr(objectives, loss, lambda *given: real(*given) * (bad if next(calls) >= 5 else 1.0))
    run = tiny.run(ready, method, log_every=100, checkpoint_every=2, steps=9)
    with pytest.raises(RunFailed, match=rf"loss_\w+ is {bad} at step 5; training stopped") as caught:
        train(tmp_path, run)
    assert f"{tmp_path / 'checkpoint.pt'} keeps the last good state" in str(caught.value)
    assert checkpoint.read(tmp_path / "checkpoint.pt")["step"] == 4
    assert not RunDir(tmp_path).weights.exists()
    assert RunDir(tmp_path).kept_steps == [3]

    monkeypatch.setattr(objectives, loss, real)
    assert train(tmp_path, run) == train(tmp_path / "whole", run)


def test_a_bad_loss_before_the_first_checkpoint_is_an_error_that_says_there_is_none(
    ready: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunFailed, match="No checkpoint was written yet"):
        train(tmp_path, tiny.run(ready, lr=1e6, weight_decay=1e3, log_every=1, optimizer="sgd", warmup=0))
    assert not {"weights.safetensors", "checkpoint.pt"} & set(tiny.contents(tmp_path))


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), MemoryFull, "loop.precision: bf16"),
        (RuntimeError("cumsum does not have a deterministic implementation, but"), RunFailed, "Set it to false"),
        (RuntimeError("mat1 and mat2 cannot be multiplied"), RuntimeError, "cannot be multiplied"),
    ],
    ids=["memory", "order", "other"],
)
def test_what_a_gpu_cannot_do_is_an_error_that_says_what_to_set(
    error: Exception, expected: type[Exception], message: str, ready: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    def refuse(*_: Tensor) -> Tensor:
        raise error

    monkeypatch.setattr(objectives, "source_loss", refuse)
    with pytest.raises(expected, match=message) as caught:
        train(tmp_path, tiny.run(ready))
    assert caught.type is expected
    assert str(error) in str(caught.value)


def test_weights_that_are_not_finite_are_saved_nowhere(
    ready: Path, tmp_path: Path, at_step: AtStep, monkeypatch: Patch
) -> None:
    """A gradient can break the weights in a step whose loss was still a number."""
    update, broken = loop.Teacher.update, []

    def break_weights(teacher: Any, student: Any, step: int) -> None:
        if broken:
            student.head.branches[0].bias.data[3] = math.inf
        update(teacher, student, step)

    monkeypatch.setattr(loop.Teacher, "update", break_weights)
    at_step(tiny.STEPS, lambda: broken.append(True))
    with pytest.raises(RunFailed, match=f"weights are not finite after step {tiny.STEPS}"):
        train(tmp_path, tiny.run(ready))
    assert not RunDir(tmp_path).weights.exists()


# ---- what a run reports


def test_the_log_has_a_row_every_few_steps_with_means_since_the_last(
    ready: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    by_step: list[dict[str, float]] = []
    backward = loop.backward

    def watched(*arguments: Any) -> Losses:
        losses = backward(*arguments)
        by_step.append({name: value.item() for name, value in losses.items()})
        return losses

    monkeypatch.setattr(loop, "backward", watched)
    found = log(train(tmp_path, tiny.run(ready, "dacs", log_every=2, warmup=0, steps=7, lr=0.01)))
    assert list(found[0]) == ["step", "loss_source", "loss_mixed", "lambda", "lr"]
    assert [int(row["step"]) for row in found] == [2, 4, 6, 7]
    for row, (first, last) in zip(found, [(0, 2), (2, 4), (4, 6), (6, 7)], strict=True):
        for name in ("loss_source", "loss_mixed", "lambda"):
            mean = sum(losses[name] for losses in by_step[first:last]) / (last - first)
            assert float(row[name]) == pytest.approx(mean, abs=2e-5)
        assert float(row["lr"]) == pytest.approx(0.01 * (1 - (last - 1) / 7) ** 0.9, abs=1e-8)


def test_the_log_of_source_only_training_has_no_columns_of_mixing(whole: Whole) -> None:
    assert list(log(whole["source"])[0]) == ["step", "loss_source", "lr"]


def test_the_log_grows_during_a_run(ready: Path, tmp_path: Path, at_step: AtStep) -> None:
    seen = list[list[str]]()
    at_step(5, lambda: seen.append([row["step"] for row in log(tiny.contents(tmp_path))]))
    train(tmp_path, tiny.run(ready, "dacs"))
    assert seen == [["2", "4"]]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()], ids=["terminal", "file"])
def test_progress_has_losses_lambda_speed_and_time_left(
    stream: io.StringIO, ready: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    train(tmp_path, tiny.run(ready, "dacs", steps=4))
    last = stream.getvalue().splitlines()[-1]
    assert ("\r" in stream.getvalue()) == stream.isatty()  # a bar is drawn over itself
    assert all(word in last for word in ("loss_source", "loss_mixed", "lambda", "images/s", "4/4"))
    assert ("<" if stream.isatty() else "s left") in last


def test_a_line_comes_every_30_seconds_however_few_rows_the_log_has(
    ready: Path, tmp_path: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    """Eight steps of 15 s, two with a row; a line between rows has the losses of the last one."""
    run, clock = tiny.run(ready, steps=8, log_every=5), itertools.count(0, 15)
    expected = train(tmp_path / "usual", run)
    capsys.readouterr()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    assert train(tmp_path / "slow", run) == expected
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step ")]
    assert [line[:8] for line in lines] == ["step 2/8", "step 4/8", "step 5/8", "step 7/8", "step 8/8"]
    assert [line.rpartition(", ")[2] for line in lines[:2]] == ["90 s left", "60 s left"]
    losses = [line.partition(": ")[2].partition("images/s")[0] for line in lines]
    assert losses[:2] == ["", ""]
    assert losses[2] == losses[3] == f"loss_source {float(log(expected)[0]['loss_source']):.3f}, "


# ---- terms and orders from outside of the package


class Centre(Term):
    """Draw the features of source images to their average so far, its state; report distance and calls in turn."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.centre, self.calls = torch.zeros(48), torch.zeros(())

    def __call__(self, networks: Networks, batch: StepBatch) -> Losses:
        features = networks.student.features(batch.source.images).mean((0, 2, 3))
        distance = batch.share * (features - self.centre).square().mean()
        distance.backward()
        self.centre, self.calls = 0.5 * self.centre + 0.5 * features.detach(), self.calls + 1
        return {"distance": distance.detach()} if self.calls % 2 else {"calls": self.calls}

    def state_dict(self) -> dict[str, Tensor]:
        return {"centre": self.centre, "calls": self.calls}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.centre, self.calls = state["centre"], state["calls"]


def fewest_road_pixels(frames: Frames, seed: int, settings: RunSettings) -> Order:
    """Show the one frame with the fewest pixels of road."""
    rarest = int(frames.class_counts()[:, 0].argmin())
    return lambda sample: Pick(rarest)


@pytest.fixture
def outside(monkeypatch: Patch) -> str:
    """A method whose third term and whose order are those above."""
    terms = (SOURCE_LOSS, MIXED_LOSS, "test_loop:Centre")
    row = METHODS["dacs"]._replace(terms=terms, order="test_loop:fewest_road_pixels")
    monkeypatch.setitem(METHODS, "outside", row)
    return "outside"


@pytest.mark.parametrize("log_every", [1, 2])
def test_the_log_has_exactly_the_columns_that_the_terms_report(
    log_every: int, outside: str, ready: Path, tmp_path: Path
) -> None:
    """Also where a term reports a loss in some steps only: the mean is over these, the cell is empty without any."""
    found = log(train(tmp_path, tiny.run(ready, outside, log_every=log_every)))
    expected = {"step", "loss_source", "loss_mixed", "lambda", "distance", "calls", "lr"}
    assert set(found[0]) == expected
    assert int(found[-1]["step"]) == tiny.STEPS
    if log_every == 1:
        assert [bool(row["distance"]) for row in found] == [True, False] * 3
        assert [row["calls"] for row in found] == ["", "2.0", "", "4.0", "", "6.0"]
    else:
        assert [row["calls"] for row in found] == ["2.0", "4.0", "6.0"]
        assert all(float(row["distance"]) > 0 for row in found)


@pytest.mark.parametrize("lost", [False, True])
def test_a_resumed_run_needs_the_state_of_its_terms_and_has_it(
    lost: bool, outside: str, ready: Path, tmp_path: Path, at_step: AtStep
) -> None:
    run, folder = tiny.run(ready, outside), RunDir(tmp_path / "run")
    expected = train(tmp_path / "whole", run)
    at_step(3, stop)
    with pytest.raises(Interrupted):
        train(folder.path, run)
    if lost:
        content = checkpoint.read(folder.checkpoint)
        content["terms"][2]["centre"].zero_()
        checkpoint.write(folder.checkpoint, content)
    assert (train(folder.path, run) == expected) != lost


def test_a_damaged_checkpoint_starts_the_run_anew_and_the_result_is_the_same(
    ready: Path, tmp_path: Path, at_step: AtStep, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where statistics of the target, which a checkpoint has, are estimated at the start."""
    run, folder = tiny.run(ready, "dacs", bn_statistics="target", bn_frames=2), RunDir(tmp_path / "run")
    expected = train(tmp_path / "whole", run)
    at_step(3, stop)
    with pytest.raises(Interrupted):
        train(folder.path, run)
    content = bytearray(folder.checkpoint.read_bytes())
    content[len(content) // 2] ^= 4
    folder.checkpoint.write_bytes(content)
    assert train(folder.path, run) == expected
    printed = capsys.readouterr().err
    assert f"{folder.checkpoint}: not a readable checkpoint" in printed
    assert "resuming" not in printed


def test_the_order_of_a_method_decides_the_source_images_of_a_step_and_no_target_image(
    outside: str, ready: Path
) -> None:
    runs = [tiny.run(ready, method, crop=(30, 60), flip=False) for method in (outside, "dacs")]
    split = Split(runs[0].source)
    rarest = split.image(min(range(tiny.FRAMES), key=lambda index: (split.label(index) == 0).sum()))
    crops = (rarest.float() / 255).unfold(1, 30, 1).unfold(2, 60, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
    steps = list(zip(*(step_batches(run, 0, CPU) for run in runs), strict=True))
    assert len(steps) == tiny.STEPS
    for ours, usual in steps:
        assert all((crops == image).flatten(1).all(1).any() for image in ours.source.images)
        assert torch.equal(ours.target, usual.target)


# ---- batches, accumulated steps, and other numbers


def test_an_accumulated_step_has_the_mean_gradients_of_its_batches(ready: Path) -> None:
    """Two batches of two, each loss halved: gradients add up, weights move once."""
    found = {}
    for accumulate in (1, 2):
        run = tiny.run(ready, "dacs", 3, accumulate=accumulate)
        state = loop.initial_state(run, CPU)
        for module in state.student.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.0  # the teacher reads running statistics
        networks, parts = loop.networks_of(state, run), step_batches(run, 0, CPU)
        losses = [loop.backward(state, networks, parts, accumulate) for _ in range(2 // accumulate)]
        scale = accumulate / 2
        gradients = {name: scale * weight.grad for name, weight in state.student.named_parameters()}
        found[accumulate] = {name: scale * sum(each[name] for each in losses) for name in losses[0]} | gradients
    assert len(found[1]) > 40
    for name, value in found[1].items():
        assert torch.allclose(found[2][name], value, atol=1e-6), name


def test_bfloat16_computes_networks_only_and_stays_near(ready: Path, tmp_path: Path) -> None:
    for precision in ("fp32", "bf16"):
        train(tmp_path / precision, tiny.run(ready, "dacs", precision=precision, steps=3))
    for name in ("weights", "teacher"):
        half, full = (load_file(tmp_path / kind / f"{name}.safetensors") for kind in ("bf16", "fp32"))
        assert any(not torch.equal(value, full[key]) for key, value in half.items())
        for key, value in half.items():
            assert value.dtype == full[key].dtype
            assert torch.allclose(value.float(), full[key].float(), atol=0.05), key
