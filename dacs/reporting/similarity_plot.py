"""The plot of how alike each source is to the target, and what adaptation gained from it."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dacs.reporting.names import GRID, MUTED, domain_colors, domain_label, method, signed
from dacs.reporting.similarity import MEASURES
from dacs.reporting.style import WIDTH, key, rows


def similarity(target: str, table: pd.DataFrame, gains: dict[str, float], hero: str | None) -> tuple[Figure, str]:
    """Distances of each source to the target by four measures, and beneath them what adaptation gained from it."""
    sources = list(dict.fromkeys(table["source"]))
    wide = table.pivot_table(index="measure", columns="source", values="distance").reindex(list(MEASURES)).dropna()
    figure = Figure(figsize=(WIDTH, 0.82 + 0.37 * len(wide) + (0.4 + 0.3 * len(gains) if gains else 0)))
    panes = figure.subplots(1 + bool(gains), 1, squeeze=False, height_ratios=[4.6, 0.6 + len(gains)][: 1 + bool(gains)])
    above, colors = panes[0, 0], domain_colors(sources)
    rows(above, [MEASURES[name] for name in wide.index])
    for row, values in enumerate(wide[sources].to_numpy()):
        above.plot([values.min(), values.max()], [row, row], color=GRID, linewidth=4, zorder=1)
        for value, source in zip(values, sources, strict=True):
            above.plot(value, row, "o", color=colors[source], markersize=8, zorder=3)
    above.set_xlim(0, 1.12 * float(wide.to_numpy().max()) or 1)
    above.set_title(f"distance to {domain_label(target)} (0: alike)", pad=20)
    key(above, {domain_label(source): (colors[source],) * 2 for source in sources})
    if hero and gains:
        _gains(panes[1, 0], gains, hero, colors)
    listed = "; ".join(
        f"{domain_label(source)}: " + ", ".join(f"{MEASURES[str(k)]} {v:.2f}" for k, v in wide[source].items())
        for source in sources
    )
    alt = f"Distance of each source to {domain_label(target)}. {listed}."
    if hero and gains:
        gained = ", ".join(f"{domain_label(source)} {signed(value)}" for source, value in gains.items())
        alt += f" Gain of {method(hero).label}: {gained} points."
    return figure, alt


def _gains(axes: Axes, gains: dict[str, float], hero: str, colors: dict[str, str]) -> None:
    """A bar of points gained for each source."""
    rows(axes, [domain_label(source) for source in gains])
    axes.grid(visible=False)
    axes.barh(range(len(gains)), list(gains.values()), height=0.5, color=[colors[source] for source in gains])
    for row, value in enumerate(gains.values()):
        axes.annotate(signed(value), (max(value, 0), row), (4, 0), textcoords="offset points", va="center")
    axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.set_xlim(min(0, *gains.values(), 0), 1.25 * max(1, *gains.values(), 1))
    axes.set_xticks([])
    axes.set_title(f"gain of {method(hero).label} over source only, points of mIoU16")
