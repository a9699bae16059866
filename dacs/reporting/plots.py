"""Plots of scores and of the similarity of domains, one message each, with a sentence for screen readers."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from dacs.labels import LabelSet
from dacs.methods import METHODS
from dacs.reporting.data import ReportData
from dacs.reporting.domains import MEASURES, class_shares, landings
from dacs.reporting.groups import MANY, Group
from dacs.reporting.names import (
    GRID,
    MUTED,
    PAPER,
    WORSE,
    domain_colors,
    domain_title,
    number,
    target_of,
    task_title,
)
from dacs.reporting.style import LONGEST, Plot, annotate_change, label_rows, shortened, subplots

SHOWN = 20  # classes at most in a plot
LEGEND: dict[str, Any] = {"bbox_to_anchor": (-0.02, 0.99), "ncols": 4}  # one line above the axes


def miou(data: ReportData) -> Iterator[Plot]:
    """mIoU of each method: the mean, its interval and the single seeds, and the gain over the best baseline."""
    for task in data.measured:
        title, score = data.groups[task].headline.title, data.groups[task].headline.score
        means, baseline, intervals = data.means(task, score), data.baseline(task, score), data.intervals(task)
        seeds = data.scores(task).groupby("method", sort=False)[score]
        low = intervals["miou_low"].reindex(means.index).fillna(seeds.min()).clip(upper=seeds.min())
        high = intervals["miou_high"].reindex(means.index).fillna(seeds.max()).clip(lower=seeds.max())
        figure, (axes,) = subplots(0.95 + 0.36 * len(means), task_title(task))
        label_rows(axes, [METHODS[name].title for name in means.index])
        for row, (name, values) in enumerate(seeds):
            color, mean = METHODS[str(name)].color, means[name]
            axes.plot([values.min(), values.max()], [row, row], color=color, alpha=0.3, linewidth=7)
            axes.plot(values, [row] * len(values), "|", color=color, markersize=7, zorder=3)
            if name in intervals.index:
                axes.plot(intervals.loc[name, ["miou_low", "miou_high"]], [row, row], color=color, linewidth=1.2)
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
        caption = "Thin line: 95 % interval." if intervals["miou_low"].notna().any() else ""
        yield Plot(task, figure, f"{title} on {task_title(task)}, in percent: {listed}. {caption}".strip(), caption)


def classes(data: ReportData) -> Iterator[Plot]:
    """IoU of each class, from the best baseline to the main method, and that of the oracle; greatest gain on top.

    Of more than `MANY` classes the `SHOWN` are drawn that change most.
    """
    for task in data.measured:
        table = data.table("iou", task).pivot_table(index="class", columns="method", values="iou", dropna=False)
        baseline = data.baseline(task, data.groups[task].headline.score)
        if data.main and baseline:
            names = [name for name in (baseline, data.main, "oracle") if name in table]
            table = table.loc[list(data.groups[task].shown), names]
            table["gain"] = table[data.main] - table[baseline]
            table = table.sort_values("gain", ascending=False, kind="stable")
            better = f"{(table['gain'] > 0).sum()} of {len(table)} classes improve"
            caption = ""
            if len(table) > MANY:
                caption = f"The {SHOWN} of {len(table)} classes that change most."
                table = table.loc[table["gain"].abs().nlargest(SHOWN).index].sort_values("gain", ascending=False)
            figure, (axes,) = subplots(1.0 + 0.21 * len(table), task_title(task))
            _dumbbells(axes, table, baseline, data.main, data.labels)
            titles = f"{METHODS[baseline].title} and {METHODS[data.main].title}"
            alt = f"IoU of each class on {task_title(task)}, {titles}: {better}."
            yield Plot(task, figure, f"{alt} {caption}".strip(), caption)


def _dumbbells(axes: Axes, table: pd.DataFrame, baseline: str, main: str, labels: LabelSet) -> None:
    """A row for each class: baseline (hollow), main method (full), the change between them, and the oracle (a line)."""
    label_rows(axes, list(table.index))
    axes.tick_params(axis="y", pad=17)
    colors = {each.name: np.array(each.color) / 255 for each in labels.classes}
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
    """Two bars for each method: sidewalk that is predicted as road, and road as sidewalk, or another pair."""
    for task in data.measured:
        if pair := data.pair(task):
            percent = data.table("pair", task).groupby(["class", "method"], sort=False)["percent"].mean()
            rows = [METHODS[name] for name in percent[pair[0]].index]
            figure, grid = subplots(0.95 + 0.32 * len(rows), task_title(task), 1, 2, sharex=True, sharey=True)
            alt = f"Confusion of {pair[1]} and {pair[0]} on {task_title(task)}"
            for axes, (a, b) in zip(grid, (pair, pair[::-1]), strict=True):
                texts = [f"{value:.1f} %" if np.isfinite(value) else "no pixel" for value in percent[a]]
                values, colors = list(percent[a].fillna(0)), [row.color for row in rows]
                _bars(axes, [row.title for row in rows], values, texts, colors)
                space = "\n" if len(f"{a} as {b}") > LONGEST else " "
                axes.set_title(f"{shortened(a)}{space}as {shortened(b)}")
                alt += f"; {a} as {b}: " + ", ".join(
                    f"{row.title} {text}" for row, text in zip(rows, texts, strict=True)
                )
            yield Plot(task, figure, f"{alt}.", _conflated(percent[pair[0]], *pair))


def _conflated(percent: pd.Series, a: str, b: str) -> str:
    """Whether naive mixing loses class a to class b; empty where it was not run. `percent`: of a, by method."""
    naive, source = percent.get("naive", np.nan), percent.get("source", np.nan)
    if not np.isfinite(naive - source):
        return ""
    verb = "loses more" if naive > source else "does not lose more"
    return f"Naive mixing {verb} {a} to {b} than source only: {naive:.0f} % against {source:.0f} %."


def similarity(data: ReportData) -> Iterator[Plot]:
    """Distances of the sources to each target by five measures, and the gain of the main method from each source."""
    for target in dict.fromkeys(map(target_of, data.tasks)):
        table = data.tables["similarity"].query("target == @target")
        wide = table.pivot_table(index="measure", columns="source", values="distance", sort=False).dropna()
        wide = wide.rename(index=MEASURES)
        sources = [str(source) for source in wide]
        tasks = [f"{source}-{target}" for source in sources]
        group = shared(data, tasks)
        gained = {source: data.gain(f"{source}-{target}", group.score) for source in sources} if group else {}
        gained = {source: gain for source, gain in gained.items() if np.isfinite(gain)}
        ratios = [4.6, 0.6 + len(gained)] if gained else [1]
        height = 0.82 + 0.37 * len(wide) + (0.55 + 0.3 * len(gained) if gained else 0)
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
        if gained and group and data.main:
            labels, texts = map(domain_title, gained), [number(gain, "+.1f") for gain in gained.values()]
            _bars(grid[1], list(labels), list(gained.values()), texts, [colors[source] for source in gained])
            grid[1].set_title(f"gain of {METHODS[data.main].title} over the best baseline,\npoints of {group.short}")
        caption = f"{comparison(target, wide, gained)} {landed(target, landings(data.prepared, tasks))}".strip()
        yield Plot(target, figure, f"{alt}.", caption)


def frequency(data: ReportData) -> Iterator[Plot]:
    """Share of the pixels of each class in each domain, a plot for each target; the most frequent classes on top.

    Of more than `MANY` classes the `SHOWN` most frequent ones.
    """
    for target in dict.fromkeys(map(target_of, data.tasks)):
        tasks = [task for task in data.tasks if target_of(task) == target]
        shares = class_shares(data.prepared, tasks, data.labels.names)
        if shares.empty:
            continue
        domains = [str(name) for name in shares]
        by = target if target in domains else domains[0]
        shares = shares.sort_values(by, ascending=False, kind="stable")
        caption = (
            f"The {SHOWN} most frequent of {len(shares)} classes of {domain_title(by)}." if len(shares) > MANY else ""
        )
        shares = shares[: SHOWN if caption else None]
        figure, (axes,) = subplots(1.0 + 0.21 * len(shares), f"Classes of {', '.join(map(domain_title, domains))}")
        label_rows(axes, list(shares.index))
        for domain, color in domain_colors(domains).items():
            values = shares[domain].where(shares[domain] > 0)  # no dot where a domain does not have the class
            axes.plot(values, range(len(shares)), "o", color=color, markersize=6, label=domain_title(domain))
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.legend(**LEGEND)
        axes.set_xlabel("% of the labelled pixels")
        most = "; ".join(f"{domain_title(name)}: {shares[name].idxmax()} {shares[name].max():.1f}" for name in domains)
        yield Plot(
            target, figure, f"Percent of the pixels of each class by domain. The most frequent ones: {most}.", caption
        )


def shared(data: ReportData, tasks: Sequence[str]) -> Group | None:
    """The largest group that is measured of each of the tasks and has none but the classes of their main numbers."""
    found = [data.groups[task] for task in tasks]
    common = [group for group in found[0].every if all(group in of_task.every for of_task in found)]
    fair = [group for group in common if all({*group.classes} <= {*of_task.headline.classes} for of_task in found)]
    return max(fair, key=lambda group: len(group.classes), default=None)


def landed(target: str, found: dict[str, float]) -> str:
    """How often pasted pixels land on their own class; empty where this is not known."""
    if not found:
        return ""
    each = ", ".join(f"{value:.1f} % from {domain_title(name)}" for name, value in found.items() if name != target)
    return (
        "Pasted at its height into a random target image, a pixel falls on its own class with a probability of "
        f"{each} ({found[target]:.1f} % from {domain_title(target)} itself)."
    )


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
