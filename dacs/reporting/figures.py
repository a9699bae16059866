"""Runs and cards → tables, metrics.json and figures. Reads JSON, CSV and PNG; needs neither torch nor a GPU."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from dacs.files import write_json
from dacs.reporting import pictures, plots, tables
from dacs.reporting import runs as reading
from dacs.reporting.curves import curves
from dacs.reporting.names import PASTES_SOURCE, hero, method, ordered, source_of, target_of, task_title
from dacs.reporting.pictures import Tile
from dacs.reporting.runs import Frame, Run
from dacs.reporting.similarity import similarity_table
from dacs.reporting.similarity_plot import similarity
from dacs.reporting.style import look, save_plot, save_sheet, save_tile

SHEET = (  # frames above, their labels beneath
    ("source", "mask", "target", "mixed", "augmented"),
    ("source_label", "", "pseudo", "label", ""),
)
Entry = dict[str, str]  # what the page must know of one figure: file, kind, task, group, caption, alt


def make(
    runs: Path,
    ready: Path,
    out: Path,
    *,
    tasks: Sequence[str],
    methods: Sequence[str],
    seeds: Sequence[int],
    frames: int,
    dpi: int,
) -> None:
    """Write `out`/tables/*.csv, `out`/metrics.json and `out`/figures/* with an index.json that the page reads.

    The same inputs give the same bytes; files of an earlier, larger report are removed. Predictions and mixed examples
    are those of the first seed.
    """
    read = reading.listed(runs, tasks, ordered(methods), seeds)
    numbers = _tables(read, ready, tasks)
    figures, entries = out / "figures", []
    with look():
        for task in tasks:
            entries += _plots(figures, task, _of_task(numbers, task), methods)
            first = [run for run in read if run.task == task and run.seed == seeds[0]]
            entries += _mixing(figures, task, first, dpi)
            entries += _predictions(figures, task, first, ready, frames, dpi)
        for target in dict.fromkeys(map(target_of, tasks)):
            entries += _similarity(figures, target, numbers, methods)
    write_json(figures / "index.json", entries)
    summary = numbers.pop("summary")
    written = tables.write_all(out / "tables", numbers | {"summary": summary})
    tables.write_metrics(out / "metrics.json", summary)
    _sweep(figures, {figures / entry["file"] for entry in entries} | {figures / "index.json"})
    _sweep(out / "tables", set(written))


def _tables(read: Sequence[Run], ready: Path, tasks: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Every table of the report, by the name of its file."""
    scores, iou = tables.score_table(read), tables.iou_table(read)
    cards = {(source_of(task), target_of(task)): _cards(ready, source_of(task), target_of(task)) for task in tasks}
    return {
        "iou": iou,
        "scores": scores,
        "summary": tables.summary_table(scores, iou),
        "curves": tables.curve_table(read),
        "conflation": tables.conflation_table(read),
        "similarity": similarity_table(cards),
        "data": tables.data_table(ready, tasks),
        "contract": tables.contract_table(ready, tasks),
    }


def _cards(ready: Path, source: str, target: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is known of the frames that are learnt from, and of those that are measured on."""
    pairs = (source, reading.labelled(ready, source)), (target, reading.measured(ready, target))
    return reading.card(ready, *pairs[0]), reading.card(ready, *pairs[1])


def _of_task(numbers: dict[str, pd.DataFrame], task: str) -> dict[str, pd.DataFrame]:
    return {name: table[table["task"] == task] for name, table in numbers.items() if "task" in table}


def _plots(out: Path, task: str, numbers: dict[str, pd.DataFrame], methods: Sequence[str]) -> list[Entry]:
    """The plots of one task; left out are those of a method that was not run, or of numbers that nobody measured."""
    best, measured = hero(methods), bool(numbers["scores"]["labels"].notna().all())
    drawn: dict[str, tuple[Figure, str] | None] = {
        "miou": plots.miou(task, numbers["scores"]) if measured else None,
        "curves": curves(task, numbers["curves"], best),
        "conflation": plots.conflation(task, numbers["conflation"]) if measured else None,
    }
    if measured and best and "source" in methods:
        drawn["classes"] = plots.classes(task, numbers["iou"], best)
    return [_save(out, kind, task, figure, alt) for kind, (figure, alt) in _present(drawn)]


def _similarity(out: Path, target: str, numbers: dict[str, pd.DataFrame], methods: Sequence[str]) -> list[Entry]:
    """Distances of the sources to a target beside the gain from each, over the 16 classes of all published sets."""
    best = hero(methods)
    means = numbers["summary"].set_index(["task", "method"])["miou16"].round(2)  # as metrics.json has them
    gains = {}
    if best and "source" in methods:
        tasks = [task for task in dict.fromkeys(numbers["summary"]["task"]) if target_of(task) == target]
        found = {source_of(task): float(means[task, best] - means[task, "source"]) for task in tasks}
        gains = {source: gain for source, gain in found.items() if math.isfinite(gain)}
    table = numbers["similarity"]
    figure, alt = similarity(target, table[table["target"] == target], gains, best)
    return [_save(out, "similarity", target, figure, alt)]


def _mixing(out: Path, task: str, runs: Sequence[Run], dpi: int) -> list[Entry]:
    """The mixed example of the method the report is about, whole, and what the other methods train on beneath it."""
    adapting = [run for run in runs if run.method not in ("source", "oracle")]
    entries, best = [], hero([run.method for run in runs])
    for run in adapting:
        tiles = pictures.mixing(run)
        if run.method == best and best in PASTES_SOURCE:
            named = {tile.name: tile for tile in tiles}
            rows = [[named.get(name) for name in row] for row in SHEET]
            entries.append(_save_sheet(out, "mixing", task, rows, f"One mixed example, {task_title(task)}", dpi))
            entries += _save_tiles(out, "mixing", task, run.method, tiles)
        elif run.method != "pseudo":  # which mixes nothing
            entries += _save_tiles(
                out,
                "mixing-other",
                task,
                run.method,
                [tile for tile in tiles if tile.name in ("mask", "mixed", "label")],
            )
    return entries


def _predictions(out: Path, task: str, runs: Sequence[Run], ready: Path, count: int, dpi: int) -> list[Entry]:
    """Predictions on a few frames of the target, and the frame among them with most sidewalk called road."""
    shown, known = reading.stems(runs)[:count], reading.frames(ready, target_of(task))
    frames = {stem: known[stem] for stem in shown if stem in known}
    if not frames:
        return []
    groups = {stem: pictures.predictions(runs, stem, frame) for stem, frame in frames.items()}
    title = f"Predictions of the students, {task_title(task)}"
    entries = [_save_sheet(out, "predictions", task, list(groups.values()), title, dpi)]
    for stem, tiles in groups.items():
        entries += _save_tiles(out, "predictions", task, stem, tiles)
    return entries + _confusions(out, task, runs, {stem: f for stem, f in frames.items() if f.label}, dpi)


def _confusions(out: Path, task: str, runs: Sequence[Run], frames: dict[str, Frame], dpi: int) -> list[Entry]:
    """Road and sidewalk in the frame where naive mixing, or else the weakest-sorted method, confuses them most."""
    suspect = next((run for run in runs if run.method == "naive"), runs[0])
    stem = pictures.worst_frame(suspect, frames)
    if stem is None:
        return []
    tiles = pictures.confusions(runs, stem, frames[stem])
    title = f"Sidewalk called road: most so by {method(suspect.method).label}, {task_title(task)}"
    return [
        _save_sheet(out, "confusions", task, [tiles], title, dpi),
        *_save_tiles(out, "confusions", task, stem, tiles),
    ]


def _save(out: Path, kind: str, task: str, figure: Figure, alt: str) -> Entry:
    file = f"{kind}_{task}.svg" if task else f"{kind}.svg"
    save_plot(figure, out / file)
    return {"file": file, "kind": kind, "task": task, "group": "", "caption": "", "alt": alt}


def _save_sheet(out: Path, kind: str, task: str, rows: Sequence[Sequence[Tile | None]], title: str, dpi: int) -> Entry:
    file = f"{kind}_{task}.png"
    save_sheet(pictures.sheet(rows, title), out / file, dpi)
    return {"file": file, "kind": f"{kind}-sheet", "task": task, "group": "", "caption": title, "alt": title}


def _save_tiles(out: Path, kind: str, task: str, group: str, tiles: Sequence[Tile]) -> list[Entry]:
    entries = []
    for tile in tiles:
        file = f"tiles/{kind}_{task}_{group}_{tile.name}.png"
        save_tile(tile.pixels, out / file)
        words = {"caption": tile.caption, "alt": tile.alt, "note": tile.note}
        entries.append({"file": file, "kind": kind, "task": task, "group": group, "name": tile.name} | words)
    return entries


def _present(drawn: dict[str, tuple[Figure, str] | None]) -> Iterable[tuple[str, tuple[Figure, str]]]:
    return [(kind, pair) for kind, pair in drawn.items() if pair is not None]


def _sweep(folder: Path, kept: set[Path]) -> None:
    """Remove what this report did not write, so that the folder's content depends on its inputs alone."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path not in kept:
            path.unlink()
