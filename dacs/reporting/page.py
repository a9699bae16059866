"""The page: everything that `figures` made, in one HTML file that loads nothing else."""

import json
import re
from base64 import b64encode
from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from io import BytesIO
from itertools import compress, groupby
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

from dacs.files import digest, read_json, write_text
from dacs.labels import CITYSCAPES
from dacs.methods import METHODS, START, main_method, method, ordered
from dacs.reporting import groups, names
from dacs.reporting.data import Run, list_runs, read_table, steps_before
from dacs.reporting.measured import CHECKPOINTS, NETWORKS, SIZES, Protocol
from dacs.reporting.pictures import ERROR, IGNORED, marks
from dacs.reporting.rows import TABLES, data_report_rows, task_rows
from dacs.settings import ReportJob, label_set

SECTIONS = {  # id → title; one that the runs leave empty is not on the page
    "claim": "Main result",
    "order": "Expected order",
    "results": "Results",
    "classes": "Results by class",
    "ablation": "Ablation",
    "mixing": "How a step works",
    "predictions": "Predictions",
    "training": "Learning curves",
    "calibration": "Calibration of the pseudo-labels",
    "checkpoints": "Choice of a checkpoint",
    "conflation": "Confusion of classes",
    "similarity": "Domain similarity",
    "data": "Data",
    "reproduce": "Provenance",
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
LARGE = 100_000  # bytes of an image file
RULES = {  # of choosing a checkpoint → title
    "last": "the last state",
    "agreement": "most agreement of student and teacher",
    "entropy": "least entropy of the predictions",
    "information": "most mutual information of pixels and predictions",
}


def write(job: ReportJob, reports: Path, runs: Path, out: Path, made: dict[str, Any] | None = None) -> None:
    """Write the page to `out`, from `reports` as `figures.make` left it and the settings.json of the listed runs.

    It also shows the digest of a requirements.lock beside `reports`, if there is one, and the provenance `made`.
    """
    lock = reports.parent / "requirements.lock"
    page = (
        _environment(reports)
        .get_template("page.html.j2")
        .render(
            title=job.report.title,
            scale=job.scale,
            seeds=job.runs.seeds,
            style=_beside("page.css"),
            script=_beside("page.js"),
            colors=names.page_colors(),
            known=SECTIONS,
            parts=METHODS,
            marks=marks,
            error_colors=(ERROR, IGNORED),
            rules=RULES,
            aims=_aims() if job.scale == "demo" else [],
            lock=digest(lock) if lock.exists() else None,
            provenance=made,
            **_settings(job, runs),  # first, since it says which run is missing
            **_results(job, reports),
        )
    )
    write_text(out, re.sub(r"(?<=\d) (?=%)|(?<=\d) (?=× \d)|(?<=\d ×) (?=\d)", "\u00a0", page))  # kept on one line


def _settings(job: ReportJob, runs: Path) -> dict[str, Any]:
    """What the page shows of the methods and of the settings that their runs were made with."""
    listed = list_runs(runs, job.runs, job.unlabelled)
    specs = {run.folder.path.relative_to(runs).as_posix(): read_json(run.folder.spec) for run in listed}
    methods = ordered({run.method for run in listed})
    described = [f"{job.runs.tasks[0]}/{name}/seed{job.runs.seeds[0]}" for name in _described(methods)]
    settings = {name: section for run in described for name, section in specs[run]["settings"].items() if section}
    flat = {f"{section}.{name}": settings[section][name] for section in settings for name in settings[section]}
    steps = _steps(listed)
    return {
        "methods": {name: method(name) for name in methods},
        "main": main_method(methods),
        "steps": steps,
        "equal_steps": len({*steps.values()}) == 1 < len(steps),
        "key_settings": {title: flat[path] for path, title in KEY_SETTINGS.items() if flat.get(path)},
        "continued": adapt["steps"] if (adapt := settings.get("adapt", {})).get("init") == START else None,
        "settings": yaml.safe_dump(json.loads(json.dumps(settings)), sort_keys=False, allow_unicode=True, width=100),
        "settings_of": " and ".join(described),
        "runs": specs,
    }


def _results(job: ReportJob, reports: Path) -> dict[str, Any]:
    """What the page shows of figures and tables, and the classes that they are of."""
    figures = read_json(reports / "figures/index.json")
    tables = {name: read_table(reports / f"tables/{name}.csv") for name in (*TABLES, "data", "data_report")}
    labels = label_set(job.labels)
    tasks = [task_rows(task, tables, labels) for task in job.runs.tasks]
    pairs = list(dict.fromkeys(task["pair"] for task in tasks if task["pair"]))
    return {
        "sections": _sections(figures, tasks, pairs),
        "figures": figures,
        "tasks": tasks,
        "protocols": _protocols(tasks),
        "splits": tables["data"].to_dict("records"),
        "data_reports": data_report_rows(tables["data_report"]),
        "classes": labels.classes,
        "many": len(labels.classes) > groups.MANY,
        "street": labels is CITYSCAPES,
        "pairs": pairs,
    }


def _environment(reports: Path) -> Environment:
    """What the template is filled with: its filters, tests, and functions that read files of `reports`."""
    environment = Environment(
        loader=PackageLoader("dacs.reporting", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": names.number, "domain_title": names.domain_title, "listed": groups.listed}
    environment.filters["method_title"] = names.method_title
    environment.tests["finite"] = lambda value: value is not None and bool(np.isfinite(value))
    environment.globals |= {"svg": partial(_svg, reports), "png": partial(_png, reports), "blocks": _blocks}
    return environment


def _sections(
    figures: Mapping[str, Sequence[Any]], tasks: Sequence[Mapping[str, Any]], pairs: Sequence[tuple[str, str]]
) -> dict[str, str]:
    """The sections of the page and their titles, in order; figures may add some, before the last one."""
    given = {
        "order": any(task["order"] for task in tasks),
        "calibration": figures.get("calibration"),
        "checkpoints": figures.get("checkpoints") or any(task["checkpoints"] for task in tasks),
    }
    found = {name: title for name, title in SECTIONS.items() if given.get(name, True)}
    if len(pairs) == 1:
        found["conflation"] = f"Confusion of {pairs[0][1]} and {pairs[0][0]}"
    last = found.popitem()
    own = {name: name.replace("_", " ").capitalize() for name in figures if name not in SECTIONS}
    return found | own | dict([last])


def _protocols(tasks: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The protocols of all tasks, that of the main numbers first, and what each differs from it in."""
    found = [
        Protocol(*key.split("/")) for key in dict.fromkeys(each["id"] for task in tasks for each in task["protocols"])
    ]
    titles = {}
    for protocol in found:
        texts = NETWORKS[protocol.network], CHECKPOINTS[protocol.checkpoint], f"ground truth at {SIZES[protocol.size]}"
        others = [getattr(protocol, part) != getattr(found[0], part) for part in ("network", "checkpoint", "size")]
        text = ", ".join(compress(texts, others if any(others) else (True, True, False)))
        titles[protocol.key] = f"{text} (as the authors of DACS)" if protocol == found[0].authors else text
    return titles


def _blocks(entries: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Groups of tiles, those of one heading together: they show the same at several steps."""
    tiles = (entry for entry in entries if "tiles" in entry)
    return [list(block) for _, block in groupby(tiles, key=lambda entry: entry["heading"])]


def _steps(listed: Sequence[Run]) -> dict[str, int]:
    """Optimizer steps of each method that trains, with those of the weights that it starts from, where known."""
    total = {}
    for run in listed:
        settings, before = read_json(run.folder.spec)["settings"], steps_before(run.folder)
        own = settings.get("train") or settings.get("adapt")
        if own and before is not None:
            total[run.method] = own["steps"] + before
    return total


def _described(methods: list[str]) -> list[str]:
    """The methods whose settings the page lists: source only and the main method, or else the first."""
    return [name for name in methods if name in (START, main_method(methods))] or methods[:1]


def _aims() -> list[dict[Hashable, Any]]:
    """What was aimed at and not reached, as measured with the shipped settings: aim, found, tried."""
    return read_table(Path(__file__).with_name("aims.csv")).to_dict("records")


def _beside(name: str) -> str:
    """The text of a file of this folder."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


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
    """An image as a data URI; a large photograph as JPEG, which takes an eighth of the space."""
    kind, content = "png", (reports / file).read_bytes()
    if len(content) > LARGE:
        with Image.open(BytesIO(content)) as image:
            if image.mode == "RGB":
                image.save(smaller := BytesIO(), format="JPEG", quality=90)
                kind, content = "jpeg", smaller.getvalue()
    return f"data:image/{kind};base64,{b64encode(content).decode()}"
