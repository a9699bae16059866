"""Training curves: losses, the weight of the mixed loss, and the accuracy of the pseudo-labels."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dacs.methods import METHODS
from dacs.reporting.data import ReportData
from dacs.reporting.names import task_title
from dacs.reporting.style import Plot, subplots

CURVES = {  # column of log.csv → what it is, and its unit
    "loss_source": "loss on labelled images",
    "loss_mixed": "loss on mixed images",
    "lambda": "λ, the weight of the mixed loss",
    "pseudo_accuracy": "accuracy of the pseudo-labels, %",
    "confident_share": "pixels with a confident pseudo-label, %",
}


class End(NamedTuple):
    """Where a line ends, and how it is labelled there."""

    y: float
    label: str
    color: str


def curves(data: ReportData) -> Iterator[Plot]:
    """One axes for each of `CURVES` that was logged, a line for each method."""
    for task in data.tasks:
        table = data.table("curves", task).dropna(axis=1, how="all")
        columns = [name for name in CURVES if name in table]
        if "pseudo_accuracy" in columns and "confident_share" in columns:
            columns.remove("confident_share")  # only where there is no ground truth to measure accuracy with
        if columns:
            figure, grid = subplots(0.55 + 1.35 * len(columns), task_title(task), len(columns), sharex=True)
            for axes, column in zip(grid, columns, strict=True):
                _curve(axes, table, column, data.main)
            grid[-1].set_xlabel("training step")
            titles = "; ".join(CURVES[name] for name in columns)
            alt = f"Training curves of {task_title(task)} over the steps: {titles}."
            yield Plot(task, figure, alt, _caption(table[table["method"] == data.main]))


def _curve(axes: Axes, table: pd.DataFrame, column: str, main: str | None) -> None:
    """One quantity over the steps: lines labelled at their right end."""
    ends = []
    for name, runs in table.groupby("method", sort=False):
        row = METHODS[str(name)]
        ends += _line(axes, runs, column, row.title, color=row.color)
        if column == "pseudo_accuracy" and name == main and "confident_accuracy" in runs:
            ends += _line(axes, runs, "confident_accuracy", f"{row.title}, confident", color=row.color, linestyle="--")
    axes.set_title(CURVES[column])
    axes.margins(x=0.01, y=0.08)
    axes.set_ylim(bottom=0 if column.startswith(("loss", "confident")) else None)
    axes.locator_params(axis="y", nbins=4)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _label_ends(axes, ends)


def _line(axes: Axes, runs: pd.DataFrame, column: str, label: str, color: str, linestyle: str = "-") -> list[End]:
    """Mean over seeds, and a band from the lowest to the highest; the end of the line, if there is one."""
    steps = runs.dropna(subset=column).groupby("step")[column].agg(["mean", "min", "max"])
    if steps.empty:
        return []
    marker = "o" if len(steps) == 1 else None  # a line of one point is invisible
    axes.plot(steps.index, steps["mean"], color=color, linestyle=linestyle, marker=marker)
    if runs["seed"].nunique() > 1:
        axes.fill_between(steps.index, steps["min"], steps["max"], color=color, alpha=0.15, linewidth=0)
    return [End(steps["mean"].iloc[-1], label, color)]


def _label_ends(axes: Axes, ends: list[End]) -> None:
    """Labels right of the axes, at the height where their lines end, moved apart where they would overlap."""
    ends = sorted(ends)
    low, high = axes.get_ylim()
    offsets = min(0.15, 1 / len(ends)) * np.arange(len(ends))
    heights = np.maximum.accumulate([(end.y - low) / (high - low) for end in ends] - offsets) + offsets
    heights -= max(0, heights[-1] - 1)
    for height, end in zip(heights, ends, strict=True):
        axes.text(1.01, height, end.label, transform=axes.transAxes, va="center", color=end.color, fontsize=8.5)


def _caption(runs: pd.DataFrame) -> str:
    """The accuracy of the main method's pseudo-labels at the end; empty where it was not measured."""
    values = runs.reindex(columns=["method", "step", "pseudo_accuracy", "confident_accuracy"]).dropna()
    if values.empty:
        return ""
    every, confident = values.loc[values["step"] == values["step"].max()].iloc[:, 2:].mean()
    title = METHODS[values["method"].iloc[0]].title
    return (
        f"{title}, last step: {every:.0f} % of the pseudo-labels are correct, of the confident ones {confident:.0f} %."
    )
