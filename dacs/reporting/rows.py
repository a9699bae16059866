"""What the page's tables and sentences need of one task and of one data report."""

import re
from typing import Any

import numpy as np
import pandas as pd

from dacs.labels import CLASS_SETS, CLASSES
from dacs.methods import main_method, method
from dacs.reporting.data import best_baseline
from dacs.reporting.names import class_set, domain_title, method_title, source_of, target_of, task_title
from dacs.reporting.tables import published


def task_rows(task: str, metrics: dict[str, dict[str, Any]], tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """What the page shows of one task, from its part of metrics.json (method → scores) and the tables."""
    score, main = f"miou{class_set(task)}", main_method(metrics)
    of_task = {name: tables[name].loc[tables[name]["task"] == task] for name in ("iou", "scores", "summary")}
    labels, papers = of_task["scores"]["labels"].iloc[0], published_results(task)
    classes = [CLASSES[index] for index in CLASS_SETS[class_set(task)]]
    whole = [row for row in papers if {each.name for each in classes} <= {*row["cells"]}]
    scores = pd.DataFrame.from_dict(metrics, orient="index").astype(float)
    scores = scores.assign(headline=scores[score], teacher=scores[f"teacher_{score}"])
    baseline = best_baseline(scores["headline"])
    scores["gain"] = scores["headline"] - scores["headline"].get(baseline, np.nan)
    gain, gap = (scores["gain"].get(name, np.nan) for name in (main, "oracle"))
    compared = [name for name in metrics if method(name).labels == "source"]
    iou = of_task["iou"].groupby(["class", "method"], sort=False)["iou"].mean().unstack(sort=False)
    return {
        "title": task_title(task),
        "source": source_of(task),
        "target": target_of(task),
        "set": class_set(task),
        "labels": "" if pd.isna(labels) else re.sub(r"(\d+)x(\d+)", "\\2 × \\1", labels),
        "scores": scores.to_dict("index"),
        "main": main,
        "baseline": baseline,
        "gain": gain,
        "closed": 100 * gain / gap if gap > 0 else np.nan,  # percent of the gap between baseline and oracle
        "best": max(compared, key=lambda name: metrics[name][score] or 0, default=None),
        "papers": papers,
        "published": first_of_each(papers),  # by method
        "papers_by_class": whole,
        "sets": [each for each in ("19", "16", "13") if any(f"mIoU{each}" in row["cells"] for row in papers)],
        "beside": [row for name, row in first_of_each(whole).items() if name in (*metrics, "source", "dacs")],
        "classes": classes,
        "iou": iou.to_dict("index"),
        "best_iou": iou[compared].max(axis=1),
        "collapsed": of_task["summary"].set_index("method")["collapsed"].dropna(),
    }


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
