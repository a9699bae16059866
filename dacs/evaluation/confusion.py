"""The confusion matrix and the scores that follow from it. Torch-free, since the report needs them too.

Counts add over images, shards and machines; scores do not.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from dacs.labels import CITYSCAPES, LabelSet

LEAST = 0.1  # percent of a class, from which on a confusion is listed
DECIMALS = 10  # of percentages: so many that rounding a mean of them to two is rounding once


def count(labels: np.ndarray, predictions: np.ndarray, classes: int = len(CITYSCAPES.classes)) -> np.ndarray:
    """Pixels by class of the ground truth (row) and of the prediction (column): int64 of shape (classes, classes).

    Both arguments hold train ids and have the same shape; pixels whose label is 255 are ignored.
    """
    pairs = (classes * labels.astype(np.uint16) + predictions).ravel()  # those of ignored pixels lie beyond the matrix
    ends = np.flatnonzero(np.append(pairs[1:] != pairs[:-1], True))[: pairs.size]  # of stretches of equal pairs: few
    pixels = np.bincount(pairs[ends], np.diff(ends, prepend=-1), classes**2)[: classes**2]
    return pixels.astype(np.int64).reshape(classes, classes)


def iou(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, in [0, 1]; NaN for a class without pixels in the ground truth.

    So which classes have one depends on the ground truth alone: means of any two networks are over the same classes.

    >>> iou(np.array([[3, 1, 1], [0, 2, 0], [0, 0, 0]]))
    array([0.6       , 0.66666667,        nan])
    """
    intersection, pixels = np.diag(confusion).astype(float), confusion.sum(1)
    union = confusion.sum(0) + pixels - intersection
    return np.divide(intersection, union, out=np.full(len(union), np.nan), where=pixels > 0)


def without_pixels(confusion: np.ndarray, labels: LabelSet, absent: Collection[str] = ()) -> list[str]:
    """The classes besides the `absent` ones that no pixel of the ground truth has; none where nothing was counted."""
    pixels = zip(labels.names, confusion.sum(1), strict=True)
    return [name for name, number in pixels if confusion.any() and not number and name not in absent]


def scores(confusion: np.ndarray, labels: LabelSet, absent: Collection[str] = ()) -> dict[str, Any]:
    """mIoU over all classes and over each group, pixel accuracy, and IoU by class, in percent, rounded to 10 decimals.

    `absent`: the classes that the data set does not have. They have no IoU, nor have classes without pixels in the
    ground truth. A mean is over those classes of its group that have one. None where there are no pixels.
    """
    each = np.where([name in absent for name in labels.names], np.nan, 100 * iou(confusion))
    means = {score_name(group): _rounded(_mean(each[list(ids)])) for group, ids in labels.measured(absent).items()}
    accuracy = _percent(int(np.trace(confusion)), int(confusion.sum()))
    by_class = {name: _rounded(value) for name, value in zip(labels.names, each, strict=True)}
    return {**means, "accuracy": _rounded(accuracy), "iou": by_class}


def score_name(group: str) -> str:
    """The name of the mean over a group in metrics.json.

    >>> score_name("16"), score_name("small")
    ('miou16', 'miou_small')
    """
    return f"miou{group}" if group.isdecimal() else f"miou_{group}"


def predicted_as(confusion: np.ndarray, labels: LabelSet, label: str, prediction: str) -> float:
    """Percent of the pixels of a class that are predicted as another class; NaN where there are none."""
    row = confusion[labels.names.index(label)]
    return _percent(int(row[labels.names.index(prediction)]), int(row.sum()))


def confusions(confusion: np.ndarray, labels: LabelSet) -> Iterator[tuple[str, str, float]]:
    """Each class, another one, and percent of its pixels that are predicted as this one, where they are `LEAST`."""
    percent = 100 * confusion / np.maximum(confusion.sum(1), 1)[:, None]
    np.fill_diagonal(percent, 0)
    for a, b in np.argwhere(percent >= LEAST):
        yield labels.names[a], labels.names[b], round(float(percent[a, b]), 2)


def mean_iou(confusion: np.ndarray) -> float:
    """mIoU over the classes that the ground truth has, in percent; NaN where it has none."""
    return 100 * _mean(iou(confusion))


def extremes(values: Sequence[float]) -> list[int]:
    """The places of the lowest and the highest value, the first of equal ones; NaN is neither.

    >>> extremes([float("nan"), 3.0, 5.0, 3.0])
    [1, 2]
    """
    known = [place for place, value in enumerate(values) if not np.isnan(value)]
    return [min(known, key=values.__getitem__), max(known, key=values.__getitem__)] if known else []


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else float("nan")


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), DECIMALS)
