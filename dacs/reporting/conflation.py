"""Which classes are taken for which others, and the pair of them that the report shows."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from dacs.evaluation.confusion import predicted_as
from dacs.files import read_json
from dacs.labels import LabelSet
from dacs.reporting.data import Run
from dacs.reporting.groups import Groups

STREET = ("sidewalk", "road")  # the pair of classes that the paper speaks of
OFTEN = 0.005  # share of all pixels
COLUMNS = ["task", "method", "seed", "class", "taken_for", "percent"]


def conflation_tables(
    runs: Sequence[Run], labels: LabelSet, groups: Mapping[str, Groups]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What each student takes classes for: task, method, seed, class, taken_for, percent of the pixels of the class.

    Of each class with pixels the class that it is most taken for (empty: none); and of each task one pair, both ways.
    """
    counts = {run: np.array(read_json(run.folder.evaluation.confusion)["student"]) for run in runs}
    every: list[tuple[Any, ...]] = []
    pairs: list[tuple[Any, ...]] = []
    for task, some in groupby(counts, key=lambda run: run.task):
        of_task = list(some)
        by = reference_method([run.method for run in of_task])
        pair = conflated_pair(np.sum([counts[run] for run in of_task if run.method == by], 0), labels, groups[task])
        for run in of_task:
            every += [(*run[:3], *row) for row in taken_for(counts[run], labels)]
            for a, b in (pair, pair[::-1]) if pair else ():
                pairs.append((*run[:3], a, b, predicted_as(counts[run], labels, a, b)))
    return pd.DataFrame(every, columns=COLUMNS), pd.DataFrame(pairs, columns=COLUMNS)


def reference_method(methods: Sequence[str]) -> str:
    """The method whose confusions choose the pair of classes that is shown."""
    return "source" if "source" in methods else methods[0]


def conflated_pair(counts: np.ndarray, labels: LabelSet, groups: Groups) -> tuple[str, str] | None:
    """A class and the one that it is confused with: sidewalk and road where the target has them.

    Otherwise the pair with the largest share of the pixels of the first class, which has at least `OFTEN` of all
    pixels, or as many as any other. None where nothing was measured.
    """
    if {*STREET} <= {*groups.every[0].classes}:
        return STREET
    pixels = counts.sum(1)
    if not pixels.any():
        return None
    share = counts / np.maximum(pixels, 1)[:, None]
    share[pixels < min(OFTEN * pixels.sum(), pixels.max())] = -1
    np.fill_diagonal(share, -1)
    a, b = np.unravel_index(share.argmax(), share.shape)
    return labels.names[a], labels.names[b]


def taken_for(counts: np.ndarray, labels: LabelSet) -> list[tuple[str, str, float]]:
    """Each class with pixels, the class that it is most predicted as instead, and percent of its pixels."""
    errors = counts - np.diag(np.diag(counts))
    rows = zip(labels.names, errors.argmax(1), errors.max(1), counts.sum(1), strict=True)
    return [(name, labels.names[other] if n else "", 100 * n / pixels) for name, other, n, pixels in rows if pixels]
