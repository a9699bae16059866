"""What of a run would fit into the memory of a GPU, by counted bytes."""

import torch

from dacs.settings import Loop, RunSettings
from dacs.training.cost import step_cost
from dacs.training.run import Run, processes_here

ROOM = 2**30  # bytes, an estimate: the context of the GPU, the workspace of kernels, what the allocator cannot use
BF16 = 0.53  # of the activations' bytes in float32: 2,058 of 3,907 MiB, DeepLab-v2 on an H200 (docs/performance.md)


def what_fits(run: Run) -> str:
    """The counted memory of smaller batches and crops, a line each, as far as the first that fits this GPU."""
    memory, world = torch.cuda.get_device_properties().total_memory, processes_here()
    lines = [
        f"Counted{f' for each of {world} processes' * (world > 1)}, on a GPU of {memory / 2**20:,.0f} MiB, of which"
        f" {ROOM / 2**20:,.0f} are left free; activations in bf16 are taken for {BF16} of those in float32:"
    ]
    for number, settings in enumerate(smaller(run.settings, world)):
        needed = memory_of(run.method, settings, world)
        fits = number > 0 and needed + ROOM <= memory
        lines.append(f"{_line(settings.loop, needed)}{'' if number else ', as asked'}{', fits' * fits}")
        if fits:
            break
    if run.settings.loop.precision != "bf16":
        settings = _changed(run.settings, precision="bf16")
        lines.append(_line(settings.loop, memory_of(run.method, settings, world)))
    if run.settings.loop.graphs:
        lines.append("loop.cuda_graphs keeps what is recorded in memory, which is not counted here: try without it.")
    return "\n".join(lines)


def smaller(settings: RunSettings, world: int) -> list[RunSettings]:
    """The settings, then with half of the batch and twice the accumulation as often as it goes, then smaller crops.

    Each batch can be shared equally by `world` processes.
    """
    found = [settings]
    while (loop := found[-1].loop).batch % (2 * world) == 0:
        found.append(_changed(found[-1], batch=loop.batch // 2, accumulate=2 * loop.accumulate))
    for _ in range(2):
        height, width = found[-1].loop.crop
        found.append(_changed(found[-1], crop=(height // 2, width // 2)))
    return found


def memory_of(method: str, settings: RunSettings, world: int) -> int:
    """The bytes that one of `world` processes needs, of which each has its part of a batch."""
    same = {"accumulate": 1, "precision": "fp32", "cuda_graphs": False}  # what the count is of, so that it is made once
    cost = step_cost(method, _changed(settings, batch=settings.loop.batch // world, **same))
    return cost.memory - (int((1 - BF16) * cost.step) if settings.loop.precision == "bf16" else 0)


def _changed(settings: RunSettings, **changes: object) -> RunSettings:
    return settings.model_copy(update={"loop": settings.loop.model_copy(update=changes)})


def _line(loop: Loop, needed: int) -> str:
    return (
        f"  loop.batch {loop.batch}, accumulate {loop.accumulate}, crop {loop.crop[0]}x{loop.crop[1]},"
        f" {loop.precision}: {needed / 2**20:,.0f} MiB"
    )
