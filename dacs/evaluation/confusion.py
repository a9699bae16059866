"""The confusion matrix, which is the only verdict: every score is arithmetic on its counts.

Counts add over frames, shards and machines; scores do not. Torch-free, for the report reads them too.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dacs.labels import CLASS_SETS, IGNORE, NAMES


def count(truth: np.ndarray, predicted: np.ndarray, classes: int = len(NAMES)) -> np.ndarray:
    """Pixels by true class (row) and predicted class (column): int64 of shape (classes, classes).

    `truth` and `predicted` hold train ids of the same shape; pixels whose truth is 255 are not counted.
    """
    known = truth != IGNORE
    pairs = classes * truth[known].astype(np.int64) + predicted[known]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def iou(confusion: np.ndarray, absent: Sequence[str] = ()) -> np.ndarray:
    """Intersection over union of each class, in [0, 1]; NaN for a class in neither truth nor prediction.

    NaN too for the classes, by name, of which it is known that the truth cannot have them: `absent`.

    >>> iou(np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]]))
    array([0.75      , 0.66666667,        nan])
    """
    hit = np.diag(confusion).astype(float)
    union = confusion.sum(0) + confusion.sum(1) - hit
    union[[NAMES.index(name) for name in absent]] = 0
    return np.divide(hit, union, out=np.full(len(hit), np.nan), where=union > 0)


def scores(confusion: np.ndarray, absent: Sequence[str] = ()) -> dict[str, Any]:
    """mIoU over 19, 16 and 13 classes, accuracy and IoU by class, in percent, rounded to 4 decimals.

    A mean is taken over the classes of its set that occur in truth or prediction, and are not `absent` from the data
    set; None where nothing was counted.
    """
    each = 100 * iou(confusion, absent)
    means = {f"miou{name}": _percent(_mean(each[list(ids)])) for name, ids in CLASS_SETS.items()}
    accuracy = 100 * np.trace(confusion) / confusion.sum() if confusion.sum() else np.nan
    by_class = {name: _percent(value) for name, value in zip(NAMES, each, strict=True)}
    return {**means, "accuracy": _percent(accuracy), "iou": by_class}


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _percent(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)
