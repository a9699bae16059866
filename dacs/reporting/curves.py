"""Curves over the steps of training: losses, scores, pseudo-labels, and the checkpoints that were chosen."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dacs.methods import METHODS, method
from dacs.reporting.data import ReportData
from dacs.reporting.groups import MANY
from dacs.reporting.names import MUTED, number, task_title
from dacs.reporting.plots import SHOWN
from dacs.reporting.style import Plot, shortened, subplots

STEPS = "training steps, with those of the weights that a run starts from"
FEW = 10  # points of a line that are drawn as such


class Curve(NamedTuple):
    """One quantity over the steps."""

    table: str  # of the report
    column: str
    title: str
    dashed: str = ""  # column of the same table that is drawn for the main method too
    dashed_title: str = ""
    bottom: float | None = None  # of the axis


TRAINING = (
    Curve("curves", "loss_source", "loss on labelled images", bottom=0),
    Curve("curves", "loss_mixed", "loss on mixed images", bottom=0),
    Curve("curves", "lambda", "λ, the weight of the mixed loss"),
    Curve("checkpoints", "student", "mIoU of the student over all classes, %", "teacher", "teacher"),
    Curve("checkpoints", "pseudo_accuracy", "accuracy of the pseudo-labels, %", "confident_accuracy", "confident"),
)
CALIBRATION = (
    Curve("checkpoints", "confident_share", "pixels with a confident pseudo-label, %", bottom=0),
    Curve("checkpoints", "ece", "expected calibration error of the pseudo-labels, %", bottom=0),
)
MARKS = {"chosen": ("D", 6), "best": ("*", 11), "last": ("o", 8)}  # of a checkpoint: marker and its size


class End(NamedTuple):
    """Where a line ends, and how it is labelled there."""

    y: float
    label: str
    color: str


def curves(data: ReportData) -> Iterator[Plot]:
    """Losses, λ, mIoU and accuracy of the pseudo-labels: axes for each that is known, a line for each method."""
    for task in data.tasks:
        yield from _plots(data, task, TRAINING, _accuracy(data.table("checkpoints", task), data.main))


def confidence(data: ReportData) -> Iterator[Plot]:
    """How many pseudo-labels are confident, and by how much their confidence misses their accuracy."""
    for task in data.tasks:
        yield from _plots(data, task, CALIBRATION)


def checkpoints(data: ReportData) -> Iterator[Plot]:
    """mIoU of the states of the first seed; the chosen, the best and the last one of each method are marked."""
    for task in data.measured:
        table, choice = _trained(data.table("checkpoints", task)), data.table("choice", task)
        if not choice.empty:
            figure, (axes,) = subplots(2.7, f"{task_title(task)}: mIoU of the student over all classes, %")
            ends = []
            for name, states in table[table["seed"] == table["seed"].iloc[0]].groupby("method", sort=False):
                row = METHODS[str(name)]
                ends += _line(axes, states, "student", row.title, row.color)
                _mark(axes, states, row.color)
            for mark, (marker, size) in MARKS.items():
                axes.plot([], [], marker, markersize=size, color=MUTED, label=mark, markerfacecolor=_face(mark, MUTED))
            axes.legend(bbox_to_anchor=(-0.02, 0.99), ncols=3)
            _finish(axes, ends)
            axes.set_xlabel(STEPS)
            caption = regrets(choice)
            alt = f"mIoU of the students over the steps on {task_title(task)}; chosen, best and last state. {caption}"
            yield Plot(task, figure, alt, caption)


def conflation_steps(data: ReportData) -> Iterator[Plot]:
    """How much of a class is taken for another one over the steps, a line for each method; a plot for each class.

    Of more than `MANY` classes the `SHOWN` that are confused most.
    """
    for task in data.measured:
        table = data.table("conflation_steps", task)
        groups = [*table.groupby(["class", "taken_for"], sort=False)]
        for (name, other), rows in groups[: SHOWN if len(groups) > MANY else None]:
            figure, (axes,) = subplots(2.2, f"{task_title(task)}: {shortened(name)} as {shortened(other)}")
            ends, alt = list[End](), f"Percent of the {name} of {task_title(task)} predicted as {other}, last step"
            for by, states in rows.assign(seed=0).groupby("method", sort=False):
                row = METHODS[str(by)]
                ends += _line(axes, states, "percent", row.title, row.color)
                alt += f"; {row.title} {number(states['percent'].iloc[-1])}"
            _finish(axes, ends, bottom=0)
            axes.set_xlabel(STEPS)
            axes.set_title(f"% of the pixels of {shortened(name)}")
            yield Plot(task, figure, f"{alt}.", "", f"class{data.labels.names.index(name)}", {"class": name})


def regrets(choice: pd.DataFrame) -> str:
    """By how much the last state, and that which each criterion chooses, are below the best one."""
    means = choice.groupby("criterion", sort=False)["regret"].mean()
    used = choice.loc[choice["used"], "criterion"].iloc[0]
    runs = len(choice) // len(means)
    each = [f"{name}{' (chosen)' * (name == used)} {number(value)}" for name, value in means.items()]
    return f"Points of mIoU over all classes below the best state, mean of {runs} runs: {', '.join(each)}."


def _plots(data: ReportData, task: str, every: Sequence[Curve], caption: str = "") -> Iterator[Plot]:
    """One figure with axes for each of the curves of which there are values."""
    tables = {name: _trained(data.table(name, task)) for name in ("curves", "checkpoints")}
    shown = [each for each in every if tables[each.table].get(each.column, pd.Series(dtype=float)).notna().any()]
    if shown:
        figure, grid = subplots(0.55 + 1.35 * len(shown), task_title(task), len(shown), sharex=True)
        for axes, each in zip(grid, shown, strict=True):
            _curve(axes, tables[each.table], each, data.main)
        grid[-1].set_xlabel(STEPS)
        titles = "; ".join(each.title for each in shown)
        yield Plot(task, figure, f"Curves of {task_title(task)} over the steps of training: {titles}.", caption)


def _curve(axes: Axes, table: pd.DataFrame, curve: Curve, main: str | None) -> None:
    """One quantity over the steps: lines labelled at their right end."""
    ends = []
    for name, runs in table.groupby("method", sort=False):
        row = METHODS[str(name)]
        ends += _line(axes, runs, curve.column, row.title, color=row.color)
        if curve.dashed in runs and name == main:
            ends += _line(axes, runs, curve.dashed, f"{row.title}, {curve.dashed_title}", row.color, "--")
    axes.set_title(curve.title)
    _finish(axes, ends, curve.bottom)


def _line(axes: Axes, runs: pd.DataFrame, column: str, label: str, color: str, linestyle: str = "-") -> list[End]:
    """Mean over seeds, and a band from the lowest to the highest; the end of the line, if there is one."""
    steps = runs.dropna(subset=column).groupby("steps")[column].agg(["mean", "min", "max"])
    if steps.empty:
        return []
    marker = "o" if len(steps) <= FEW else None
    axes.plot(steps.index, steps["mean"], color=color, linestyle=linestyle, marker=marker, markersize=3)
    if runs["seed"].nunique() > 1:
        axes.fill_between(steps.index, steps["min"], steps["max"], color=color, alpha=0.15, linewidth=0)
    return [End(steps["mean"].iloc[-1], label, color)]


def _mark(axes: Axes, states: pd.DataFrame, color: str) -> None:
    """Mark the states of one run."""
    for mark, (marker, size) in MARKS.items():
        where = states[states["step"] == states["step"].max()] if mark == "last" else states[states[mark]]
        (found,) = axes.plot(where["steps"], where["student"], marker, markersize=size, color=color)
        found.set_markerfacecolor(_face(mark, color))


def _face(mark: str, color: str) -> str:
    """The colour inside of a mark: the others are hollow, since a state may have several."""
    return color if mark == "best" else "none"


def _finish(axes: Axes, ends: list[End], bottom: float | None = None) -> None:
    """Margins, ticks, and labels right of the axes, at the height where their lines end, moved apart."""
    axes.margins(x=0.01, y=0.08)
    axes.set_ylim(bottom=bottom)
    axes.locator_params(axis="y", nbins=4)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ends = sorted(ends)
    low, high = axes.get_ylim()
    offsets = min(0.15, 1 / len(ends)) * np.arange(len(ends))
    heights = np.maximum.accumulate([(end.y - low) / (high - low) for end in ends] - offsets) + offsets
    heights -= max(0, heights[-1] - 1)
    for height, end in zip(heights, ends, strict=True):
        axes.text(1.01, height, end.label, transform=axes.transAxes, va="center", color=end.color, fontsize=8.5)


def _trained(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of methods that are trained."""
    return table.loc[[not method(name).recalibrates for name in table["method"]]]


def _accuracy(states: pd.DataFrame, main: str | None) -> str:
    """The accuracy of the main method's pseudo-labels at the end; empty where it was not measured."""
    values = states.loc[states["method"] == main, ["step", "pseudo_accuracy", "confident_accuracy"]].dropna()
    if main is None or values.empty:
        return ""
    every, confident = values.loc[values["step"] == values["step"].max()].iloc[:, 1:].mean()
    title = METHODS[main].title
    return (
        f"{title}, last step: {every:.0f} % of the pseudo-labels are correct, of the confident ones {confident:.0f} %."
    )
