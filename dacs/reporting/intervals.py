"""Tables of the intervals of scores and of their paired differences, and which methods these distinguish."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from dacs.evaluation.counts import Counts
from dacs.evaluation.intervals import Bootstrap, Interval
from dacs.labels import LabelSet
from dacs.methods import method
from dacs.reporting.data import best_baseline
from dacs.reporting.groups import Groups
from dacs.reporting.measured import Protocol, Resampled, bootstrap

UNKNOWN = Interval(np.nan, np.nan, np.nan)
ENDS = ("", "_low", "_high")  # of the names of the columns of an interval
INTERVALS = [
    *("task", "method", *Protocol._fields, "group", "headline", "seeds", "images"),
    *(f"{name}{end}" for name in ("miou", "gain", "lead") for end in ENDS),
    *("baseline", "other"),
]
CLASS_INTERVALS = ["task", "class", "method", *(f"{name}{end}" for name in ("iou", "lead") for end in ENDS), "other"]


def interval_table(
    resampled: Resampled, headlines: Mapping[str, Protocol], groups: Mapping[str, Groups], labels: LabelSet
) -> pd.DataFrame:
    """mIoU of each method by task, protocol and group of classes, and paired differences, with their 95 % intervals.

    `gain` is the difference to `baseline`, the best one, and `lead` that to `other`, the best of the other methods that
    are given no labels of the target. Intervals (`_low`, `_high`) are over images and, of several seeds, over seeds;
    they are empty where a single image was measured. `headline`: the rows of the main numbers. The protocols are that
    of the main numbers and that of the authors of DACS.
    """
    rows: list[dict[str, Any]] = []
    for task, main in headlines.items():
        images, seeds = resampled.images(task), {name: len(runs) for name, runs in resampled.counts(task).items()}
        for protocol in dict.fromkeys([main, main.authors]):
            pixels = resampled.pixels(task, protocol)
            for group in groups[task].every:
                classes = [labels.names.index(name) for name in group.classes]
                about = {"task": task, **protocol._asdict(), "group": group.name, "images": images}
                about["headline"] = (protocol, group) == (main, groups[task].headline)
                if pixels[classes].any():
                    for name, found in _compared(resampled.of(task, protocol, classes), list(seeds), images, "miou"):
                        rows.append({"method": name, "seeds": seeds[name], **about, **found})
    return pd.DataFrame(rows, columns=INTERVALS)


def class_interval_table(
    resampled: Resampled, headlines: Mapping[str, Protocol], groups: Mapping[str, Groups], labels: LabelSet
) -> pd.DataFrame:
    """IoU of each class that is shown by task and method, as the mean over seeds; columns as in `interval_table`."""
    rows: list[dict[str, Any]] = []
    for task, main in headlines.items():
        parts = {
            name: [one_against_all(of_seed, main) for of_seed in runs] for name, runs in resampled.counts(task).items()
        }
        pixels = resampled.pixels(task, main)
        for name in groups[task].shown:
            if pixels[index := labels.names.index(name)]:
                of_class = bootstrap({by: [each[:, index] for each in runs] for by, runs in parts.items()}, [0])
                for by, found in _compared(of_class, list(parts), resampled.images(task), "iou"):
                    rows.append({"task": task, "class": name, "method": by, **found})
    return pd.DataFrame(rows, columns=CLASS_INTERVALS)


def indistinct(table: pd.DataFrame, score: str) -> list[str]:
    """The methods without labels of the target that cannot be distinguished from the best of them, which comes first.

    `table`: rows of one task, protocol and group or class; the lead of all but the best is that over the best.
    """
    fair = table.loc[[method(name).labels == "source" for name in table["method"]]]
    fair = fair.sort_values(score, ascending=False, kind="stable")
    return [*fair["method"][:1], *fair.loc[~(fair["lead_high"] < 0), "method"][1:]]


def interval(row: Mapping[Any, Any], name: str) -> Interval:
    """An interval from its columns."""
    return Interval(*(float(row[f"{name}{end}"]) for end in ENDS))


def known(found: Interval, images: int) -> Interval:
    """The interval; without ends where it is of a single image, which says nothing of others."""
    return found if images > 1 else found._replace(low=np.nan, high=np.nan)


def one_against_all(counts: Counts, protocol: Protocol) -> np.ndarray:
    """Of each frame and class the matrix of this class against all others: shape (frames, classes, 2, 2).

    Pixels of neither are left out: they are in no IoU of the class.
    """
    dense = counts.by_frame(protocol.key)
    hits = np.diagonal(dense, axis1=1, axis2=2)
    parts = [hits, dense.sum(2) - hits, dense.sum(1) - hits, 0 * hits]
    return np.stack(parts, -1).reshape(*hits.shape, 2, 2)


def _compared(
    resamples: Bootstrap, methods: list[str], images: int, score: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The columns of each method."""
    means = pd.Series({name: resamples.mean(name).value for name in methods})
    fair, baseline = [name for name in methods if method(name).labels == "source"], best_baseline(means.round(2))
    for name in methods:
        rivals = means[[each for each in fair if each != name]]
        other = None if rivals.empty else str(rivals.idxmax())
        found = {
            score: resamples.mean(name),
            "gain": resamples.difference(name, baseline) if baseline else UNKNOWN,
            "lead": resamples.difference(name, other) if other else UNKNOWN,
        }
        columns = {
            f"{column}{end}": value
            for column, each in found.items()
            for end, value in zip(ENDS, known(each, images), strict=True)
        }
        yield name, {**columns, "baseline": baseline, "other": other}
