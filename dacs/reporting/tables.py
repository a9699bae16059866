"""The numbers of the report as tables: read from the listed runs, written as CSV and as metrics.json."""

from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dacs.files import write_json, write_text
from dacs.labels import CLASS_SETS, NAMES
from dacs.reporting import runs as reading
from dacs.reporting.names import class_set, source_of, target_of
from dacs.reporting.runs import LOG_COLUMNS, Run
from dacs.reporting.scores import ROAD, SIDEWALK, called, class_iou, score

KEY = ["task", "method", "seed"]
SAID = ("task", "method", "n", "collapsed")  # columns of the summary that are no scores


def iou_table(runs: Sequence[Run]) -> pd.DataFrame:
    """IoU of the student in percent, a row for each run and class."""
    rows = [
        (run.task, run.method, run.seed, name, value)
        for run in runs
        for name, value in zip(NAMES, _class_iou(run), strict=True)
    ]
    return pd.DataFrame(rows, columns=[*KEY, "class", "iou"])


def score_table(runs: Sequence[Run]) -> pd.DataFrame:
    """A row for each run: `SCORES` of the student, and of the teacher under names with `teacher_` before.

    `labels` says at which size they were measured; it is empty where nothing was.
    """
    rows = []
    for run in runs:
        row: dict[str, Any] = dict(zip(KEY, run[:3], strict=True))
        verdict = reading.verdict(run)
        for network, counts in reading.confusion(run).items():
            prefix = "" if network == "student" else f"{network}_"
            row |= {f"{prefix}{name}": value for name, value in score(counts, verdict["absent"]).items()}
        rows.append(row | {"labels": verdict["labels"]})
    return pd.DataFrame(rows)


def summary_table(scores: pd.DataFrame, iou: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over seeds, a row for each task and method; the deviation of one seed is 0.

    `collapsed` names the classes whose IoU is 0.00 though the source teaches them, each with its seeds.
    """
    names = [name for name in scores.columns if name not in (*KEY, "labels")]
    groups = scores.groupby(["task", "method"], sort=False)
    means = groups[names].mean()
    stds = groups[names].std(ddof=1).fillna(0.0).where(means.notna())
    table = groups.size().to_frame("n")
    for name in names:
        table[name], table[f"{name}_std"] = means[name], stds[name]
    table["collapsed"] = [collapsed(iou, task, method) for task, method in table.index]
    return table.reset_index()


def collapsed(iou: pd.DataFrame, task: str, method: str) -> str:
    """The classes of the task's set whose IoU is 0.00: "rider, train (seeds 0, 2); bus (seed 1)"."""
    taught = [NAMES[index] for index in CLASS_SETS[class_set(task)]]
    own = iou[(iou["task"] == task) & (iou["method"] == method) & iou["class"].isin(taught)]
    gone = own[own["iou"] < 0.005]
    together: dict[tuple[int, ...], list[str]] = {}  # classes that collapsed in the same seeds
    for name in (name for name in taught if name in set(gone["class"])):
        together.setdefault(tuple(sorted(gone.loc[gone["class"] == name, "seed"])), []).append(name)
    return "; ".join(
        f"{', '.join(names)} (seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))})"
        for seeds, names in together.items()
    )


def metrics(summary: pd.DataFrame) -> dict[str, Any]:
    """The summary as the tree that DVC compares: percent with two decimals; None where nothing could be counted."""
    tree: dict[str, Any] = {}
    for row in summary.to_dict("records"):
        leaf = {str(key): _rounded(value) for key, value in row.items() if key not in SAID}
        tree.setdefault(row["task"], {})[row["method"]] = leaf | {"seeds": int(row["n"])}
    return tree


def curve_table(runs: Sequence[Run]) -> pd.DataFrame:
    """The logs of all runs under each other, with those columns of `LOG_COLUMNS` that any of them has."""
    logs = []
    for run in runs:
        frame = reading.log(run)
        kept = frame[[name for name in ("step", *LOG_COLUMNS) if name in frame]]
        logs.append(kept.assign(task=run.task, method=run.method, seed=run.seed))
    table = pd.concat(logs, ignore_index=True)
    return table[[*KEY, "step", *(name for name in LOG_COLUMNS if name in table)]]


def conflation_table(runs: Sequence[Run]) -> pd.DataFrame:
    """How often each run takes sidewalk for road and road for sidewalk, in percent of the true pixels."""
    rows = []
    for run in runs:
        counts = reading.confusion(run)["student"]
        rows.append((*run[:3], called(counts, SIDEWALK, ROAD), called(counts, ROAD, SIDEWALK)))
    return pd.DataFrame(rows, columns=[*KEY, "sidewalk_called_road", "road_called_sidewalk"])


def data_table(ready: Path, tasks: Sequence[str]) -> pd.DataFrame:
    """How many frames of which size each prepared split holds that these tasks use."""
    sources = [(source_of(task), reading.labelled(ready, source_of(task))) for task in tasks]
    targets = [
        (target_of(task), split) for task in tasks for split in ("train", reading.measured(ready, target_of(task)))
    ]
    rows, order = [], [domain for task in tasks for domain in task.split("-")]
    for domain, split in sorted(dict.fromkeys([*targets, *sources]), key=lambda pair: order.index(pair[0])):
        card = reading.card(ready, domain, split)
        rows.append((domain, split, card["frames"], *card["size"]))
    return pd.DataFrame(rows, columns=["domain", "split", "frames", "height", "width"])


def contract_table(ready: Path, tasks: Sequence[str]) -> pd.DataFrame:
    """What was found of each domain, against what is published: each fact, its name, and how many there are."""
    rows = []
    for domain in dict.fromkeys(domain for task in tasks for domain in task.split("-")):
        rows += [(domain, *fact) for fact in _facts(reading.contract(ready, domain))]
    return pd.DataFrame(rows, columns=["domain", "fact", "name", "count"]).astype({"count": "Int64"})


def _facts(found: dict[str, Any]) -> Iterator[tuple[str, str, int | None]]:
    """The facts of a contract: frames, published, size, id (and how many pixels), dropped, mended, kept, in words."""
    for fact in ("verdict", "origin", "layout"):
        yield fact, found[fact], None
    for fact, key in (("frames", "frames"), ("published", "published"), ("size", "sizes"), ("id", "ids")):
        yield from ((fact, str(name), int(count)) for name, count in found[key].items())
    for fact in ("dropped", "mended", "kept"):
        yield from ((fact, name, None) for name in found[fact])


def published() -> pd.DataFrame:
    """What papers print: task, method, class (or mIoU19, mIoU16, mIoU13), iou, and how sure we are of the reading.

    `evidence` is "secondary" where a third party's account of the paper was read, "recalled" where the number comes
    from memory. The paper's own tables were not at hand.
    """
    with files("dacs.reporting").joinpath("published.csv").open(encoding="utf-8") as stream:
        return pd.read_csv(stream)


def write_all(out: Path, tables: dict[str, pd.DataFrame]) -> list[Path]:
    """Each table as a CSV with four decimals; the paths written."""
    paths = [out / f"{name}.csv" for name in tables]
    for path, table in zip(paths, tables.values(), strict=True):
        write_text(path, table.to_csv(index=False, float_format="%.4f", lineterminator="\n"))
    return paths


def write_metrics(path: Path, summary: pd.DataFrame) -> None:
    """metrics.json, for people, DVC and the page."""
    write_json(path, metrics(summary))


def _class_iou(run: Run) -> np.ndarray:
    return class_iou(reading.confusion(run)["student"], reading.verdict(run)["absent"])


def _rounded(value: float) -> float | None:
    return round(float(value), 2) if np.isfinite(value) else None
