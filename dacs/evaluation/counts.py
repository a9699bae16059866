"""Confusion counts of every measured frame on disk, so that other means and intervals need no network. Torch-free."""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np

from dacs.files import atomic, reading

Cells = tuple[np.ndarray, np.ndarray]  # numbers of the cells that have pixels, in rising order, and their pixels


class Counts(NamedTuple):
    """Counts by protocol: pixels by frame, class of the ground truth and class of the prediction."""

    frames: tuple[str, ...]  # names, in the order of the counts
    classes: int
    cells: Mapping[str, Cells]  # by protocol; cell = (frame * classes + ground truth) * classes + prediction

    @property
    def protocols(self) -> tuple[str, ...]:
        """The names of the protocols, as they were written."""
        return tuple(self.cells)

    def by_frame(self, protocol: str) -> np.ndarray:
        """The confusion matrix of each frame: int64 of shape (frames, classes, classes)."""
        cells, pixels = self.cells[protocol]
        dense = np.zeros(len(self.frames) * self.classes**2, np.int64)
        dense[cells] = pixels
        return dense.reshape(-1, self.classes, self.classes)

    def matrix(self, protocol: str) -> np.ndarray:
        """The confusion matrix of all frames: int64 of shape (classes, classes)."""
        cells, pixels = self.cells[protocol]
        sums = np.bincount(cells % self.classes**2, pixels, self.classes**2)  # exact below 2**53 pixels
        return sums.astype(np.int64).reshape(self.classes, self.classes)


def cells_of(dense: np.ndarray) -> Cells:
    """The cells of counts of any shape that have pixels."""
    cells = np.flatnonzero(dense)
    return cells, dense.flat[cells]


def write_counts(path: Path, frames: Sequence[str], classes: int, counts: Mapping[str, np.ndarray | Cells]) -> None:
    """Write counts by protocol: cells, or all of them as int64 of shape (frames, classes, classes).

    Cells without pixels take no space.
    """
    arrays = {"frames": np.array(frames, dtype=str), "classes": np.array(classes)}
    for protocol, given in counts.items():
        cells, pixels = given if isinstance(given, tuple) else cells_of(given)
        arrays |= {f"{protocol}/cells": cells, f"{protocol}/pixels": pixels.astype(np.uint32)}
    with atomic(path) as partial, partial.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)


def read_counts(path: Path) -> Counts:
    """Read what `write_counts` wrote. Raises RunFailed for another file."""
    with reading(path, "counts of an evaluation"):
        try:
            with np.load(path, allow_pickle=False) as stored:
                names = [name.removesuffix("/cells") for name in stored.files if name.endswith("/cells")]
                cells = {name: (stored[f"{name}/cells"], stored[f"{name}/pixels"].astype(np.int64)) for name in names}
                return Counts(tuple(stored["frames"].tolist()), int(stored["classes"]), cells)
        except (BadZipFile, zlib.error, KeyError, EOFError) as error:
            raise ValueError(f"damaged: {error}") from error
