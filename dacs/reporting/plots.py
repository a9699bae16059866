"""Plots of scores and of the similarity of domains, one message each, with a sentence for screen readers."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

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
    number,
    target_of,
    task_title,
)
from dacs.reporting.style import Plot, annotate_change, label_rows, subplots
from dacs.reporting.tables import MEASURES

LEGEND: dict[str, Any] = {"bbox_to_anchor": (-0.02, 0.99), "ncols": 4}  # one line above the axes


def miou(data: ReportData) -> Iterator[Plot]:
    """mIoU of each method: the mean, the range and the single seeds, and the gain over the best baseline."""
    for task in data.measured:
        title, score = f"mIoU over {class_set(task)} classes", f"miou{class_set(task)}"
        means, baseline = data.means(task, score), data.baseline(task, score)
        seeds = data.table("scores", task).groupby("method", sort=False)[score]
        low, high = seeds.min(), seeds.max()
        figure, (axes,) = subplots(0.95 + 0.36 * len(means), task_title(task))
        label_rows(axes, [METHODS[name].title for name in means.index])
        for row, (name, values) in enumerate(seeds):
            color, mean = METHODS[str(name)].color, means[name]
            axes.plot([low[name], high[name]], [row, row], color=color, alpha=0.3, linewidth=7)
            axes.plot(values, [row] * len(values), "|", color=color, markersize=7, zorder=3)
            axes.plot(mean, row, "o", color=color, markersize=8, zorder=4)
            box = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.5}
            axes.annotate(f"{mean:.1f}", (high[name], row), (9, 0), textcoords="offset points", va="center", bbox=box)
            if baseline and not METHODS[str(name)].is_baseline:
                annotate_change(axes, row, mean - means[baseline])
        if baseline:
            axes.axvline(means[baseline], color=METHODS[baseline].color, linewidth=1, linestyle="--", zorder=1)
            axes.text(1.02, -0.75, "gain", transform=axes.get_yaxis_transform(), va="center", color=MUTED)
        axes.set_xlim(max(0, low.min() - 3), 1.2 * high.max() - 0.2 * low.min() + 3)
        axes.set_xlabel(f"{title}, %")
        listed = ", ".join(f"{METHODS[str(name)].title} {mean:.1f}" for name, mean in means.items())
        yield Plot(task, figure, f"{title} on {task_title(task)}, in percent: {listed}.")


def classes(data: ReportData) -> Iterator[Plot]:
    """IoU of each class, from the best baseline to the main method, and that of the oracle; greatest gain on top."""
    for task in data.measured:
        table = data.table("iou", task).pivot_table(index="class", columns="method", values="iou", dropna=False)
        baseline = data.baseline(task, f"miou{class_set(task)}")
        if data.main and baseline:
            names = [CLASSES[index].name for index in CLASS_SETS[class_set(task)]]
            table = table.loc[names, [name for name in (baseline, data.main, "oracle") if name in table]]
            table["gain"] = table[data.main] - table[baseline]
            table = table.sort_values("gain", ascending=False, kind="stable")
            figure, (axes,) = subplots(1.0 + 0.21 * len(table), task_title(task))
            _dumbbells(axes, table, baseline, data.main)
            better = f"{(table['gain'] > 0).sum()} of {len(table)} classes improve"
            titles = f"{METHODS[baseline].title} and {METHODS[data.main].title}"
            yield Plot(task, figure, f"IoU of each class on {task_title(task)}, {titles}: {better}.")


def _dumbbells(axes: Axes, table: pd.DataFrame, baseline: str, main: str) -> None:
    """A row for each class: baseline (hollow), main method (full), the change between them, and the oracle (a line)."""
    label_rows(axes, list(table.index))
    axes.tick_params(axis="y", pad=17)
    colors = {label.name: np.array(label.color) / 255 for label in CLASSES}
    for row, (name, gain) in enumerate(table["gain"].items()):
        square = axes.plot(-0.043, row, "s", color=colors[str(name)], transform=axes.get_yaxis_transform())[0]
        square.set(markeredgecolor=MUTED, markeredgewidth=0.5, clip_on=False)
        annotate_change(axes, row, gain)
    bars = [METHODS[main].color if gain >= 0 else WORSE for gain in table["gain"]]
    axes.hlines(range(len(table)), table[baseline], table[main], colors=bars, linewidth=2.5, alpha=0.55)
    if "oracle" in table:
        ceiling = METHODS["oracle"]
        axes.plot(table["oracle"], range(len(table)), "|", color=ceiling.color, label=ceiling.title, clip_on=False)
    for name, face in ((baseline, PAPER), (main, METHODS[main].color)):
        dots = axes.plot(table[name], range(len(table)), "o", color=METHODS[name].color, label=METHODS[name].title)[0]
        dots.set(markerfacecolor=face, clip_on=False, zorder=3)
    axes.legend(**LEGEND)
    axes.set_xlim(0, 100)
    axes.set_xlabel("IoU, %")


def conflation(data: ReportData) -> Iterator[Plot]:
    """Two bars for each method: sidewalk that is predicted as road, and road that is predicted as sidewalk."""
    columns = {"sidewalk_called_road": "sidewalk as road", "road_called_sidewalk": "road as sidewalk"}
    for task in data.measured:
        means = data.table("conflation", task).groupby("method", sort=False)[list(columns)].mean()
        rows = [METHODS[str(name)] for name in means.index]
        figure, grid = subplots(0.95 + 0.32 * len(rows), task_title(task), 1, 2, sharex=True, sharey=True)
        alt = f"Confusion of road and sidewalk on {task_title(task)}"
        for axes, (column, title) in zip(grid, columns.items(), strict=True):
            texts = [f"{value:.1f} %" if np.isfinite(value) else "no pixel" for value in means[column]]
            _bars(axes, [row.title for row in rows], list(means[column].fillna(0)), texts, [row.color for row in rows])
            axes.set_title(title)
            alt += f"; {title}: " + ", ".join(f"{row.title} {text}" for row, text in zip(rows, texts, strict=True))
        yield Plot(task, figure, f"{alt}.", _conflated(means["sidewalk_called_road"]))


def _conflated(called_road: pd.Series) -> str:
    """Whether naive mixing loses sidewalk to road; empty where it was not run. `called_road`: percent, by method."""
    naive, source = called_road.get("naive", np.nan), called_road.get("source", np.nan)
    if not np.isfinite(naive - source):
        return ""
    verb = "loses more" if naive > source else "does not lose more"
    return f"Naive mixing {verb} sidewalk to road than source only: {naive:.0f} % against {source:.0f} %."


def similarity(data: ReportData) -> Iterator[Plot]:
    """Distances of the sources to each target by four measures, and the gain of the main method from each source."""
    for target in dict.fromkeys(map(target_of, data.tasks)):
        table = data.tables["similarity"].query("target == @target")
        wide = table.pivot_table(index="measure", columns="source", values="distance", sort=False).dropna()
        wide = wide.rename(index=MEASURES)
        sources = [str(source) for source in wide]
        gained = {source: data.gain(f"{source}-{target}", "miou16") for source in sources}  # all data sets have the 16
        gained = {source: gain for source, gain in gained.items() if np.isfinite(gain)}
        ratios = [4.6, 0.6 + len(gained)] if gained else [1]
        height = 0.82 + 0.37 * len(wide) + (0.4 + 0.3 * len(gained) if gained else 0)
        alt = f"distance to {domain_title(target)} (0: equal)"
        figure, grid = subplots(height, alt, len(ratios), height_ratios=ratios)
        colors, axes = domain_colors(sources), grid[0]
        label_rows(axes, list(wide.index))
        axes.hlines(range(len(wide)), wide.min(axis=1), wide.max(axis=1), colors=GRID, linewidth=4, zorder=1)
        for source in sources:
            title, values = domain_title(source), wide[source]
            axes.plot(values, range(len(wide)), "o", color=colors[source], markersize=8, label=title)
            alt += f"; {title}: " + ", ".join(f"{name} {value:.2f}" for name, value in values.items())
        axes.set_xlim(0, 1.12 * float(wide.to_numpy().max()) or 1)
        axes.legend(**LEGEND)
        if gained and data.main:
            labels, texts = map(domain_title, gained), [number(gain, "+.1f") for gain in gained.values()]
            _bars(grid[1], list(labels), list(gained.values()), texts, [colors[source] for source in gained])
            grid[1].set_title(f"gain of {METHODS[data.main].title} over the best baseline, points of mIoU16")
        yield Plot(target, figure, f"{alt}.", comparison(target, wide, gained))


def comparison(target: str, wide: pd.DataFrame, gained: dict[str, float]) -> str:
    """Whether the closer source also gives the larger gain; empty where there is only one source.

    `wide` has a row for each measure and a column for each source.
    """
    if len(wide.columns) < 2:
        return ""
    wins = wide.idxmin(axis=1).value_counts()
    near = str(wins.index[0])
    if (wins == wins[near]).sum() > 1:
        return f"Neither source is closer to {domain_title(target)}: each is by {wins[near]} of {len(wide)} measures."
    text = f"{domain_title(near)} is closer to {domain_title(target)} by {wins[near]} of {len(wide)} measures."
    if near not in gained:
        return text
    return f"{text} The gain from it is {'larger' if gained[near] == max(gained.values()) else 'not larger'}."


def _bars(axes: Axes, labels: Sequence[str], values: Sequence[float], texts: Sequence[str], colors: list[str]) -> None:
    """Horizontal bars with their values beside them instead of an axis."""
    label_rows(axes, labels)
    axes.grid(visible=False)
    axes.bar_label(axes.barh(range(len(labels)), values, height=0.55, color=colors), texts, padding=4)
    axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.set_xticks([])
    axes.margins(x=0.4)
