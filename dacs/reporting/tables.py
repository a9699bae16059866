"""The tables of the report, and the tree of metrics.json. Scores are those of `dacs evaluate`."""

from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import rel_entr

from dacs.evaluation.confusion import predicted_as
from dacs.files import read_json
from dacs.labels import CLASS_SETS, NAMES
from dacs.layout import PreparedSplit
from dacs.methods import main_method
from dacs.reporting.data import ReportData, Run, existing, prepared_domain
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
    scores, iou = score_table(runs), iou_table(runs)
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


def iou_table(runs: Sequence[Run]) -> pd.DataFrame:
    """IoU of the student in percent, a row for each run and class."""
    rows = [(*run[:3], *pair) for run in runs for pair in _metrics(run)["student"]["iou"].items()]
    return pd.DataFrame(rows, columns=[*KEY, "class", "iou"]).astype({"iou": float})


def score_table(runs: Sequence[Run]) -> pd.DataFrame:
    """Scores of student and teacher in percent, a row for each run.

    `labels` is the size of the ground truth; it is empty where there is none.
    """
    rows = []
    for run in runs:
        metrics = _metrics(run)
        student, teacher = (pd.Series(metrics[role]).drop("iou").astype(float) for role in ("student", "teacher"))
        scores = student.to_dict() | teacher.add_prefix("teacher_").to_dict()
        rows.append(dict(zip(KEY, run, strict=False)) | scores | {"labels": metrics["labels"]})
    return pd.DataFrame(rows)


def summary_table(scores: pd.DataFrame, iou: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over seeds, a row for each task and method; the deviation of one seed is 0.

    `collapsed` lists the classes of the source whose IoU is 0.00, each with its seeds.
    """
    groups = scores.groupby(["task", "method"], sort=False)
    means = groups[[name for name in scores if name not in (*KEY, "labels")]].mean()
    deviations = groups[list(means)].std().fillna(0.0).where(means.notna())
    table = groups.size().to_frame("n")
    for name in means:
        table[name], table[f"{name}_std"] = means[name], deviations[name]
    table["collapsed"] = [collapsed(iou, task, method) for task, method in table.index]
    return table.reset_index()


def collapsed(iou: pd.DataFrame, task: str, method: str) -> str:
    """The classes of the task's set whose IoU is 0.00: "rider, train (seeds 0, 2); bus (seed 1)"."""
    classes = [NAMES[index] for index in CLASS_SETS[class_set(task)]]
    zero = iou[(iou["task"] == task) & (iou["method"] == method) & (iou["iou"] < 0.005)]
    together: dict[tuple[int, ...], list[str]] = {}  # classes that are 0.00 in the same seeds
    for name in classes:
        if seeds := tuple(sorted(zero.loc[zero["class"] == name, "seed"])):
            together.setdefault(seeds, []).append(name)
    return "; ".join(
        f"{', '.join(names)} (seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))})"
        for seeds, names in together.items()
    )


def metrics_tree(summary: pd.DataFrame) -> dict[str, Any]:
    """The summary as the tree of metrics.json: percent with two decimals, None where there is no ground truth."""
    tree: dict[str, Any] = {}
    for row in summary.drop(columns="collapsed").to_dict("records"):
        task, method, seeds = row.pop("task"), row.pop("method"), row.pop("n")
        scores = {str(name): round(value, 2) if np.isfinite(value) else None for name, value in row.items()}
        tree.setdefault(task, {})[method] = scores | {"seeds": seeds}
    return tree


def gains(summary: pd.DataFrame, target: str) -> dict[str, float]:
    """Gain of the main method over source-only training in points of mIoU16, by source: all data sets have the 16."""
    means = summary.set_index(["task", "method"])["miou16"].round(2)  # as metrics.json has them
    main, found = main_method(summary["method"].unique()), dict[str, float]()
    for task in means.index.unique("task"):
        if main and target_of(task) == target and {main, "source"} <= set(means[task].index):
            found[source_of(task)] = float(means[task, main] - means[task, "source"])
    return {source: gain for source, gain in found.items() if np.isfinite(gain)}


def curve_table(runs: Sequence[Run]) -> pd.DataFrame:
    """All numbers in the logs of all runs but the learning rate."""
    logs = []
    for run in runs:
        log = pd.read_csv(existing(run.folder.log, run.made_by)).select_dtypes("number")
        logs.append(pd.DataFrame(dict(zip(KEY, run, strict=False)), index=log.index).join(log))
    return pd.concat(logs, ignore_index=True).drop(columns="lr", errors="ignore")


def conflation_table(runs: Sequence[Run]) -> pd.DataFrame:
    """How often each student predicts sidewalk as road and road as sidewalk, in percent of the labelled pixels."""
    rows = []
    for run in runs:
        counts = np.array(read_json(existing(run.folder.evaluation.confusion, run.evaluated_by))["student"])
        rows.append((*run[:3], predicted_as(counts, "sidewalk", "road"), predicted_as(counts, "road", "sidewalk")))
    return pd.DataFrame(rows, columns=[*KEY, "sidewalk_called_road", "road_called_sidewalk"])


def published() -> pd.DataFrame:
    """Published results: task, method, class (or mIoU19, mIoU16, mIoU13), iou, evidence, where_read.

    `evidence` is "secondary" where a third party's account of the paper was read, and "recalled" where the number comes
    from memory. The paper's own tables were not at hand.
    """
    with files("dacs.reporting").joinpath("published.csv").open(encoding="utf-8") as stream:
        return pd.read_csv(stream)


def _metrics(run: Run) -> dict[str, Any]:
    return dict(read_json(existing(run.folder.evaluation.metrics, run.evaluated_by)))


# --------------------------------------------------------------------------------------------------------------------
# Tables of the prepared data


def similarity_table(prepared: Path, tasks: Sequence[str]) -> pd.DataFrame:
    """Distance of the labelled source images to the target's validation images, by each of `MEASURES`."""
    rows = []
    for source, target in (task.split("-") for task in tasks):
        pair = _stats(prepared_domain(prepared, source).labelled), _stats(prepared_domain(prepared, target).measured)
        rows += [(source, target, *found) for found in distances(*pair).items()]
    return pd.DataFrame(rows, columns=["source", "target", "measure", "distance"])


def distances(source: dict[str, Any], target: dict[str, Any]) -> dict[str, float]:
    """Each of `MEASURES` from the statistics of two splits; 0: equal, at most 1, NaN where the target is unlabelled."""
    colors = [np.array([split["image_mean"], split["image_std"]]) / 255 for split in (source, target)]
    found = dict.fromkeys(MEASURES, float("nan"))
    if "pixels" in target:
        found["frequency"] = float(jensen_shannon(np.array(source["pixels"]), np.array(target["pixels"])))
        found["layout"] = float(np.nanmean(jensen_shannon(np.array(source["rows16"]), np.array(target["rows16"]))))
        found["presence"] = float(np.abs(np.subtract(source["presence"], target["presence"])).mean())
    return found | {"color": float(np.abs(colors[0] - colors[1]).mean())}


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Jensen-Shannon distance of counts or shares along the first axis: 0 equal, 1 disjoint, NaN where one is empty.

    >>> jensen_shannon(np.array([1, 0]), np.array([0, 2]))
    np.float64(1.0)
    """
    with np.errstate(invalid="ignore"):
        p, q = p / p.sum(0), q / q.sum(0)
    bits = (rel_entr(p, (p + q) / 2) + rel_entr(q, (p + q) / 2)).sum(0) / np.log(2)
    return np.sqrt(np.clip(bits, 0, None) / 2)  # scipy's jensenshannon is NaN where rounding makes it less than 0


def split_table(prepared: Path, tasks: Sequence[str]) -> pd.DataFrame:
    """Number and size of the images of each prepared split that the tasks use."""
    rows = []
    for domain in _domains(tasks):
        found = prepared_domain(prepared, domain)
        targets = [found.train, found.measured] if domain in map(target_of, tasks) else []
        sources = [found.labelled] if domain in map(source_of, tasks) else []
        for split in dict.fromkeys(targets + sources):
            stats = _stats(split)
            rows.append((domain, split.path.name, stats["frames"], *stats["size"]))
    return pd.DataFrame(rows, columns=["domain", "split", "frames", "height", "width"])


def data_report_table(prepared: Path, tasks: Sequence[str]) -> pd.DataFrame:
    """The data report of each domain as facts, with their names and counts; the meaning of a raw id is its class."""
    rows = []
    for domain in _domains(tasks):
        rows += [(domain, *fact) for fact in _facts(read_json(prepared_domain(prepared, domain).data_report))]
    return pd.DataFrame(rows, columns=["domain", "fact", "name", "count", "meaning"]).astype({"count": "Int64"})


def _facts(found: dict[str, Any]) -> Iterator[tuple[str, str, int | None, str]]:
    """Fact, name, count and meaning of each entry of a data report."""
    for fact in ("summary", "origin", "layout"):
        yield fact, found[fact], None, ""
    for fact, key in (("frames", "frames"), ("published", "published"), ("size", "sizes"), ("id", "ids")):
        for name, number in found[key].items():
            yield fact, str(name), int(number), found["id_names"].get(name, "") if fact == "id" else ""
    for fact in ("absent", "dropped", "mended", "kept"):
        yield from ((fact, name, None, "") for name in found[fact])


def _stats(split: PreparedSplit) -> dict[str, Any]:
    return dict(read_json(existing(split.stats, f"dacs remap --domain {split.path.parent.name}")))


def _domains(tasks: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(domain for task in tasks for domain in task.split("-")))
