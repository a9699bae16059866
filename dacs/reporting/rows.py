"""The rows of the page's tables and the sentences about results, from metrics.json, the tables and published.csv."""

from typing import Any

import numpy as np
import pandas as pd

from dacs.labels import CLASS_SETS, CLASSES, NAMES
from dacs.methods import main_method, method
from dacs.reporting.names import class_set, domain_title, signed, source_of, target_of, task_title
from dacs.reporting.tables import published

Scores = dict[str, dict[str, Any]]  # one task of metrics.json: method → scores
ORIGINS = {"world": "built-in world", "download": "official server", "folder": "local copy", "custom": "custom"}
DEFECTS = ("dropped", "mended", "kept")  # what is done about images with known defects


def number(value: float | None, digits: int = 1) -> str:
    """A number for a table; a dash where there is none."""
    return "\u2013" if value is None or not np.isfinite(value) else f"{value:.{digits}f}".replace("-", "\u2212")


def task_row(task: str, scores: Scores, tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """What the page shows of one task."""
    chosen, papers = class_set(task), published().query("task == @task")
    cells = papers.set_index(["method", "class"]).to_dict("index")  # iou, evidence, where_read
    summary = tables["summary"].query("task == @task").set_index("method")
    facts = tables["data_report"].query("fact == 'absent'")
    return {
        "title": task_title(task),
        "set": chosen,
        "source": domain_title(source_of(task)),
        "target": domain_title(target_of(task)),
        "labels": _label_size(tables["scores"].query("task == @task")["labels"]),
        "headline": headline(task, scores),
        "result": result(task, scores),
        "rows": [_score_row(name, f"miou{chosen}", scores, cells.get((name, f"mIoU{chosen}"))) for name in scores],
        "papers": {
            name: cells.get((name, f"mIoU{chosen}")) for name in ("source", "dacs") if name in set(papers["method"])
        },
        "classes": _class_rows(chosen, tables["iou"].query("task == @task"), cells),
        "collapsed": {method(str(name)).title: text for name, text in summary["collapsed"].dropna().items()},
        "absent_source": list(facts.loc[facts["domain"] == source_of(task), "name"]),
        "absent_target": list(facts.loc[facts["domain"] == target_of(task), "name"]),
        "missing": [name for index, name in enumerate(NAMES) if index not in CLASS_SETS[chosen]],
    }


def headline(task: str, scores: Scores) -> dict[str, str] | None:
    """The main number of a task: what the main method reaches, the baseline, and the gain."""
    main, column = main_method(scores), f"miou{class_set(task)}"
    if main is None or "source" not in scores or None in (scores[main][column], scores["source"][column]):
        return None
    after, before = scores[main][column], scores["source"][column]
    return {
        "task": task_title(task),
        "method": method(main).title,
        "after": number(after),
        "before": number(before),
        "gain": signed(after - before),
        "set": class_set(task),
    }


def result(task: str, scores: Scores) -> str:
    """The result of a task in a sentence or two."""
    facts, chosen = headline(task, scores), class_set(task)
    values = {name: row[f"miou{chosen}"] for name, row in scores.items() if row[f"miou{chosen}"] is not None}
    if not values:
        return (
            f"{task_title(task)}: no scores. {domain_title(target_of(task))} has no labelled validation images;"
            " the predictions are shown below."
        )
    if facts is None:
        listed = ", ".join(f"{method(name).title} {number(value)}" for name, value in values.items())
        return f"{task_title(task)}: {listed} (mIoU over {chosen} classes)."
    text = (
        f"{facts['task']}: {facts['method']} reaches {facts['after']} % mIoU over {chosen} classes, {facts['gain'][1:]}"
        f" points {'more' if facts['gain'][0] == '+' else 'less'} than source only ({facts['before']} %)."
    )
    best = max((name for name in values if method(name).labels == "source"), key=lambda name: values[name])
    if best != main_method(scores):
        text += f" Best: {method(best).title} ({number(values[best])} %)."
    return text


def _score_row(name: str, column: str, scores: Scores, paper: Any) -> dict[str, Any]:
    """One method of the table of results."""
    row, baseline = scores[name], scores.get("source", {}).get(column)
    value = row[column]
    return row | {
        "name": name,
        "title": method(name).title,
        "headline": value,
        "gain": value - baseline if name != "source" and None not in (value, baseline) else None,
        "teacher": row.get(f"teacher_{column}"),
        "published": paper,
        "difference": value - paper["iou"] if paper and value is not None else None,
    }


def _label_size(labels: pd.Series) -> str | None:
    """The size of the ground truth, width × height; None where there is none."""
    if labels.isna().any():
        return None
    kind, size = str(labels.iloc[0]).replace(",", "").split(" ", 1)
    text = " × ".join(reversed(size.split("x"))) if "x" in size else size
    return f"{'full size' if kind == 'full' else 'the input size of the networks'} ({text})"


def _class_rows(chosen: str, iou: pd.DataFrame, cells: dict[Any, Any]) -> list[dict[str, Any]]:
    """The classes of a set: mean IoU by method, the best of the methods that adapt or do not, and published values."""
    means = iou.groupby(["class", "method"], sort=False)["iou"].mean().unstack(sort=False)
    compared = means[[name for name in means if method(str(name)).labels == "source"]].max(axis=1)
    return [
        {
            "class": label.name,
            "color": label.color,
            "iou": means.loc[label.name].to_dict(),
            "best": compared[label.name],
            "published": {name: cell for (name, of), cell in cells.items() if of == label.name},
        }
        for label in (CLASSES[index] for index in CLASS_SETS[chosen])
    ]


def split_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The prepared splits."""
    return [
        {"domain": domain_title(domain), "split": split, "images": images, "size": f"{width} × {height}"}
        for domain, split, images, height, width in table.itertuples(index=False, name=None)
    ]


def data_report_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """What was found of each domain: images, summary, raw sizes, raw ids by their share, and known defects."""
    return [_data_report_row(str(domain), facts) for domain, facts in table.groupby("domain", sort=False)]


def _data_report_row(domain: str, facts: pd.DataFrame) -> dict[str, Any]:
    def of(fact: str) -> list[tuple[str, Any, str]]:
        found = facts[facts["fact"] == fact]
        return list(zip(found["name"], found["count"], found["meaning"].fillna(""), strict=True))

    origin = of("origin")[0][0]
    return {
        "domain": domain_title(domain),
        "origin": ORIGINS.get(origin, origin),
        "images": " + ".join(f"{count:,}" for _, count, _ in of("frames")),
        "published": " + ".join(f"{count:,}" for _, count, _ in of("published")),
        "summary": of("summary")[0][0],
        "layout": of("layout")[0][0],
        "sizes": [(size.replace("x", "\u00a0×\u00a0"), count) for size, count, _ in of("size")],
        "ids": _shares(of("id")),
        "defects": {fact: [name for name, _, _ in of(fact)] for fact in DEFECTS},
    }


def _shares(ids: list[tuple[str, int, str]]) -> list[tuple[str, str, float]]:
    """Class, raw id and percent of the pixels, the largest first; those below 0.1 % are added up."""
    total = sum(count for _, count, _ in ids)
    shares = sorted(((meaning, raw, 100 * count / total) for raw, count, meaning in ids), key=lambda row: -row[2])
    rare = [share for _, _, share in shares if share < 0.1]
    return [*shares[: len(shares) - len(rare)], *([(f"{len(rare)} more", "", sum(rare))] if rare else [])]
