"""The page: everything that `figures` made, in one HTML file that needs no network and explains itself."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from dacs.files import read_json, write_text
from dacs.labels import CLASSES
from dacs.reporting import embed, rows, words
from dacs.reporting import runs as reading
from dacs.reporting.names import BACK, RIGHT, WRONG, domain_label, hero, method, ordered, source_of, target_of

TABLES = ("iou", "scores", "summary", "conflation", "similarity", "data", "contract")
SETTINGS = {  # what a reader asks first: path in params → how it is called
    "model.network": "network",
    "loop.batch": "frames of each domain in a step",
    "loop.crop": "crop, height × width",
    "loop.optimizer": "optimizer",
    "train.steps": "steps, source only",
    "adapt.steps": "steps, adaptation",
    "adapt.init": "adaptation starts from",
    "adapt.lr": "learning rate",
    "adapt.threshold": "confident from probability",
    "adapt.pixel_weight": "weight of pseudo-labelled pixels",
    "adapt.ema": "teacher keeps per step",
}


def write(
    reports: Path,
    runs: Path,
    out: Path,
    *,
    tasks: Sequence[str],
    methods: Sequence[str],
    seeds: Sequence[int],
    scale: str,
    params: dict[str, Any],
) -> None:
    """Write the page to `out`, from `reports` as `figures.make` left it and the cards of the listed runs.

    `params` are the resolved ones, shown whole.
    """
    methods, metrics = ordered(methods), read_json(reading.made(reports / "metrics.json", "dacs figures"))
    tables = {name: _table(reports / f"tables/{name}.csv") for name in TABLES}
    own = _dig(params, "domains") or {}
    absent = {domain: table["absent"] for domain, table in own.items()}
    environment = Environment(
        loader=PackageLoader("dacs.reporting", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = words.number
    page = environment.get_template("page.html.j2").render(
        title=_dig(params, "report.title") or "Domain adaptation by cross-domain mixed sampling",
        style=files("dacs.reporting").joinpath("page.css").read_text(encoding="utf-8"),
        colors=embed.colors,
        tasks=[rows.task_rows(task, methods, metrics[task], tables, absent) for task in tasks],
        methods=[method(name)._asdict() | {"name": name} for name in methods],
        best=method(best).label if (best := hero(methods)) else None,
        seeds=words.seeds(seeds),
        several=len(seeds) > 1,
        simulated=all(source_of(task) in ("gta5", "synthia") for task in tasks),
        scale=scale,
        world=_rendered(tables["contract"]),
        data=rows.data_rows(tables["data"]),
        contracts=rows.contract_rows(tables["contract"], own),
        settings={
            label: _shown(value) for path, label in SETTINGS.items() if (value := _dig(params, path)) is not None
        },
        similarity=_similarity(tables["similarity"], metrics, tasks, methods),
        marks={"right": RIGHT, "wrong": WRONG, "back": BACK},
        classes=[label._asdict() for label in CLASSES],
        figures=_figures(reports / "figures"),
        runs=[_card(run) for run in reading.listed(runs, tasks, methods, seeds)],
        params=yaml.safe_dump(params, sort_keys=False, allow_unicode=True, width=100),
    )
    write_text(out, page)


def _table(path: Path) -> pd.DataFrame:
    """A table of `figures`; what the names of domains and frames look like is kept."""
    kinds: dict[Any, Any] = {"name": str, "count": "Int64"}
    return pd.read_csv(reading.made(path, "dacs figures"), dtype=kinds, keep_default_na=False, na_values=[""])


def _rendered(contract: pd.DataFrame) -> list[str]:
    """The domains that the built-in world has drawn."""
    drawn = contract[(contract["fact"] == "origin") & (contract["name"] == "world")]
    return [domain_label(domain) for domain in drawn["domain"]]


def _similarity(
    table: pd.DataFrame, metrics: dict[str, Any], tasks: Sequence[str], methods: Sequence[str]
) -> dict[str, str]:
    """A sentence for each target."""
    found = {}
    for target in dict.fromkeys(map(target_of, tasks)):
        gains = rows.gains(metrics, [task for task in tasks if target_of(task) == target], methods)
        found[target] = words.similarity(target, table[table["target"] == target], gains)
    return found


def _figures(folder: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """What figures.make drew, by kind and task, as groups of pieces of HTML in the order of drawing."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in read_json(reading.made(folder / "index.json", "dacs figures")):
        if entry["kind"].endswith("-sheet"):  # the same pictures for other uses
            continue
        draw = embed.svg if entry["file"].endswith(".svg") else embed.png
        groups = found.setdefault((entry["kind"], entry["task"]), {})
        group = groups.setdefault(
            entry["group"], {"group": entry["group"], "label": method(entry["group"]).label, "items": []}
        )
        group["items"].append(entry | {"html": draw(folder / entry["file"], entry["alt"])})
    return {key: list(groups.values()) for key, groups in found.items()}


def _card(run: reading.Run) -> dict[str, Any]:
    """Where a run comes from: its key names its settings, seed, code and data; and what it was trained on."""
    card = reading.settings(run)
    found = {name: str(card.get(name, "")) for name in ("key", "trained_on", "torch")}
    return {"task": run.task, "method": run.method, "seed": run.seed, **found}


def _dig(params: dict[str, Any], path: str) -> Any:
    """The value at a dotted path; None where there is none."""
    value: Any = params
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _shown(value: Any) -> str:
    """A setting as a reader writes it: 96 × 96, 1,200."""
    if isinstance(value, list | tuple):
        return " × ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)
