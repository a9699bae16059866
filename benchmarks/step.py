"""How fast a DACS step is and what it holds: ours beside its plain twin, in one run, by precision and batch.

    python benchmarks/step.py [--scale demo|paper] [--steps N] [--warm N] [--threads N] [--device auto|cpu|cuda]
                              [--precision fp32 tf32 bf16] [--deterministic]

A row gives the median time of a step on crops that lie on the device already, the memory that it takes beyond what was
there before it, and the share of the best rate that large convolutions reach there in the same numbers. A GPU's
allocator tells its memory; on a CPU the tensors are counted. The twin takes turns with ours, step by step, so that a
busy machine slows both alike; its blur has as many taps as the reference's, a tenth of the crop.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import torch
from memory import counted
from plain import Plain
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from dacs.adaptation.mixing import strategies
from dacs.adaptation.teacher import Teacher
from dacs.config import load, settings_for
from dacs.models.build import from_settings
from dacs.provenance import ROOT
from dacs.training.checkpoint import State
from dacs.training.loop import device_for, networks_of, set_numbers
from dacs.training.objectives import adaptation
from dacs.training.schedule import optimizer_for


class Way(NamedTuple):
    """One way to take our step."""

    precision: str
    compiled: bool
    channels_last: bool


WAYS = {
    "cpu": [Way("fp32", False, False), Way("bf16", False, False)],
    "cuda": [
        Way(precision, compiled, precision == "bf16")
        for precision in ("fp32", "tf32", "bf16")
        for compiled in (False, True)
    ],
}
DEFAULT = {"cpu": ["fp32"], "cuda": ["fp32", "tf32", "bf16"]}  # without instructions for it, CPUs are slower in bf16
TYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}


def crops(batch: int, size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Smooth source images with labels in blocks, some of them void, and target images."""
    generator = torch.Generator().manual_seed(0)

    def images() -> Tensor:
        small = torch.rand(batch, 3, size[0] // 8, size[1] // 8, generator=generator)
        return torch.nn.functional.interpolate(small, size=size, mode="bilinear").to(device)

    blocks = torch.randint(0, 20, (batch, 1, size[0] // 16, size[1] // 16), generator=generator)
    labels = torch.nn.functional.interpolate(blocks.float(), size=size)[:, 0].long()
    return images(), labels.masked_fill(labels == 19, 255).to(device), images()


def parts(settings: dict[str, Any], device: torch.device) -> tuple[torch.nn.Module, Callable[..., Any]]:
    """A student and what makes its optimizer."""
    model, loop, adapt = (settings[name] for name in ("model", "loop", "adapt"))
    student = from_settings(model)
    kinds = ("backbone_lr_factor", "head_lr_factor", "weight_decay", "momentum", "nesterov")
    options = {"kind": loop["optimizer"], "lr": adapt["lr"], **{name: loop[name] for name in kinds}}
    return student.to(device).train(), lambda network: optimizer_for(network, **options)


class Step(NamedTuple):
    """A step to be taken, and what lies there before and after it."""

    take: Callable[[], Any]
    networks: tuple[torch.nn.Module, torch.nn.Module]
    optimizer: torch.optim.Optimizer

    def held(self) -> Iterator[Tensor]:
        """Weights, statistics, gradients and what the optimizer keeps."""
        for network in self.networks:
            yield from network.buffers()
            for weight in network.parameters():
                yield weight
                if weight.grad is not None:
                    yield weight.grad
        kept = chain.from_iterable(state.values() for state in self.optimizer.state.values())
        yield from (value for value in kept if isinstance(value, Tensor))


def ours(settings: dict[str, Any], way: Way, batch: int, device: torch.device) -> Step:
    """Our step on fixed crops."""
    adapt = settings["adapt"]
    loop = settings["loop"] | {
        "precision": way.precision,
        "compile": way.compiled,
        "channels_last": way.channels_last,
    }
    torch.compiler.reset()  # or a compiler that has seen several networks gives up on the next
    student, optimizer_of = parts(settings, device)
    state = State(student, Teacher(student, ema=adapt["ema"], batch_norm=adapt["teacher_bn"]), optimizer_of(student))
    networks = networks_of(state, loop, device)
    rows = strategies(draw_void=adapt["draw_void"], cow_sigma=(8.0, 32.0), cow_share=0.5)
    image, truth, target = crops(batch, tuple(loop["crop"]), device)
    generator = torch.Generator().manual_seed(0)

    def step() -> Any:
        set_numbers(way.precision)
        state.optimizer.zero_grad()
        losses, _ = adaptation(networks, image, truth, target, generator, strategy=rows["dacs"], adapt=adapt, share=1.0)
        state.optimizer.step()
        state.teacher.follow(state.student, state.step)
        state.step += 1
        return losses

    return Step(step, (student, state.teacher.network), state.optimizer)


def twin(settings: dict[str, Any], batch: int, device: torch.device) -> Step:
    """The plain step on the same crops."""
    student, optimizer_of = parts(settings, device)
    crop = tuple(settings["loop"]["crop"])
    taps = crop[0] // 10 + (crop[0] // 10 % 2 == 0) * (1 if crop[0] % 10 else -1)  # the largest odd below a tenth
    plain = Plain(student, optimizer_of(student), settings["adapt"], taps=taps)
    image, truth, target = crops(batch, crop, device)
    generator = torch.Generator().manual_seed(0)

    def step() -> Any:
        set_numbers("fp32")
        return plain.step(image, truth, target, generator)

    return Step(step, (student, plain.teacher), plain.optimizer)


class Taken(NamedTuple):
    """What a step took."""

    seconds: float
    memory: int  # bytes


def measure(steps: list[Callable[[], Any]], times: int, device: torch.device, warm: int = 3) -> list[float]:
    """Median seconds of each, of `times` in turns, after `warm` that do not count."""
    taken: list[list[float]] = [[] for _ in steps]
    for turn in range(warm + times):
        for place, step in enumerate(steps):
            start = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn >= warm:
                taken[place].append(time.perf_counter() - start)
    return [statistics.median(each) for each in taken]


def memory_of(step: Step, device: torch.device) -> int:
    """Bytes at the peak of one step beyond those before it."""
    if device.type != "cuda":
        return counted(step.take, step.held())
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    step.take()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - held


def operations(step: Step) -> int:
    """Floating-point operations of one step, multiplications and additions counted apart."""
    with FlopCounterMode(display=False) as counter:
        step.take()
    return int(counter.get_total_flops())


def peak(precision: str, device: torch.device) -> float:
    """The best rate that large 3x3 convolutions reach, in operations a second, whatever the layout of memory."""
    set_numbers(precision)
    shapes = [(32, 512, 64), (16, 1024, 64)] if device.type == "cuda" else [(4, 64, 48), (4, 256, 32)]
    best = 0.0
    for batch, channels, side in shapes:
        for layout in (torch.contiguous_format, torch.channels_last):
            images = torch.randn(batch, channels, side, side, device=device, dtype=TYPES[precision])
            images = images.to(memory_format=layout)
            layer = torch.nn.Conv2d(channels, channels, 3, padding=1, bias=False).to(device, TYPES[precision])
            layer = layer.to(memory_format=layout)  # type: ignore[call-overload]
            with torch.no_grad():
                (seconds,) = measure([partial(layer, images)], 20, device)
            best = max(best, 2 * batch * channels * channels * 9 * side * side / seconds)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", default="demo", choices=("demo", "paper"))
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--warm", type=int, default=3, help="steps before those that count")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", nargs="+", choices=tuple(TYPES), help="only these")
    parser.add_argument("--deterministic", action="store_true", help="as `loop.deterministic: true` trains")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    asked = parser.parse_args()
    device = device_for(asked.device, asked.threads, asked.deterministic)
    name = device.type
    params = load(scaled(asked.scale))
    settings = settings_for(params, "adapt", method="dacs")
    chip = torch.cuda.get_device_name() if name == "cuda" else f"{asked.threads} CPU thread(s)"
    print(f"scale {asked.scale}, crop {settings['loop']['crop']}, {chip}, torch {torch.__version__}")
    print(
        f"{'batch':>5} {'step':30} {'ms':>8} {'images/s':>8} {'MiB':>7} {'of peak':>7} {'twin/ours':>9} {'memory':>6}"
    )
    peaks = {way.precision: peak(way.precision, device) for way in ways(name, asked.precision)}
    for batch in {"cpu": [settings["loop"]["batch"]], "cuda": [2, 4]}[name]:
        count = operations(ours(settings, Way("fp32", False, False), batch, device))
        for way in ways(name, asked.precision):
            try:
                us, them = _compare(settings, way, batch, device, asked.steps, asked.warm)
            except torch.OutOfMemoryError:
                print(f"{batch:5} {_named(way):30} not enough memory for it and its twin side by side", flush=True)
                continue
            ratios = f"{them.seconds / us.seconds:9.2f} {us.memory / them.memory:6.2f}"
            share = count / us.seconds / peaks[way.precision]
            print(f"{_row(batch, _named(way), us)} {share:7.0%} {ratios}")
            print(_row(batch, "the plain twin, fp32", them), flush=True)
        print(f"{batch:5} one step: {count / 1e9:.1f} GFLOP")


def _compare(
    settings: dict[str, Any], way: Way, batch: int, device: torch.device, times: int, warm: int
) -> tuple[Taken, Taken]:
    steps = ours(settings, way, batch, device), twin(settings, batch, device)
    seconds = measure([step.take for step in steps], times, device, warm)
    us, them = (Taken(each, memory_of(step, device)) for each, step in zip(seconds, steps, strict=True))
    return us, them


def ways(device: str, precisions: list[str] | None) -> list[Way]:
    """Ways to take our step there, the plainest first."""
    return [way for way in WAYS[device] if way.precision in (precisions or DEFAULT[device])]


def _named(way: Way) -> str:
    return f"{way.precision}{', channels last' * way.channels_last}{', compiled' * way.compiled}"


def _row(batch: int, name: str, taken: Taken) -> str:
    images = 2 * batch / taken.seconds
    return f"{batch:5} {name:30} {1e3 * taken.seconds:8.1f} {images:8.1f} {taken.memory / 2**20:7.0f}"


def scaled(scale: str) -> dict[str, Any]:
    """params.yaml at another scale."""
    import yaml

    return {**yaml.safe_load((ROOT / "params.yaml").read_text()), "scale": scale}


if __name__ == "__main__":
    main()
