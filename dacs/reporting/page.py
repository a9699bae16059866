"""The page: everything that `figures` made, in one HTML file that loads nothing else."""

import re
from base64 import b64encode
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

from dacs.files import read_json, write_text
from dacs.labels import CLASSES
from dacs.methods import main_method, method, ordered
from dacs.reporting import names, rows
from dacs.reporting.data import Run, existing, list_runs
from dacs.reporting.pictures import MARKS
from dacs.settings import ReportJob

TABLES = ("iou", "scores", "summary", "data", "data_report")
SECTIONS = {  # id → title
    "method": "Method",
    "setup": "Experimental setup",
    "results": "Results",
    "classes": "Results by class",
    "training": "Training curves",
    "mixing": "Mixed images",
    "predictions": "Predictions",
    "conflation": "Confusion of road and sidewalk",
    "similarity": "Domain similarity",
    "reproduce": "How to reproduce",
}
KEY_SETTINGS = {  # path in a run's settings → title
    "model.network": "network",
    "loop.batch": "images of each domain in a batch",
    "loop.crop": "crop, height × width",
    "loop.optimizer": "optimizer",
    "train.steps": "steps, source only",
    "adapt.steps": "steps, adaptation",
    "adapt.init": "initial weights of adaptation",
    "adapt.lr": "learning rate",
    "adapt.threshold": "confidence threshold",
    "adapt.pixel_weight": "weight of pseudo-labelled pixels",
    "adapt.ema": "EMA decay of the teacher",
}


def write(job: ReportJob, reports: Path, runs: Path, out: Path) -> None:
    """Write the page to `out`, from `reports` as `figures.make` left it and the settings.json of the listed runs."""
    metrics = read_json(existing(reports / "metrics.json", "dacs figures"))
    tables = {name: _table(existing(reports / f"tables/{name}.csv", "dacs figures")) for name in TABLES}
    index = read_json(existing(reports / "figures/index.json", "dacs figures"))
    specs = {run: read_json(existing(run.folder.spec, run.made_by)) for run in list_runs(runs, job.runs)}
    described, settings = _settings(specs)
    facts = tables["data_report"]
    world = facts.loc[(facts["fact"] == "origin") & (facts["name"] == "world"), "domain"]
    environment = Environment(
        loader=PackageLoader("dacs.reporting", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = rows.number
    page = environment.get_template("page.html.j2").render(
        title=job.report.title,
        scale=job.scale,
        seeds=job.runs.seeds,
        style=files("dacs.reporting").joinpath("page.css").read_text(encoding="utf-8"),
        colors=names.page_colors(),
        sections=SECTIONS,
        further=[name for name in index if name not in SECTIONS],
        figures={section: [_embed(reports, entry) for entry in entries] for section, entries in index.items()},
        tasks=[rows.task_row(task, metrics[task], tables) for task in job.runs.tasks],
        methods={name: method(name) for name in ordered(job.runs.methods)},
        world=[names.domain_title(domain) for domain in world],
        splits=rows.split_rows(tables["data"]),
        data_reports=rows.data_report_rows(facts),
        classes=CLASSES,
        marks=MARKS.values(),
        key_settings={title: _text(value) for path, title in KEY_SETTINGS.items() if (value := _get(settings, path))},
        settings=yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=100),
        settings_of=described,
        runs={_name(run): spec for run, spec in specs.items()},
    )
    write_text(out, page)


def _table(path: Path) -> pd.DataFrame:
    """A table of `figures`; names that look like numbers or missing values are kept as they are."""
    types: dict[Any, Any] = {"name": str, "count": "Int64"}
    return pd.read_csv(path, dtype=types, keep_default_na=False, na_values=[""])


def _name(run: Run) -> str:
    return f"{run.task}/{run.method}/seed{run.seed}"


def _settings(specs: dict[Run, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """The settings of the main method's first run with those of source-only training, and which runs they are of."""
    first = {run.method: run for run in reversed(specs)}
    main = main_method(first) or next(iter(specs)).method
    chosen = dict.fromkeys(first[name] for name in ("source", main) if name in first)
    settings: dict[str, Any] = {}
    for run in chosen:
        settings |= {name: section for name, section in specs[run]["settings"].items() if section}
    return " and ".join(map(_name, chosen)), settings


def _get(settings: dict[str, Any], path: str) -> Any:
    section, name = path.split(".")
    return settings.get(section, {}).get(name)


def _text(value: Any) -> str:
    """A setting for a reader: 96 × 96, 1,200."""
    if isinstance(value, list):
        return " × ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


# --------------------------------------------------------------------------------------------------------------------
# Figures as parts of the page


def _embed(reports: Path, entry: dict[str, Any]) -> dict[str, Any]:
    """An entry of the index with the HTML of its files."""
    if "file" in entry:
        draw = _svg if entry["file"].endswith(".svg") else _png
        return entry | {"html": draw(existing(reports / entry["file"], "dacs figures"), entry["alt"])}
    return entry | {"tiles": [tile if isinstance(tile, str) else _embed(reports, tile) for tile in entry["tiles"]]}


def _svg(path: Path, alt: str) -> Markup:
    """A plot whose ids are unique on the page, and whose font and colours are those of the page, light or dark."""
    text = path.read_text()
    text = text[text.index("<svg") :]
    text = re.sub(r"<style.*?</style>", "", text, flags=re.S)  # would hold for the whole page
    text = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", text)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{path.stem}-", text).replace("xlink:href", "href")
    fixed = {names.INK: "ink", names.MUTED: "muted", names.GRID: "grid", names.PAPER: "paper", names.WORSE: "worse"}
    for color, variable in (fixed | {light: name for name, (light, _) in names.page_colors().items()}).items():
        text = text.replace(color, f"var(--{variable})")
    box = re.search(r'viewBox="[^"]*"', text)
    head = f'<svg {box.group() if box else ""} role="img" aria-label="{escape(alt)}">'
    return Markup(re.sub(r"<svg[^>]*>", lambda _: head, text, count=1))


def _png(path: Path, alt: str) -> Markup:
    """An image as a data URI with its size, so that the page does not move while it loads."""
    content = path.read_bytes()
    with Image.open(BytesIO(content)) as image:
        width, height = image.size
    source = f"data:image/png;base64,{b64encode(content).decode()}"
    return Markup('<img src="{}" alt="{}" width="{}" height="{}">').format(source, alt, width, height)
