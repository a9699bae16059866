"""Titles and colours of domains and tasks, the same in every figure and on the page, and how numbers are written."""

from collections.abc import Iterable
from itertools import cycle

import numpy as np

from dacs.datasets.registry import DATASETS
from dacs.methods import METHODS

INK, MUTED, GRID, PAPER = "#1f2328", "#626c77", "#e3e7eb", "#ffffff"
WORSE = "#b3261e"  # a negative change
UNLISTED = {"alignment": "distribution alignment", "corda": "CorDA", "hrda": "HRDA"}  # published; no method here
CUSTOM = {  # colours on a light and on a dark page that custom domains share, in the order in which they are named
    "custom-1": ("#9a2c63", "#ee93bd"),
    "custom-2": ("#4a4fa8", "#a9aef5"),
    "custom-3": ("#8a6a00", "#dfbf52"),
}


def source_of(task: str) -> str:
    """The source domain of a task."""
    return task.split("-")[0]


def target_of(task: str) -> str:
    """The target domain of a task."""
    return task.split("-")[1]


def domain_title(domain: str) -> str:
    """The title of a data set, or the name of a custom domain."""
    return DATASETS[domain].title if domain in DATASETS else domain.replace("_", " ")


def task_title(task: str) -> str:
    """The titles of source and target: GTA5 → Cityscapes."""
    return " → ".join(map(domain_title, task.split("-")))


def method_title(method: str) -> str:
    """The title of a method, or of one that has published results alone."""
    return UNLISTED[method] if method in UNLISTED else METHODS[method].title


def domain_colors(domains: Iterable[str]) -> dict[str, str]:
    """The colour of each domain on a light page."""
    known, custom = _known_colors(), cycle(CUSTOM.values())
    return {name: (known[name] if name in known else next(custom))[0] for name in domains}


def page_colors() -> dict[str, tuple[str, str]]:
    """Each colour of a method or domain by the name of its CSS variable: on a light and on a dark page."""
    return {name: (row.color, row.dark) for name, row in METHODS.items()} | _known_colors() | CUSTOM


def number(value: float | None, form: str = ".1f") -> str:
    """A number with a real minus sign; a dash where there is none."""
    return "\u2013" if value is None or not np.isfinite(value) else f"{value:{form}}".replace("-", "\u2212")


def _known_colors() -> dict[str, tuple[str, str]]:
    return {name: row.colors for name, row in DATASETS.items() if row.colors}
