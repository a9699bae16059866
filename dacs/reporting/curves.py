"""Training curves: losses, the weight of the mixed loss, and the accuracy of the pseudo-labels."""

from collections.abc import Iterator

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dacs.methods import METHODS
from dacs.reporting.data import ReportData
from dacs.reporting.names import task_title
from dacs.reporting.style import WIDTH, Plot, annotate

CURVES = {  # column of log.csv → what it is, and its unit
    "loss_source": "loss on labelled images",
    "loss_mixed": "loss on mixed images",
    "lambda": "λ, the weight of the mixed loss",
    "pseudo_accuracy": "accuracy of the pseudo-labels, %",
    "confident_share": "pixels with a confident pseudo-label, %",
}


def curves(data: ReportData) -> Iterator[Plot]:
    """One axes for each of `CURVES` that was logged, a line for each method."""
    for task in data.tasks:
        table = data.table("curves", task).dropna(axis=1, how="all")
        columns = [name for name in CURVES if name in table]
        if "pseudo_accuracy" in columns and "confident_share" in columns:
            columns.remove("confident_share")  # only where there is no ground truth to measure accuracy with
        if columns:
            figure = Figure(figsize=(WIDTH, 0.55 + 1.35 * len(columns)))
            figure.suptitle(task_title(task), x=0.01, ha="left", weight="bold", fontsize=9.5)
            grid = figure.subplots(len(columns), 1, sharex=True, squeeze=False)[:, 0]
            for axes, column in zip(grid, columns, strict=True):
                _curve(axes, table, column, data.main)
            grid[-1].set_xlabel("training step")
            listed = "; ".join(CURVES[name] for name in columns)
            alt = f"Training curves of {task_title(task)} over the steps: {listed}."
            yield Plot(task, figure, alt, _caption(table, data.main))


def _curve(axes: Axes, table: pd.DataFrame, column: str, main: str | None) -> None:
    """One quantity over the steps: lines labelled at their right end."""
    ends = []
    for name, runs in table.groupby("method", sort=False):
        row = METHODS[str(name)]
        ends += _line(axes, runs, column, row.color, "-", row.title)
        if column == "pseudo_accuracy" and name == main and "confident_accuracy" in runs:
            ends += _line(axes, runs, "confident_accuracy", row.color, (0, (3, 1.5)), f"{row.title}, confident")
    axes.set_title(CURVES[column])
    axes.grid(axis="y")
    axes.margins(x=0.01, y=0.08)
    axes.set_ylim(bottom=0 if column.startswith(("loss", "confident")) else None)
    axes.locator_params(axis="y", nbins=4)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _label_ends(axes, ends)


def _line(
    axes: Axes, runs: pd.DataFrame, column: str, color: str, style: str | tuple[int, tuple[float, float]], label: str
) -> list[tuple[float, str, str]]:
    """Mean over seeds, and a band from the lowest to the highest; the height, label and colour of its end."""
    steps = runs.dropna(subset=column).groupby("step")[column].agg(["mean", "min", "max"])
    if steps.empty:
        return []
    marker = "o" if len(steps) == 1 else None  # a line of one point is invisible
    axes.plot(steps.index, steps["mean"], color=color, linestyle=style, linewidth=1.6, marker=marker)
    if runs["seed"].nunique() > 1:
        axes.fill_between(steps.index, steps["min"], steps["max"], color=color, alpha=0.15, linewidth=0)
    return [(float(steps["mean"].iloc[-1]), label, color)]


def _label_ends(axes: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Labels right of the axes, at the height where their lines end, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    ends = sorted(((y - low) / (high - low), label, color) for y, label, color in ends)
    gap = min(0.15, 1 / max(1, len(ends)))
    heights: list[float] = []
    for y, _, _ in ends:
        heights.append(max(y, heights[-1] + gap) if heights else y)
    excess = max(0.0, heights[-1] - 1) if heights else 0.0
    for height, (_, label, color) in zip(heights, ends, strict=True):
        annotate(axes, label, 1, height - excess, 5, xycoords="axes fraction", color=color, fontsize=8.5)


def _caption(table: pd.DataFrame, main: str | None) -> str:
    """The accuracy of the main method's pseudo-labels at the end; empty where it was not measured."""
    names = ["pseudo_accuracy", "confident_accuracy"]
    if main is None or not {*names} <= {*table}:
        return ""
    rows = table[table["method"] == main].dropna(subset=names)
    if rows.empty:
        return ""
    every, confident = rows.loc[rows["step"] == rows["step"].max(), names].mean()
    title = METHODS[main].title
    return (
        f"{title}, last step: {every:.0f} % of the pseudo-labels are correct, of the confident ones {confident:.0f} %."
    )
