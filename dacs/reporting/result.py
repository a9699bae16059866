"""One side of a comparison: a run, a file of metrics, a folder of reports, or a Git revision."""

import json
import subprocess
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from dacs.errors import BadRequest
from dacs.files import read_json
from dacs.layout import RunDir

METRICS, PARAMS = "reports/metrics.json", "params.yaml"  # of a revision
TABLES = ("intervals", "class_intervals")  # of a report, with what is compared beside its metrics


class Result(NamedTuple):
    """One side."""

    name: str
    settings: dict[str, Any] | None  # by dotted name; None where they are not known
    scores: dict[str, float]  # by dotted name, in percent
    run: RunDir | None = None
    tables: Mapping[str, pd.DataFrame] = {}  # of a report


def read_result(name: str) -> Result:
    """Read one side; a path is tried before a revision."""
    path = Path(name)
    if path.is_dir() and (path / "metrics.json").exists():
        scores = _flat_scores(name, read_json(path / "metrics.json"))
        return Result(name, None, scores, tables=_tables(lambda table: _text(path / f"tables/{table}.csv")))
    if path.is_dir():
        run = RunDir(path)
        settings = _flat(read_json(run.spec)["settings"]) if run.spec.exists() else None
        return Result(name, settings, _flat_scores(name, read_json(run.evaluation.metrics)), run)
    if path.exists():
        return Result(name, None, _flat_scores(name, read_json(path)))
    commit = _commit(name)
    settings = yaml.safe_load(_show(name, commit, PARAMS))
    scores = _flat_scores(name, json.loads(_show(name, commit, METRICS)))
    tables = _tables(lambda table: _git("show", f"{commit}:./reports/tables/{table}.csv"))
    return Result(name, _flat(settings), scores, tables=tables)


def _tables(read: Callable[[str], str | None]) -> dict[str, pd.DataFrame]:
    """The tables of a report that there are; `read` returns the text of one."""
    texts = {name: read(name) for name in TABLES}
    return {
        name: pd.read_csv(StringIO(text), keep_default_na=False, na_values=[""]) for name, text in texts.items() if text
    }


def _text(path: Path) -> str | None:
    """The text of a file; None where there is none."""
    return path.read_text(encoding="utf-8") if path.exists() else None


def _commit(name: str) -> str:
    """The commit of a revision. Raises BadRequest for what is neither a path nor a revision."""
    found = _git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}") if not name.startswith("-") else None
    if found is None:
        raise BadRequest(
            f"{name}: neither a file or folder, nor a Git revision of this repository.\n"
            "Give a run folder, a metrics.json, a folder of reports, or a revision that 'git log --oneline' shows."
        )
    return found.strip()


def _show(name: str, commit: str, file: str) -> str:
    """A file of a commit, by its path from here. Raises BadRequest where it is not in it."""
    found = _git("show", f"{commit}:./{file}")
    if found is None:
        raise BadRequest(
            f"{name}: this revision has no {file}.\nGive one in which it was recorded: 'git log --oneline -- {file}'."
        )
    return found


def _git(*arguments: str) -> str | None:
    """What git prints; None where it fails, or is not installed."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, encoding="utf-8")
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def _flat(tree: Any, name: str = "") -> dict[str, Any]:
    """The leaves of a tree by dotted name; lists are leaves."""
    if not isinstance(tree, dict) or not tree:
        return {name: tree}
    inner = [_flat(value, f"{name}.{key}" if name else str(key)) for key, value in tree.items()]
    return {key: value for leaves in inner for key, value in leaves.items()}


def _flat_scores(name: str, found: Any) -> dict[str, float]:
    """The numbers of a file of metrics by dotted name; of other protocols than that of the main numbers mIoU alone."""
    if not isinstance(found, dict):
        raise BadRequest(f"{name}: not metrics.\nGive the metrics.json of a run or of a report.")
    if "unmeasured" in found:
        raise BadRequest(f"{name}: {found['unmeasured']}\nCompare runs whose target has labelled validation frames.")
    plain = {key: value for key, value in found.items() if key not in ("protocols", "choice")}
    scores = {key: value for key, value in _flat(plain).items() if ".iou." not in key}
    for row in found.get("protocols", []):
        is_main = row["checkpoint"] == "last" and row["labels"] == found["labels"]
        if not (is_main and row["network"] in ("student", "teacher")):
            first = next(key for key in row if key.startswith("miou"))
            scores["/".join([row["checkpoint"], row["network"], row["size"]]) + f".{first}"] = row[first]
    numbers = {key: value for key, value in scores.items() if isinstance(value, int | float)}
    return {key: float(value) for key, value in numbers.items()}
