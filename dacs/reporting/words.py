"""The sentences of the page that depend on numbers. Each says what the numbers say, also when they disappoint."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dacs.reporting.names import class_set, domain_label, hero, method, signed, target_of, task_title
from dacs.reporting.similarity import MEASURES

Metrics = dict[str, Any]  # one task of metrics.json: method → scores


def number(value: float | None, digits: int = 1) -> str:
    """A number for a table; a dash where there is none."""
    return "\u2013" if value is None or not np.isfinite(value) else f"{value:.{digits}f}".replace("-", "\u2212")


def headline(task: str, scores: Metrics) -> dict[str, str] | None:
    """The numbers at the top: what the report's method reached, from where, and the change."""
    best, column = hero(list(scores)), f"miou{class_set(task)}"
    if best is None or "source" not in scores:
        return None
    after, before = scores[best][column], scores["source"][column]
    if after is None or before is None:
        return None
    return {
        "task": task_title(task),
        "method": method(best).label,
        "after": number(after),
        "before": number(before),
        "gain": signed(after - before),
        "set": class_set(task),
    }


def unmeasured(task: str) -> str:
    """Why a task has no numbers."""
    return (
        f"{task_title(task)}: nothing was measured. No labelled validation frames came with"
        f" {domain_label(target_of(task))}, so nobody knows here how right the predictions are; look at them below."
    )


def result(task: str, scores: Metrics) -> str:
    """What came out of one task, in a sentence or two."""
    facts, column = headline(task, scores), f"miou{class_set(task)}"
    if all(row[column] is None for row in scores.values()):
        return unmeasured(task)
    if facts is None:
        listed = ", ".join(f"{method(name).label} {number(row[column])}" for name, row in scores.items())
        return f"{task_title(task)}: {listed} (mIoU over {class_set(task)} classes)."
    direction, points = "fewer" if facts["gain"].startswith("\u2212") else "more", facts["gain"][1:]
    text = (
        f"From {facts['task']}, {facts['method']} reaches {facts['after']} mIoU over {facts['set']} classes,"
        f" {points} points {direction} than source only ({facts['before']})."
    )
    rivals = {name: row[column] for name, row in scores.items() if name != "oracle" and row[column] is not None}
    first = max(rivals, key=lambda name: rivals[name])
    if method(first).label != facts["method"]:
        text += f" The best here is {method(first).label} ({number(rivals[first])})."
    return text


def conflation(task: str, table: pd.DataFrame) -> str:
    """How much sidewalk is lost to the road, by the methods the story is about."""
    means = table[table["task"] == task].groupby("method")["sidewalk_called_road"].mean()
    best = hero([str(name) for name in means.index])
    named = [name for name in ("source", "naive", best) if name is not None and name in means.index]
    parts = [f"{method(name).label} {number(means[name])} %" for name in dict.fromkeys(named)]
    return f"{task_title(task)}: {', '.join(parts)} of the true sidewalk is called road."


def similarity(target: str, table: pd.DataFrame, gains: dict[str, float]) -> str:
    """Whether the closer of two sources is also the one that gains more; empty where there are not two."""
    wide = table.pivot_table(index="measure", columns="source", values="distance").reindex(list(MEASURES)).dropna()
    if len(wide.columns) != 2:
        return ""
    first, second = wide.columns
    wins = int((wide[first] < wide[second]).sum())
    near, far, count = (first, second, wins) if 2 * wins >= len(wide) else (second, first, len(wide) - wins)
    closer, other = domain_label(str(near)), domain_label(str(far))
    if 2 * count == len(wide):
        return f"Here neither is clearly closer: each of {closer} and {other} is so by {count} of {len(wide)} measures."
    text = f"{closer} is closer to {domain_label(target)} than {other} by {count} of {len(wide)} measures."
    if near not in gains or far not in gains:
        return text
    holds = gains[near] > gains[far]
    told = f"{signed(gains[near])} points from {closer}, {signed(gains[far])} from {other}"
    return f"{text} Gained were {told}: here the argument {'holds' if holds else 'does not hold'}."


def seeds(values: Sequence[int]) -> str:
    """The seeds, counted and listed."""
    return f"{len(values)} seed{'s' * (len(values) > 1)} ({', '.join(map(str, values))})"
