"""Time and memory of a DACS step beside those of the reference implementation, in one run, by precision and batch.

    python benchmarks/step.py [--scale smoke|demo|paper] [--steps N] [--warm N] [--threads N] [--device auto|cpu|cuda]
                              [--precision fp32 tf32 bf16] [--deterministic] [--method NAME [NAME ...]]

A row gives the median time of a step on crops that are on the device already, the memory that it takes beyond what was
there before it, and its share of the best rate that large convolutions reach there in the same numbers. Memory on a
GPU is what its allocator reports; on a CPU the tensors are counted. Both implementations take turns, step by step, so
that a busy machine slows both alike; the reference blurs with as many taps as the authors' code, a tenth of the crop.

With `--method` the steps of these methods take turns with that of DACS instead, with the settings of params.yaml; a row
gives the ratios to it. Its memory is all that is there at the peak of the step: networks and optimizer too.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, count, product
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from plain import Reference
from torch import Tensor, nn

from dacs.config import load
from dacs.jobs import run_settings
from dacs.layout import PreparedSplit
from dacs.loading.stream import Batch
from dacs.methods import METHODS, adapting
from dacs.models.device import Precision, device_for, set_numerics
from dacs.provenance import ROOT
from dacs.settings import Loop, Params, RunSettings
from dacs.training.checkpoint import State
from dacs.training.cost import add_reference, operations_of, peak_memory, without_weights
from dacs.training.loop import backward, initial_state, networks_of
from dacs.training.objectives import StepBatch
from dacs.training.run import Run


class Variant(NamedTuple):
    """Settings for speed of a step."""

    precision: Precision
    compile: bool
    channels_last: bool
    cuda_graphs: bool = False

    def __str__(self) -> str:
        named = {"channels last": self.channels_last, "compiled": self.compile, "graphs": self.cuda_graphs}
        return ", ".join([self.precision, *(name for name, chosen in named.items() if chosen)])


PLAIN = Variant("fp32", False, False)
VARIANTS = {
    "cpu": [PLAIN, Variant("bf16", False, False)],
    "cuda": [
        Variant(precision, compiled, precision == "bf16", graphs)
        for precision in ("fp32", "tf32", "bf16")
        for compiled, graphs in ((False, False), (False, True), (True, True))
    ],
}
DEFAULT = {"cpu": ["fp32"], "cuda": ["fp32", "tf32", "bf16"]}  # without instructions for it, CPUs are slower in bf16
DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}


def crops(batch: int, size: tuple[int, int], device: torch.device) -> tuple[Batch, Tensor]:
    """Smooth source images with labels in blocks, some of them void, and target images."""
    generator = torch.Generator().manual_seed(0)

    def images() -> Tensor:
        small = torch.rand(batch, 3, size[0] // 8, size[1] // 8, generator=generator)
        return nn.functional.interpolate(small, size=size, mode="bilinear").to(device)

    blocks = torch.randint(0, 20, (batch, 1, size[0] // 16, size[1] // 16), generator=generator)
    labels = nn.functional.interpolate(blocks.float(), size=size)[:, 0].long()
    return Batch(images(), labels.masked_fill(labels == 19, 255).to(device)), images()


class Step(NamedTuple):
    """A step to take, and what is in memory before and after it."""

    take: Callable[[], Any]
    networks: tuple[nn.Module, ...]
    optimizer: torch.optim.Optimizer

    def tensors(self) -> Iterator[Tensor]:
        """Weights, statistics, gradients and the state of the optimizer."""
        for network in self.networks:
            yield from network.buffers()
            for weight in network.parameters():
                yield weight
                if weight.grad is not None:
                    yield weight.grad
        kept = chain.from_iterable(state.values() for state in self.optimizer.state.values())
        yield from (value for value in kept if isinstance(value, Tensor))

    def kept(self) -> int:
        """Bytes of these."""
        return sum(tensor.nbytes for tensor in self.tensors())


def initial(settings: RunSettings, variant: Variant, device: torch.device, method: str = "dacs") -> tuple[Run, State]:
    """A run from random weights, and its state before the first step."""
    loop = settings.loop.model_copy(update=variant._asdict())
    settings = settings.model_copy(update={"loop": loop})
    nowhere = PreparedSplit(Path("none")), PreparedSplit(Path("none"))  # no data is read
    run = Run(method, 0, without_weights(settings), *nowhere)
    state = initial_state(run, device, resumed=True)
    for term in state.terms:
        add_reference(term, settings, state.teacher.network)
    return run, state


def numerics(loop: Loop) -> None:
    set_numerics(threads=loop.threads, deterministic=loop.deterministic, precision=loop.precision)


def ours(settings: RunSettings, variant: Variant, batch: int, device: torch.device, method: str = "dacs") -> Step:
    """The step of the package on fixed crops; their pseudo-labels are made anew in each step."""
    torch.compiler.reset()  # or a compiler that has seen several networks gives up on the next
    run, state = initial(settings, variant, device, method)
    networks, (source, target) = networks_of(state, run), crops(batch, settings.loop.crop, device)
    generator = torch.Generator().manual_seed(0)
    batches = (StepBatch(source, target.view_as(target), generator, share=1.0, pictures=False) for _ in count())

    def step() -> Any:
        numerics(run.settings.loop)
        state.optimizer.zero_grad(set_to_none=not (variant.cuda_graphs and device.type == "cuda"))
        losses = backward(state, networks, batches, accumulate=1)
        state.optimizer.step()
        state.teacher.update(state.student, state.step)
        state.step += 1
        return losses

    frozen = (term.reference.network for term in state.terms if getattr(term, "reference", None))
    return Step(step, (state.student, state.teacher.network, *frozen), state.optimizer)


def reference(settings: RunSettings, batch: int, device: torch.device) -> Step:
    """The reference implementation on the same crops."""
    assert settings.adapt
    run, state = initial(settings, PLAIN, device)
    tenth = settings.loop.crop[0] // 10
    taps = tenth + (tenth % 2 == 0) * (1 if settings.loop.crop[0] % 10 else -1)  # the largest odd below a tenth
    plain = Reference(state.student, state.optimizer, settings.adapt, taps=taps)
    (images, labels), target = crops(batch, settings.loop.crop, device)
    generator = torch.Generator().manual_seed(0)

    def step() -> Any:
        numerics(run.settings.loop)
        return plain.step(images, labels, target, generator)

    return Step(step, (state.student, plain.teacher), plain.optimizer)


class Cost(NamedTuple):
    """What a step costs."""

    seconds: float
    memory: int  # bytes


def measure(steps: list[Callable[[], Any]], times: int, device: torch.device, warm: int = 3) -> list[float]:
    """Median seconds of each, of `times` in turns, after `warm` that do not count."""
    seconds: list[list[float]] = [[] for _ in steps]
    for turn in range(warm + times):
        for step, taken in zip(steps, seconds, strict=True):
            start = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn >= warm:
                taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in seconds]


def memory_of(step: Step, device: torch.device) -> int:
    """Bytes at the peak of one step beyond those before it."""
    if device.type != "cuda":
        return peak_memory(step.take, step.tensors())
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step.take()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def operations(step: Step) -> int:
    """Floating-point operations of one step; a multiplication and an addition are two."""
    return operations_of(step.take)


def best_rate(precision: str, device: torch.device) -> float:
    """The best rate that large 3x3 convolutions reach, in operations a second, whatever the layout of memory."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    shapes = [(32, 512, 64), (16, 1024, 64)] if device.type == "cuda" else [(4, 64, 48), (4, 256, 32)]
    best = 0.0
    for batch, channels, side in shapes:
        for layout in (torch.contiguous_format, torch.channels_last):
            images = torch.randn(batch, channels, side, side, device=device, dtype=DTYPES[precision])
            images = images.to(memory_format=layout)
            layer = torch.nn.Conv2d(channels, channels, 3, padding=1, bias=False).to(device, DTYPES[precision])
            layer = layer.to(memory_format=layout)  # type: ignore[call-overload]
            with torch.no_grad():
                (seconds,) = measure([partial(layer, images)], 20, device)
            best = max(best, 2 * batch * channels * channels * 9 * side * side / seconds)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", default="demo", choices=("smoke", "demo", "paper"))
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--warm", type=int, default=3, help="steps before those that count")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", nargs="+", choices=tuple(DTYPES), help="only these")
    parser.add_argument("--deterministic", action="store_true", help="as `loop.deterministic: true` trains")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--method", nargs="+", choices=adapting(METHODS), help="methods to compare with DACS")
    given = parser.parse_args()
    device = device_for(given.device)
    settings = dacs_settings(params_at(given.scale), threads=given.threads, deterministic=given.deterministic)
    numerics(settings.loop)
    chip = torch.cuda.get_device_name() if device.type == "cuda" else f"{given.threads} CPU thread(s)"
    print(f"scale {given.scale}, crop {settings.loop.crop}, {chip}, torch {torch.__version__}")
    chosen, batches = variants(device, given.precision), {"cpu": [settings.loop.batch], "cuda": [2, 4]}[device.type]
    if given.method:
        print(f"{'batch':>5} {'step':30} {'ms':>8} {'images/s':>8} {'MiB':>7} {'time':>6} {'memory':>6} {'GFLOP':>6}")
        params = params_at(given.scale).model_copy(update={"loop": settings.loop})
        for batch, variant in product(batches, chosen):
            by_method(["dacs", *given.method], params, variant, batch, device, given.steps, given.warm)
        return
    print(f"{'batch':>5} {'step':30} {'ms':>8} {'images/s':>8} {'MiB':>7} {'of best':>7} {'speedup':>7} {'memory':>6}")
    rates = {variant.precision: best_rate(variant.precision, device) for variant in chosen}
    for batch in batches:
        flop = operations(ours(settings, PLAIN, batch, device))
        for variant in chosen:
            try:
                mine, plain = compare(settings, variant, batch, device, given.steps, given.warm)
            except torch.OutOfMemoryError:
                print(f"{batch:5} {variant!s:30} too little memory for both implementations side by side", flush=True)
                continue
            ratios = f"{plain.seconds / mine.seconds:7.2f} {mine.memory / plain.memory:6.2f}"
            print(f"{row(batch, str(variant), mine)} {flop / mine.seconds / rates[variant.precision]:7.0%} {ratios}")
            print(row(batch, "reference implementation, fp32", plain), flush=True)
        print(f"{batch:5} one step: {flop / 1e9:.1f} GFLOP")


def compare(
    settings: RunSettings, variant: Variant, batch: int, device: torch.device, times: int, warm: int
) -> tuple[Cost, Cost]:
    """The cost of a step of the package and of the reference implementation."""
    steps = ours(settings, variant, batch, device), reference(settings, batch, device)
    seconds = measure([step.take for step in steps], times, device, warm)
    mine, plain = (Cost(each, memory_of(step, device)) for each, step in zip(seconds, steps, strict=True))
    return mine, plain


def by_method(
    methods: list[str], params: Params, variant: Variant, batch: int, device: torch.device, times: int, warm: int
) -> None:
    """Print the cost of a step of each method, and its ratios to that of the first."""
    steps = [ours(run_settings(params, "", name), variant, batch, device, name) for name in methods]
    seconds = measure([step.take for step in steps], times, device, warm)
    costs = [Cost(each, step.kept() + memory_of(step, device)) for each, step in zip(seconds, steps, strict=True)]
    flop = [operations(step) for step in steps]
    for name, cost, each in zip(methods, costs, flop, strict=True):
        ratios = cost.seconds / costs[0].seconds, cost.memory / costs[0].memory, each / flop[0]
        print(row(batch, f"{name}, {variant}", cost), " ".join(f"{ratio:6.2f}" for ratio in ratios), flush=True)


def variants(device: torch.device, precisions: list[str] | None = None) -> list[Variant]:
    """The variants that are measured on a device, the plainest first."""
    chosen = precisions or DEFAULT[device.type]
    return [variant for variant in VARIANTS[device.type] if variant.precision in chosen]


def row(batch: int, name: str, cost: Cost) -> str:
    images = 2 * batch / cost.seconds
    return f"{batch:5} {name:30} {1e3 * cost.seconds:8.1f} {images:8.1f} {cost.memory / 2**20:7.0f}"


def params_at(scale: str) -> Params:
    """params.yaml at another scale."""
    return load({**yaml.safe_load((ROOT / "params.yaml").read_text()), "scale": scale})


def dacs_settings(params: Params, **loop: Any) -> RunSettings:
    """The settings of DACS, with changes of the loop, and the live statistics of the reference."""
    settings = run_settings(params, "", "dacs")
    assert settings.adapt is not None
    adapt = settings.adapt.model_copy(update={"bn_statistics": "live"})
    return settings.model_copy(update={"loop": settings.loop.model_copy(update=loop), "adapt": adapt})


if __name__ == "__main__":
    main()
