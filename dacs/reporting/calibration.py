"""Plots of the confidence of pseudo-labels: how often they are right, and which classes the confident ones have."""

from collections.abc import Iterator

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from dacs.methods import METHODS
from dacs.reporting.data import ReportData
from dacs.reporting.groups import MANY
from dacs.reporting.names import MUTED, PAPER, number, task_title
from dacs.reporting.plots import LEGEND, SHOWN
from dacs.reporting.style import Plot, label_rows, subplots

SHARES = {"truth_share": "ground truth", "confident_share": "confident pseudo-labels"}
LEAST = 0.01  # percent: smaller shares are drawn there


def reliability(data: ReportData) -> Iterator[Plot]:
    """Accuracy of the pseudo-labels of the last teacher over their confidence, a line for each method.

    A perfectly calibrated teacher is on the diagonal (reliability diagram; Guo et al., 2017).
    """
    for task in data.measured:
        table = last(data.table("calibration", task)).dropna(subset="accuracy")
        if not table.empty:
            figure, (axes,) = subplots(3.4, task_title(task))
            axes.plot([0, 100], [0, 100], color=MUTED, linewidth=1, linestyle="--")
            for name, rows in table.groupby("method", sort=False):
                bins = binned(rows)
                color, title = METHODS[str(name)].color, METHODS[str(name)].title
                axes.plot(bins["confidence"], bins["accuracy"], "o-", color=color, label=title, markersize=3)
            axes.legend(loc="upper left", labelcolor="linecolor", handlelength=1, handletextpad=0.4)
            axes.set_xlabel("confidence of the teacher, %")
            axes.set_title("accuracy of its pseudo-labels, %")
            errors = last(data.table("checkpoints", task)).groupby("method", sort=False)["ece"].mean()
            each = ", ".join(f"{METHODS[str(name)].title} {number(error)}" for name, error in errors.items())
            caption = f"Expected calibration error at the last step, %: {each}."
            alt = f"Accuracy of the pseudo-labels on {task_title(task)} over their confidence, by method. {caption}"
            yield Plot(task, figure, alt, caption)


def confident(data: ReportData) -> Iterator[Plot]:
    """Which classes the confident pseudo-labels of the main method have, beside the ground truth; frequent ones on top.

    Of more than `MANY` classes the `SHOWN` most frequent ones.
    """
    for task in data.measured:
        table = last(data.table("confident", task))
        table = table[table["method"] == data.main].groupby("class", sort=False)[list(SHARES)].mean()
        table = table[table.index.isin(data.groups[task].every[0].classes)].dropna(how="all")
        table = table.sort_values("truth_share", ascending=False, kind="stable")
        if data.main and table["confident_share"].notna().any():
            most = f"The {SHOWN} most frequent of {len(table)} classes." if len(table) > MANY else ""
            table = table[: SHOWN if most else None].fillna(0)
            figure, (axes,) = subplots(1.0 + 0.21 * len(table), task_title(task))
            _shares(axes, table, data.main)
            fewer = f"{(table['confident_share'] < table['truth_share']).sum()} of {len(table)} classes"
            title = METHODS[data.main].title
            labels = f"the confident pseudo-labels of {title} on {task_title(task)}"
            alt = f"Share of each class of {labels}, which is less than in the ground truth of {fewer}. {most}".strip()
            caption = (
                f"Shares of the classes in the confident pseudo-labels of {title} after the last step, and in the "
                "ground truth of the same images; ×: their ratio. "
                f"Less than {LEAST:g} % is drawn at {LEAST:g} %. {most}"
            )
            yield Plot(task, figure, alt, caption.strip())


def last(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the last state of each run."""
    return table[table["step"] == table.groupby(["method", "seed"])["step"].transform("max")]


def binned(rows: pd.DataFrame) -> pd.DataFrame:
    """Confidence and accuracy in each bin over all seeds, each by its pixels."""
    pixels = rows["pixels"]
    sums = rows[["confidence", "accuracy"]].mul(pixels, axis=0).groupby(rows["low"]).sum()
    return sums.div(pixels.groupby(rows["low"]).sum(), axis=0)


def _shares(axes: Axes, table: pd.DataFrame, main: str) -> None:
    """A row for each class: its share of the ground truth (hollow), that of the confident labels, and their ratio."""
    label_rows(axes, list(table.index))
    drawn, color = table.clip(lower=LEAST), METHODS[main].color
    ends = drawn["truth_share"], drawn["confident_share"]
    axes.hlines(range(len(table)), ends[0], ends[1], colors=color, linewidth=2.5, alpha=0.4)
    for (name, label), face in zip(SHARES.items(), (PAPER, color), strict=True):
        dots = axes.plot(drawn[name], range(len(table)), "o", color=color, markerfacecolor=face, label=label)[0]
        dots.set(clip_on=False, zorder=3)
    for row, (truth, given) in enumerate(table.to_numpy()):
        text = f"× {number(given / truth, '.2f')}" if truth else "–"
        axes.text(1.02, row, text, transform=axes.get_yaxis_transform(), va="center", color=MUTED)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(LEAST, 100)
    axes.legend(**LEGEND)
    axes.set_xlabel("% of the pixels of all classes")
