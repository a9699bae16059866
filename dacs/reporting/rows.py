"""The rows of the page's tables, from metrics.json, the CSV tables and the published numbers."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from dacs.labels import CLASS_SETS, CLASSES, LABELS, NAMES
from dacs.reporting import words
from dacs.reporting.names import class_set, domain_label, hero, method, source_of, target_of, task_title
from dacs.reporting.tables import published

ORIGINS = {"world": "built in", "download": "its servers", "folder": "a copy", "own": "own files"}
ROLES = ("source", "target")
DEFECTS = ("dropped", "mended", "kept")  # what is done about frames that are known to be defective


def task_rows(
    task: str,
    methods: Sequence[str],
    scores: dict[str, Any],
    tables: dict[str, pd.DataFrame],
    absent: dict[str, Sequence[str]],
) -> dict[str, Any]:
    """What the page says of one task; `absent` are the classes that a domain does not have, where it lacks any."""
    papers = published()
    papers = papers[papers["task"] == task]
    return {
        "name": task,
        "title": task_title(task),
        "set": class_set(task),
        "source": domain_label(source_of(task)),
        "target": domain_label(target_of(task)),
        "labels": _labels(task, tables["scores"]),
        "headline": words.headline(task, scores),
        "result": words.result(task, scores),
        "conflation": words.conflation(task, tables["conflation"]),
        "rows": [_score_row(name, class_set(task), scores, papers) for name in methods],
        "papers": [name for name in ("source", "dacs") if (papers["method"] == name).any()],
        "published": _said(papers, f"mIoU{class_set(task)}"),
        "classes": _class_rows(task, methods, tables["iou"], papers),
        "absent": {role: absent.get(domain, []) for role, domain in zip(ROLES, task.split("-"), strict=True)},
        "collapsed": _collapsed(task, methods, tables["summary"]),
        "missing": [name for index, name in enumerate(NAMES) if index not in CLASS_SETS[class_set(task)]],
    }


def _score_row(name: str, chosen: str, scores: dict[str, Any], papers: pd.DataFrame) -> dict[str, Any]:
    """One method of the table of results."""
    row, column = scores[name], f"miou{chosen}"
    said = _said(papers, column.replace("miou", "mIoU")).get(name)
    compared = "source" in scores and name != "source" and None not in (row[column], scores["source"][column])
    gain = row[column] - scores["source"][column] if compared else None
    return row | {
        "name": name,
        "label": method(name).label,
        "headline": row[column],
        "std": row[f"{column}_std"],
        "gain": gain,
        "teacher": row.get(f"teacher_{column}"),
        "published": said,
        "gap": row[column] - said["iou"] if said and row[column] is not None else None,
    }


def _collapsed(task: str, methods: Sequence[str], summary: pd.DataFrame) -> dict[str, str]:
    """By method, the classes that came out as 0.00, and in which seeds."""
    own = summary[summary["task"] == task].set_index("method")["collapsed"].dropna()
    return {method(name).label: str(own[name]) for name in methods if own.get(name)}


def _labels(task: str, scores: pd.DataFrame) -> str | None:
    """At which size pixels were counted, in words, width × height; None where none were."""
    found = scores.loc[scores["task"] == task, "labels"].dropna()
    if found.empty:
        return None
    kind, size = str(found.iloc[0]).replace(",", "").split(" ", 1)
    shown = " × ".join(reversed(size.split("x"))) if "x" in size else size
    return f"{'full size' if kind == 'full' else 'the size that the networks see'} ({shown})"


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


def data_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The prepared splits."""
    return [
        {"domain": domain_label(domain), "split": split, "frames": frames, "size": f"{width} × {height}"}
        for domain, split, frames, height, width in table.itertuples(index=False, name=None)
    ]


def contract_rows(contract: pd.DataFrame, own: dict[str, Any]) -> list[dict[str, Any]]:
    """What was found of each domain: frames, verdict, raw sizes, raw ids by their share, and known defects."""
    rows = []
    for domain, found in contract.groupby("domain", sort=False):
        sizes, ids = found[found["fact"] == "size"], found[found["fact"] == "id"]
        names = id_names(str(domain), own.get(str(domain), {}).get("classes", {}))
        rows.append(
            {
                "domain": domain_label(str(domain)),
                "origin": ORIGINS.get(_fact(found, "origin"), _fact(found, "origin")),
                "frames": _total(found, "frames"),
                "published": _total(found, "published"),
                "verdict": _fact(found, "verdict"),
                "layout": _fact(found, "layout"),
                "sizes": [(name.replace("x", "\u00a0×\u00a0"), int(count)) for name, count in _pairs(sizes)],
                "ids": _shares([(names.get(name, ""), name, int(count)) for name, count in _pairs(ids)]),
                "defects": {fact: [name for name, _ in _pairs(found[found["fact"] == fact])] for fact in DEFECTS},
            }
        )
    return rows


def id_names(domain: str, classes: dict[str, str]) -> dict[str, str]:
    """What each raw id of a domain means; the colours of one's own labels are numbered in the order of their table."""
    if classes:
        painted = any("," in raw for raw in classes)
        return {str(place) if painted else raw: name for place, (raw, name) in enumerate(classes.items())}
    known = {str(label.synthia_id if domain == "synthia" else label.id): label.name for label in reversed(LABELS)}
    return known | ({"22": "lane marking"} if domain == "synthia" else {})


def _shares(ids: list[tuple[str, str, int]]) -> list[tuple[str, str, float]]:
    """Name, id and percent of the pixels, the largest first; those below a thousandth are counted together."""
    total = sum(count for _, _, count in ids)
    shares = sorted(((name, raw, 100 * count / total) for name, raw, count in ids), key=lambda row: -row[2])
    rare = [share for _, _, share in shares if share < 0.1]
    shown = shares[: len(shares) - len(rare)]
    return [*shown, (f"{len(rare)} more", "", sum(rare))] if rare else shown


def _pairs(found: pd.DataFrame) -> list[tuple[str, Any]]:
    return list(zip(found["name"], found["count"], strict=True))


def _total(found: pd.DataFrame, fact: str) -> str:
    """The counts of all splits: 2,975 + 500; empty where there are none."""
    return " + ".join(f"{count:,}" for _, count in _pairs(found[found["fact"] == fact]))


def _fact(found: pd.DataFrame, fact: str) -> str:
    return str(found.loc[found["fact"] == fact, "name"].iloc[0])


def gains(metrics: dict[str, Any], tasks: Sequence[str], methods: Sequence[str]) -> dict[str, float]:
    """Points of mIoU16 that the report's method gains over source-only, by source; every published set has those 16."""
    best = hero(methods)
    if best is None or "source" not in methods:
        return {}
    pairs = {source_of(task): (metrics[task][best]["miou16"], metrics[task]["source"]["miou16"]) for task in tasks}
    return {source: after - before for source, (after, before) in pairs.items() if None not in (after, before)}


def _float(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)
