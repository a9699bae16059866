"""What a step of each method costs: operations and memory, counted on tensors that have shapes and no data.

Each term of the step is called on the meta device. Operations are those of convolutions and matrix products (of which
upsampling, attention and blur are made), forward and backward, by torch's formulas; a multiplication and an addition
are two. Elementwise operations, normalisation and the optimizer are not counted.

Memory is that of the tensors that are alive at once in the largest term, beside all gradients, in float32 whatever
`loop.precision` says. On top of it come the workspace of kernels, what an allocator holds in reserve, and the context
of a GPU (about half a GiB). Attention is counted as the fused kernel of GPUs, which keeps no matrix and computes it
again in the backward pass.
"""

import copy
import logging
import math
import weakref
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, UntypedStorage, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dacs.jobs import run_settings
from dacs.layout import PreparedSplit
from dacs.loading.stream import Batch
from dacs.methods import Method
from dacs.methods import method as method_row
from dacs.models.device import Forward
from dacs.models.published import NONE
from dacs.settings import Params, RunSettings
from dacs.training.checkpoint import State
from dacs.training.estimate import Counted
from dacs.training.feature_distance import SourceWithFeatureDistance
from dacs.training.loop import initial_state, networks_of
from dacs.training.objectives import StepBatch, Term, terms_of
from dacs.training.run import Run

META, NOWHERE = torch.device("meta"), Path("none")


class Cost(NamedTuple):
    """Operations of a step, and bytes of memory by what they hold."""

    operations: int
    weights: int  # of the student, with its statistics
    gradients: int
    optimizer: int
    teacher: int
    other: int  # the batch, and what terms keep: the reference network of the feature distance
    step: int  # beyond these, at the peak of the largest term: activations and their gradients

    @property
    def memory(self) -> int:
        """Bytes at the peak."""
        return sum(self[1:])


def cost_table(params: Params) -> str:
    """The cost of a step of each listed method that trains, a line each."""
    loop, parts = params.loop, Cost._fields[1:]
    lines = [f"{'method':14} {'GFLOP/step':>10} {'memory MiB':>10} = {' + '.join(f'{name:>9}' for name in parts)}"]
    for name in params.runs.methods:
        if not method_row(name).recalibrates:
            cost = step_cost(name, run_settings(params, "", name))
            found = " + ".join(f"{part / 2**20:9.0f}" for part in cost[1:])
            lines.append(f"{name:14} {cost.operations / 1e9:10.1f} {cost.memory / 2**20:10.0f} = {found}")
    crops = f"{loop.accumulate} x {loop.batch} crops" if loop.accumulate > 1 else f"{loop.batch} crops"
    lines.append(
        f"Counted for {crops} of {loop.crop[0]}x{loop.crop[1]} of each domain: convolutions and matrix products;"
        " tensors in float32, without the workspace of kernels."
    )
    return "\n".join(lines)


def counted(params: Params) -> dict[str, Counted]:
    """The cost of a step of each listed method that trains."""
    names = [name for name in params.runs.methods if not method_row(name).recalibrates]
    costs = {name: step_cost(name, run_settings(params, "", name)) for name in names}
    return {name: Counted(cost.operations, cost.weights, cost.memory) for name, cost in costs.items()}


def step_cost(method: str, settings: RunSettings) -> Cost:
    """The cost of a step of `loop.accumulate` batches. No weights and no data are read."""
    given = settings.model_dump_json()  # a key of the caches, which a table of labels is not
    row, (run, state) = method_row(method), _initial(given)
    parts = [_part(term, _reduced(row), given) for term in row.terms]
    return Cost(
        operations=settings.loop.accumulate * (row.mixes * parts[-1].labels + sum(part.operations for part in parts)),
        weights=_bytes(_tensors(state.student)),
        gradients=_bytes(_gradients(state)),
        optimizer=_bytes(_kept(state)),
        teacher=_bytes(_tensors(state.teacher.network)),
        other=_bytes(_images(_batch(run))) + sum(part.kept for part in parts),
        step=max(part.step for part in parts),
    )


def forward_operations(network: nn.Module, size: tuple[int, int]) -> int:
    """Operations of a forward pass of one image of a size (height, width) on the meta device."""
    with torch.no_grad(), _FusedAttention():
        return operations_of(lambda: network(torch.empty(1, 3, *size, device=META)))


def operations_of(step: Callable[[], Any]) -> int:
    """Operations of `step`, on any device."""
    with _Counter() as counter:
        step()
    return counter.operations


def without_weights(settings: RunSettings) -> RunSettings:
    """Settings that cost the same and need no file: random weights; the feature distance waits for `add_reference`."""
    changes: dict[str, Any] = {"model": settings.model.model_copy(update={"weights": NONE})}
    if settings.adapt is not None:
        changes["adapt"] = settings.adapt.model_copy(update={"feature_distance": 0.0})
    return settings.model_copy(update=changes)


def add_reference(term: Term, settings: RunSettings, network: nn.Module) -> None:
    """Give the feature distance of `settings` a copy of a network to compare with: its weights change no cost."""
    if isinstance(term, SourceWithFeatureDistance) and settings.adapt and settings.adapt.feature_distance:
        term.weight, term.things = settings.adapt.feature_distance, settings.label_set.things
        loop, frozen = term.settings.loop, copy.deepcopy(network).requires_grad_(False).eval()
        term.reference = Forward(frozen, loop.precision, graphs=loop.graphs)


def peak_memory(step: Callable[[], Any], given: Iterable[Tensor]) -> int:
    """Bytes at the peak of `step` beyond those of `given`: all tensors that are there before it. On any device."""
    with _Counter(given) as counter:
        before = counter.now
        step()
    return counter.peak - before


class _Part(NamedTuple):
    """The cost of one term for one batch."""

    labels: int  # operations of the pseudo-labels, which all terms share
    operations: int
    kept: int  # bytes, from step to step
    step: int  # bytes at the peak


@cache
def _part(name: str, row: Method, given: str) -> _Part:
    run, state = _initial(given)
    networks, batch = networks_of(state, run), _batch(run)
    both = *_tensors(state.student), *_tensors(state.teacher.network)
    with _Counter((*both, *_gradients(state), *_kept(state), *_images(batch))) as counter:
        before = counter.now
        (term,) = terms_of(row._replace(terms=(name,)), run.settings, state.student)
        add_reference(term, RunSettings.model_validate_json(given), state.teacher.network)
        kept = counter.now - before
        counter.operations = 0
        with _FusedAttention():
            if batch.target is not None:
                networks.pseudo_labels(batch.target)
            labels = counter.operations
            counter.peak = counter.now
            term(networks, batch)
    return _Part(labels, counter.operations - labels, kept, counter.peak - before - kept)


def _reduced(row: Method) -> Method:
    """What the cost of the terms of a method depends on: DACS shares its terms with MIC, and they are counted once."""
    return row._replace(title="", color="", dark="", sentence="", terms=(), order="")


@cache
def _initial(given: str) -> tuple[Run, State]:
    """The state of a run on the meta device, with gradients and that of the optimizer; its terms have no effect."""
    settings = RunSettings.model_validate_json(given)
    run = Run(
        "dacs" if settings.adapt else "source", 0, _counted(settings), PreparedSplit(NOWHERE), PreparedSplit(NOWHERE)
    )
    with META:
        state = initial_state(run, META, resumed=True)
    for weight in state.student.parameters():
        weight.grad = torch.empty_like(weight) if weight.requires_grad else None
    state.optimizer.step()
    return run, state


def _counted(settings: RunSettings) -> RunSettings:
    """The settings with every augmentation, and without what the meta device cannot do: read weights, compile."""
    settings = without_weights(settings)
    changes: dict[str, Any] = {"loop": settings.loop.model_copy(update={"compile": False, "precision": "fp32"})}
    if settings.adapt is not None:
        always = {"jitter_probability": 1.0, "blur_probability": 1.0}
        changes["adapt"] = settings.adapt.model_copy(update=always)
    return settings.model_copy(update=changes)


def _batch(run: Run) -> StepBatch:
    """A batch of crops."""
    loop = run.settings.loop
    source, target = (torch.empty(loop.batch, 3, *loop.crop, device=META) for _ in range(2))
    labels = torch.empty(loop.batch, *loop.crop, dtype=torch.long, device=META)
    unlabelled = target if run.settings.adapt else None
    return StepBatch(Batch(source, labels), unlabelled, Generator(), share=1.0, pictures=False)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


def _gradients(state: State) -> list[Tensor]:
    return [weight.grad for weight in state.student.parameters() if weight.grad is not None]


def _kept(state: State) -> list[Tensor]:
    """What the optimizer keeps."""
    values = (value for each in state.optimizer.state.values() for value in each.values())
    return [value for value in values if isinstance(value, Tensor)]


def _images(batch: StepBatch) -> list[Tensor]:
    """Images and labels."""
    return [each for each in (*batch.source, batch.target) if each is not None]


def _convolution_backward(grad: Tensor, images: Tensor, weight: Tensor, *options: Any, out_val: Any) -> int:
    """Operations of each wanted gradient: as many as the forward pass has. Torch's formula leaves out the groups."""
    _, _, _, _, transposed, _, _, (of_images, of_weight, _) = options
    positions = math.prod((images if transposed else grad).shape[2:])
    return 2 * len(images) * positions * weight.numel() * (of_images + of_weight)


def _formulas() -> dict[Any, Callable[..., int]]:
    """The operations of each function of torch, by its own formulas but for one."""
    logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)  # it warns where there is no triton
    from torch.utils.flop_counter import flop_registry

    return {**flop_registry, torch.ops.aten.convolution_backward: _convolution_backward}


FORMULAS = _formulas()


class _FusedAttention(TorchFunctionMode):
    """Compute attention by the kernel for GPUs that keeps no matrix; the meta device has none of its own."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention and len(args) == 3:  # without a mask
            return torch.ops.aten._scaled_dot_product_efficient_attention(*args, None, True)[0]
        return func(*args, **(kwargs or {}))


class _Counter(TorchDispatchMode):
    """Operations, and bytes of the storages that are alive: those given, and those that operations make."""

    def __init__(self, given: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.operations = self.now = self.peak = 0
        self._sizes: dict[int, int] = {}  # by address
        for tensor in given:
            self._add(tensor.untyped_storage())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func.overloadpacket in FORMULAS:
            self.operations += FORMULAS[func.overloadpacket](*args, **(kwargs or {}), out_val=made)
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._add(leaf.untyped_storage())
        return made

    def _add(self, storage: UntypedStorage) -> None:
        address = storage._cdata
        if address not in self._sizes:
            self._sizes[address] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._remove, address)

    def _remove(self, address: int) -> None:
        self.now -= self._sizes.pop(address)
