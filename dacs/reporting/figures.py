"""The registry of figures; runs and prepared data → tables, metrics.json and figures. Needs neither torch nor a GPU."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.style
import numpy as np

from dacs.files import write_bytes, write_json
from dacs.labels import LabelSet
from dacs.reporting import calibration, curves, pictures, plots
from dacs.reporting.data import ReportData, list_runs
from dacs.reporting.style import STYLE, Plot, Tile, Tiles, png, svg
from dacs.reporting.tables import metrics_tree, read
from dacs.settings import FiguresJob, label_set


class FigureSpec(NamedTuple):
    """One row: a figure, and the section of the page that shows it."""

    section: str  # its id; one that the page does not have yet is added at the end
    draw: Callable[[ReportData], Iterable[Plot | Tiles]]


FIGURES: dict[str, FigureSpec] = {
    "miou": FigureSpec("claim", plots.miou),
    "classes": FigureSpec("classes", plots.classes),
    "curves": FigureSpec("training", curves.curves),
    "reliability": FigureSpec("calibration", calibration.reliability),
    "confidence": FigureSpec("calibration", curves.confidence),
    "confident": FigureSpec("calibration", calibration.confident),
    "checkpoints": FigureSpec("checkpoints", curves.checkpoints),
    "mixing": FigureSpec("mixing", pictures.mixing),
    "predictions": FigureSpec("predictions", pictures.predictions),
    "conflation": FigureSpec("conflation", plots.conflation),
    "conflation_steps": FigureSpec("conflation", curves.conflation_steps),
    "confusions": FigureSpec("conflation", pictures.confusions),
    "similarity": FigureSpec("similarity", plots.similarity),
    "frequency": FigureSpec("data", plots.frequency),
}


def make(job: FiguresJob, runs: Path, ready: Path, out: Path) -> None:
    """Write `out`/tables/*.csv, `out`/metrics.json and `out`/figures/* with an index.json that the page reads.

    The same inputs give the same bytes; files of an earlier report are removed.
    """
    report = read(list_runs(runs, job.runs, job.unlabelled), ready, job.figures.frames, label_set(job.labels))
    files: dict[str, bytes] = {}
    for name, table in report.tables.items():
        files[f"tables/{name}.csv"] = table.to_csv(index=False, float_format="%.4f", lineterminator="\n").encode()
    index: dict[str, list[dict[str, Any]]] = {}  # what the page shows, by section
    with matplotlib.style.context(STYLE, after_reset=True):
        for name, spec in FIGURES.items():
            index.setdefault(spec.section, []).extend(
                _entry(name, drawn, files, report.labels) for drawn in spec.draw(report)
            )
    for folder in ("tables", "figures"):
        shutil.rmtree(out / folder, ignore_errors=True)
    for file, content in files.items():
        write_bytes(out / file, content)
    write_json(out / "figures/index.json", index)
    write_json(out / "metrics.json", metrics_tree(report.tables["summary"]))


def _entry(figure: str, drawn: Plot | Tiles, files: dict[str, bytes], labels: LabelSet) -> dict[str, Any]:
    """What the page must know of a plot or a group of tiles, whose files are added."""
    if isinstance(drawn, Plot):
        file = f"figures/{'_'.join(filter(None, (figure, drawn.subject, drawn.name)))}.svg"
        files[file] = svg(drawn.figure)
        return {"file": file, "alt": drawn.alt, "caption": drawn.caption, **drawn.facts}
    palette, occur = labels.palette(), set[int]()
    tiles: list[dict[str, str] | str] = []
    for item in drawn.items:
        if isinstance(item, Tile):
            file = f"figures/tiles/{figure}_{drawn.subject}_{drawn.name}_{item.name}.png"
            files[file] = png(item.pixels, palette)
            occur |= {*np.unique(item.pixels).tolist()} if item.pixels.ndim == 2 else set()
            tiles.append({"file": file, "alt": item.alt, "caption": item.caption, **item.facts})
        else:
            tiles.append(item)
    classes = [name for train_id, name in enumerate(labels.names) if train_id in occur]
    about = {"heading": drawn.heading, "layout": drawn.layout, **drawn.facts}
    return {**about, "classes": classes, "tiles": tiles}
