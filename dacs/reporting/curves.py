"""The training curves of one task: what was lost, what was trusted, and how often the trust was right."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dacs.reporting.names import method, ordered, task_title
from dacs.reporting.style import WIDTH

PANES = {  # column → what it is, and its unit
    "loss_source": "loss on labelled source frames",
    "loss_mixed": "loss on mixed frames",
    "lambda": "λ, the weight of the mixed loss",
    "pseudo_accuracy": "pseudo-labels that are right, %",
    "confident_share": "pixels of which the teacher is confident, %",  # shown where nobody knows which are right
}


def curves(task: str, table: pd.DataFrame, hero: str | None) -> tuple[Figure, str] | None:
    """A pane for each of `PANES` that was logged, a line for each method; None where nothing was logged."""
    panes = [name for name in PANES if name in table and table[name].notna().any()]
    if "pseudo_accuracy" in panes and "confident_share" in panes:
        panes.remove("confident_share")
    if not panes:
        return None
    figure = Figure(figsize=(WIDTH, 0.55 + 1.35 * len(panes)))
    grid = figure.subplots(len(panes), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(grid, panes, strict=True):
        _pane(axes, table, name, hero)
    grid[-1].set_xlabel("training step")
    figure.suptitle(task_title(task), x=0.01, ha="left", weight="bold", fontsize=9.5)
    return figure, _sentence(task, table, panes, hero)


def _pane(axes: Axes, table: pd.DataFrame, column: str, hero: str | None) -> None:
    """One quantity over the steps: lines labelled at their right end."""
    ends = []
    for name in ordered(list(table["method"].unique())):
        ends += _line(axes, table, name, column, "-", method(name).label)
        if column == "pseudo_accuracy" and name == hero and "confident_accuracy" in table:
            ends += _line(axes, table, name, "confident_accuracy", (0, (3, 1.5)), f"{method(name).label}, confident")
    axes.set_title(PANES[column])
    axes.grid(axis="y")
    axes.margins(x=0.01, y=0.08)
    axes.set_ylim(bottom=0 if column.startswith(("loss", "confident")) else None)
    axes.locator_params(axis="y", nbins=4)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _labels(axes, ends)


def _line(
    axes: Axes, table: pd.DataFrame, name: str, column: str, style: str | tuple[int, tuple[float, float]], label: str
) -> list[tuple[float, float, str, str]]:
    """Mean over seeds, and a band from the least to the greatest seed; where it ends, for its label."""
    rows = table[(table["method"] == name) & table[column].notna()]
    if rows.empty:
        return []
    steps = rows.groupby("step")[column].agg(["mean", "min", "max"]) * _scale(column, table)
    color = method(name).color
    marker = "o" if len(steps) == 1 else None  # a line of one point is not seen
    axes.plot(steps.index, steps["mean"], color=color, linestyle=style, linewidth=1.6, marker=marker)
    if rows["seed"].nunique() > 1:
        axes.fill_between(steps.index, steps["min"], steps["max"], color=color, alpha=0.15, linewidth=0)
    return [(float(steps.index[-1]), float(steps["mean"].iloc[-1]), label, color)]


def _labels(axes: Axes, ends: list[tuple[float, float, str, str]]) -> None:
    """Labels right of the axes, at the height where their lines end but never on each other."""
    if not ends:
        return
    low, high = axes.get_ylim()
    gap = min(0.15, 1 / len(ends)) * (high - low)
    height = float("inf")
    placed = []
    for _, y, label, color in sorted(ends, key=lambda end: -end[1]):
        height = min(y, height - gap)
        placed.append((height, label, color))
    lift = max(0.0, low - placed[-1][0])  # a stack that sinks below the axes is lifted as a whole
    for height, label, color in placed:
        axes.annotate(
            label,
            (1, (height + lift - low) / (high - low)),
            (5, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            va="center",
            color=color,
            fontsize=8.5,
            annotation_clip=False,
        )


def _scale(column: str, table: pd.DataFrame) -> float:
    """Accuracies may be logged as shares; they are shown in percent."""
    return 100.0 if "accuracy" in column and table[column].max() <= 1 else 1.0


def _sentence(task: str, table: pd.DataFrame, panes: list[str], hero: str | None) -> str:
    shown = "; ".join(PANES[name] for name in panes)
    text = f"Training curves of {task_title(task)} over the steps: {shown}."
    last = table[table["method"] == hero].dropna(subset=["pseudo_accuracy"]) if "pseudo_accuracy" in panes else None
    if hero is None or last is None or last.empty or "confident_accuracy" not in last:
        return text
    row = last[last["step"] == last["step"].max()].mean(numeric_only=True)
    every, sure = (row[name] * _scale(name, table) for name in ("pseudo_accuracy", "confident_accuracy"))
    label = method(hero).label
    return f"{text} At the end {every:.0f} % of {label}'s pseudo-labels are right, of the confident ones {sure:.0f} %."
