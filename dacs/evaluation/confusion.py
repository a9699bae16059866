"""The confusion matrix and the scores that follow from it. Torch-free, since the report needs them too.

Counts add over images, shards and machines; scores do not.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dacs.labels import CLASS_SETS, IGNORE, NAMES

DECIMALS = 10  # of percentages: so many that rounding a mean of them to two is rounding once


def count(labels: np.ndarray, predictions: np.ndarray, classes: int = len(NAMES)) -> np.ndarray:
    """Pixels by class of the ground truth (row) and of the prediction (column): int64 of shape (classes, classes).

    Both arguments hold train ids and have the same shape; pixels whose label is 255 are ignored.
    """
    known = labels != IGNORE
    pairs = classes * labels[known].astype(np.int64) + predictions[known]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def iou(confusion: np.ndarray, absent: Sequence[str] = ()) -> np.ndarray:
    """Intersection over union of each class, in [0, 1].

    NaN for a class in neither ground truth nor prediction, and for classes that the data set does not have: `absent`.

    >>> iou(np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]]))
    array([0.75      , 0.66666667,        nan])
    """
    intersection = np.diag(confusion).astype(float)
    union = confusion.sum(0) + confusion.sum(1) - intersection
    union[[NAMES.index(name) for name in absent]] = 0
    return np.divide(intersection, union, out=np.full(len(union), np.nan), where=union > 0)


def scores(confusion: np.ndarray, absent: Sequence[str] = ()) -> dict[str, Any]:
    """mIoU over 19, 16 and 13 classes, pixel accuracy, and IoU by class, in percent, rounded to 10 decimals.

    A mean is over those classes of its set that have an IoU. None where there are no pixels.
    """
    each = 100 * iou(confusion, absent)
    means = {f"miou{name}": _rounded(_mean(each[list(ids)])) for name, ids in CLASS_SETS.items()}
    accuracy = _percent(int(np.trace(confusion)), int(confusion.sum()))
    by_class = {name: _rounded(value) for name, value in zip(NAMES, each, strict=True)}
    return {**means, "accuracy": _rounded(accuracy), "iou": by_class}


def predicted_as(confusion: np.ndarray, label: str, prediction: str) -> float:
    """Percent of the pixels of a class that are predicted as another class; NaN where there are none."""
    row = confusion[NAMES.index(label)]
    return _percent(int(row[NAMES.index(prediction)]), int(row.sum()))


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else float("nan")


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), DECIMALS)
