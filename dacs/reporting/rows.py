"""What the page's tables and sentences need of one task and of one data report."""

import re
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from dacs.datasets.registry import DATASETS
from dacs.labels import CITYSCAPES, LabelSet
from dacs.methods import main_method
from dacs.reporting.claim import claim, closed
from dacs.reporting.conflation import reference_method
from dacs.reporting.data import best_baseline, pair_of
from dacs.reporting.groups import Group, Groups, groups_of, listed
from dacs.reporting.intervals import indistinct, interval
from dacs.reporting.measured import Protocol
from dacs.reporting.names import domain_title, method_title, number, source_of, target_of, task_title
from dacs.reporting.order import FAILS, HOLDS
from dacs.reporting.tables import absent_in_target, of_role, published

TABLES = (  # that `task_rows` reads
    *("iou", "iou_by_protocol", "scores", "summary", "intervals", "class_intervals", "order"),
    *("missing", "choice", "conflation", "pair"),
)


def task_rows(task: str, tables: dict[str, pd.DataFrame], labels: LabelSet) -> dict[str, Any]:
    """What the page shows of one task, from the tables of the report."""
    of_task = {name: table.loc[table["task"] == task] for name, table in tables.items() if "task" in table}
    groups = groups_of(task, labels, absent_in_target(tables["missing"], task))
    missing = of_task["missing"].groupby("where")["class"].agg(list).to_dict()
    whole_street = labels is CITYSCAPES and "target" not in missing  # that published means are over
    scores = method_rows(of_task["summary"])
    return {
        "title": task_title(task),
        "source": source_of(task),
        "target": target_of(task),
        "groups": groups.every,
        "headline": groups.headline,
        "notes": [] if whole_street else [note(group, groups.every[0]) for group in groups.every[1:]],
        "classes": [each for each in labels.classes if each.name in groups.shown],
        "totals": [groups.headline] if labels is CITYSCAPES else groups.every,
        **_missing_classes(task, missing, groups, labels),
        **_scores(task, of_task, scores, groups),
        **_papers(published_results(task) if whole_street else [], scores, groups),
        "order": order_rows(of_task["order"]),
        "checkpoints": choice_rows(of_task["choice"]),
        "iou": by_method(of_task["iou"]),
        "class_best": {
            str(name): indistinct(rows, "iou") for name, rows in of_task["class_intervals"].groupby("class", sort=False)
        },
        "pair": pair_of(tables["pair"], task),
        "reference": reference_method(list(scores.index)),
        "compared": [*scores.index],
        "taken_for": taken_for(of_task["conflation"], scores.index),
        "collapsed": main_rows(of_task["summary"]).set_index("method")["collapsed"].dropna(),
    }


def _missing_classes(task: str, missing: dict[Any, list[str]], groups: Groups, labels: LabelSet) -> dict[str, Any]:
    """The classes that target, source, frames or groups do not have, and those that the target merges."""
    target = DATASETS.get(target_of(task))
    merged = target.merged(labels) if target else {}
    return {
        "absent": [name for name in missing.get("target", []) if name not in merged],
        "merged": merged,
        "without_pixels": missing.get("frames", []),
        "untaught": [name for name in missing.get("source", []) if name in groups.shown],
        "not_of_source": [name for name in groups.every[0].classes if name not in groups.shown],
    }


def _scores(task: str, of_task: dict[str, pd.DataFrame], scores: pd.DataFrame, groups: Groups) -> dict[str, Any]:
    """The scores by method with their intervals, the best of them, and the main result; all protocols."""
    size = main_rows(of_task["scores"])["labels"].iloc[0]
    measured, intervals = not pd.isna(size), main_rows(of_task["intervals"])
    baseline, main, best = best_baseline(scores["headline"]), main_method(scores.index), indistinct(intervals, "miou")
    return {
        "labels": pixels_of(size),
        "scores": scores.to_dict("index"),
        "main": main,
        "baseline": baseline,
        "gain": scores["gain"].get(main, np.nan),
        "closed": closed(scores),
        "best": best,
        "bold": best if len(best) == 1 else [],
        "intervals": {
            row["method"]: {
                "mean": interval(row, "miou"),
                "difference": None if row["method"] == baseline else interval(row, "gain"),
            }
            for row in intervals.to_dict("records")
        },
        "claim": claim(task, groups.headline, scores, intervals if measured else None),
        "protocols": protocol_rows(of_task) if measured else [],
    }


def _papers(papers: list[dict[str, Any]], scores: pd.DataFrame, groups: Groups) -> dict[str, Any]:
    """The published results, those with all classes, and those of the methods that are measured here."""
    whole = [row for row in papers if {*groups.shown} <= {*row["cells"]}]
    return {
        "papers": papers,
        "published": first_of_each(papers),  # by method
        "papers_by_class": whole,
        "sets": [each for each in ("19", "16", "13") if any(f"mIoU{each}" in row["cells"] for row in papers)],
        "beside": [row for name, row in first_of_each(whole).items() if name in (*scores.index, "source", "dacs")],
    }


def main_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the main numbers."""
    return table[table["headline"].astype(bool)]


def method_rows(summary: pd.DataFrame) -> pd.DataFrame:
    """The scores of a task by method, in percent with two decimals, of the protocol of the main numbers.

    `headline` is the main number, `teacher` that of the teacher, `gain` the difference to that of the best baseline.
    """
    scores = of_role(summary, "student")
    teacher = of_role(summary, "teacher")["miou"]
    return with_gain(scores.assign(teacher=teacher))


def with_gain(summary: pd.DataFrame) -> pd.DataFrame:
    """Rows of a summary by method as the page shows them."""
    numbers = summary.select_dtypes("number").rename(columns={"n": "seeds", "miou": "headline"}).round(2)
    baseline = best_baseline(numbers["headline"])
    return numbers.assign(gain=numbers["headline"] - numbers["headline"].get(baseline, np.nan))


def with_single_states(rows: pd.DataFrame, main: pd.DataFrame) -> pd.DataFrame:
    """The rows of a protocol; of methods with a single state, of which nothing is chosen, those of the main numbers."""
    return pd.concat([rows, main[~main["method"].isin(rows["method"])]])


def pixels_of(size: Any) -> str:
    """The size of the ground truth as it is shown, width × height; empty where there is none.

    >>> pixels_of("full 192x384")
    'full 384 × 192'
    """
    return "" if pd.isna(size) else re.sub(r"(\d+)x(\d+)", "\\2 × \\1", size)


def by_method(iou: pd.DataFrame) -> dict[Any, Any]:
    """The IoU of each class by method, the mean of the seeds."""
    return iou.groupby(["class", "method"], sort=False)["iou"].mean().unstack(sort=False).to_dict("index")


def protocol_rows(of_task: dict[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """The protocols that the page switches between, that of the main numbers first: titles, scores and IoU."""
    key = list(Protocol._fields)
    main = Protocol(*main_rows(of_task["summary"])[key].iloc[0])
    sizes = of_task["scores"].groupby(key, sort=False)["labels"].first()
    found = {Protocol(*map(str, name)): rows for name, rows in of_task["summary"].groupby(key, sort=False)}
    iou = {Protocol(*map(str, name)): rows for name, rows in of_task["iou_by_protocol"].groupby(key, sort=False)}
    return [
        {
            "id": protocol.key,
            "title": f"{protocol.title}{' (as the authors of DACS)' if protocol == main.authors else ''}",
            "caption": f"{protocol.title} ({pixels_of(sizes[protocol]).partition(' ')[2]})",
            "scores": with_gain(
                with_single_states(found[protocol], found[main]).set_index("method").loc[[*found[main]["method"]]]
            ).to_dict("index"),
            "iou": by_method(with_single_states(iou[protocol], iou[main])),
        }
        for protocol in main.shown
        if protocol in iou
    ]


def order_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The expected order of the methods, line by line; `holds` is None where the interval leaves it open."""
    return [
        {
            "text": row["line"],
            "difference": interval(row, "value"),
            "unit": row["unit"],
            "verdict": row["verdict"],
            "holds": {HOLDS: True, FAILS: False}.get(row["verdict"]),
            "source": row["source"],
        }
        for row in table.to_dict("records")
    ]


def choice_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """What each criterion of a checkpoint costs in points, the mean over runs and the most; that which is used too."""
    return [
        {"rule": rule, "used": bool(rows["used"].all()), "regret": rows["regret"].mean(), "worst": rows["regret"].max()}
        for rule, rows in table.groupby("criterion", sort=False)
    ]


def published_results(task: str) -> list[dict[str, Any]]:
    """The published results of a task: method, network and paper, title, and cells by class or mean.

    A cell has iou, evidence and where_read.
    """
    about, cell = ["method", "network", "paper"], ["iou", "evidence", "where_read"]
    found = published().query("task == @task").groupby(about, sort=False)
    return [
        dict(zip(about, key, strict=True))
        | {"title": method_title(str(key[0])), "cells": rows.set_index("class")[cell].to_dict("index")}
        for key, rows in found
    ]


def note(group: Group, every: Group) -> str:
    """Which classes a group has, or which of all it has not, whichever is shorter."""
    others = [name for name in every.classes if name not in group.classes]
    shorter = f"all classes but {listed(others)}" if len(others) < len(group.classes) else listed(group.classes)
    return f"{group.short} is over {shorter}."


def taken_for(table: pd.DataFrame, methods: Collection[str]) -> dict[str, dict[str, str]]:
    """By class and method, what the class is most taken for, and in percent of its pixels, the mean of the seeds.

    Where seeds differ it is the class that most pixels are taken for, and the number of its seeds.
    """
    found: dict[str, dict[str, str]] = {}
    for (name, by), runs in table.groupby(["class", "method"], sort=False):
        if by in methods:
            each, text = runs.groupby("taken_for")["percent"].agg(["sum", "mean", "size"]), "none"
            if not each.empty:
                most = each.sort_values("sum").iloc[-1]
                seeds = f" ({most['size']:.0f} of {len(runs)} seeds)" if most["size"] < len(runs) else ""
                text = f"{most.name} {number(most['mean'])}\u00a0%{seeds}"
            found.setdefault(str(name), {})[str(by)] = text
    return found


def first_of_each(papers: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The first of the published results of each method."""
    found: dict[str, dict[str, Any]] = {}
    for row in papers:
        found.setdefault(row["method"], row)
    return found


def data_report_rows(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The data report of each domain: its title, and by fact the names, counts, meanings and percent of all counts."""
    table = table.fillna({"meaning": ""})
    table["share"] = 100 * table["count"] / table.groupby(["domain", "fact"])["count"].transform("sum")
    return {
        str(domain): {"title": domain_title(str(domain))}
        | {str(fact): rows.to_dict("records") for fact, rows in facts.groupby("fact")}
        for domain, facts in table.groupby("domain", sort=False)
    }
