"""Percentile bootstrap intervals of mIoU and of differences between methods. Torch-free.

Frames are drawn with replacement, the same ones for every method and seed, so that differences are paired; of two or
more seeds, the seeds are drawn too (a two-stage bootstrap; Efron and Tibshirani, 1993, chapters 8 and 13).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 1000
LEVEL = 0.95


class Interval(NamedTuple):
    """A value in points of mIoU and its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether a difference may be called one."""
        return self.low > 0 or self.high < 0


class Bootstrap:
    """mIoU of methods on the same frames, as measured and in each resample."""

    def __init__(
        self,
        counts: Mapping[str, Sequence[np.ndarray]],
        classes: Sequence[int],
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> None:
        """`counts`: for each method and seed, int64 of shape (frames, n, n); `classes`: those that the mean is over.

        Raises ValueError where the numbers of frames differ.
        """
        frames = {len(of_seed) for of_method in counts.values() for of_seed in of_method}
        if len(frames) != 1:
            raise ValueError(f"counts of one number of frames were expected, found {sorted(frames)}")
        generator = np.random.default_rng(seed)
        number = frames.pop()
        weights = generator.multinomial(number, np.full(number, 1 / number), size=resamples).astype(float)
        self._measured: dict[str, float] = {}
        self._resampled: dict[str, np.ndarray] = {}
        drawn: dict[int, np.ndarray] = {}  # by the number of seeds: those of each resample, shared by all methods
        for method, of_seeds in counts.items():
            parts = [_parts(of_seed) for of_seed in of_seeds]
            whole = np.array([_miou(of_seed.sum(0)[None], classes)[0] for of_seed in parts])
            each = np.stack([_miou(np.tensordot(weights, of_seed, 1), classes) for of_seed in parts])
            chosen = drawn.setdefault(len(each), generator.integers(len(each), size=(len(each), resamples)))
            self._measured[method] = float(whole.mean())
            self._resampled[method] = np.take_along_axis(each, chosen, 0).mean(0)

    def mean(self, method: str) -> Interval:
        """mIoU of a method over its seeds, in percent."""
        return _interval(self._measured[method], self._resampled[method])

    def difference(self, method: str, other: str) -> Interval:
        """By how much a method is above another, in points."""
        value = self._measured[method] - self._measured[other]
        return _interval(value, self._resampled[method] - self._resampled[other])


def _parts(counts: np.ndarray) -> np.ndarray:
    """Hits, pixels of the ground truth and predicted pixels of each frame and class: of shape (frames, 3, n)."""
    return np.stack([np.diagonal(counts, axis1=1, axis2=2), counts.sum(2), counts.sum(1)], 1).astype(float)


def _miou(sums: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """mIoU of each in percent; a class that is in no pixel of a resample is left out of its mean."""
    hits, truth, predicted = np.moveaxis(sums[..., list(classes)], 1, 0)
    iou = np.divide(hits, truth + predicted - hits, out=np.full(hits.shape, np.nan), where=truth > 0)
    return np.asarray(100 * np.nanmean(iou, axis=1))


def _interval(value: float, resampled: np.ndarray) -> Interval:
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))
