"""Which frame each sample of a stream shows: functions of (seed, sample), so that nothing needs saving."""

import hashlib
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int64
from torch import Tensor

from dacs.provenance import canonical

Order = Callable[[int], int]  # number of a sample → number of the frame that it shows


@runtime_checkable  # for the checks of types under test
class Frames(Protocol):
    """What an order may know of a split."""

    def __len__(self) -> int:
        """Return the number of frames."""

    def class_counts(self) -> Int64[Tensor, "frames classes"]:
        """Return the pixels of each class in each frame."""


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed mixed from numbers and words; any other parts give an unrelated one.

    >>> seed_of(0, "crop", 7) == seed_of(0, "crop", 7), seed_of(0, "crop", 7) == seed_of(0, "crop", 8)
    (True, False)
    """
    return int.from_bytes(hashlib.sha256(canonical(parts).encode()).digest()[:8], "big") >> 1


def shuffled(frames: Frames, seed: int) -> Order:
    """Each epoch shows every frame once, in an order of its own."""
    return partial(_frame_of, seed, len(frames))  # not a closure: loader workers may have to be sent it


def _frame_of(seed: int, count: int, sample: int) -> int:
    epoch, position = divmod(sample, count)
    return epoch_order(seed, epoch, count)[position]


@lru_cache(maxsize=8)
def epoch_order(seed: int, epoch: int, count: int) -> tuple[int, ...]:
    """The permutation of `count` frames that an epoch shows."""
    generator = torch.Generator().manual_seed(seed_of(seed, "order", epoch))
    return tuple(torch.randperm(count, generator=generator).tolist())
