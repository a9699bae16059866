"""Arithmetic on confusion counts: 19 x 19, rows are the truth, columns the prediction. Nothing here knows of files."""

import numpy as np

from dacs.evaluation.confusion import iou
from dacs.labels import CLASS_SETS, NAMES

ROAD, SIDEWALK = NAMES.index("road"), NAMES.index("sidewalk")
SCORES = ("miou19", "miou16", "miou13", "accuracy")  # what is said of a network, in percent


def class_iou(counts: np.ndarray) -> np.ndarray:
    """Percent of intersection over union, of each class; NaN where neither truth nor prediction has the class.

    >>> class_iou(np.array([[3, 1], [0, 0]]))
    array([75.,  0.])
    """
    return 100 * iou(counts)


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


def score(counts: np.ndarray) -> dict[str, float]:
    """All of `SCORES` for one confusion matrix."""
    values = class_iou(counts)
    return {f"miou{name}": mean_iou(values, name) for name in CLASS_SETS} | {"accuracy": accuracy(counts)}


def share(part: float, whole: float) -> float:
    """Percent; NaN of nothing."""
    return 100 * part / whole if whole else float("nan")
