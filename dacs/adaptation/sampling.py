"""Which frame each sample of a stream shows: functions of (seed, sample), so that nothing needs saving."""

import hashlib
from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from dacs.errors import RunFailed
from dacs.provenance import canonical
from dacs.settings import RunSettings


class Pick(NamedTuple):
    """The frame that a sample shows, and what its crop should show of it."""

    frame: int
    wanted: int | None = None  # a class; None: any crop will do
    more_than: float = 0  # pixels of this class that the crop should hold


Order = Callable[[int], Pick]  # of the number of a sample


@runtime_checkable  # for the checks of types under test
class Frames(Protocol):
    """What an order may know of a split."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames in pixels."""

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


def shuffled(frames: Frames, seed: int, settings: RunSettings | None = None) -> Order:
    """Each epoch shows every frame once, in an order of its own."""
    return partial(_frame_of, seed, len(frames))  # not a closure: loader workers may have to be sent it


def _frame_of(seed: int, count: int, sample: int) -> Pick:
    epoch, position = divmod(sample, count)
    return Pick(epoch_order(seed, epoch, count)[position])


@lru_cache(maxsize=8)
def epoch_order(seed: int, epoch: int, count: int) -> tuple[int, ...]:
    """The permutation of `count` frames that an epoch shows."""
    generator = torch.Generator().manual_seed(seed_of(seed, "order", epoch))
    return tuple(torch.randperm(count, generator=generator).tolist())


def rare_classes(frames: Frames, seed: int, settings: RunSettings) -> Order:
    """Rare class sampling (DAFormer, section 3.2): a class by its rarity, then a frame that holds enough of it.

    Frames are drawn with replacement. Raises RunFailed for a class that occurs, but in no frame often enough. Without
    `adapt.rare_class_sampling`, the frames are shuffled.
    """
    adapt = settings.adapt
    if adapt is None or not adapt.rare_class_sampling:
        return shuffled(frames, seed)
    counts, (height, width), (rows, columns) = frames.class_counts(), frames.size, settings.loop.crop
    probability = class_probability(counts.sum(0), adapt.rare_class_temperature)
    holds = counts > adapt.rare_class_frame * height * width
    each = zip(settings.label_set.names, probability, holds.sum(0), strict=True)
    without = [name for name, p, number in each if p > 0 and not number]
    if without:
        raise RunFailed(
            f"Rare class sampling: no frame has more than {adapt.rare_class_frame:.3%} of {', '.join(without)}.\n"
            "Lower adapt.rare_class_frame, or set adapt.rare_class_sampling to false."
        )
    listed = tuple(tuple(of_class.nonzero().flatten().tolist()) for of_class in holds.T)
    return RareClasses(seed, tuple(probability.cumsum(0).tolist()), listed, adapt.rare_class_crop * rows * columns)


def class_probability(pixels: Int64[Tensor, " classes"], temperature: float) -> Float64[Tensor, " classes"]:
    """The probability of each class, softmax((1 - f) / T), f its share of all labelled pixels; 0 where it has none."""
    frequency = pixels.double() / pixels.sum()
    return ((1 - frequency) / temperature).masked_fill(pixels == 0, -torch.inf).softmax(0)


@dataclass(frozen=True)
class RareClasses:
    """An order of frames with the class that each sample was drawn for."""

    seed: int
    cumulative: tuple[float, ...]  # probability of the classes up to each
    frames: tuple[tuple[int, ...], ...]  # of each class, those that hold enough of it
    more_than: float  # pixels of the class in a crop

    def __call__(self, sample: int) -> Pick:
        generator = torch.Generator().manual_seed(seed_of(self.seed, "rare class", sample))
        first, second = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        wanted = bisect(self.cumulative, first * self.cumulative[-1])
        frames = self.frames[wanted]
        return Pick(frames[int(second * len(frames))], wanted, self.more_than)
