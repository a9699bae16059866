"""The rows of the page's tables, from metrics.json, the CSV tables and the published numbers."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from dacs.labels import CLASS_SETS, CLASSES, NAMES
from dacs.reporting import words
from dacs.reporting.names import DOMAINS, class_set, hero, method, source_of, task_title
from dacs.reporting.tables import published

ORIGINS = {"world": "built in"}  # as the page calls them


def task_rows(
    task: str, methods: Sequence[str], scores: dict[str, Any], tables: dict[str, pd.DataFrame]
) -> dict[str, Any]:
    """What the page says of one task."""
    papers = published()
    papers = papers[papers["task"] == task]
    return {
        "name": task,
        "title": task_title(task),
        "set": class_set(task),
        "headline": words.headline(task, scores),
        "result": words.result(task, scores),
        "conflation": words.conflation(task, tables["conflation"]),
        "rows": [_score_row(name, class_set(task), scores, papers) for name in methods],
        "papers": [name for name in ("source", "dacs") if (papers["method"] == name).any()],
        "published": _said(papers, f"mIoU{class_set(task)}"),
        "classes": _class_rows(task, methods, tables["iou"], papers),
        "missing": [name for index, name in enumerate(NAMES) if index not in CLASS_SETS[class_set(task)]],
    }


def _score_row(name: str, chosen: str, scores: dict[str, Any], papers: pd.DataFrame) -> dict[str, Any]:
    """One method of the table of results."""
    row, column = scores[name], f"miou{chosen}"
    gain = row[column] - scores["source"][column] if "source" in scores and name != "source" else None
    return row | {
        "name": name,
        "label": method(name).label,
        "headline": row[column],
        "std": row[f"{column}_std"],
        "gain": gain,
        "teacher": row.get(f"teacher_{column}"),
        "published": _said(papers, column.replace("miou", "mIoU")).get(name),
    }


def _said(papers: pd.DataFrame, name: str) -> dict[str, dict[str, Any]]:
    """What papers print of a class, by method: iou, evidence, where_read."""
    columns = ["method", "iou", "evidence", "where_read"]
    rows = papers.loc[papers["class"] == name, columns].itertuples(index=False, name=None)
    return {row[0]: dict(zip(columns[1:], row[1:], strict=True)) for row in rows}


def _class_rows(task: str, methods: Sequence[str], iou: pd.DataFrame, papers: pd.DataFrame) -> list[dict[str, Any]]:
    """The classes of the task's set, one row each: mean IoU by method, and what papers print."""
    means = iou[iou["task"] == task].groupby(["method", "class"])["iou"].mean()
    rows = []
    for index in CLASS_SETS[class_set(task)]:
        label = CLASSES[index]
        own = {name: _float(means.get((name, label.name))) for name in methods}
        rivals = [value for name, value in own.items() if value is not None and name != "oracle"]
        rows.append(
            {
                "class": label.name,
                "color": label.color,
                "own": own,
                "best": max(rivals, default=None),
                "paper": _said(papers, label.name),
            }
        )
    return rows


def data_rows(table: pd.DataFrame, origins: dict[str, str]) -> list[dict[str, Any]]:
    """The data sets and where they come from."""
    rows = []
    for row in table.itertuples(index=False):
        domain, split, frames, height, width = row
        origin = origins.get(str(domain), "unknown")
        rows.append(
            {
                "domain": DOMAINS.get(str(domain), domain),
                "split": split,
                "frames": frames,
                "size": f"{width} × {height}",
                "origin": ORIGINS.get(origin, origin),
            }
        )
    return rows


def gains(metrics: dict[str, Any], tasks: Sequence[str], methods: Sequence[str]) -> dict[str, float]:
    """Points of mIoU16 that the report's method gains over source-only, by source: classes that all domains have."""
    best = hero(methods)
    if best is None or "source" not in methods:
        return {}
    return {source_of(task): metrics[task][best]["miou16"] - metrics[task]["source"]["miou16"] for task in tasks}


def _float(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)
