"""The look of every figure, and how a figure becomes the same bytes each time."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from dacs.files import write_bytes
from dacs.labels import palette
from dacs.reporting.names import GRID, INK, MUTED, PAPER

WIDTH = 4.8  # inches of every plot: two stand side by side on a desk, one fills a phone

LOOK: dict[Any, Any] = {
    "figure.constrained_layout.use": True,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "font.size": 9,
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 9,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",  # text stays text: sharp, small, and the page may set its font
    "svg.hashsalt": "dacs",  # else ids differ from run to run
}


@contextmanager
def look() -> Iterator[None]:
    """Figures drawn and saved inside have the house's look, whatever the user's own matplotlib settings."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(LOOK)
        yield


def plot(height: float) -> tuple[Figure, Axes]:
    """A figure of the common width with one pair of axes; height in inches."""
    figure = Figure(figsize=(WIDTH, height))
    return figure, figure.add_subplot()


def rows(axes: Axes, labels: list[str]) -> None:
    """Label the rows of a plot from top to bottom, a faint line along each."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="y")
    axes.spines["bottom"].set_visible(False)


def key(axes: Axes, entries: dict[str, tuple[str, str]]) -> None:
    """What the dots are, in one line above the axes: label → colours of edge and face."""
    for column, (label, (edge, face)) in enumerate(entries.items()):
        x = 0.012 + 0.32 * column
        axes.plot(
            x,
            1.03,
            "o",
            transform=axes.transAxes,
            clip_on=False,
            markersize=6.5,
            markeredgecolor=edge,
            markerfacecolor=face,
        )
        axes.annotate(
            label, (x, 1.03), (7, 0), xycoords="axes fraction", textcoords="offset points", va="center", color=edge
        )


def save_plot(figure: Figure, path: Path) -> None:
    """SVG without date or maker."""
    buffer = BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    lines = buffer.getvalue().decode().splitlines()
    write_bytes(path, ("\n".join(line.rstrip() for line in lines) + "\n").encode())


def save_sheet(figure: Figure, path: Path, dpi: int) -> None:
    """PNG of a figure that holds pictures."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    write_bytes(path, buffer.getvalue())


def save_tile(pixels: np.ndarray, path: Path) -> None:
    """PNG of a picture (height x width x 3), or of train ids (height x width) with the official palette."""
    image = Image.fromarray(pixels)
    if pixels.ndim == 2:
        image.putpalette(palette().tobytes())
    buffer = BytesIO()
    image.save(buffer, format="PNG", compress_level=6)
    write_bytes(path, buffer.getvalue())


def painted(train_ids: np.ndarray) -> np.ndarray:
    """Train ids in the official colours: height x width x 3; ignored pixels are black."""
    return palette()[train_ids]
