"""The tables of the report, and the tree of metrics.json. Scores are those of `dacs evaluate`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dacs.evaluation import confusion
from dacs.files import read_json
from dacs.labels import LabelSet
from dacs.layout import PreparedDomain
from dacs.methods import baselines, method
from dacs.reporting.conflation import conflation_over_steps, conflation_tables
from dacs.reporting.data import KEY, ReportData, Run, best_baseline, read_table, steps_before
from dacs.reporting.domains import data_report_table, similarity_table, split_table
from dacs.reporting.groups import Groups, groups_of
from dacs.reporting.intervals import class_interval_table, interval_table
from dacs.reporting.measured import Evaluation, Protocol, Resampled, read_evaluation
from dacs.reporting.names import source_of
from dacs.reporting.order import order_table
from dacs.reporting.states import checkpoint_table, choice_table, evaluation_table


def read(runs: Sequence[Run], prepared: Path, frames: int, labels: LabelSet) -> ReportData:
    """All tables of the report, and where the images are."""
    tasks = list(dict.fromkeys(run.task for run in runs))
    found = {run: read_evaluation(run.folder.evaluation) for run in runs}
    missing = missing_table(runs, prepared, labels)
    groups = {task: groups_of(task, labels, absent_in_target(missing, task)) for task in tasks}
    scores, iou = score_table(found, groups), iou_table(found)
    before = pd.DataFrame([(*run[:3], steps_before(run.folder) or 0) for run in runs], columns=[*KEY, "before"])
    of_methods = before.groupby(KEY[:2])["before"].max().reset_index()
    conflation, pair = conflation_tables(runs, labels, groups)
    resampled, headlines = Resampled(found), {run.task: each.headline for run, each in found.items() if each.measured}
    tables = {
        "iou": iou,
        "iou_by_protocol": protocol_table(found, labels),
        "scores": scores,
        "summary": summary_table(
            scores, iou, {task: classes_of_both(missing, task, groups[task].shown) for task in tasks}
        ),
        "intervals": interval_table(resampled, headlines, groups, labels),
        "class_intervals": class_interval_table(resampled, headlines, groups, labels),
        "order": order_table(resampled, headlines, groups, labels, pair),
        "missing": missing,
        "curves": from_the_start(curve_table(runs), before),
        "checkpoints": from_the_start(checkpoint_table(found), before),
        "choice": choice_table(found),
        "calibration": evaluation_table(runs, "calibration"),
        "confident": evaluation_table(runs, "confident"),
        "conflation": conflation,
        "conflation_steps": from_the_start(conflation_over_steps(runs, pair), of_methods),
        "pair": pair,
        "similarity": similarity_table(prepared, {run.task: run.folder.appearance for run in runs}),
        "data": split_table(prepared, tasks),
        "data_report": data_report_table(prepared, tasks),
    }
    return ReportData(runs, prepared, tables, frames, labels, groups)


# --------------------------------------------------------------------------------------------------------------------
# Tables of runs


def score_table(found: Mapping[Run, Evaluation], groups: Mapping[str, Groups]) -> pd.DataFrame:
    """Scores in percent, a row for each run and protocol; those of the main numbers (`headline`) first.

    `labels` is the size of the ground truth, empty where there is none, and `miou` the main number of the task.
    """
    rows = []
    for run, each in found.items():
        for protocol, row in each.scores.items():
            about = dict(zip(KEY, run[:3], strict=True)) | protocol._asdict() | {"labels": row.pop("labels")}
            about |= {"headline": protocol == each.headline, "miou": row[groups[run.task].headline.score]}
            rows.append(about | row)
    table = pd.DataFrame(rows)
    numbers = [name for name in table if name not in (*KEY, *Protocol._fields, "labels", "headline")]
    return table.astype(dict.fromkeys(numbers, float)).sort_values("headline", ascending=False, kind="stable")


def iou_table(found: Mapping[Run, Evaluation]) -> pd.DataFrame:
    """IoU of each class by run, by the protocol of the main numbers."""
    iou = {run[:3]: pd.Series(each.metrics["student"]["iou"], dtype=float) for run, each in found.items()}
    return pd.concat(iou, names=[*KEY, "class"]).rename("iou").reset_index()


def protocol_table(found: Mapping[Run, Evaluation], labels: LabelSet) -> pd.DataFrame:
    """IoU of each class by protocol and method, the mean of the seeds, of those protocols that the page shows."""
    rows = []
    for run, each in found.items():
        for protocol in each.headline.shown:
            if protocol.key in each.counts.cells:
                iou = confusion.scores(each.counts.matrix(protocol.key), labels, each.metrics["absent"])["iou"]
                rows += [(run.task, *protocol, run.method, name, value) for name, value in iou.items()]
    by = ["task", *Protocol._fields, "method", "class"]
    table = pd.DataFrame(rows, columns=[*by, "iou"]).astype({"iou": float})
    return table.groupby(by, sort=False)["iou"].mean().reset_index()


def missing_table(runs: Sequence[Run], prepared: Path, labels: LabelSet) -> pd.DataFrame:
    """The classes that a task does not have everywhere, each once: task, class, and where it is missing.

    "target": the data set does not have it. "frames": it has, but no pixel of the measured frames. Means are over the
    other classes. "source": only the labelled frames of the source do not have it; means include it.
    """
    rows = []
    for run in {run.task: run for run in reversed(runs)}.values():
        found, source = read_json(run.folder.evaluation.metrics), PreparedDomain(prepared / source_of(run.task))
        counts = zip(labels.names, read_json(source.labelled.stats)["pixels"], strict=True)
        untaught = {*read_json(source.data_report)["absent"], *(name for name, number in counts if not number)}
        for name in labels.names:
            lacking = {"target": found["absent"], "frames": found["without_pixels"], "source": untaught}
            rows += [(run.task, name, where) for where, names in lacking.items() if name in names][:1]
    return pd.DataFrame(rows, columns=["task", "class", "where"])


def absent_in_target(missing: pd.DataFrame, task: str) -> list[str]:
    """The classes that the target of a task does not have."""
    return missing.loc[(missing["task"] == task) & (missing["where"] == "target"), "class"].tolist()


def classes_of_both(missing: pd.DataFrame, task: str, classes: Sequence[str]) -> list[str]:
    """Those of the classes that both domains of a task have."""
    lacking = {*missing.loc[missing["task"] == task, "class"]}
    return [name for name in classes if name not in lacking]


def summary_table(scores: pd.DataFrame, iou: pd.DataFrame, classes: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Mean and standard deviation over seeds, a row for each task, protocol and method; of one seed it is 0.

    `collapsed` lists those of the `classes` of the task whose IoU is 0.00, each with its seeds, in rows of the main
    numbers.
    """
    by = ["task", *Protocol._fields, "headline", "method"]
    groups = scores.drop(columns=["seed", "labels"]).groupby(by, sort=False)
    means = groups.mean()
    deviations = groups.std().fillna(0.0).where(means.notna()).add_suffix("_std")
    table = means.join(deviations)[[f"{name}{end}" for name in means for end in ("", "_std")]]
    table.insert(0, "n", groups.size())
    table = table.reset_index()
    rows = zip(table["task"], table["method"], table["headline"], strict=True)
    table["collapsed"] = [collapsed(iou, task, name, classes[task]) if main else "" for task, name, main in rows]
    return table


def collapsed(iou: pd.DataFrame, task: str, method: str, classes: Sequence[str]) -> str:
    """Those of the classes whose IoU is 0.00: "rider, train (seeds 0, 2); bus (seed 1)"."""
    zero = iou[(iou["task"] == task) & (iou["method"] == method) & (iou["iou"] < 0.005)]
    together: dict[str, list[str]] = {}  # classes by the seeds in which they are 0.00
    for name in classes:
        seeds = zero.loc[zero["class"] == name, "seed"].sort_values().astype(str)
        together.setdefault(", ".join(seeds), []).append(name)
    together.pop("", None)
    return "; ".join(f"{', '.join(names)} (seed{'s' * (',' in seeds)} {seeds})" for seeds, names in together.items())


def metrics_tree(summary: pd.DataFrame) -> dict[str, Any]:
    """The tree of metrics.json: task, method, and four numbers in percent with two decimals, None where unmeasured.

    `miou` is the mean of the seeds, `std` their deviation, `teacher` the mean of the teacher by the same protocol, and
    `gain` the difference of `miou` to that of the best baseline, which a baseline has not.
    """
    tree: dict[str, Any] = {}
    for task, rows in summary.groupby("task", sort=False):
        student, teacher = (of_role(rows, role).round(2) for role in ("student", "teacher"))
        means = student["miou"]
        gain = means - means.get(best_baseline(means), np.nan)
        table = pd.DataFrame({"miou": means, "std": student["miou_std"], "teacher": teacher["miou"], "gain": gain})
        table.loc[baselines(table.index), "gain"] = np.nan
        tree[str(task)] = {
            str(name): {score: round(value, 2) if np.isfinite(value) else None for score, value in row.items()}
            for name, row in table.to_dict("index").items()
        }
    return tree


def of_role(summary: pd.DataFrame, role: str) -> pd.DataFrame:
    """The rows of a task by method of the student or the teacher, otherwise by the protocol of the main numbers."""
    sizes = summary["size"].fillna("")  # empty where nothing was measured
    of_size = sizes == sizes[summary["headline"].astype(bool)].iloc[0]
    main = of_size & (summary["checkpoint"] == "last") & (summary["network"] == role)
    return summary[main].set_index("method")


def curve_table(runs: Sequence[Run]) -> pd.DataFrame:
    """All numbers in the logs of all runs but the learning rate."""
    trained = [run for run in runs if not method(run.method).recalibrates]
    logs = {run[:3]: read_table(run.folder.log).select_dtypes("number") for run in trained}
    if not logs:
        return pd.DataFrame(columns=[*KEY, "step"])
    return pd.concat(logs, names=KEY).reset_index(KEY).drop(columns="lr", errors="ignore")


def from_the_start(table: pd.DataFrame, before: pd.DataFrame) -> pd.DataFrame:
    """A table by step with `steps` too: counted from the start of the weights that a run starts from."""
    own = table.merge(before, how="left")["before"].to_numpy()
    table.insert([*table].index("step") + 1, "steps", table["step"] + own)
    return table


def published() -> pd.DataFrame:
    """Published results: task, method, network, paper, class (or mIoU19, mIoU16, mIoU13), iou, evidence, where_read.

    Of each method, the result that its row here is compared with comes first. `network`: DeepLab-v2 is on ResNet-101,
    MiT-B5 has the head of DAFormer; `paper` is the one whose table has the result.

    `evidence` is "authors" where the README of the authors' code was read, "secondary" where a third party's account of
    the paper was, and "recalled" where the number comes from memory. The papers' own tables were not at hand.
    """
    return pd.read_csv(Path(__file__).with_name("published.csv"))
