"""The processes that train one network together: each holds an equal part of every batch.

The image at place p of process r is image p * world + r of the whole batch, as the stream deals them out. Whatever is
drawn, counted or averaged over a batch is so over the whole one: any number of processes computes what one does.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Generator, Tensor

from dacs.errors import ProcessLost


@dataclass(frozen=True)
class Group:
    """Some processes, seen from one of them. A single one waits for nobody: it gets what it gives."""

    rank: int = 0  # of this process
    world: int = 1  # processes

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and reports."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the processes, through which gradients flow."""
        return values if self.world == 1 else _Sum.apply(values)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the processes, through which gradients flow."""
        return values if self.world == 1 else self.sum(values) / self.world

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in one of the processes."""
        return flag if self.world == 1 else bool(self.sum(torch.tensor(int(flag))))

    def gather(self, part: Tensor) -> Tensor:
        """The whole batch, of which each process gives its part; no gradient flows."""
        if self.world == 1:
            return part
        parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(self.world)]
        with lost_process():
            dist.all_gather(parts, part.contiguous())
        return torch.stack(parts, 1).flatten(0, 1)

    def part(self, whole: Tensor) -> Tensor:
        """What this process holds of a whole batch."""
        return whole if self.world == 1 else whole[self.rank :: self.world]

    def rand(self, generator: Generator, number: int, *shape: int) -> Tensor:
        """Uniform draws for each of a `number` of images of this process: its part of those of the whole batch."""
        return self.part(torch.rand(number * self.world, *shape, generator=generator))


ALONE = Group()


@contextmanager
def lost_process() -> Iterator[None]:
    """Raise ProcessLost where another process of the group ended, or did not answer in time."""
    try:
        yield
    except RuntimeError as error:  # gloo raises nothing more special
        reason = str(error).partition("\n")[0]
        raise ProcessLost(
            f"Another process of this run ended, or did not answer ({reason}).\n"
            "Its own message says why. The same command resumes from the last checkpoint."
        ) from error


class _Sum(torch.autograd.Function):
    """The sum over all processes; the gradient of what each makes of it is summed too."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        with lost_process():
            dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient)
