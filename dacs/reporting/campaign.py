"""The table of a campaign: every variant beside the base, with intervals. Needs neither torch nor prepared data."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dacs.evaluation.intervals import Interval
from dacs.files import write_bytes, write_text
from dacs.labels import LabelSet
from dacs.layout import RunDir
from dacs.methods import VARIANT, base_of, method
from dacs.reporting.data import Run
from dacs.reporting.groups import groups_of
from dacs.reporting.intervals import ENDS, UNKNOWN, interval, known
from dacs.reporting.measured import Evaluation, Protocol, Resampled, read_evaluation
from dacs.reporting.names import number, task_title
from dacs.settings import CampaignJob, label_set

COLUMNS = [
    *("task", "variant", "method", "settings", *Protocol._fields, "score", "seeds", "images"),
    *("miou", "miou_low", "miou_high", "std", "difference", "difference_low", "difference_high", "distinct"),
]
NOTE = """Seeds: {seeds}; `±` is the deviation over them. In brackets are 95 % intervals over images and, of two or more
seeds, over seeds too. Differences to {base} are paired by image. Of twenty variants that change nothing, one is
expected to have an interval that excludes 0.
"""


def write(job: CampaignJob, runs: Path, out: Path) -> list[Path]:
    """Write the table as CSV to `out` and as Markdown beside it; return both."""
    listed = [Run(task, name, seed, RunDir.of(runs, task, name, seed)) for task, name, seed in job.runs]
    table, page = campaign_table(listed, job.base, job.changes, label_set(job.labels)), out.with_suffix(".md")
    write_bytes(out, table.to_csv(index=False, float_format="%.4f", lineterminator="\n").encode())
    write_text(page, as_markdown(table, out.stem, job))
    return [out, page]


def campaign_table(
    runs: Sequence[Run], base: str, changes: Mapping[str, Mapping[str, Any]], labels: LabelSet
) -> pd.DataFrame:
    """mIoU of each variant and method by task, in percent, and the paired difference to `base` in points.

    `std` is the deviation over seeds, empty of a single one; `distinct` says whether the interval of the difference
    excludes 0. Rows are in the order of the runs; tasks without ground truth have none.
    """
    found = {run: read_evaluation(run.folder.evaluation) for run in runs}
    resampled, rows = Resampled(found), []
    for task in dict.fromkeys(run.task for run in runs):
        of_task = {run: each for run, each in found.items() if run.task == task and each.measured}
        rows += list(_rows(task, of_task, resampled, base, labels))
    about = {name: (base_of(name), _settings(changes.get(name, {}))) for name in (row["variant"] for row in rows)}
    for row in rows:
        row["method"], row["settings"] = about[row["variant"]]
        row["variant"] = row["variant"].rpartition(VARIANT)[2]
    return pd.DataFrame(rows, columns=COLUMNS)


def _rows(
    task: str, found: Mapping[Run, Evaluation], resampled: Resampled, base: str, labels: LabelSet
) -> Iterator[dict[str, Any]]:
    """The rows of a task."""
    if not found:
        return
    first, images = next(iter(found.values())), resampled.images(task)
    group = groups_of(task, labels, first.metrics["absent"]).headline
    resamples = resampled.of(task, first.headline, [labels.names.index(name) for name in group.classes])
    for name in dict.fromkeys(run.method for run in found):
        scores = [each.metrics["student"][group.score] for run, each in found.items() if run.method == name]
        difference = known(resamples.difference(name, base), images) if name != base else UNKNOWN
        about = {"task": task, "variant": name, **first.headline._asdict(), "score": group.short}
        about |= {"seeds": len(scores), "images": images, "std": np.std(scores, ddof=1) if len(scores) > 1 else np.nan}
        about |= _columns("miou", known(resamples.mean(name), images)) | _columns("difference", difference)
        yield about | {"distinct": difference.excludes_zero if name != base else None}


def _columns(name: str, found: Interval) -> dict[str, float]:
    return {f"{name}{end}": value for end, value in zip(ENDS, found, strict=True)}


def _settings(changes: Mapping[str, Any]) -> str:
    """Settings in a cell.

    >>> _settings({"threshold": 0.0, "margins": [0.0, 0.5]})
    'threshold 0.0, margins [0.0, 0.5]'
    """
    return ", ".join(
        f"{name} {value if isinstance(value, str) else json.dumps(value)}" for name, value in changes.items()
    )


def as_markdown(table: pd.DataFrame, name: str, job: CampaignJob) -> str:
    """The same for people, a table for each task."""
    lines, seeds = [f"# Campaign: {name.replace('_', ' ')}"], sorted({seed for _, _, seed in job.runs})
    for task, rows in table.groupby("task", sort=False):
        first = rows.iloc[0]
        protocol, title = Protocol(*first[list(Protocol._fields)]).title, first["score"]
        lines += ["", f"## {task_title(str(task))}", f"{title} of the {protocol}; {first['images']} images.", ""]
        lines += [
            f"| variant | method | settings | {title} | difference to {method(job.base).title} | |",
            f"|{'---|' * 6}",
        ]
        lines += [_line(row, job.base) for row in rows.to_dict("records")]
    if table.empty:
        lines += ["", "No target has labelled validation frames, so nothing was measured."]
    return "\n".join([*lines, "", NOTE.format(base=method(job.base).title, seeds=", ".join(map(str, seeds)))])


def _line(row: Mapping[Any, Any], base: str) -> str:
    """A variant."""
    spread = f" ± {number(row['std'])}" if np.isfinite(row["std"]) else ""
    if row["variant"] == base:
        difference, said = "", "base"
    else:
        difference = _shown(interval(row, "difference"), "+.1f")
        said = "" if row["distinct"] else "not distinguishable"
    mean, title = _shown(interval(row, "miou"), ".1f", spread), method(row["method"]).title
    return f"| {' | '.join([row['variant'], title, row['settings'], mean, difference, said])} |"


def _shown(found: Interval, form: str, spread: str = "") -> str:
    """A value and its interval, where it has one."""
    ends = f" [{number(found.low, form)}, {number(found.high, form)}]" if np.isfinite(found.low) else ""
    return f"{number(found.value, form)}{spread}{ends}"
