"""Plots of scores and of the similarity of domains, one message each, with a sentence for screen readers."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dacs.labels import CLASS_SETS, CLASSES
from dacs.methods import METHODS
from dacs.reporting.data import ReportData
from dacs.reporting.names import (
    GRID,
    MUTED,
    PAPER,
    WORSE,
    class_set,
    domain_colors,
    domain_title,
    signed,
    target_of,
    task_title,
)
from dacs.reporting.style import WIDTH, Plot, annotate, annotate_change, label_rows, legend, plot
from dacs.reporting.tables import MEASURES, gains


def miou(data: ReportData) -> Iterator[Plot]:
    """mIoU of each method: the mean, the range and the single seeds, and the gain over source-only training."""
    for task in data.measured:
        column = f"miou{class_set(task)}"
        means = data.table("summary", task).set_index("method")[column].round(2)  # as metrics.json has them
        seeds = data.table("scores", task).groupby("method", sort=False)[column]
        low, high = seeds.min(), seeds.max()
        figure, axes = plot(0.95 + 0.36 * len(means), task_title(task))
        label_rows(axes, [METHODS[name].title for name in means.index])
        for row, (name, values) in enumerate(seeds):
            color = METHODS[str(name)].color
            if len(values) > 1:
                axes.plot([low[name], high[name]], [row, row], color=color, alpha=0.3, linewidth=7)
                axes.plot(values, [row] * len(values), "|", color=color, markersize=7, zorder=3)
            axes.plot(means[name], row, "o", color=color, markersize=8, zorder=4)
            box = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.5}
            annotate(axes, f"{means[name]:.1f}", high[name], row, 9, bbox=box)
            if "source" in means and name != "source":
                annotate_change(axes, row, means[name] - means["source"])
        if "source" in means:
            axes.axvline(means["source"], color=METHODS["source"].color, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
            axes.text(1.02, -0.75, "gain", transform=axes.get_yaxis_transform(), va="center", color=MUTED)
        spread = high.max() - low.min()
        axes.set_xlim(max(0, low.min() - 0.1 * spread - 1), high.max() + 0.25 * spread + 3)
        axes.set_xlabel(f"mIoU over {class_set(task)} classes, %")
        listed = ", ".join(f"{METHODS[str(name)].title} {value:.1f}" for name, value in means.items())
        yield Plot(task, figure, f"mIoU over {class_set(task)} classes on {task_title(task)}, in percent: {listed}.")


def classes(data: ReportData) -> Iterator[Plot]:
    """IoU of each class, from source-only training to the main method; the greatest gain is on top."""
    main = data.main
    if main is None or "source" not in data.methods:
        return
    for task in data.measured:
        table = data.table("iou", task).pivot_table(index="class", columns="method", values="iou", dropna=False)
        table = table.loc[[CLASSES[index].name for index in CLASS_SETS[class_set(task)]]]
        table["gain"] = table[main] - table["source"]
        table = table.sort_values("gain", ascending=False, kind="stable")
        figure, axes = plot(1.0 + 0.21 * len(table), task_title(task))
        _dumbbells(axes, table, main)
        legend(axes)
        best, worst = table["gain"].idxmax(), table["gain"].idxmin()
        yield Plot(
            task,
            figure,
            f"IoU of each class on {task_title(task)}, source only and {METHODS[main].title}:"
            f" {(table['gain'] > 0).sum()} of {len(table)} classes improve;"
            f" the largest change is {signed(table['gain'].max())} ({best}),"
            f" the smallest {signed(table['gain'].min())} ({worst}).",
        )


def _dumbbells(axes: Axes, table: pd.DataFrame, main: str) -> None:
    """A row for each class: source-only training (hollow), the main method (full), and the change between them."""
    rows = range(len(table))
    label_rows(axes, list(table.index))
    axes.tick_params(axis="y", pad=17)
    colors = {label.name: np.array(label.color) / 255 for label in CLASSES}
    for row, name in enumerate(table.index):
        square = axes.plot(-0.043, row, "s", color=colors[name], transform=axes.get_yaxis_transform(), clip_on=False)[0]
        square.set(markeredgecolor=MUTED, markeredgewidth=0.5)
    bars = [METHODS[main].color if gain >= 0 else WORSE for gain in table["gain"]]
    axes.hlines(rows, table["source"], table[main], colors=bars, linewidth=2.5, alpha=0.55)
    for name, face, size in (("source", PAPER, 6), (main, METHODS[main].color, 6.5)):
        dots = axes.plot(table[name], rows, "o", label=METHODS[name].title, clip_on=False, zorder=3)[0]
        dots.set(markerfacecolor=face, markeredgecolor=METHODS[name].color, markersize=size)
    for row, gain in enumerate(table["gain"]):
        annotate_change(axes, row, gain)
    axes.set_xlim(0, 100)
    axes.set_xlabel("IoU, %")


def conflation(data: ReportData) -> Iterator[Plot]:
    """Two bars for each method: sidewalk that is predicted as road, and road that is predicted as sidewalk."""
    columns = {"sidewalk_called_road": "sidewalk as road", "road_called_sidewalk": "road as sidewalk"}
    for task in data.measured:
        means = data.table("conflation", task).groupby("method", sort=False)[list(columns)].mean()
        rows = [METHODS[str(name)] for name in means.index]
        figure = Figure(figsize=(WIDTH, 0.95 + 0.32 * len(rows)))
        figure.suptitle(task_title(task), x=0.01, ha="left", weight="bold", fontsize=9.5)
        limit = max(5.0, 1.42 * float(means.fillna(0).to_numpy().max()))
        for axes, (column, title) in zip(figure.subplots(1, 2, sharey=True), columns.items(), strict=True):
            _bars(axes, [row.title for row in rows], means[column], [row.color for row in rows])
            for row, value in enumerate(means[column]):
                annotate(axes, _percent(value), np.nan_to_num(value), row)
            axes.set_xlim(0, limit)
            axes.set_title(title)
        pairs = zip(rows, means.itertuples(index=False), strict=True)
        listed = "; ".join(f"{row.title} {_percent(first)} and {_percent(second)}" for row, (first, second) in pairs)
        alt = f"Sidewalk predicted as road and road predicted as sidewalk on {task_title(task)}: {listed}."
        yield Plot(task, figure, alt)


def similarity(data: ReportData) -> Iterator[Plot]:
    """Distances of the sources to each target by four measures, and the gain of the main method from each source."""
    for target in dict.fromkeys(map(target_of, data.tasks)):
        table = data.tables["similarity"].query("target == @target")
        wide = table.pivot_table(index="measure", columns="source", values="distance", sort=False).dropna()
        wide = wide.rename(index=MEASURES)
        gained = gains(data.tables["summary"], target)
        ratios = [4.6, 0.6 + len(gained)] if gained else [1]
        figure = Figure(figsize=(WIDTH, 0.82 + 0.37 * len(wide) + (0.4 + 0.3 * len(gained) if gained else 0)))
        panes = figure.subplots(len(ratios), 1, squeeze=False, height_ratios=ratios)[:, 0]
        _distances(panes[0], wide)
        panes[0].set_title(f"distance to {domain_title(target)} (0: equal)", pad=20)
        listed = [
            f"{domain_title(str(source))} " + ", ".join(f"{name} {value:.2f}" for name, value in values.items())
            for source, values in wide.items()
        ]
        alt = f"Distance of each source to {domain_title(target)}: {'; '.join(listed)}."
        if gained and data.main:
            _gains(panes[1], gained)
            panes[1].set_title(f"gain of {METHODS[data.main].title} over source only, points of mIoU16")
            listed = [f"{domain_title(source)} {signed(value)}" for source, value in gained.items()]
            alt += f" Gain of {METHODS[data.main].title} in points: {', '.join(listed)}."
        yield Plot(target, figure, alt, comparison(target, wide, gained))


def comparison(target: str, wide: pd.DataFrame, gained: dict[str, float]) -> str:
    """Whether the closer of two sources also gives the larger gain; empty where there are not two.

    `wide` has a row for each measure and a column for each source.
    """
    if len(wide.columns) != 2:
        return ""
    first, second = wide.columns
    near, far = (first, second) if 2 * (wide[first] < wide[second]).sum() >= len(wide) else (second, first)
    wins = int((wide[near] < wide[far]).sum())
    if 2 * wins == len(wide):
        return f"Neither source is closer to {domain_title(target)}: each is by {wins} of {len(wide)} measures."
    text = f"{domain_title(near)} is closer to {domain_title(target)} by {wins} of {len(wide)} measures."
    if near not in gained or far not in gained:
        return text
    return f"{text} The gain from it is {'larger' if gained[near] > gained[far] else 'not larger'}."


def _distances(axes: Axes, wide: pd.DataFrame) -> None:
    """A row for each measure, a dot for each source."""
    rows, colors = range(len(wide)), domain_colors(wide.columns)
    label_rows(axes, list(wide.index))
    axes.hlines(rows, wide.min(axis=1), wide.max(axis=1), colors=GRID, linewidth=4, zorder=1)
    for source, values in wide.items():
        axes.plot(values, rows, "o", color=colors[str(source)], markersize=8, label=domain_title(str(source)))
    axes.set_xlim(0, 1.12 * float(wide.to_numpy().max()) or 1)
    legend(axes)


def _gains(axes: Axes, gained: dict[str, float]) -> None:
    """A bar for each source."""
    values, colors = list(gained.values()), domain_colors(gained)
    _bars(axes, [domain_title(source) for source in gained], values, [colors[source] for source in gained])
    for row, value in enumerate(values):
        annotate(axes, signed(value), max(value, 0), row)
    axes.set_xlim(min(0, *values, 0), 1.25 * max(1, *values, 1))


def _bars(axes: Axes, labels: Sequence[str], values: Sequence[float] | pd.Series, colors: Sequence[str]) -> None:
    """Horizontal bars from a line at 0, without an axis: their values stand beside them."""
    label_rows(axes, labels)
    axes.grid(visible=False)
    axes.barh(range(len(labels)), values, height=0.55, color=colors)
    axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.set_xticks([])


def _percent(value: float) -> str:
    return f"{value:.1f} %" if np.isfinite(value) else "no pixel"
