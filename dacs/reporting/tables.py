"""The tables of the report, and the tree of metrics.json. Scores are those of `dacs evaluate`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import rel_entr

from dacs.evaluation.confusion import predicted_as
from dacs.files import read_json
from dacs.labels import CLASS_SETS, NAMES
from dacs.layout import PreparedDomain, PreparedSplit
from dacs.methods import method
from dacs.reporting.data import ReportData, Run, read_table
from dacs.reporting.names import class_set, source_of, target_of

KEY = ["task", "method", "seed"]
MEASURES = {  # of the distance between two domains
    "frequency": "class frequency",
    "layout": "vertical layout",
    "presence": "classes in an image",
    "color": "colours",
}


def read(runs: Sequence[Run], prepared: Path, frames: int) -> ReportData:
    """All tables of the report, and where the images are."""
    tasks = list(dict.fromkeys(run.task for run in runs))
    scores, iou = score_tables(runs)
    tables = {
        "iou": iou,
        "scores": scores,
        "summary": summary_table(scores, iou),
        "curves": curve_table(runs),
        "conflation": conflation_table(runs),
        "similarity": similarity_table(prepared, tasks),
        "data": split_table(prepared, tasks),
        "data_report": data_report_table(prepared, tasks),
    }
    return ReportData(runs, prepared, tables, frames)


# --------------------------------------------------------------------------------------------------------------------
# Tables of runs


def score_tables(runs: Sequence[Run]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores in percent, a row for each run, and IoU of the student, a row for each run and class.

    Scores of the teacher begin with teacher_; `labels` is the size of the ground truth, empty where there is none.
    """
    scores, iou = [], {}
    for run in runs:
        found = read_json(run.folder.evaluation.metrics)
        student, teacher = (pd.Series(found[role]) for role in ("student", "teacher"))
        iou[run[:3]] = pd.Series(student.pop("iou"), dtype=float)
        numbers = pd.concat([student, teacher.drop("iou").add_prefix("teacher_")]).astype(float)
        scores.append(dict(zip(KEY, run[:3], strict=True)) | numbers.to_dict() | {"labels": found["labels"]})
    return pd.DataFrame(scores), pd.concat(iou, names=[*KEY, "class"]).rename("iou").reset_index()


def summary_table(scores: pd.DataFrame, iou: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over seeds, a row for each task and method; the deviation of one seed is 0.

    `collapsed` lists the classes of the source whose IoU is 0.00, each with its seeds.
    """
    groups = scores.drop(columns=["seed", "labels"]).groupby(["task", "method"], sort=False)
    means = groups.mean()
    deviations = groups.std().fillna(0.0).where(means.notna()).add_suffix("_std")
    table = means.join(deviations)[[f"{name}{end}" for name in means for end in ("", "_std")]]
    table.insert(0, "n", groups.size())
    table["collapsed"] = [collapsed(iou, task, method) for task, method in table.index]
    return table.reset_index()


def collapsed(iou: pd.DataFrame, task: str, method: str) -> str:
    """The classes of the task's set whose IoU is 0.00: "rider, train (seeds 0, 2); bus (seed 1)"."""
    zero = iou[(iou["task"] == task) & (iou["method"] == method) & (iou["iou"] < 0.005)]
    together: dict[str, list[str]] = {}  # classes by the seeds in which they are 0.00
    for name in (NAMES[index] for index in CLASS_SETS[class_set(task)]):
        seeds = zero.loc[zero["class"] == name, "seed"].sort_values().astype(str)
        together.setdefault(", ".join(seeds), []).append(name)
    together.pop("", None)
    return "; ".join(f"{', '.join(names)} (seed{'s' * (',' in seeds)} {seeds})" for seeds, names in together.items())


def metrics_tree(summary: pd.DataFrame) -> dict[str, Any]:
    """The summary as the tree of metrics.json: percent with two decimals, None where there is no ground truth."""
    tree: dict[str, Any] = {}
    for row in summary.drop(columns="collapsed").to_dict("records"):
        task, method, seeds = row.pop("task"), row.pop("method"), row.pop("n")
        scores = {str(name): round(value, 2) if np.isfinite(value) else None for name, value in row.items()}
        tree.setdefault(task, {})[method] = scores | {"seeds": seeds}
    return tree


def curve_table(runs: Sequence[Run]) -> pd.DataFrame:
    """All numbers in the logs of all runs but the learning rate."""
    trained = [run for run in runs if not method(run.method).recalibrates]
    logs = {run[:3]: read_table(run.folder.log).select_dtypes("number") for run in trained}
    if not logs:
        return pd.DataFrame(columns=[*KEY, "step"])
    return pd.concat(logs, names=KEY).reset_index(KEY).drop(columns="lr", errors="ignore")


def conflation_table(runs: Sequence[Run]) -> pd.DataFrame:
    """How often each student predicts sidewalk as road and road as sidewalk, in percent of the labelled pixels."""
    rows = []
    for run in runs:
        counts = np.array(read_json(run.folder.evaluation.confusion)["student"])
        rows.append((*run[:3], predicted_as(counts, "sidewalk", "road"), predicted_as(counts, "road", "sidewalk")))
    return pd.DataFrame(rows, columns=[*KEY, "sidewalk_called_road", "road_called_sidewalk"])


def published() -> pd.DataFrame:
    """Published results: task, method, network, paper, class (or mIoU19, mIoU16, mIoU13), iou, evidence, where_read.

    Of each method, the result that its row here is compared with comes first. `network`: DeepLab-v2 is on ResNet-101,
    MiT-B5 has the head of DAFormer; `paper` is the one whose table has the result.

    `evidence` is "authors" where the README of the authors' code was read, "secondary" where a third party's account of
    the paper was, and "recalled" where the number comes from memory. The papers' own tables were not at hand.
    """
    return pd.read_csv(Path(__file__).with_name("published.csv"))


# --------------------------------------------------------------------------------------------------------------------
# Tables of the prepared data


def similarity_table(prepared: Path, tasks: Sequence[str]) -> pd.DataFrame:
    """Distance of the labelled source images to the target's validation images, by each of `MEASURES`."""
    rows = []
    for task in tasks:
        source, _, target = _splits(prepared, task)
        found = distances(read_json(source.stats), read_json(target.stats))
        rows += [(source_of(task), target_of(task), *pair) for pair in found.items()]
    return pd.DataFrame(rows, columns=["source", "target", "measure", "distance"])


def distances(source: dict[str, Any], target: dict[str, Any]) -> dict[str, float]:
    """Each of `MEASURES` from the statistics of two splits; 0: equal, at most 1, NaN where the target is unlabelled."""
    colors = [np.array([split["image_mean"], split["image_std"]]) / 255 for split in (source, target)]
    found = dict.fromkeys(MEASURES, float("nan"))
    if "pixels" in target:
        found["frequency"] = float(jensen_shannon(source["pixels"], target["pixels"]))
        found["layout"] = float(np.nanmean(jensen_shannon(source["rows16"], target["rows16"])))
        found["presence"] = float(np.abs(np.subtract(source["presence"], target["presence"])).mean())
    return found | {"color": float(np.abs(colors[0] - colors[1]).mean())}


def jensen_shannon(first: Sequence[Any], second: Sequence[Any]) -> np.ndarray:
    """Jensen-Shannon distance of counts or shares along the first axis: 0 equal, 1 disjoint, NaN where one is empty."""
    with np.errstate(invalid="ignore"):
        p, q = (np.array(counts) / np.sum(counts, axis=0) for counts in (first, second))
    bits = (rel_entr(p, (p + q) / 2) + rel_entr(q, (p + q) / 2)).sum(0) / np.log(2)
    return np.sqrt(np.clip(bits, 0, None) / 2)  # scipy's jensenshannon is NaN where rounding makes it less than 0


def split_table(prepared: Path, tasks: Sequence[str]) -> pd.DataFrame:
    """Number and size of the images of each prepared split that the tasks use."""
    rows = []
    for split in dict.fromkeys(split for task in tasks for split in _splits(prepared, task)):
        stats = read_json(split.stats)
        rows.append((split.path.parent.name, split.path.name, stats["frames"], *stats["size"]))
    return pd.DataFrame(rows, columns=["domain", "split", "frames", "height", "width"])


def data_report_table(prepared: Path, tasks: Sequence[str]) -> pd.DataFrame:
    """The data report of each domain as facts, with their names and counts; the meaning of a raw id is its class."""
    rows: list[tuple[Any, ...]] = []
    for domain in dict.fromkeys(domain for task in tasks for domain in task.split("-")):
        found = read_json(PreparedDomain(prepared / domain).data_report)
        rows += [(domain, fact, found[fact], None, None) for fact in ("summary", "origin", "layout")]
        for fact, key in (("frames", "frames"), ("published", "published"), ("size", "sizes"), ("id", "ids")):
            meanings = found["id_names"] if fact == "id" else {}
            rows += [(domain, fact, name, count, meanings.get(name)) for name, count in found[key].items()]
        rows += [
            (domain, fact, name, None, None) for fact in ("absent", "dropped", "mended", "kept") for name in found[fact]
        ]
    return pd.DataFrame(rows, columns=["domain", "fact", "name", "count", "meaning"]).astype({"count": "Int64"})


def _splits(prepared: Path, task: str) -> tuple[PreparedSplit, PreparedSplit, PreparedSplit]:
    """The labelled images of the source, and the images of the target for training and for evaluation."""
    source, target = (PreparedDomain(prepared / domain) for domain in task.split("-"))
    return source.labelled, target.train, target.measured
