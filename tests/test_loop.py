"""The loop: equal to its plain twin, the same by every way of running it, and never silently wrong."""

import copy
import csv
import io
import itertools
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
import torch.nn.functional as F
from plain import Plain
from safetensors.torch import load_file
from torch import Tensor

from dacs.cli import main
from dacs.errors import Interrupted, RunFailed
from dacs.loading.split import Split
from dacs.loading.stream import batches, seed_of
from dacs.models.build import build
from dacs.provenance import ROOT
from dacs.training import loop
from dacs.training import step as step_module
from dacs.training.checkpoint import State

CPU = torch.device("cpu")
RESULTS = ("weights.safetensors", "teacher.safetensors", "log.csv")
Card = dict[str, Any]


def train(folder: Path, card: Card, ready: Path, init: Path | None = None) -> dict[str, bytes]:
    """The results of a run by name, made in `folder`, or going on there."""
    source = ready / ("cityscapes/oracle" if card["method"] == "oracle" else "gta5/train")
    loop.train_run(folder, card, source=source, target=ready / "cityscapes", init=init)
    return {name: content for name, content in tiny.contents(folder).items() if name.startswith((*RESULTS, "mixing"))}


def weights(results: dict[str, bytes]) -> tuple[bytes, bytes]:
    return results["weights.safetensors"], results["teacher.safetensors"]


def rows(results: dict[str, bytes]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(results["log.csv"].decode())))


@pytest.fixture(scope="module")
def uncut(ready: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """The results of whole runs of two methods, to which others are compared."""
    folder = tmp_path_factory.mktemp("uncut")
    return {method: train(folder / method, tiny.card(method), ready) for method in ("source", "dacs")}


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """Have something happen once, when the loop begins a step (counted from 1)."""

    def arrange(step: int, act: Callable[[], None]) -> None:
        rate, waiting = loop.rate, [act]

        def watched(done: int, **kinds: Any) -> float:
            if done + 1 == step and waiting:
                waiting.pop()()
            return rate(done, **kinds)

        monkeypatch.setattr(loop, "rate", watched)

    return arrange


# ---- the twin: the step written the obvious way, one loss, one backward

# Thresholds that some pixels of so young a network reach and others do not.
SURE = 0.065
SEED = {
    "lambda_scope": "image",
    "lambda_counts": "mixed",
    "lambda_applies_to": "all",
    "teacher_bn": "running",
    "threshold": SURE,
}
CODE = {
    "lambda_scope": "batch",
    "lambda_counts": "target",
    "lambda_applies_to": "target",
    "teacher_bn": "batch",
    "draw_void": True,
    "threshold": 0.12,
}


class Twin:
    """The plain step of the benchmarks on the stream of a run, in float64."""

    def __init__(self, card: Card, ready: Path) -> None:
        self.adapt, self.loop, self.seed = card["settings"]["adapt"], card["settings"]["loop"], card["seed"]
        student = build("small", aspp_branches=4, seed=seed_of(self.seed, "weights")).double().train()
        optimizer = torch.optim.SGD(student.parameters(), lr=1.0, momentum=0.9, weight_decay=5e-4)
        self.plain = Plain(student, optimizer, self.adapt, taps=11)
        self.sources = self.stream("source", ready / "gta5/train")
        self.targets = self.stream("target", ready / "cityscapes/train")

    def stream(self, role: str, folder: Path) -> Iterator[Any]:
        crop, seed = tuple(self.loop["crop"]), seed_of(self.seed, role)
        flip = self.loop["flip"]
        return batches(Split(folder), seed=seed, batch=self.loop["batch"], crop=crop, start_step=0, flip=flip)

    def once(self) -> dict[str, Any]:
        image, truth = next(self.sources)
        target = next(self.targets).image
        generator = torch.Generator().manual_seed(seed_of(self.seed, "mix", self.plain.steps))
        for group in self.plain.optimizer.param_groups:
            group["lr"] = self.adapt["lr"] * (1 - self.plain.steps / self.adapt["steps"]) ** 0.9
        return self.plain.step(image.double(), truth, target.double(), generator)


@pytest.mark.parametrize("augmented", [0.0, 1.0], ids=["plain", "augmented"])
@pytest.mark.parametrize("reading", [SEED, CODE], ids=["seed", "code"])
def test_the_step_equals_its_plain_twin(
    reading: dict[str, Any], augmented: float, ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sgd = {"optimizer": "sgd", "momentum": 0.9, "nesterov": False, "weight_decay": 5e-4, "poly_power": 0.9}
    coins = {"jitter_probability": augmented, "blur_probability": augmented}
    card = tiny.card("dacs", 3, sgd | {"warmup": 0}, lr=0.02, ema=0.99, **reading, **coins)
    adapt = card["settings"]["adapt"]
    monkeypatch.setattr(loop, "_to", lambda batch, device: (batch.image.double(), batch.label))
    state = loop._start(card["settings"], adapt, 3, None, CPU)
    state.student.double()
    state.teacher.network.double()
    seen: list[Tensor] = []
    state.student.register_forward_pre_hook(lambda module, images: seen.append(images[0]))
    source, target = ready / "gta5/train", ready / "cityscapes/train"
    step = loop._adaptation(state, card, source=source, target=target, device=CPU, panels=tmp_path / "mixing")

    twin = Twin(card, ready)
    lambdas = []
    for _ in range(5):
        loop.set_rate(state.optimizer, loop.rate(state.step, steps=adapt["steps"], power=0.9, warmup=0))
        state.optimizer.zero_grad()
        found = step(state) | {"mixed": seen[-1]}
        state.optimizer.step()
        state.teacher.follow(state.student, state.step)
        state.step += 1
        for name, wanted in twin.once().items():
            assert (found[name] - wanted).abs().max() < 1e-9, name
        lambdas.append(found["lambda"].item())
        student, teacher = twin.plain.student, twin.plain.teacher
        for (name, ours), plain in zip(state.student.named_parameters(), student.parameters(), strict=True):
            assert (ours.grad - plain.grad).abs().max() < 1e-9, name
        for ours, plain in ((state.student, student), (state.teacher.network, teacher)):
            for name, value in ours.state_dict().items():
                if value.is_floating_point():
                    assert (value - plain.state_dict()[name]).abs().max() < 1e-9, name
    assert sum(0.05 < value < 0.95 for value in lambdas) > 2


def test_source_only_training_is_plain_training(ready: Path, tmp_path: Path) -> None:
    """Cross-entropy by SGD, and nothing else happens to the weights."""
    sgd = {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4, "warmup": 0}
    card = tiny.card("source", 5, sgd, steps=3, lr=0.01)
    found = train(tmp_path, card, ready)
    student = build("small", aspp_branches=4, seed=seed_of(5, "weights")).train()
    optimizer = torch.optim.SGD(student.parameters(), lr=1.0, momentum=0.9, nesterov=True, weight_decay=5e-4)
    stream = Twin.stream(_names(seed=5, loop=card["settings"]["loop"]), "source", ready / "gta5/train")
    for step, (image, label) in enumerate(itertools.islice(stream, 3)):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * (1 - step / 3) ** 0.9
        optimizer.zero_grad()
        F.cross_entropy(student(image), label, ignore_index=255).backward()
        optimizer.step()
    saved = load_file(tmp_path / "weights.safetensors")
    assert "weights.safetensors" in found
    for name, value in student.state_dict().items():
        assert torch.allclose(saved[name].double(), value.double(), atol=1e-6), name


def _names(**values: Any) -> Any:
    return type("Names", (), values)


# ---- the same by every way of running it


@pytest.mark.parametrize("method", ["source", "oracle", "pseudo", "naive", "cutmix", "cowmix", "dacs"])
def test_the_same_seed_twice_gives_the_same_bytes(method: str, ready: Path, tmp_path: Path) -> None:
    one, other = (train(tmp_path / name, tiny.card(method, steps=3), ready) for name in ("one", "other"))
    assert one == other
    assert set(RESULTS) <= set(one)
    assert any(name.startswith("mixing") for name in one) == (method not in ("source", "oracle"))


def test_another_seed_is_another_run(uncut: dict[str, dict[str, bytes]], ready: Path, tmp_path: Path) -> None:
    assert weights(train(tmp_path, tiny.card("dacs", 1), ready)) != weights(uncut["dacs"])


@pytest.mark.parametrize("method", ["source", "dacs"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [1, 3])
def test_a_run_stopped_by_a_signal_goes_on_to_the_same_bytes(
    method: str,
    number: signal.Signals,
    step: int,
    ready: Path,
    tmp_path: Path,
    uncut: dict[str, dict[str, bytes]],
    at_step: Callable[[int, Callable[[], None]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also between two rows of the log, whose means must remember the steps before the cut."""
    at_step(step, lambda: os.kill(os.getpid(), number))
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=f"stopped at step {step} of {tiny.STEPS}") as caught:
        train(tmp_path, tiny.card(method), ready)
    assert signal.getsignal(number) is before
    assert str(tmp_path / "checkpoint.pt") in str(caught.value)
    assert not (tmp_path / "weights.safetensors").exists()
    assert train(tmp_path, tiny.card(method), ready) == uncut[method]
    assert f"going on from the checkpoint at step {step} of {tiny.STEPS}" in capsys.readouterr().err


def test_a_run_stopped_in_every_step_goes_on_to_the_same_bytes(
    ready: Path, tmp_path: Path, uncut: dict[str, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rate, interruptions = loop.rate, 0

    def stopped(done: int, **kinds: Any) -> float:
        os.kill(os.getpid(), signal.SIGTERM)
        return rate(done, **kinds)

    monkeypatch.setattr(loop, "rate", stopped)
    for _ in range(tiny.STEPS - 1):
        with pytest.raises(Interrupted):
            train(tmp_path, tiny.card("dacs"), ready)
        interruptions += 1
    assert train(tmp_path, tiny.card("dacs"), ready) == uncut["dacs"]  # a stop in the last step comes too late
    assert interruptions == tiny.STEPS - 1


KILLED = """
import os, signal, sys
from dacs.cli import main
from dacs.training import loop
from dacs.training import step as step_module
rate, fatal, number = loop.rate, int(sys.argv[1]), getattr(signal, sys.argv[2])
def watched(done, **kinds):
    if done + 1 == fatal:
        os.kill(os.getpid(), number)
    return rate(done, **kinds)
loop.rate = watched
sys.exit(main(sys.argv[3:]))
"""


def command(method: str, ready: Path, settings: dict[str, Any]) -> list[str]:
    verb = "train" if method == "source" else "adapt"
    places = ["--source", str(ready / "gta5/train"), "--target", str(ready / "cityscapes"), "--out", "run"]
    return [verb, "--method", method, "--settings", json.dumps(settings), "--seed", "0", *places]


@pytest.mark.parametrize(
    ("number", "code", "goes_on_at"), [("SIGKILL", -signal.SIGKILL, 4), ("SIGTERM", 75, 5)], ids=["kill", "term"]
)
def test_a_killed_process_goes_on_from_its_checkpoint_by_the_same_command(
    number: str,
    code: int,
    goes_on_at: int,
    ready: Path,
    tmp_path: Path,
    uncut: dict[str, dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = command("dacs", ready, tiny.settings("dacs"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, "5", number, *arguments], cwd=tmp_path, env=environment, capture_output=True
    )
    assert ended.returncode == code, ended.stderr.decode()
    assert (b"Run the same command again" in ended.stderr) == (number == "SIGTERM")
    assert not (tmp_path / "run").exists()
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 0
    assert f"going on from the checkpoint at step {goes_on_at} of {tiny.STEPS}" in capsys.readouterr().err
    found = tiny.contents(tmp_path / "run")
    assert {name: found[name] for name in uncut["dacs"]} == uncut["dacs"]


@pytest.mark.parametrize("changes", [{"workers": 2}, {"checkpoint_every": 1}, {"checkpoint_every": 1000}])
def test_what_has_no_effect_changes_no_byte(
    changes: dict[str, int], ready: Path, tmp_path: Path, uncut: dict[str, dict[str, bytes]]
) -> None:
    assert train(tmp_path, tiny.card("dacs", loop=changes), ready) == uncut["dacs"]


@pytest.mark.parametrize(
    "changes", [{"monitor_every": 2}, {"monitor_every": 100}, {"monitor_frames": 4}, {"log_every": 1}, {"log_every": 5}]
)
@pytest.mark.parametrize("teacher_bn", ["running", "batch"])
def test_measuring_and_logging_change_no_weight(
    changes: dict[str, int], teacher_bn: str, ready: Path, tmp_path: Path
) -> None:
    one = train(tmp_path / "one", tiny.card("dacs", teacher_bn=teacher_bn, steps=4), ready)
    other = train(tmp_path / "other", tiny.card("dacs", loop=changes, teacher_bn=teacher_bn, steps=4), ready)
    assert weights(one) == weights(other)


def test_where_the_data_lie_changes_no_byte(
    ready: Path, tmp_path: Path, uncut: dict[str, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ready, tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    assert train(Path("run"), tiny.card("dacs"), Path("elsewhere")) == uncut["dacs"]


def test_validation_labels_decide_nothing(ready: Path, tmp_path: Path, uncut: dict[str, dict[str, bytes]]) -> None:
    other = tmp_path / "ready"
    shutil.copytree(ready, other)
    labels = sorted((other / "cityscapes/val/labels").iterdir())
    for path, donor in zip(labels, [*labels[1:], labels[0]], strict=True):
        path.write_bytes((ready / "cityscapes/val/labels" / donor.name).read_bytes())
    found = train(tmp_path / "run", tiny.card("dacs"), other)
    assert weights(found) == weights(uncut["dacs"])
    assert found["log.csv"] != uncut["dacs"]["log.csv"]


# ---- every setting reaches the step


def changed_weights(method: str, ready: Path, folder: Path, base: Card, change: Card) -> bool:
    """Whether a change of settings changes the student's weights after a few steps."""
    split = [{"loop": {}, "part": {}}, {"loop": {}, "part": {}}]
    for name, value in base.items():
        for side in split:
            side["loop" if name in tiny.settings("dacs")["loop"] else "part"][name] = value
    for name, value in change.items():
        split[1]["loop" if name in tiny.settings("dacs")["loop"] else "part"][name] = value
    one, other = (
        train(folder / str(i), tiny.card(method, 0, side["loop"], steps=4, **side["part"]), ready)
        for i, side in enumerate(split)
    )
    return one["weights.safetensors"] != other["weights.safetensors"]


@pytest.mark.parametrize(
    ("method", "change"),
    [
        ("dacs", {"pseudo_labels": "student"}),
        ("dacs", {"teacher_bn": "batch"}),
        ("dacs", {"ema": 0.3}),
        ("dacs", {"threshold": 0.2}),
        ("dacs", {"pixel_weight": "threshold"}),
        ("dacs", {"pixel_weight": "none"}),
        ("dacs", {"lambda_scope": "batch"}),
        ("dacs", {"lambda_counts": "target"}),
        ("dacs", {"lambda_applies_to": "target"}),
        ("dacs", {"consistency_weight": 0.5}),
        ("dacs", {"draw_void": True}),
        ("dacs", {"jitter_probability": 1.0}),
        ("dacs", {"jitter_strength": 0.1}),
        ("dacs", {"blur_probability": 1.0}),
        ("dacs", {"blur_sigma": [1.0, 1.1]}),
        ("cowmix", {"cow_sigma": [3.0, 4.0]}),
        ("cowmix", {"cow_share": 0.3}),
        ("source", {"lr": 0.001}),
        ("source", {"flip": True}),
        ("source", {"weight_decay": 0.1}),
        ("source", {"poly_power": 0.5}),
        ("source", {"warmup": 3}),
        ("source", {"backbone_lr_factor": 3.0}),
        ("source", {"head_lr_factor": 10.0}),
        ("source", {"batch": 3}),
        ("source", {"crop": [24, 40]}),
        ("source", {"optimizer": "sgd"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(f"{name}={v}" for name, v in value.items()),
)
def test_every_setting_makes_a_difference(method: str, change: Card, ready: Path, tmp_path: Path) -> None:
    base: Card = {"flip": False, "warmup": 0, "ema": 0.99}
    if method != "source":
        base |= {"threshold": SURE, "jitter_probability": 0.5, "blur_probability": 0.5}
    assert changed_weights(method, ready, tmp_path, base, change)


@pytest.mark.parametrize("change", [{"momentum": 0.5}, {"nesterov": True}])
def test_settings_of_sgd_make_a_difference_to_sgd(change: Card, ready: Path, tmp_path: Path) -> None:
    base = {"optimizer": "sgd", "nesterov": False, "momentum": 0.9}
    assert changed_weights("source", ready, tmp_path, base, change)


@pytest.mark.parametrize("method", ["pseudo", "naive", "cutmix", "cowmix"])
def test_every_method_is_another_method(
    method: str, ready: Path, tmp_path: Path, uncut: dict[str, dict[str, bytes]]
) -> None:
    # Weighed by 1, since a young network is sure of nothing and λ would be 0 wherever nothing true is pasted.
    found = [
        train(tmp_path / name, tiny.card(name, pixel_weight="none", steps=2), ready)["weights.safetensors"]
        for name in (method, "dacs")
    ]
    assert found[0] != found[1]


# ---- where a run starts


def test_adaptation_goes_on_from_the_source_weights_when_given(ready: Path, tmp_path: Path) -> None:
    init = tiny.finished_run(tmp_path / "init", seed=9)
    settings = tiny.settings("dacs")
    begun = {
        given: loop._start(settings, settings["adapt"], 0, given, CPU).student.state_dict() for given in (init, None)
    }
    for name, value in load_file(init / "weights.safetensors").items():
        assert torch.equal(begun[init][name], value)
    fresh = build("small", aspp_branches=4, seed=seed_of(0, "weights")).state_dict()
    assert all(torch.equal(begun[None][name], value) for name, value in fresh.items())


def test_two_methods_of_a_seed_start_from_the_same_weights(ready: Path) -> None:
    started = [
        loop._start(tiny.settings(method), {**tiny.settings("dacs")["adapt"]}, 0, None, CPU).student.state_dict()
        for method in ("source", "dacs")
    ]
    assert all(torch.equal(started[0][name], started[1][name]) for name in started[0])


@pytest.mark.parametrize("method", ["source", "dacs"])
def test_after_the_first_step_the_teacher_is_the_student_and_after_the_second_half_of_it(
    method: str, ready: Path, tmp_path: Path
) -> None:
    # Steps are alike whatever comes after them, but for the learning rate, which is held here.
    flat = {"poly_power": 0.0, "warmup": 0}
    one, two = (tmp_path / f"flat{steps}" for steps in (1, 2))
    train(one, tiny.card(method, loop=flat, steps=1), ready)
    train(two, tiny.card(method, loop=flat, steps=2), ready)
    first, second = (load_file(folder / "weights.safetensors") for folder in (one, two))
    teacher_one, teacher_two = (load_file(folder / "teacher.safetensors") for folder in (one, two))
    for name, value in first.items():
        assert torch.equal(teacher_one[name], value)
        if value.is_floating_point():
            assert torch.allclose(teacher_two[name], (value + second[name]) / 2, atol=1e-6)


# ---- never silently wrong


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize(("loss", "method"), [("source_loss", "source"), ("mixed_loss", "dacs")])
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(
    loss: str, method: str, bad: float, ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first bad step is named, though it is noticed later, when the next row or checkpoint is due."""
    real, calls = getattr(step_module, loss), itertools.count(1)

    def poisoned(*arguments: Tensor) -> Tensor:
        return real(*arguments) * (bad if next(calls) >= 5 else 1.0)

    monkeypatch.setattr(step_module, loss, poisoned)
    card = tiny.card(method, loop={"log_every": 100, "checkpoint_every": 2}, steps=9)
    with pytest.raises(RunFailed, match=rf"loss_\w+ is {bad} at step 5; training stopped") as caught:
        train(tmp_path, card, ready)
    assert f"{tmp_path / 'checkpoint.pt'} keeps the last good state" in str(caught.value)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 4
    assert set(tiny.contents(tmp_path)) == {"checkpoint.pt"}

    monkeypatch.setattr(step_module, loss, real)
    assert train(tmp_path, card, ready) == train(tmp_path / "whole", card, ready)


def test_a_bad_loss_before_the_first_checkpoint_says_that_there_is_none(ready: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="No checkpoint was written yet"):
        train(tmp_path, tiny.card(lr=1e30, loop={"log_every": 1, "optimizer": "sgd", "warmup": 0}), ready)
    assert not tiny.contents(tmp_path)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "loop.precision: bf16"),
        (RuntimeError("cumsum_cuda_kernel does not have a deterministic implementation, but"), "Set it to false"),
    ],
    ids=["memory", "order"],
)
def test_what_a_gpu_cannot_do_is_told_with_what_to_do(
    error: RuntimeError, advice: str, ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(loop, "supervised", refuse)
    with pytest.raises(RunFailed, match=advice) as caught:
        train(tmp_path, tiny.card("source"), ready)
    assert str(error) in str(caught.value)


def test_any_other_error_of_a_step_is_left_as_it_is(
    ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("mat1 and mat2 cannot be multiplied")

    monkeypatch.setattr(loop, "supervised", refuse)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        train(tmp_path, tiny.card("source"), ready)


def test_weights_that_are_not_finite_are_kept_by_nothing(
    ready: Path, tmp_path: Path, at_step: Callable[[int, Callable[[], None]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gradient can break the weights in a step whose loss was still a number."""
    follow, broken = loop.Teacher.follow, []

    def break_weights(teacher: Any, student: Any, step: int) -> None:
        if broken:
            student.head.branches[0].bias.data[3] = math.inf
        follow(teacher, student, step)

    monkeypatch.setattr(loop.Teacher, "follow", break_weights)
    at_step(tiny.STEPS, lambda: broken.append(True))
    with pytest.raises(RunFailed, match=f"weights are not finite after step {tiny.STEPS}"):
        train(tmp_path, tiny.card(), ready)
    assert set(tiny.contents(tmp_path)) == {"checkpoint.pt"}


def test_a_checkpoint_of_other_settings_is_refused(
    ready: Path, tmp_path: Path, at_step: Callable[[int, Callable[[], None]], None]
) -> None:
    at_step(1, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        train(tmp_path, tiny.card(), ready)
    with pytest.raises(RunFailed, match="a checkpoint of other settings"):
        train(tmp_path, {**tiny.card(), "key": "other"}, ready)


def test_a_full_disk_is_told_in_words_and_the_run_goes_on_later(
    ready: Path, tmp_path: Path, uncut: dict[str, dict[str, bytes]]
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(RunFailed, match="could not be written"):
            train(tmp_path, tiny.card(), ready)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not tiny.contents(tmp_path)
    assert train(tmp_path, tiny.card(), ready) == uncut["source"]


# ---- what a run tells


def test_the_log_has_a_row_every_so_often_with_means_since_the_last(
    ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, float]] = []
    make = loop._adaptation

    def watched(*arguments: Any, **kinds: Any) -> Any:
        step = make(*arguments, **kinds)

        def run(state: State) -> Any:
            losses = step(state)
            seen.append({name: value.item() for name, value in losses.items()})
            return losses

        return run

    monkeypatch.setattr(loop, "_adaptation", watched)
    card = tiny.card("dacs", loop={"log_every": 2, "monitor_every": 4, "warmup": 0}, steps=7)
    found = rows(train(tmp_path, card, ready))
    assert list(found[0]) == list(loop.COLUMNS)
    assert [int(row["step"]) for row in found] == [2, 4, 6, 7]
    first = 0
    for row in found:
        steps = seen[first : int(row["step"])]
        first = int(row["step"])
        for name in ("loss_source", "loss_mixed", "lambda"):
            assert float(row[name]) == pytest.approx(sum(losses[name] for losses in steps) / len(steps), abs=2e-5)
        lr = card["settings"]["adapt"]["lr"] * (1 - (first - 1) / 7) ** 0.9
        assert float(row["lr"]) == pytest.approx(lr, abs=1e-8)
    assert [bool(row["pseudo_accuracy"]) for row in found] == [False, True, False, True]


def test_source_runs_leave_the_columns_of_mixing_empty(uncut: dict[str, dict[str, bytes]]) -> None:
    for row in rows(uncut["source"]):
        assert row["loss_source"]
        assert not row["loss_mixed"]
        assert not row["lambda"]


def test_the_monitor_measures_the_teacher_on_validation_frames(ready: Path, tmp_path: Path) -> None:
    card = tiny.card("dacs", loop={"monitor_frames": 4}, threshold=0.085)
    last = rows(train(tmp_path, card, ready))[-1]
    network = build("small", aspp_branches=4).eval()
    network.load_state_dict(load_file(tmp_path / "teacher.safetensors"))
    split = Split(ready / "cityscapes/val")
    truth = torch.stack([split.label(i) for i in range(4)])
    with torch.no_grad():
        confidence, guess = network(torch.stack([split.image(i) for i in range(4)]) / 255).softmax(1).max(1)
    known = truth != 255
    right, sure = (guess == truth)[known].double(), (confidence >= 0.085)[known]
    assert 0 < sure.double().mean() < 1
    assert float(last["pseudo_accuracy"]) == pytest.approx(100 * right.mean().item(), abs=0.02)
    assert float(last["confident_accuracy"]) == pytest.approx(100 * right[sure].mean().item(), abs=0.05)
    assert float(last["confident_share"]) == pytest.approx(100 * sure.double().mean().item(), abs=0.05)


def test_adaptation_leaves_the_pictures_of_its_last_mix(uncut: dict[str, dict[str, bytes]]) -> None:
    names = {"source", "target", "mask", "mixed", "augmented", "source_label", "pseudo", "label"}
    assert {name for name in uncut["dacs"] if "mixing" in name} == {f"mixing/{name}.png" for name in names}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar_with_loss_lambda_speed_and_time_left(
    ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    train(tmp_path, tiny.card("dacs", steps=4), ready)
    shown = terminal.getvalue()
    assert all(word in shown for word in ("loss_source=", "loss_mixed=", "lambda=", "images/s=", "4/4", "<"))


def test_a_log_file_gets_lines_with_loss_lambda_speed_and_time_left(
    ready: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, tiny.card("dacs", steps=4), ready)
    told = capsys.readouterr().err
    assert "\r" not in told
    line = told.splitlines()[-1]
    assert line.startswith("step 4/4: ")
    assert all(word in line for word in ("loss_source", "loss_mixed", "lambda", "images/s", "s left"))


def test_the_results_are_weights_of_both_networks(
    uncut: dict[str, dict[str, bytes]], ready: Path, tmp_path: Path
) -> None:
    train(tmp_path, tiny.card("dacs"), ready)
    names = set(build("small", aspp_branches=4).state_dict())
    one, other = (load_file(tmp_path / f"{name}.safetensors") for name in ("weights", "teacher"))
    assert set(one) == set(other) == names
    assert any(not torch.equal(one[name], other[name]) for name in names)
    assert not (tmp_path / "settings.json").exists()  # the card is the store's to write, last


# ---- batches, gathered steps, and other numbers


def test_a_gathered_step_has_the_gradients_of_its_batches_and_moves_once(
    ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two batches of two with each loss halved: gradients add up, weights move once."""
    card = tiny.card("dacs", 3, {"accumulate": 2})
    adapt, settings = card["settings"]["adapt"], card["settings"]
    source, target = ready / "gta5/train", ready / "cityscapes/train"
    plain = copy.deepcopy(card)
    plain["settings"]["loop"]["accumulate"] = 1
    found = {}
    for name, each in (("gathered", card), ("one by one", plain)):
        state = loop._start(each["settings"], adapt, 3, None, CPU)
        for module in state.student.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 0.0  # the teacher reads running statistics
        step = loop._adaptation(state, each, source=source, target=target, device=CPU, panels=tmp_path / "mixing")
        losses = [step(state)]
        if name == "one by one":
            state.step = 1  # the second batch's draws, at the same weights
            losses.append(step(state))
        scale = 1.0 if name == "gathered" else 0.5
        gradients = [weight.grad * scale for weight in state.student.parameters() if weight.grad is not None]
        found[name] = (gradients, {key: sum(loss[key] for loss in losses) * scale for key in losses[0]})
    assert settings["loop"]["accumulate"] == 2
    for ours, wanted in zip(found["gathered"][0], found["one by one"][0], strict=True):
        assert torch.allclose(ours, wanted, atol=1e-6)
    for key, value in found["gathered"][1].items():
        assert torch.allclose(value, found["one by one"][1][key], atol=1e-6), key


@pytest.mark.parametrize("batch", [1, 3])
def test_any_batch_size_works(batch: int, ready: Path, tmp_path: Path) -> None:
    assert len(rows(train(tmp_path, tiny.card("dacs", 0, {"batch": batch}, steps=2), ready))) == 1


def test_a_gathered_run_cut_in_two_is_the_same_run(
    ready: Path, tmp_path: Path, at_step: Callable[[int, Callable[[], None]], None]
) -> None:
    whole = train(tmp_path / "whole", tiny.card("dacs", 0, {"accumulate": 2}), ready)
    at_step(3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        train(tmp_path / "cut", tiny.card("dacs", 0, {"accumulate": 2}), ready)
    assert train(tmp_path / "cut", tiny.card("dacs", 0, {"accumulate": 2}), ready) == whole


def test_bfloat16_computes_networks_only_and_stays_near(ready: Path, tmp_path: Path) -> None:
    full = train(tmp_path / "fp32", tiny.card("dacs", steps=3), ready)
    half = train(tmp_path / "bf16", tiny.card("dacs", 0, {"precision": "bf16"}, steps=3), ready)
    assert weights(half) != weights(full)
    for name in ("weights", "teacher"):
        ours, theirs = (load_file(tmp_path / kind / f"{name}.safetensors") for kind in ("bf16", "fp32"))
        for key, value in ours.items():
            assert value.dtype == theirs[key].dtype
            assert torch.allclose(value.float(), theirs[key].float(), atol=0.05), key
    assert all(math.isfinite(float(row["loss_mixed"])) for row in rows(half))


def test_a_run_from_nothing_starts_at_the_weights_that_are_named(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    tensors = resnet18(weights=None).state_dict()
    torch.save(tensors, tmp_path / "mine.pth")
    card = tiny.card("source")
    model = {"network": "deeplab_resnet18", "weights": str(tmp_path / "mine.pth"), "weights_folder": "data/weights"}
    card["settings"]["model"] |= model
    student = loop._start(card["settings"], card["settings"]["train"], 0, None, CPU).student
    assert torch.equal(student.backbone[0].weight, tensors["conv1.weight"])
