"""The registry of figures; runs and prepared data → tables, metrics.json and figures. Needs neither torch nor a GPU."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from dacs.files import write_bytes, write_json
from dacs.reporting import pictures, plots
from dacs.reporting.curves import curves
from dacs.reporting.data import ReportData, list_runs
from dacs.reporting.style import Plot, Tile, Tiles, png, sheet, style, svg
from dacs.reporting.tables import metrics_tree, read
from dacs.settings import FiguresJob


class FigureSpec(NamedTuple):
    """One row: a figure, and the section of the page that shows it."""

    section: str  # its id; one that the page does not have yet is added at the end
    draw: Callable[[ReportData], Iterable[Plot | Tiles]]


FIGURES: dict[str, FigureSpec] = {
    "miou": FigureSpec("results", plots.miou),
    "classes": FigureSpec("classes", plots.classes),
    "curves": FigureSpec("training", curves),
    "mixing": FigureSpec("mixing", pictures.mixing),
    "predictions": FigureSpec("predictions", pictures.predictions),
    "conflation": FigureSpec("conflation", plots.conflation),
    "confusions": FigureSpec("conflation", pictures.confusions),
    "similarity": FigureSpec("similarity", plots.similarity),
}


def make(job: FiguresJob, runs: Path, ready: Path, out: Path) -> None:
    """Write `out`/tables/*.csv, `out`/metrics.json and `out`/figures/* with an index.json that the page reads.

    The same inputs give the same bytes; files of an earlier report are removed.
    """
    report = read(list_runs(runs, job.runs), ready, job.figures.frames)
    files: dict[str, bytes] = {}
    for name, table in report.tables.items():
        files[f"tables/{name}.csv"] = table.to_csv(index=False, float_format="%.4f", lineterminator="\n").encode()
    index: dict[str, list[dict[str, Any]]] = {}  # what the page shows, by section
    with style():
        for name, spec in FIGURES.items():
            drawn = list(spec.draw(report))
            index.setdefault(spec.section, []).extend(_entry(name, item, files) for item in drawn)
            _add_sheets(name, [item for item in drawn if isinstance(item, Tiles)], job.figures.dpi, files)
    for file, content in files.items():
        write_bytes(out / file, content)
    write_json(out / "figures/index.json", index)
    write_json(out / "metrics.json", metrics_tree(report.tables["summary"]))
    for path in [*(out / "tables").rglob("*"), *(out / "figures").rglob("*")]:
        if path.is_file() and path.relative_to(out).as_posix() not in {*files, "figures/index.json"}:
            path.unlink()


def _entry(figure: str, drawn: Plot | Tiles, files: dict[str, bytes]) -> dict[str, Any]:
    """What the page must know of a plot or a group of tiles, whose files are added."""
    if isinstance(drawn, Plot):
        file = f"figures/{figure}_{drawn.subject}.svg"
        files[file] = svg(drawn.figure)
        return {"file": file, "alt": drawn.alt, "caption": drawn.caption}
    tiles: list[dict[str, str] | str] = []
    for item in drawn.items:
        if isinstance(item, Tile):
            file = f"figures/tiles/{figure}_{drawn.subject}_{drawn.name}_{item.name}.png"
            files[file] = png(item.pixels)
            tiles.append({"file": file, "alt": item.alt, "caption": item.caption})
        else:
            tiles.append(item)
    return {"heading": drawn.heading, "layout": drawn.layout, "tiles": tiles}


def _add_sheets(figure: str, groups: list[Tiles], dpi: int, files: dict[str, bytes]) -> None:
    """One PNG of all tiles for each subject, for use elsewhere."""
    for subject in dict.fromkeys(group.subject for group in groups):
        chosen = [group for group in groups if group.subject == subject]
        rows = [row for group in chosen for row in group.rows]
        files[f"figures/{figure}_{subject}.png"] = sheet(rows, chosen[0].heading, dpi)
