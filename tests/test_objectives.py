"""The terms of a step never wait for the device and hold one graph at a time; settings for speed change no result."""

import subprocess
import sys
from typing import Any

import pytest
import step as benchmark
import tiny
import torch
from plain import Reference
from torch import Generator, Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dacs.loading.stream import Batch
from dacs.methods import METHODS, mixing
from dacs.provenance import ROOT
from dacs.settings import RunSettings
from dacs.training.checkpoint import State
from dacs.training.cost import peak_memory
from dacs.training.loop import initial_state, networks_of
from dacs.training.objectives import Losses, StepBatch
from dacs.training.run import Run

CPU, META = torch.device("cpu"), torch.device("meta")
CROP = (48, 64)
ADAPTING = mixing(METHODS)
REVIEW = {"lambda_scope": "image", "lambda_counts": "mixed", "lambda_applies_to": "all", "teacher_bn": "running"}
CODE = {"lambda_scope": "batch", "lambda_counts": "target", "lambda_applies_to": "target", "teacher_bn": "batch"}


def start(method: str = "dacs", device: torch.device = CPU, **changes: Any) -> tuple[Run, State]:
    """A run with every augmentation switched on, and its state before the first step."""
    augment = {"jitter_probability": 1.0, "blur_probability": 1.0} if METHODS[method].adapts else {}
    run = tiny.run(method=method, **{"aspp_branches": 2, "optimizer": "sgd", "nesterov": True} | augment | changes)
    return run, initial_state(run, device)


def step_batch(device: torch.device = CPU, dtype: torch.dtype = torch.float32) -> StepBatch:
    """Images of both domains; labels of the source, with void among them."""
    generator = Generator().manual_seed(0)
    source, target = torch.rand(2, 2, 3, *CROP, generator=generator).to(dtype)
    labels = torch.randint(0, 20, (2, 6, 8), generator=generator).repeat_interleave(8, 1).repeat_interleave(8, 2)
    labels = labels.masked_fill(labels == 19, 255)
    draws = Generator().manual_seed(1)
    return StepBatch(Batch(source.to(device), labels.to(device)), target.to(device), draws, share=1.0, pictures=False)


def gradients(run: Run, state: State, device: torch.device = CPU) -> Losses:
    """Compute the gradients of all terms; return the losses."""
    state.optimizer.zero_grad()
    networks, batch = networks_of(state, run), step_batch(device, state.student.mean.dtype)
    return {name: loss for term in state.terms for name, loss in term(networks, batch).items()}


def take_step(run: Run, state: State, device: torch.device = CPU) -> Losses:
    losses = gradients(run, state, device)
    state.optimizer.step()
    state.teacher.update(state.student, state.step)
    state.step += 1
    return losses


# ---- no number is read from the device: on a GPU the host would wait for it


@pytest.mark.parametrize("method", ADAPTING)
@pytest.mark.parametrize(
    "reading",
    [REVIEW, CODE, CODE | {"pixel_weight": "threshold"}, REVIEW | {"pixel_weight": "none"}],
    ids=["review", "code", "threshold", "none"],
)
def test_a_step_reads_nothing_from_its_device(method: str, reading: dict[str, str]) -> None:
    run, state = start(method, META, draw_void=True, **reading)
    for _ in range(2):  # the teacher's first step copies, later ones average
        losses = take_step(run, state, META)
    assert {loss.device.type for loss in losses.values()} == {"meta"}


@pytest.mark.parametrize("method", ["source", "oracle"])
def test_supervised_training_reads_nothing_from_its_device(method: str) -> None:
    assert take_step(*start(method, META), META).keys() == {"loss_source"}


@pytest.mark.parametrize("network", ["deeplab_resnet18", "deeplab_mobilenet", "small_gn"])
def test_no_network_reads_anything_from_its_device(network: str) -> None:
    take_step(*start(device=META, network=network), META)


def test_the_reference_implementation_does_read() -> None:
    """So that the tests above are known to fail where something is read."""
    run, state = start(device=META)
    (images, labels), target, *_ = step_batch(META)
    with pytest.raises(NotImplementedError, match="no data"):
        Reference(state.student, state.optimizer, run.settings.adapt, taps=11).step(images, labels, target, Generator())


# ---- what a GPU does in no fixed order, by torch's own list (torch.use_deterministic_algorithms)

UNORDERED = (
    "nll_loss2d upsample pad2d_backward adaptive fractional unpool grid_sampler embedding_bag cumsum histc bincount "
    "median put_ scatter_reduce"
).split()


class _Calls(TorchDispatchMode):
    """The operations that are called, each with its arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls.append((func.__name__, args))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("network", ["small", "deeplab_resnet18", "deeplab_mobilenet"])
@pytest.mark.parametrize("method", ADAPTING)
def test_a_step_has_no_operation_without_a_fixed_order_on_a_gpu(network: str, method: str) -> None:
    """Except the cross-entropy of single pixels (reduction 0), which has one: only its own sum has none."""
    run, state = start(method, META, network=network)
    with _Calls() as mode:
        take_step(run, state, META)
    found = [(name, args) for name, args in mode.calls if any(word in name for word in UNORDERED)]
    assert {name.split(".")[0] for name, _ in found} == {"nll_loss2d_forward", "nll_loss2d_backward"}
    assert all(args[3 if "forward" in name else 4] == 0 for name, args in found)


# ---- memory


def test_memory_is_that_of_the_tensors_alive_at_once() -> None:
    given = torch.ones(256, 1024)  # one MiB

    def work() -> None:
        first = given * 2
        second = first + 1
        del first
        second.exp_()
        (second.reshape(-1)[:10] * 2).sum()

    assert peak_memory(work, iter([given])) == 2 * 2**20
    assert peak_memory(lambda: given.view(-1), iter([given])) == 0


def test_the_graphs_of_two_terms_are_never_alive_together() -> None:
    settings: RunSettings = benchmark.dacs_settings(tiny.params())
    peaks = []
    for step in (benchmark.ours(settings, benchmark.PLAIN, 2, CPU), benchmark.reference(settings, 2, CPU)):
        step.take()  # makes gradients and the state of the optimizer
        peaks.append(peak_memory(step.take, step.tensors()))
    assert peaks[0] < 0.75 * peaks[1]


# ---- settings for speed


def all_tensors(run: Run, state: State) -> dict[str, Tensor]:
    """What a step makes before the optimizer moves the weights: losses, gradients, statistics."""
    losses = gradients(run, state)
    found = {name: weight.grad for name, weight in state.student.named_parameters() if weight.requires_grad}
    return {**losses, **found, **dict(state.student.named_buffers())}


def differing(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float = 1e-3) -> list[str]:
    """The names of tensors that differ by more than a share of their largest value."""
    assert one.keys() == other.keys()
    assert len(one) > 50
    return [name for name, value in one.items() if (other[name] - value).abs().max() > tolerance * value.abs().max()]


def test_another_memory_layout_gives_the_same_step() -> None:
    found = []
    for channels_last in (False, True):
        run, state = start(network="deeplab_resnet18", channels_last=channels_last)
        for network in (state.student, state.teacher.network):
            network.double()  # so that only another computation differs, not its rounding
        found.append(all_tensors(run, state))
    assert not differing(*found, tolerance=1e-9)


# The compiler's front end alone, which needs no C++ compiler; it must compile the whole network and warn of nothing. In
# a process of its own, since it cannot read through the checks of shapes that the tests put into signatures.
COMPILED = """
import functools, sys, warnings
import torch
sys.path[:0] = sys.argv[1:]
from test_objectives import all_tensors, differing, start
warnings.simplefilter("error")
torch.compile = functools.partial(torch.compile, backend="aot_eager", fullgraph=True)
print(differing(*(all_tensors(*start(compile=compiled)) for compiled in (False, True))))
"""


def test_a_compiled_step_is_the_same() -> None:
    folders = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]
    ended = subprocess.run([sys.executable, "-c", COMPILED, *folders], capture_output=True, text=True)
    assert ended.stdout == "[]\n", ended.stderr
