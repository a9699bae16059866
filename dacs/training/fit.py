"""What of a run would fit into the memory of a GPU, by counted bytes."""

import torch

from dacs.settings import RunSettings
from dacs.training.cost import step_cost
from dacs.training.run import Run

ROOM = 2**30  # bytes, an estimate: the context of the GPU, the workspace of kernels, what the allocator cannot use


def what_fits(run: Run) -> str:
    """The counted memory of smaller batches and crops, a line each, as far as the first that fits this GPU."""
    memory = torch.cuda.get_device_properties(0).total_memory
    lines = [f"Counted in float32, on a GPU of {memory / 2**20:,.0f} MiB, of which {ROOM / 2**20:,.0f} are left free:"]
    for number, settings in enumerate(smaller(run.settings)):
        needed = step_cost(run.method, settings).memory
        fits = number > 0 and needed + ROOM <= memory
        loop = settings.loop
        lines.append(
            f"  loop.batch {loop.batch}, accumulate {loop.accumulate}, crop {loop.crop[0]}x{loop.crop[1]}:"
            f" {needed / 2**20:,.0f} MiB{'' if number else ', as asked'}{', fits' * fits}"
        )
        if fits:
            break
    return "\n".join(lines)


def smaller(settings: RunSettings) -> list[RunSettings]:
    """The settings, then with half of the batch and twice the accumulation as often as it goes, then smaller crops."""
    loops = [settings.loop]
    while (loop := loops[-1]).batch % 2 == 0:
        loops.append(loop.model_copy(update={"batch": loop.batch // 2, "accumulate": 2 * loop.accumulate}))
    for _ in range(2):
        height, width = loops[-1].crop
        loops.append(loops[-1].model_copy(update={"crop": (height // 2, width // 2)}))
    return [settings.model_copy(update={"loop": loop}) for loop in loops]
