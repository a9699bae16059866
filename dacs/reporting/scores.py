"""Arithmetic on confusion counts: 19 x 19, rows are the truth, columns the prediction. Nothing here knows of files."""

from collections.abc import Sequence

import numpy as np

from dacs.evaluation.confusion import iou
from dacs.labels import CLASS_SETS, NAMES

ROAD, SIDEWALK = NAMES.index("road"), NAMES.index("sidewalk")
SCORES = ("miou19", "miou16", "miou13", "accuracy")  # what is said of a network, in percent


def class_iou(counts: np.ndarray, absent: Sequence[str] = ()) -> np.ndarray:
    """Percent of intersection over union, of each class; NaN for one that is `absent`, or neither shown nor said.

    >>> class_iou(np.array([[3, 1], [0, 0]]))
    array([75.,  0.])
    """
    return 100 * iou(counts, absent)


def mean_iou(values: np.ndarray, class_set: str = "19") -> float:
    """Plain mean over the classes of the set ("19", "16" or "13"), but for those that are NaN."""
    chosen = values[list(CLASS_SETS[class_set])]
    return float(np.nanmean(chosen)) if np.isfinite(chosen).any() else float("nan")


def accuracy(counts: np.ndarray) -> float:
    """Percent of counted pixels that are right."""
    return share(float(np.trace(counts)), float(counts.sum()))


def called(counts: np.ndarray, truth: int, prediction: int) -> float:
    """Percent of the pixels of class `truth` that are called `prediction`; NaN where there are none."""
    return share(float(counts[truth, prediction]), float(counts[truth].sum()))


def score(counts: np.ndarray, absent: Sequence[str] = ()) -> dict[str, float]:
    """All of `SCORES` for one confusion matrix; means leave out the classes `absent` from the data set."""
    values = class_iou(counts, absent)
    return {f"miou{name}": mean_iou(values, name) for name in CLASS_SETS} | {"accuracy": accuracy(counts)}


def share(part: float, whole: float) -> float:
    """Percent; NaN of nothing."""
    return 100 * part / whole if whole else float("nan")
