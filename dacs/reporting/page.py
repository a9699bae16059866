"""The page: everything that `figures` made, in one HTML file that loads nothing else."""

import re
from base64 import b64encode
from functools import partial
from pathlib import Path

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from dacs.files import read_json, write_text
from dacs.labels import CLASSES
from dacs.methods import main_method, method, ordered
from dacs.reporting import names
from dacs.reporting.data import list_runs, read_table
from dacs.reporting.pictures import MARKS
from dacs.reporting.rows import data_report_rows, task_rows
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
    "model.backbone": "backbone",
    "model.weights": "initial weights of the backbone",
    "loop.batch": "images of each domain in a batch",
    "loop.crop": "crop, height × width",
    "loop.optimizer": "optimizer",
    "train.steps": "steps, source only and oracle",
    "adapt.steps": "steps, adaptation",
    "train.bn_statistics": "BatchNorm statistics, source only",
    "adapt.bn_statistics": "BatchNorm statistics, adaptation",
    "adapt.init": "initial weights of adaptation",
    "adapt.lr": "learning rate",
    "adapt.threshold": "confidence threshold",
    "adapt.pixel_weight": "weight of pseudo-labelled pixels",
    "adapt.ema": "EMA decay of the teacher",
}


def write(job: ReportJob, reports: Path, runs: Path, out: Path) -> None:
    """Write the page to `out`, from `reports` as `figures.make` left it and the settings.json of the listed runs."""
    metrics, index = read_json(reports / "metrics.json"), read_json(reports / "figures/index.json")
    tables = {name: read_table(reports / f"tables/{name}.csv") for name in TABLES}
    listed = list_runs(runs, job.runs, job.unlabelled)
    specs = {run.folder.path.relative_to(runs).as_posix(): read_json(run.folder.spec) for run in listed}
    methods = ordered({run.method for run in listed})
    described = [f"{job.runs.tasks[0]}/{name}/seed{job.runs.seeds[0]}" for name in _described(methods)]
    settings = {name: section for run in described for name, section in specs[run]["settings"].items() if section}
    flat = {f"{section}.{name}": settings[section][name] for section in settings for name in settings[section]}
    environment = Environment(
        loader=PackageLoader("dacs.reporting", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": names.number, "domain_title": names.domain_title}
    page = environment.get_template("page.html.j2").render(
        title=job.report.title,
        scale=job.scale,
        seeds=job.runs.seeds,
        style=Path(__file__).with_name("page.css").read_text(encoding="utf-8"),
        colors=names.page_colors(),
        sections=SECTIONS,
        figures=index,
        svg=partial(_svg, reports),
        png=partial(_png, reports),
        tasks=[task_rows(task, metrics[task], tables) for task in job.runs.tasks],
        methods={name: method(name) for name in methods},
        splits=tables["data"].to_dict("records"),
        data_reports=data_report_rows(tables["data_report"]),
        classes=CLASSES,
        marks=MARKS.values(),
        key_settings={title: flat[path] for path, title in KEY_SETTINGS.items() if flat.get(path)},
        continued=adapt["steps"] if (adapt := settings.get("adapt", {})).get("init") == "source" else None,
        settings=yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=100),
        settings_of=" and ".join(described),
        runs=specs,
    )
    write_text(out, page)


def _described(methods: list[str]) -> list[str]:
    """The methods whose settings the page lists: source only and the main method, or else the first."""
    return [name for name in methods if name in ("source", main_method(methods))] or methods[:1]


def _svg(reports: Path, file: str, alt: str) -> Markup:
    """A plot whose ids are unique on the page, and whose font and colours are those of the page, light or dark."""
    text = (reports / file).read_text()
    text = text[text.index("<svg") :]
    text = re.sub(r"<style.*?</style>", "", text, flags=re.S)  # would hold for the whole page
    text = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", text)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{Path(file).stem}-", text).replace("xlink:href", "href")
    fixed = {names.INK: "ink", names.MUTED: "muted", names.GRID: "grid", names.PAPER: "paper", names.WORSE: "worse"}
    for color, variable in (fixed | {light: name for name, (light, _) in names.page_colors().items()}).items():
        text = text.replace(color, f"var(--{variable})")
    label = f'role="img" aria-label="{escape(alt)}"'
    return Markup(re.sub(r'<svg[^>]*(viewBox="[^"]*")[^>]*>', lambda tag: f"<svg {tag[1]} {label}>", text, count=1))


def _png(reports: Path, file: str) -> str:
    """An image as a data URI."""
    return f"data:image/png;base64,{b64encode((reports / file).read_bytes()).decode()}"
