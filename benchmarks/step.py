"""How fast a DACS step is: ours beside its plain twin, in one run, by precision and batch.

    python benchmarks/step.py [--scale demo|paper] [--steps N] [--threads N] [--device auto|cpu|cuda]

A row gives the median time of a step on crops that lie on the device already; on a GPU also the peak of its memory, and
the share of the rate that one large convolution reaches there in the same numbers. The twin takes turns with ours, step
by step, so that a busy machine slows both alike; its blur has as many taps as the reference's, a tenth of the crop.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from plain import Plain
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from dacs.adaptation.mixing import strategies
from dacs.adaptation.teacher import Teacher
from dacs.config import load, settings_for
from dacs.models.build import from_settings
from dacs.provenance import ROOT
from dacs.training.checkpoint import State
from dacs.training.loop import networks_of, set_numbers
from dacs.training.schedule import optimizer_for
from dacs.training.step import adaptation


class Way(NamedTuple):
    """One way to take our step."""

    precision: str
    compiled: bool
    channels_last: bool


WAYS = {
    "cpu": [Way("fp32", False, False)],
    "cuda": [
        Way(precision, compiled, precision == "bf16")
        for precision in ("fp32", "tf32", "bf16")
        for compiled in (False, True)
    ],
}
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


def ours(settings: dict[str, Any], way: Way, batch: int, device: torch.device) -> Callable[[], Any]:
    """Our step on fixed crops."""
    adapt = settings["adapt"]
    loop = settings["loop"] | {
        "precision": way.precision,
        "compile": way.compiled,
        "channels_last": way.channels_last,
    }
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

    return step


def twin(settings: dict[str, Any], batch: int, device: torch.device) -> Callable[[], Any]:
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

    return step


class Taken(NamedTuple):
    """What a step took."""

    seconds: float
    memory: int  # bytes; 0 where the device does not tell


def measure(steps: list[Callable[[], Any]], times: int, device: torch.device) -> list[Taken]:
    """Each step `times` times, in turns, after three of each that do not count."""
    taken: list[list[float]] = [[] for _ in steps]
    memory = [0] * len(steps)
    for turn in range(times + 3):
        for place, step in enumerate(steps):
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
                held = torch.cuda.memory_allocated()
            start = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
                memory[place] = torch.cuda.max_memory_allocated() - held
            if turn >= 3:
                taken[place].append(time.perf_counter() - start)
    return [Taken(statistics.median(each), most) for each, most in zip(taken, memory, strict=True)]


def operations(step: Callable[[], Any]) -> int:
    """Floating-point operations of one step, multiplications and additions counted apart."""
    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


def peak(precision: str, device: torch.device) -> float:
    """The rate of one large convolution, in operations a second."""
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    large = device.type == "cuda"
    batch, channels, side = (32, 512, 64) if large else (4, 64, 48)
    layout = torch.channels_last if large else torch.contiguous_format
    images = torch.randn(batch, channels, side, side, device=device, dtype=TYPES[precision])
    images = images.to(memory_format=layout)
    layer = torch.nn.Conv2d(channels, channels, 3, padding=1, bias=False).to(device, TYPES[precision])
    layer = layer.to(memory_format=layout)  # type: ignore[call-overload]
    with torch.no_grad():
        taken = measure([lambda: layer(images)], 20, device)[0].seconds
    return 2 * batch * channels * channels * 9 * side * side / taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", default="demo", choices=("demo", "paper"))
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    asked = parser.parse_args()
    name = ("cuda" if torch.cuda.is_available() else "cpu") if asked.device == "auto" else asked.device
    device = torch.device(name)
    torch.set_num_threads(asked.threads)
    params = load(scaled(asked.scale))
    settings = settings_for(params, "adapt", method="dacs")
    chip = torch.cuda.get_device_name() if name == "cuda" else f"{asked.threads} CPU thread(s)"
    print(f"scale {asked.scale}, crop {settings['loop']['crop']}, {chip}, torch {torch.__version__}")
    print(
        f"{'batch':>5} {'step':28} {'ms':>8} {'images/s':>9} {'GiB':>6} {'of peak':>8} {'twin/ours':>10} {'memory':>7}"
    )
    for batch in {"cpu": [settings["loop"]["batch"]], "cuda": [2, 4]}[name]:
        for way in WAYS[name]:
            _compare(settings, way, batch, device, asked.steps)


def _compare(settings: dict[str, Any], way: Way, batch: int, device: torch.device, times: int) -> None:
    fast, plain = ours(settings, way, batch, device), twin(settings, batch, device)
    count = operations(ours(settings, way._replace(compiled=False), batch, device))
    us, them = measure([fast, plain], times, device)
    label = f"{way.precision}{', channels last' * way.channels_last}{', compiled' * way.compiled}"
    share = count / us.seconds / peak(way.precision, device)
    memory = f"{us.memory / them.memory:7.2f}" if us.memory else f"{'–':>7}"
    row = f"{batch:5} {label:28} {1e3 * us.seconds:8.1f} {2 * batch / us.seconds:9.1f} {_gib(us)} {share:8.0%}"
    print(f"{row} {them.seconds / us.seconds:10.2f} {memory}")
    print(
        f"{batch:5} {'the plain twin, fp32':28} {1e3 * them.seconds:8.1f} {2 * batch / them.seconds:9.1f} {_gib(them)}"
    )


def _gib(taken: Taken) -> str:
    return f"{taken.memory / 2**30:6.2f}" if taken.memory else f"{'–':>6}"


def scaled(scale: str) -> dict[str, Any]:
    """params.yaml at another scale."""
    import yaml

    return {**yaml.safe_load((ROOT / "params.yaml").read_text()), "scale": scale}


if __name__ == "__main__":
    main()
