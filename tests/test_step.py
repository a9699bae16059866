"""One step: what it never does on a device, what it holds there, and that its settings for speed change no result."""

import subprocess
import sys
from typing import Any

import pytest
import tiny
import torch
from memory import counted
from plain import Plain
from step import Way, ours, twin
from torch import Generator, Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dacs.adaptation.mixing import strategies
from dacs.adaptation.teacher import Teacher
from dacs.config import load, settings_for
from dacs.models.build import build
from dacs.provenance import ROOT
from dacs.training import loop
from dacs.training.checkpoint import State
from dacs.training.objectives import Networks, adaptation, supervised
from dacs.training.schedule import optimizer_for

CPU = torch.device("cpu")
STRATEGIES = strategies(draw_void=True, cow_sigma=(2.0, 4.0), cow_share=0.5)
CROP = (48, 64)
SGD = {"lr": 0.01, "backbone_lr_factor": 1.0, "head_lr_factor": 1.0, "weight_decay": 5e-4, "momentum": 0.9}


def adapt(**changes: Any) -> dict[str, Any]:
    """Settings of the method, every augmentation switched on."""
    return tiny.settings("dacs", jitter_probability=1.0, blur_probability=1.0, **changes)["adapt"]


def run_of(device: str, teacher_bn: str = "batch", network: str = "small") -> State:
    student = build(network, aspp_branches=2).to(device).train()
    teacher = Teacher(student, ema=0.99, batch_norm=teacher_bn)
    return State(student, teacher, optimizer_for(student, kind="sgd", nesterov=True, **SGD))


def crops(device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Source images, their labels with void among them, target images."""
    generator = Generator().manual_seed(0)
    source, target = torch.rand(2, 2, 3, *CROP, generator=generator)
    labels = torch.randint(0, 20, (2, 6, 8), generator=generator).repeat_interleave(8, 1).repeat_interleave(8, 2)
    return source.to(device), labels.masked_fill(labels == 19, 255).to(device), target.to(device)


def once(state: State, settings: dict[str, Any], method: str = "dacs", device: str = "cpu") -> dict[str, Tensor]:
    state.optimizer.zero_grad()
    networks = Networks(state.student, state.teacher.network)
    generator = Generator().manual_seed(1)
    losses, _ = adaptation(networks, *crops(device), generator, strategy=STRATEGIES[method], adapt=settings)
    state.optimizer.step()
    state.teacher.follow(state.student, state.step)
    state.step += 1
    return losses


# ---- a device whose numbers nobody can read: on a GPU the same reading is a wait


SEED = {"lambda_scope": "image", "lambda_counts": "mixed", "lambda_applies_to": "all", "teacher_bn": "running"}
CODE = {"lambda_scope": "batch", "lambda_counts": "target", "lambda_applies_to": "target", "teacher_bn": "batch"}
READINGS = [SEED, CODE, CODE | {"pixel_weight": "threshold"}, SEED | {"pixel_weight": "none"}]


@pytest.mark.parametrize("method", list(STRATEGIES))
@pytest.mark.parametrize("reading", READINGS, ids=["seed", "code", "threshold", "none"])
def test_a_step_reads_nothing_from_its_device(method: str, reading: dict[str, str]) -> None:
    settings = adapt(**reading)
    state = run_of("meta", settings["teacher_bn"])
    for _ in range(2):  # the teacher's first step copies, later ones mix
        losses = once(state, settings, method, "meta")
    assert {value.device.type for value in losses.values()} == {"meta"}


def test_source_only_training_reads_nothing_from_its_device() -> None:
    state = run_of("meta")
    image, truth, _ = crops("meta")
    supervised(Networks(state.student, state.teacher.network), image, truth)
    state.optimizer.step()


@pytest.mark.parametrize("network", ["deeplab_resnet18", "deeplab_mobilenet", "small_gn"])
def test_no_network_reads_anything_from_its_device(network: str) -> None:
    once(run_of("meta", network=network), adapt(), device="meta")


def test_the_plain_twin_does_read() -> None:
    """So that what the tests above rely on is seen to work."""
    state = run_of("meta")
    twin = Plain(state.student, state.optimizer, adapt(), taps=11)
    with pytest.raises(NotImplementedError, match="no data"):
        twin.step(*crops("meta"), Generator().manual_seed(1))


# ---- what a GPU does in no fixed order, by torch's own list (torch.use_deterministic_algorithms)

UNORDERED = (
    "nll_loss2d",
    "upsample",
    "pad2d_backward",
    "adaptive",
    "fractional",
    "unpool",
    "grid_sampler",
    "embedding_bag",
    "cumsum",
    "histc",
    "bincount",
    "median",
    "put_",
    "scatter_reduce",
)


class _Called(TorchDispatchMode):
    """The operations that are called, each with its arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls.append((func.__name__, args))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("network", ["small", "deeplab_resnet18", "deeplab_mobilenet"])
@pytest.mark.parametrize("method", list(STRATEGIES))
def test_a_step_has_nothing_that_a_gpu_does_in_no_fixed_order(network: str, method: str) -> None:
    """But for the cross-entropy of single pixels (reduction 0), which is in order: only its own sum is not."""
    state = run_of("meta", network=network)
    with _Called() as seen:
        once(state, adapt(), method, "meta")
    found = [(name, args) for name, args in seen.calls if any(word in name for word in UNORDERED)]
    assert {name.split(".")[0] for name, _ in found} <= {"nll_loss2d_forward", "nll_loss2d_backward"}
    assert len(found) == 4  # two losses, forward and backward
    assert all(args[3 if "forward" in name else 4] == 0 for name, args in found)


# ---- what it holds


def test_memory_is_that_of_the_tensors_alive_at_once() -> None:
    found = torch.ones(256, 1024)  # one MiB

    def work() -> None:
        first = found * 2
        second = first + 1
        del first
        second.exp_()
        (second.reshape(-1)[:10] * 2).sum()

    assert counted(work, iter([found])) == 2 * 2**20
    assert counted(lambda: found.view(-1), iter([found])) == 0


def test_the_two_graphs_of_a_step_are_never_alive_together() -> None:
    settings = settings_for(load(tiny.content()), "adapt", method="dacs")
    taken = []
    for step in (ours(settings, Way("fp32", False, False), 2, CPU), twin(settings, 2, CPU)):
        step.take()  # makes gradients and what the optimizer keeps
        taken.append(counted(step.take, step.held()))
    assert taken[0] < 0.75 * taken[1]


# ---- settings for speed


def test_another_layout_of_memory_gives_the_same_step() -> None:
    found = []
    for channels_last in (False, True):
        state = run_of("cpu", network="deeplab_resnet18")
        settings = {"compile": False, "channels_last": channels_last, "precision": "fp32"}
        networks = loop.networks_of(state, settings, CPU)
        found.append(gradients_of(state, networks))
    for name, value in found[0].items():
        assert torch.allclose(found[1][name], value, rtol=1e-3, atol=1e-5), name


def gradients_of(state: State, networks: Networks) -> dict[str, Tensor]:
    """What a step makes before the optimizer moves: losses, gradients, statistics."""
    generator = Generator().manual_seed(1)
    losses, _ = adaptation(networks, *crops("cpu"), generator, strategy=STRATEGIES["dacs"], adapt=adapt())
    gradients = {name: weight.grad for name, weight in state.student.named_parameters() if weight.requires_grad}
    return {**losses, **gradients, **dict(state.student.named_buffers())}


# The compiler's front end alone, which needs no C++ compiler; it must take in a network whole and warn of nothing. In a
# process of its own, since it cannot read through the checks of shapes that the tests put into signatures.
COMPILED = """
import functools, sys, warnings
import torch
sys.path[:0] = sys.argv[1:]
import test_step
from dacs.training import loop
warnings.simplefilter("error")
torch.compile = functools.partial(torch.compile, backend="aot_eager", fullgraph=True)
found = []
for compiled in (False, True):
    state = test_step.run_of("cpu")
    settings = {"compile": compiled, "channels_last": False, "precision": "fp32"}
    found.append(test_step.gradients_of(state, loop.networks_of(state, settings, torch.device("cpu"))))
for name, value in found[0].items():
    assert torch.allclose(found[1][name], value, rtol=1e-3, atol=1e-5), name
print("all agree" if len(found[0]) > 50 else found[0].keys())
"""


def test_a_compiled_step_is_the_same() -> None:
    folders = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]
    ended = subprocess.run([sys.executable, "-c", COMPILED, *folders], capture_output=True, text=True)
    assert ended.stdout.splitlines() == ["all agree"], ended.stderr
