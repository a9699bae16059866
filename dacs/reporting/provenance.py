"""What a page that is sent to others says of its making: commit, changed parameters, machine, and time of each job.

It differs from run to run, so the page of `all` is without it and has the same bytes each time. Torch-free.
"""

import csv
import os
import platform
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from dacs.machine import processor

PACKAGES = ("torch", "torchvision", "timm", "numpy", "snakemake", "dvc")


def provenance(root: Path) -> dict[str, Any]:
    """What is known of the project in `root`, as `page.write` shows it."""
    commit = _git(root, "rev-parse", "HEAD")
    return {
        "commit": commit and commit.strip(),
        "dirty": bool(_git(root, "status", "--porcelain", "--untracked-files=no")),
        "machine": f"{processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "versions": {
            "Python": platform.python_version(),
            **{name: found for name in PACKAGES if (found := _version(name))},
        },
        "parameters": changed(_git(root, "show", "HEAD:./params.yaml"), root / "params.yaml"),
        "jobs": list(jobs(root / "logs/benchmarks")),
    }


def changed(committed: str | None, params: Path) -> dict[str, tuple[str, str]]:
    """The parameters by dotted path that differ from those of the commit: there and here, as YAML in one line."""
    if committed is None or not params.exists():
        return {}
    before, now = (dict(_leaves(yaml.safe_load(text))) for text in (committed, params.read_text(encoding="utf-8")))
    names = [name for name in (*before, *(set(now) - set(before))) if before.get(name) != now.get(name)]
    return {name: (_line(before, name), _line(now, name)) for name in sorted(names)}


def jobs(benchmarks: Path) -> Iterator[dict[str, Any]]:
    """Wall and CPU time in seconds and memory in MB of each job, as Snakemake measured them when it last ran."""
    for path in sorted(benchmarks.rglob("*.tsv")):
        with path.open(encoding="utf-8", newline="") as stream:
            row = [*csv.DictReader(stream, delimiter="\t")][-1]
        name = path.relative_to(benchmarks).with_suffix("").as_posix()
        columns = {"wall": "s", "cpu": "cpu_time", "memory": "max_rss"}
        yield {"name": name, **{key: _number(row[column]) for key, column in columns.items()}}


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested tables by dotted path."""
    if isinstance(tree, dict) and tree:
        for name, value in tree.items():
            yield from _leaves(value, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, tree


def _line(leaves: dict[str, Any], name: str) -> str:
    """A value as YAML writes it in one line."""
    if name not in leaves:
        return "left out"
    return (
        yaml.safe_dump(leaves[name], default_flow_style=True, allow_unicode=True, width=10**6).split("\n...")[0].strip()
    )


def _number(text: str) -> float | None:
    """The number in a cell; None for one that was too short to be measured."""
    try:
        return float(text)
    except ValueError:
        return None


def _git(root: Path, *arguments: str) -> str | None:
    """What Git says of the project; None where it is in no repository, or Git is missing."""
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, encoding="utf-8")
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
