"""Which classes are taken for which others, and the pair of them that the report shows."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from dacs.evaluation.confusion import predicted_as
from dacs.files import read_json
from dacs.labels import LabelSet
from dacs.reporting.data import KEY, Run, pair_of
from dacs.reporting.groups import Groups
from dacs.reporting.states import evaluation_table

STREET = ("sidewalk", "road")  # the pair of classes that the paper speaks of
OFTEN = 0.005  # share of all pixels
COLUMNS = ["task", "method", "seed", "class", "taken_for", "percent"]
STEPS = ["task", "class", "taken_for", "method", "step", "percent"]


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


def conflation_over_steps(runs: Sequence[Run], pairs: pd.DataFrame) -> pd.DataFrame:
    """How much of each class is taken for one other class after each step that was kept, the mean of the seeds.

    The other class is the one that the students of all methods together take it for most after their last step; of the
    pair that is shown it is the other one. Classes come in the order of this share. A share below `LEAST` counts as 0.
    """
    listed = evaluation_table(runs, "conflation")
    steps = evaluation_table(runs, "checkpoints")[[*KEY, "step"]]
    last = listed.merge(steps.groupby(KEY, as_index=False)["step"].max())
    found = []
    for task, rows in last.groupby("task", sort=False):
        of_task = steps[steps["task"] == task]
        for name, other in _most_taken_for(rows, pair_of(pairs, str(task))).items():
            where = (listed["task"] == task) & (listed["class"] == name) & (listed["taken_for"] == other)
            percent = of_task.merge(listed.loc[where, [*KEY, "step", "percent"]], how="left").fillna({"percent": 0.0})
            means = percent.groupby(["task", "method", "step"], sort=False)["percent"].mean().reset_index()
            found.append(means.assign(**{"class": name, "taken_for": other})[STEPS])
    return pd.concat(found) if found else pd.DataFrame(columns=STEPS)


def _most_taken_for(rows: pd.DataFrame, pair: tuple[str, str] | None) -> dict[str, str]:
    """Each class of a task and the one that it is taken for most by all runs; the classes of the pair come first."""
    sums = rows.groupby(["class", "taken_for"], sort=False)["percent"].sum().sort_values(ascending=False, kind="stable")
    both = (pair, pair[::-1]) if pair else ()
    found = dict[str, str]()
    for name, other in sorted(sums.index, key=lambda each: both.index(each) if each in both else len(both)):
        found.setdefault(name, other)
    return found


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
