"""What figures are made of, their common style, and how they are written: the same bytes each time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from dacs.labels import palette
from dacs.reporting.names import GRID, INK, MUTED, PAPER, WORSE, signed

WIDTH = 4.8  # inches of every plot: two stand side by side on a wide page, one fills a phone

STYLE: dict[Any, Any] = {
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
    "legend.borderpad": 0,
    "legend.frameon": False,
    "legend.handletextpad": 0,
    "legend.labelcolor": "mec",
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


class Plot(NamedTuple):
    """A figure that becomes an SVG."""

    subject: str  # the task or domain that it is about
    figure: Figure
    alt: str  # what it shows, for screen readers
    caption: str = ""  # below it on the page


class Tile(NamedTuple):
    """A small image with its caption: colours (height x width x 3) or train ids (height x width)."""

    name: str  # of its file
    pixels: np.ndarray
    caption: str
    alt: str


class Tiles(NamedTuple):
    """Images that belong together, and texts between them."""

    subject: str  # the task or domain that they are about
    name: str  # different for each group of a figure and subject
    heading: str
    items: Sequence[Tile | str]
    layout: str = ""  # CSS class of the grid: "mix" fills two rows column by column, "strip" has five columns

    @property
    def rows(self) -> list[list[Tile | None]]:
        """The images as rows of one picture; None: left empty."""
        items = [item if isinstance(item, Tile) else None for item in self.items]
        return [items[::2], items[1::2]] if self.layout == "mix" else [[item for item in items if item]]


@contextmanager
def style() -> Iterator[None]:
    """Figures drawn and saved inside have the common style, whatever the user's own matplotlib settings."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def plot(height: float, title: str) -> tuple[Figure, Axes]:
    """A figure of the common width with one pair of axes; height in inches."""
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.add_subplot()
    axes.set_title(title, weight="bold", pad=20)  # above the legend
    return figure, axes


def label_rows(axes: Axes, labels: Sequence[str]) -> None:
    """Label the rows of a plot from top to bottom, with a faint line along each."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="y")
    axes.spines["bottom"].set_visible(False)


def annotate(axes: Axes, text: str, x: float, y: float, offset: float = 4, **kwargs: Any) -> None:
    """Text right of a point; offset in points."""
    axes.annotate(text, (x, y), (offset, 0), textcoords="offset points", va="center", **kwargs)


def annotate_change(axes: Axes, row: int, change: float) -> None:
    """The change of a row in points, right of the axes."""
    text, color = (signed(change), INK if change >= 0 else WORSE) if np.isfinite(change) else ("absent", MUTED)
    axes.text(1.02, row, text, transform=axes.get_yaxis_transform(), va="center", color=color)


def legend(axes: Axes) -> None:
    """One line above the axes, in the colours of the markers."""
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 0.99), ncols=4)


def svg(figure: Figure) -> bytes:
    """A figure as SVG without date or maker."""
    buffer = BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    lines = buffer.getvalue().decode().splitlines()
    return ("\n".join(line.rstrip() for line in lines) + "\n").encode()


def png(tile: np.ndarray) -> bytes:
    """PNG of an image (height x width x 3), or of train ids (height x width) with their palette."""
    image = Image.fromarray(tile)
    if tile.ndim == 2:
        image.putpalette(palette().tobytes())
    buffer = BytesIO()
    image.save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def sheet(rows: Sequence[Sequence[Tile | None]], title: str, dpi: int, width: float = 11.0) -> bytes:
    """Rows of tiles with their captions as one PNG, for slides and papers; width in inches."""
    columns, line, gap = max(map(len, rows)), 0.26, 0.08
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
                image = palette()[tile.pixels] if tile.pixels.ndim == 2 else tile.pixels
                axes.imshow(image, interpolation="nearest")
                axes.set_axis_off()
                axes.set_title(tile.caption, fontsize=8.5, pad=3)
        top -= line + height + gap
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()
