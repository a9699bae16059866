"""The pictures: the mixed example, predictions beside the truth, and where road and sidewalk are taken for each other.

Each gives groups of tiles. A tile is pixels with words; tiles become PNGs for the page and one sheet for elsewhere.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from dacs.errors import RunFailed
from dacs.labels import IGNORE, NAMES
from dacs.reporting import runs as reading
from dacs.reporting.names import BACK, RIGHT, WRONG, method, task_title
from dacs.reporting.runs import Frame, Run
from dacs.reporting.scores import ROAD, SIDEWALK
from dacs.reporting.style import painted

TILE = 480  # pixels: smaller frames are enlarged by a whole number towards this width, larger ones shrunk to it
CAPTIONS = {
    "source": "source frame",
    "source_label": "its label, known",
    "mask": "mask: white is pasted",
    "target": "target frame",
    "pseudo": "its label, guessed by the teacher",
    "mixed": "mixed frame",
    "label": "mixed label",
    "augmented": "what the student sees",
}

NOTES = {"augmented": "Its colours and sharpness are changed at random; what it must say is still the mixed label."}


class Tile(NamedTuple):
    """One picture with its words. Pixels are colours (height x width x 3) or train ids (height x width)."""

    name: str  # of its file, within its group
    pixels: np.ndarray
    caption: str
    alt: str
    note: str = ""  # what else is to be said beside it


def mixing(run: Run) -> list[Tile]:
    """How a run made one of its training examples, in the order of the making."""
    example, what = reading.mixing(run), f"{method(run.method).label}, {task_title(run.task)}"
    tiles = []
    for name, caption in CAPTIONS.items():
        pixels = example[name]
        shown = np.stack([pixels] * 3, axis=-1) if reading.MIXING[name] == "mask" else pixels
        alt = f"{caption} ({what})"
        if reading.MIXING[name] == "label":
            alt += f": {_contents(pixels)}"
        note = _pasted(example["label"], pixels) if name == "mask" else NOTES.get(name, "")
        tiles.append(Tile(name, fitted(shown), caption, alt, note))
    return tiles


def predictions(runs: Sequence[Run], stem: str, frame: Frame) -> list[Tile]:
    """One frame of the target, its truth where it is known, and what the student of each run says of it."""
    image, truth = opened(frame)
    tiles = [Tile("image", fitted(image), "target frame", f"Frame {stem} of the target")]
    if truth is not None:
        tiles.append(Tile("truth", fitted(truth), "truth", f"True label of {stem}: {_contents(truth)}"))
    for run in runs:
        said, label = _of_size(reading.prediction(run, stem), image, run, stem), method(run.method).label
        right = "" if truth is None else _right(said, truth)
        tiles.append(Tile(run.method, fitted(said), f"{label}{right}", f"{label}{right}, on {stem}: {_contents(said)}"))
    return tiles


def confusions(runs: Sequence[Run], stem: str, frame: Frame) -> list[Tile]:
    """Where each run takes sidewalk for road, or road for sidewalk, painted on the grey frame, whose truth is known."""
    image, truth = opened(frame)
    assert truth is not None
    tiles = [Tile("image", fitted(image), "target frame", f"Frame {stem} of the target")]
    for run in runs:
        said, label = _of_size(reading.prediction(run, stem), image, run, stem), method(run.method).label
        lost = 100 * swapped(said, truth).sum() / max(1, (truth == SIDEWALK).sum())
        caption = f"{label}: {lost:.0f} % called road"
        tiles.append(Tile(run.method, fitted(marked(image, said, truth)), caption, f"Sidewalk of {stem}. {caption}"))
    return tiles


def worst_frame(run: Run, frames: dict[str, Frame]) -> str | None:
    """The frame in which a run calls most sidewalk road; None where no frame shows any."""
    found = {
        stem: int(swapped(reading.prediction(run, stem), reading.pixels(frame.label)).sum())
        for stem, frame in frames.items()
        if frame.label
    }
    worst = max(found, key=lambda stem: found[stem], default=None)
    return worst if worst is not None and found[worst] else None


def swapped(said: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Where sidewalk is called road."""
    return (truth == SIDEWALK) & (said == ROAD)


def marked(image: np.ndarray, said: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The frame in grey; sidewalk blue where it is found and orange where it is called road; yellow the reverse."""
    canvas = np.repeat(0.5 * image.mean(axis=-1, keepdims=True) + 90, 3, axis=-1)
    for where, color in (
        ((truth == SIDEWALK) & (said == SIDEWALK), RIGHT),
        (swapped(said, truth), WRONG),
        ((truth == ROAD) & (said == SIDEWALK), BACK),
    ):
        canvas[where] = 0.2 * canvas[where] + 0.8 * np.array(color)
    return canvas.round().astype(np.uint8)


def right_share(said: np.ndarray, truth: np.ndarray) -> float:
    """Percent of the counted pixels of a frame that are right."""
    counted = truth != IGNORE
    return 100 * float((said == truth)[counted].mean()) if counted.any() else float("nan")


def opened(frame: Frame) -> tuple[np.ndarray, np.ndarray | None]:
    """Image and train ids of a frame."""
    image = reading.pixels(reading.made(frame.image, "dacs remap"))
    return image, reading.pixels(reading.made(frame.label, "dacs remap")) if frame.label else None


def fitted(pixels: np.ndarray) -> np.ndarray:
    """A small picture enlarged by whole pixels, a large one shrunk, to about `TILE` pixels of width."""
    height, width = pixels.shape[:2]
    factor = max(1, TILE // width)
    if width <= TILE:
        return pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    how = Image.Resampling.NEAREST if pixels.ndim == 2 else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(pixels).resize((TILE, round(height * TILE / width)), how))


def sheet(rows: Sequence[Sequence[Tile | None]], title: str, width: float = 11.0) -> Figure:
    """Rows of tiles (None: left empty) with their captions as one picture; width in inches."""
    columns, line, gap = max(len(row) for row in rows), 0.26, 0.08
    side = (width - gap) / columns - gap
    heights = [max(side * tile.pixels.shape[0] / tile.pixels.shape[1] for tile in row if tile) for row in rows]
    tall = line + sum(heights) + (line + gap) * len(rows)
    figure, top = Figure(figsize=(width, tall)), tall - line
    figure.set_layout_engine("none")
    figure.text(gap / width, 1 - 0.06 / tall, title, va="top", weight="bold", fontsize=10)
    for tiles, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(tiles):
            if tile is not None:
                left, bottom = gap + column * (side + gap), top - line - height
                axes = figure.add_axes((left / width, bottom / tall, side / width, height / tall))
                axes.imshow(painted(tile.pixels) if tile.pixels.ndim == 2 else tile.pixels, interpolation="nearest")
                axes.set_axis_off()
                axes.set_title(tile.caption, fontsize=8.5, pad=3)
        top -= line + height + gap
    return figure


def _of_size(said: np.ndarray, image: np.ndarray, run: Run, stem: str) -> np.ndarray:
    """The prediction, refused where it was not made for this frame."""
    if said.shape != image.shape[:2]:
        raise RunFailed(
            f"{run.folder}/evaluation/predictions/{stem}.png: size {said.shape}, expected {image.shape[:2]}.\n"
            f"Run 'dacs evaluate --run {run.folder}' again."
        )
    return said


def _right(said: np.ndarray, truth: np.ndarray) -> str:
    """How much is right, in words; nothing where nothing counts."""
    share = right_share(said, truth)
    return f": {share:.0f} % right" if np.isfinite(share) else ""


def _pasted(label: np.ndarray, mask: np.ndarray) -> str:
    """What was pasted into a mixed label."""
    drawn = np.unique(label[(mask > 0) & (label != IGNORE)])
    share = f"{100 * float((mask > 0).mean()):.0f} % of the frame is pasted"
    return f"{share}: {', '.join(NAMES[index] for index in drawn)}." if len(drawn) else f"{share}."


def _contents(train_ids: np.ndarray) -> str:
    """The classes of a label, the largest first, for those who cannot see it."""
    counts = np.bincount(train_ids.ravel(), minlength=256)[: len(NAMES)]
    found = [NAMES[index] for index in np.argsort(-counts, kind="stable") if counts[index]]
    return ", ".join(found[:6]) or "nothing that counts"
