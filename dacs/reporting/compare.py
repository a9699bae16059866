"""Two results side by side: parameters, scores, intervals and classes; as text for a terminal, and as a page."""

import json
import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from dacs.errors import BadRequest
from dacs.evaluation.intervals import Interval
from dacs.evaluation.spec import labels_of
from dacs.layout import RunDir
from dacs.reporting.groups import Group
from dacs.reporting.intervals import interval, known, one_against_all
from dacs.reporting.measured import Evaluation, bootstrap, read_evaluation
from dacs.reporting.names import number
from dacs.reporting.result import TABLES, Result, read_result

WIDTH = 100  # columns of a terminal
CELLS = {3: (40, 28, 28), 4: (44, 21, 21, 8), 5: (40, 8, 8, 8, 28)}  # columns of cells at most, by their number
CHANGED = 8  # classes at most


class Table(NamedTuple):
    """A part of the comparison."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""


class Comparison(NamedTuple):
    """All of it."""

    first: str
    second: str
    tables: list[Table]

    @property
    def text(self) -> str:
        """For a terminal of `WIDTH` columns."""
        names = [f"first:  {self.first}", f"second: {self.second}"]
        return "\n".join([*names, *("\n".join(["", *_lines(table)]) for table in self.tables)])

    @property
    def page(self) -> str:
        """For a browser; it loads nothing else."""
        environment = Environment(
            loader=PackageLoader("dacs.reporting", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
        template = environment.get_template("compare.html.j2")
        return template.render(first=self.first, second=self.second, tables=self.tables, style=style)


def compare(first: str, second: str) -> Comparison:
    """Compare two runs (folders), files of metrics, folders of reports, or Git revisions of this repository.

    Raises BadRequest where one of them is none of these, or where they have neither scores nor parameters in common.
    """
    results = read_result(first), read_result(second)
    tables = [_parameters(*results), _scores(*results), *_intervals(*results), *_reported(*results)]
    return Comparison(first, second, tables)


# --------------------------------------------------------------------------------------------------------------------
# What is compared


def _parameters(first: Result, second: Result) -> Table:
    """The settings that differ; a dash where one side does not have it."""
    title, header = "Parameters that differ", ("parameter", "first", "second")
    unknown = [result.name for result in (first, second) if result.settings is None]
    if first.settings is None or second.settings is None:
        return Table(title, header, [], f"Not known of {' and '.join(unknown)}.")
    names = [*first.settings, *(name for name in second.settings if name not in first.settings)]
    values = [(name, *(_shown(result.settings, name) for result in (first, second))) for name in names]
    rows = [row for row in values if row[1] != row[2]]
    return Table(title, header, rows, "" if rows else "None.")


def _scores(first: Result, second: Result) -> Table:
    """The scores that both have, and their difference in points."""
    both = [name for name in first.scores if name in second.scores]
    only = [name for name in dict.fromkeys((*first.scores, *second.scores)) if name not in both]
    if not both and (first.settings is None or second.settings is None):
        raise BadRequest(
            f"{first.name} and {second.name} have no score in common.\nGive two runs, or two files of one kind."
        )
    rows = [
        (name, f"{a:.2f}", f"{b:.2f}", number(b - a, "+.2f"))
        for name, a, b in ((name, first.scores[name], second.scores[name]) for name in both)
    ]
    note = f"{'' if both else 'None in common. '}In one only: {', '.join(only)}." if only else ""
    return Table("Scores, percent", ("score", "first", "second", "change"), rows, note)


def _intervals(first: Result, second: Result) -> Iterator[Table]:
    """Of two runs on the same images: paired intervals of the changes of mIoU, and the classes that change most."""
    if first.run and second.run and first.settings and second.settings:
        found = [read_evaluation(run.evaluation) for run in (first.run, second.run) if run.evaluation.counts.exists()]
        title = "Change of mIoU with its 95 % interval"
        if reason := _unpaired(first.run, second.run, found):
            yield Table(title, ("mean", "change", "interval"), [], reason)
        else:
            yield _means(title, labels_groups(first.run, found[0]), *found)
            yield _classes(labels_of(first.run).names, *found)


def _reported(first: Result, second: Result) -> Iterator[Table]:
    """Of two reports: the main numbers and the classes that change most, each side with its own interval."""
    header = ("score", "first", "second", "change")
    note = "Each interval is of one side alone; for paired ones of the difference compare two runs."
    means, classes = ([each.tables[name] for each in (first, second) if name in each.tables] for name in TABLES)
    if len(means) == 2:
        rows = _of_both(means, ("task", "method"), "miou")
        yield Table("Main numbers with their 95 % intervals", header, [row for _, row in rows], note)
    if len(classes) == 2:
        rows = _of_both(classes, ("task", "method", "class"), "iou")
        most = [row for change, row in sorted(rows, key=lambda each: -abs(each[0])) if change][:CHANGED]
        yield Table("Classes that change most, IoU in percent", header, most, "" if most else "None changes.")


def _of_both(tables: Sequence[pd.DataFrame], keys: Sequence[str], score: str) -> list[tuple[float, tuple[str, ...]]]:
    """The change of each score that both tables have, and its row."""
    sides = []
    for table in tables:
        main = table[table["headline"]] if "headline" in table else table
        found = {".".join(str(row[key]) for key in keys): interval(row, score) for row in main.to_dict("records")}
        sides.append({name: each for name, each in found.items() if np.isfinite(each.value)})
    changes = [(name, sides[1][name].value - each.value) for name, each in sides[0].items() if name in sides[1]]
    return [
        (change, (name, *(_with_ends(side[name]) for side in sides), number(change, "+.2f")))
        for name, change in changes
    ]


def _with_ends(found: Interval) -> str:
    """A score and its interval, if it has one."""
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]" if np.isfinite(found.low) else f"{found.value:.2f}"


def labels_groups(run: RunDir, found: Evaluation) -> list[tuple[str, list[int]]]:
    """The means over groups of classes that a run has values of: title and train ids."""
    labels, pixels = labels_of(run), found.counts.matrix(found.headline.key).sum(1)
    measured = labels.measured(found.metrics["absent"])
    groups = [(Group(name, tuple(labels.names[each] for each in ids)).title, [*ids]) for name, ids in measured.items()]
    return [(title, ids) for title, ids in groups if pixels[ids].any()]


def _unpaired(first: RunDir, second: RunDir, found: Sequence[Evaluation]) -> str:
    """Why there is no paired comparison; empty where there is one."""
    if len(found) < 2:
        return "One was evaluated by an earlier version, which kept no counts of single images: evaluate it again."
    a, b = found
    if labels_of(first).names != labels_of(second).names:
        return "None: the runs have different classes."
    if a.counts.frames != b.counts.frames:
        return "None: the runs were not measured on the same images."
    if a.headline != b.headline:
        sizes = " and ".join(each.metrics["labels"] for each in found)
        return f"None: the runs were not measured by the same protocol (ground truth: {sizes})."
    return ""


def _means(title: str, groups: list[tuple[str, list[int]]], first: Evaluation, second: Evaluation) -> Table:
    key, rows = first.headline.key, []
    for name, classes in groups:
        resampled = bootstrap({"a": [first.counts.by_frame(key)], "b": [second.counts.by_frame(key)]}, classes)
        rows.append((name, *_change(known(resampled.difference("b", "a"), len(first.counts.frames)))))
    images = f"Paired over {len(first.counts.frames)} images; {first.headline.title}."
    return Table(title, ("mean", "change", "interval"), rows, images)


def _classes(names: Sequence[str], first: Evaluation, second: Evaluation) -> Table:
    parts = [one_against_all(each.counts, each.headline) for each in (first, second)]
    changes: list[tuple[str, float, Interval]] = []
    for index, name in enumerate(names):
        if parts[0][:, index, 0].any() and name not in first.metrics["absent"]:
            resampled = bootstrap({key: [part[:, index]] for key, part in zip("ab", parts, strict=True)}, [0])
            change = known(resampled.difference("b", "a"), len(first.counts.frames))
            changes.append((name, resampled.mean("a").value, change))
    most = sorted(changes, key=lambda row: -abs(row[2].value))[:CHANGED]
    rows = [(name, f"{a:.2f}", f"{a + change.value:.2f}", *_change(change)) for name, a, change in most]
    header = ("class", "first", "second", "change", "interval")
    return Table("Classes that change most, IoU in percent", header, rows)


def _change(found: Interval) -> tuple[str, str]:
    """A difference and its interval."""
    if not np.isfinite(found.low):
        return number(found.value, "+.2f"), "unknown"
    sure = "" if found.excludes_zero else " (includes 0)"
    return number(found.value, "+.2f"), f"{number(found.low, '+.2f')} to {number(found.high, '+.2f')}{sure}"


# --------------------------------------------------------------------------------------------------------------------
# Form


def _shown(settings: dict[str, Any] | None, name: str) -> str:
    """A setting as it stands in params.yaml; a dash where there is none."""
    value = (settings or {}).get(name, _shown)
    return "–" if value is _shown else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _lines(table: Table) -> Iterator[str]:
    """A table as text; long cells take several lines."""
    yield table.title
    cells = [table.header, *table.rows] if table.rows else []
    wrapped = [[_wrapped(text, limit) for text, limit in zip(row, CELLS[len(row)], strict=True)] for row in cells]
    widths = [max(len(line) for cell in column for line in cell) for column in zip(*wrapped, strict=True)]
    for row in wrapped:
        for parts in zip_longest(*row, fillvalue=""):
            yield "  ".join(f"{part:{width}}" for part, width in zip(parts, widths, strict=True)).rstrip()
    yield from textwrap.wrap(table.note, WIDTH)


def _wrapped(text: str, limit: int) -> list[str]:
    return textwrap.wrap(text, limit, break_on_hyphens=False) or [""]
