"""What figures are made of, their common style, and how they are written: the same bytes each time."""

import warnings
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, NamedTuple
from unicodedata import east_asian_width

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from dacs.reporting.names import GRID, INK, MUTED, WORSE, number

WIDTH = 4.8  # inches of every plot: two stand side by side on a wide page, one fills a phone
LONGEST = 24  # letters of a name in a plot
TILE = 480  # pixels: smaller images are enlarged by a whole number towards this width, larger ones reduced to it

STYLE: dict[Any, Any] = {  # changes of matplotlib's defaults
    "figure.constrained_layout.use": True,
    "figure.titlesize": 9.5,
    "figure.titleweight": "bold",
    "axes.facecolor": "none",
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": GRID,
    "font.size": 9,
    "legend.loc": "lower left",
    "legend.borderpad": 0,
    "legend.frameon": False,
    "legend.handletextpad": 0,
    "legend.labelcolor": "mec",
    "text.color": INK,
    "text.parse_math": False,  # a name may have dollars
    "xtick.color": MUTED,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "svg.fonttype": "none",  # text stays text: sharp, small, and the page may set its font
    "svg.hashsalt": "dacs",  # else ids differ from run to run
}


class Plot(NamedTuple):
    """A figure that becomes an SVG."""

    subject: str  # the task or domain that it is about
    figure: Figure
    alt: str  # what it shows, for screen readers
    caption: str = ""  # below it on the page
    name: str = ""  # different for each of several plots of a figure and subject
    facts: Mapping[str, str] = {}  # `class`: plots that differ in it alone are chosen from on the page


class Tile(NamedTuple):
    """A small image with its caption: colours (height x width x 3) or train ids (height x width)."""

    name: str  # of its file
    pixels: np.ndarray
    caption: str
    alt: str
    facts: Mapping[str, str] = {}  # that the page's switches go by: `of` a method, `shows` classes or errors


class Tiles(NamedTuple):
    """Images that belong together, and texts between them."""

    subject: str  # the task or domain that they are about
    name: str  # different for each group of a figure and subject
    heading: str
    items: Sequence[Tile | str]
    layout: str = ""  # CSS class of the grid: "mix" fills two rows column by column, "strip" has five columns
    facts: Mapping[str, int] = {}  # `step`: groups that differ in it alone are stepped through on the page


def subplots(height: float, title: str, rows: int = 1, columns: int = 1, **kwargs: Any) -> tuple[Figure, list[Axes]]:
    """A figure of the common width with a title and a grid of axes; height in inches."""
    figure = Figure(figsize=(WIDTH, height))
    figure.suptitle(title, x=0.01, ha="left")
    return figure, list(figure.subplots(rows, columns, squeeze=False, **kwargs).flat)


def label_rows(axes: Axes, labels: Sequence[str]) -> None:
    """Label the rows of a plot from top to bottom; long labels are cut."""
    axes.set_yticks(range(len(labels)), [shortened(label) for label in labels])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.spines["bottom"].set_visible(False)


def shortened(text: str) -> str:
    """At most `LONGEST` letters; wide ones, such as those of Chinese, count twice."""
    ends = np.cumsum([1 + (east_asian_width(letter) in "WF") for letter in text])
    return text if ends[-1] <= LONGEST else f"{text[: int((ends < LONGEST).sum())]}…"


def annotate_change(axes: Axes, row: int, change: float) -> None:
    """The change of a row in points, right of the axes."""
    text, color = (number(change, "+.1f"), WORSE if change < 0 else INK) if np.isfinite(change) else ("absent", MUTED)
    axes.text(1.02, row, text, transform=axes.get_yaxis_transform(), va="center", color=color)


def svg(figure: Figure) -> bytes:
    """A figure as SVG without date or maker."""
    buffer = BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # text stays text, and the fonts of readers may have it
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return buffer.getvalue()


def png(pixels: np.ndarray, palette: np.ndarray) -> bytes:
    """An image (height x width x 3), or train ids (height x width) with the palette, about `TILE` pixels wide.

    A drawing, of at most 256 colours, becomes a palette image too, which takes a third of the space.
    """
    if pixels.ndim == 3:
        colors, ids = np.unique(pixels @ np.array([1 << 16, 1 << 8, 1]), return_inverse=True)
        if len(colors) <= 256:
            palette = np.stack([colors >> 16, colors >> 8 & 255, colors & 255], axis=-1).astype(np.uint8)
            pixels = ids.reshape(pixels.shape[:2]).astype(np.uint8)
    height, width = pixels.shape[:2]
    scale = TILE // width if width <= TILE else TILE / width
    how = Image.Resampling.NEAREST if pixels.ndim == 2 or scale >= 1 else Image.Resampling.LANCZOS
    image = Image.fromarray(pixels).resize((round(scale * width), round(scale * height)), how)
    if pixels.ndim == 2:
        image.putpalette(palette.tobytes())
    buffer = BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
