"""The plots of scores, one message each: from tables to a figure and a sentence for those who cannot see it."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dacs.labels import CLASS_SETS, CLASSES, NAMES
from dacs.reporting.names import (
    INK,
    MUTED,
    PAPER,
    WORSE,
    class_set,
    method,
    ordered,
    signed,
    task_title,
)
from dacs.reporting.style import WIDTH, key, plot, rows


def miou(task: str, scores: pd.DataFrame) -> tuple[Figure, str]:
    """Each method's mIoU: a dot for the mean, a bar from the worst to the best seed, and the gain over source-only."""
    names, column = ordered(list(scores["method"].unique())), f"miou{class_set(task)}"
    values = {name: scores.loc[scores["method"] == name, column].to_numpy() for name in names}
    means = {name: round(float(np.mean(seeds)), 2) for name, seeds in values.items()}  # as metrics.json has them
    figure, axes = plot(0.95 + 0.36 * len(names))
    rows(axes, [method(name).label for name in names])
    low, high = min(seeds.min() for seeds in values.values()), max(seeds.max() for seeds in values.values())
    axes.set_xlim(max(0, low - 0.1 * (high - low) - 1), high + 0.25 * (high - low) + 3)
    base = means.get("source")
    for row, name in enumerate(names):
        _dot(axes, row, values[name], method(name).color)
        axes.annotate(
            f"{means[name]:.1f}",
            (values[name].max(), row),
            (9, 0),
            textcoords="offset points",
            va="center",
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1.5},
        )
        if base is not None and name != "source":
            _gain(axes, row, means[name] - base)
    if base is not None:
        axes.axvline(base, color=method("source").color, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
        axes.text(1.02, -0.75, "gain", transform=axes.get_yaxis_transform(), va="center", color=MUTED)
    axes.set_title(task_title(task), weight="bold", pad=12)
    axes.set_xlabel(f"mIoU over {class_set(task)} classes, %")
    listed = ", ".join(f"{method(name).label} {means[name]:.1f}" for name in names)
    return figure, f"mIoU over {class_set(task)} classes on {task_title(task)}, in percent: {listed}."


def classes(task: str, iou: pd.DataFrame, hero: str) -> tuple[Figure, str]:
    """Each class as a line from source-only to the method the report is about, the greatest gain on top."""
    table = iou.pivot_table(index="class", columns="method", values="iou", dropna=False)
    table = table.reindex([NAMES[index] for index in CLASS_SETS[class_set(task)]])
    table["gain"] = table[hero] - table["source"]
    table = table.sort_values("gain", ascending=False, na_position="last", kind="stable")
    figure, axes = plot(1.0 + 0.21 * len(table))
    rows(axes, [str(name) for name in table.index])
    axes.tick_params(axis="y", pad=13)
    colors = {label.name: np.array(label.color) / 255 for label in CLASSES}
    for row, (name, before, after, gain) in enumerate(
        table[["source", hero, "gain"]].itertuples(index=True, name=None)
    ):
        axes.plot(
            -0.028, row, "s", color=colors[name], transform=axes.get_yaxis_transform(), clip_on=False, markersize=6
        )
        _dumbbell(axes, row, before, after, gain, hero)
    axes.set_xlim(0, 100)
    axes.set_xlabel("IoU, %")
    axes.set_title(task_title(task), weight="bold", pad=20)
    key(axes, {"source only": (method("source").color, PAPER), method(hero).label: (method(hero).color,) * 2})
    better = int((table["gain"] > 0).sum())
    best, worst = table["gain"].idxmax(), table["gain"].idxmin()
    return figure, (
        f"IoU of each class on {task_title(task)}, source only against {method(hero).label}: {better} of {len(table)}"
        f" classes are better; {best} changes most for the better ({signed(table['gain'].max())}),"
        f" {worst} least ({signed(table['gain'].min())})."
    )


def conflation(task: str, table: pd.DataFrame) -> tuple[Figure, str]:
    """Two bars for each method: sidewalk taken for road, and road for sidewalk."""
    names = ordered(list(table["method"].unique()))
    means = table.groupby("method")[["sidewalk_called_road", "road_called_sidewalk"]].mean().reindex(names)
    figure = Figure(figsize=(WIDTH, 0.95 + 0.32 * len(names)))
    panes = figure.subplots(1, 2, sharey=True, gridspec_kw={"wspace": 0.14})
    for axes, (column, title) in zip(
        panes,
        {"sidewalk_called_road": "sidewalk called road", "road_called_sidewalk": "road called sidewalk"}.items(),
        strict=True,
    ):
        rows(axes, [method(name).label for name in names])
        axes.grid(visible=False)
        axes.barh(range(len(names)), means[column], height=0.55, color=[method(name).color for name in names])
        for row, value in enumerate(means[column]):
            axes.annotate(_percent(value), (np.nan_to_num(value), row), (4, 0), textcoords="offset points", va="center")
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.set_xlim(0, max(5.0, 1.42 * float(np.nan_to_num(means.to_numpy()).max())))
        axes.set_xticks([])
        axes.set_title(title, loc="left")
    figure.suptitle(task_title(task), x=0.01, ha="left", weight="bold", fontsize=9.5)
    listed = "; ".join(
        f"{method(str(name)).label} {_percent(wrong)} and {_percent(back)}" for name, wrong, back in means.itertuples()
    )
    return (
        figure,
        f"Share of true sidewalk called road, and of true road called sidewalk, on {task_title(task)}: {listed}.",
    )


def _dot(axes: Axes, row: int, seeds: np.ndarray, color: str) -> None:
    """A mean with its seeds around it; one seed is just a dot."""
    if len(seeds) > 1:
        axes.plot([seeds.min(), seeds.max()], [row, row], color=color, alpha=0.3, linewidth=7, zorder=2)
        axes.plot(seeds, [row] * len(seeds), "|", color=color, markersize=7, zorder=3)
    axes.plot(seeds.mean(), row, "o", color=color, markersize=8, zorder=4)


def _dumbbell(axes: Axes, row: int, before: float, after: float, gain: float, hero: str) -> None:
    """Before (hollow) to after (full), and the change at the right edge."""
    side = axes.get_yaxis_transform()
    if not np.isfinite(gain):
        axes.text(1.02, row, "absent", transform=side, va="center", color=MUTED)
        return
    color = method(hero).color if gain >= 0 else WORSE
    axes.plot([before, after], [row, row], color=color, linewidth=2.5, alpha=0.55, zorder=2)
    axes.plot(
        before,
        row,
        "o",
        markerfacecolor=PAPER,
        markeredgecolor=method("source").color,
        markersize=6,
        zorder=3,
        clip_on=False,
    )
    axes.plot(after, row, "o", color=method(hero).color, markersize=6.5, zorder=4, clip_on=False)
    _gain(axes, row, gain)


def _gain(axes: Axes, row: int, gain: float) -> None:
    """A change at the right edge of a row."""
    side, color = axes.get_yaxis_transform(), INK if gain >= 0 else WORSE
    axes.text(1.02, row, signed(gain), transform=side, va="center", color=color)


def _percent(value: float) -> str:
    return f"{value:.1f} %" if np.isfinite(value) else "no pixel"
