"""Sums over the frames of a split, and the statistics and tables made of them."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dacs.labels import CLASSES, IGNORE
from dacs.prepare.frame import PreparedFrame
from dacs.prepare.pixels import BANDS


@dataclass
class Tally:
    """Sums over the frames of a raw split, in integers: no order of adding changes them."""

    colors: np.ndarray = field(default_factory=lambda: np.zeros((3, 256), np.int64))
    bands: np.ndarray = field(default_factory=lambda: np.zeros((BANDS, 256), np.int64))
    sizes: Counter[str] = field(default_factory=Counter)  # of raw images, "1914x1052": width x height
    ids: Counter[int] = field(default_factory=Counter)  # raw id → pixels, over the labels as they were used
    mended: list[str] = field(default_factory=list)  # names of frames
    digests: dict[str, list[str]] = field(default_factory=dict)  # name → sha256 of image, label, full-size label
    classes: list[np.ndarray] = field(default_factory=list)  # pixels of each class in each prepared frame

    def add(self, name: str, frame: PreparedFrame) -> None:
        """Add one frame."""
        note = frame.note
        self.colors += frame.colors
        self.bands += frame.bands
        self.sizes["{1}x{0}".format(*note["size"])] += 1
        self.ids.update({int(key): pixels for key, pixels in note["ids"].items()})
        self.mended += [name] if note["mended"] else []
        self.digests[name] = note["made"]
        self.classes.append(frame.bands.sum(axis=0)[: len(CLASSES)])


def color_statistics(tally: Tally) -> dict[str, Any]:
    """Mean and standard deviation of each channel, 0..255."""
    values = np.arange(256)
    pixels, sums, squares = tally.colors.sum(axis=1), tally.colors @ values, tally.colors @ values**2
    spread = [int(n) * int(q) - int(s) ** 2 for n, s, q in zip(pixels, sums, squares, strict=True)]
    return {
        "image_mean": [round(int(s) / int(n), 6) for n, s in zip(pixels, sums, strict=True)],
        "image_std": [round(v**0.5 / int(n), 6) for n, v in zip(pixels, spread, strict=True)],
    }


def label_statistics(tally: Tally) -> dict[str, Any]:
    """Pixels of each class, the share of frames that hold it, and its share of 16 horizontal bands."""
    bands = tally.bands[:, : len(CLASSES)]
    valid = np.maximum(bands.sum(axis=1, keepdims=True), 1)  # a band of void alone has shares of zero
    return {
        "pixels": bands.sum(axis=0).tolist(),
        "ignored": int(tally.bands[:, IGNORE].sum()),
        "presence": (np.stack(tally.classes) > 0).mean(axis=0).round(6).tolist(),
        "rows16": (bands / valid).round(6).T.tolist(),
    }
