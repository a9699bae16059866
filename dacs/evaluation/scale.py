"""The size that images are brought to before a network sees them: that of the frames it was trained and measured on."""

import re
import sys
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from dacs.errors import BadRequest
from dacs.fields import Resample
from dacs.files import read_json
from dacs.layout import PreparedSplit, RunDir
from dacs.prepare.pixels import proportion, resize

NATIVE = "native"  # in place of a size: images stay as they are
BEFORE = "bicubic"  # of prepared frames that do not say how they were resized


class Scale(NamedTuple):
    """How images are resized."""

    size: tuple[int, int]  # height, width in pixels
    proportions: tuple[float, ...]  # widths by heights of images that are brought to exactly this size
    resample: Resample

    def fit(self, image: np.ndarray) -> np.ndarray:
        """An image (uint8 of shape (height, width, 3)) at this scale.

        As `dacs remap` made the frames of the target; one of other proportions keeps them, at as many pixels.
        """
        height, width = image.shape[:2]
        size = self.size
        if proportion(height, width) not in self.proportions:
            factor = sqrt(size[0] * size[1] / (height * width))
            size = max(1, round(height * factor)), max(1, round(width * factor))
        return image if size == (height, width) else resize(image, size, self.resample)


def describe_scale(target: PreparedSplit) -> dict[str, Any]:
    """What a run keeps of its target's frames: their size, the proportions of the raw ones, how they were resized."""
    stats = read_json(target.stats)
    shapes = stats.get("proportions", [proportion(*stats["size"])])
    return {"size": stats["size"], "proportions": shapes, "resample": stats.get("resample", BEFORE)}


def scale_of(run: RunDir, wanted: str | None = None) -> Scale | None:
    """The scale for a run: that of its target's frames, or a `wanted` one, HEIGHTxWIDTH or "native".

    The settings of runs of earlier versions do not tell: then it is that of the pictures of their evaluation. None:
    images stay as they are.
    """
    if wanted == NATIVE:
        return None
    frames = read_json(run.spec).get("frames", {})
    resample = frames.get("resample", BEFORE)
    if wanted is not None:
        return _alone(_parsed(wanted), resample)
    if frames:
        return Scale((frames["size"][0], frames["size"][1]), tuple(frames["proportions"]), resample)
    for path in sorted(run.evaluation.predictions.glob("*.png"))[:1]:
        with Image.open(path) as picture:
            return _alone((picture.height, picture.width), resample)
    print(
        f"{run.spec}: does not say the size of the frames that it was trained on, and the run was not evaluated; images"
        " are predicted at their own size.\nName the size with --size, as HEIGHTxWIDTH.",
        file=sys.stderr,
    )
    return None


def _alone(size: tuple[int, int], resample: Resample) -> Scale:
    return Scale(size, (proportion(*size),), resample)


def _parsed(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if match is None:
        raise BadRequest(
            f"--size {text}: HEIGHTxWIDTH in pixels was expected, such as 512x1024, or {NATIVE}.\n"
            "Leave it out for the size of the frames that the run was trained on."
        )
    return int(match[1]), int(match[2])
