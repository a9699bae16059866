"""The claim of the report for one task: how the main method compares with the best baseline."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dacs.evaluation.intervals import Interval
from dacs.methods import main_method
from dacs.methods import method as row_of
from dacs.reporting.data import best_baseline
from dacs.reporting.groups import Group
from dacs.reporting.intervals import UNKNOWN, indistinct, interval
from dacs.reporting.names import domain_title, number, target_of


def claim(task: str, headline: Group, scores: pd.DataFrame, intervals: pd.DataFrame | None) -> dict[str, Any]:
    """What is claimed of the main method of a task.

    `scores` by method have `headline` and `gain`; `intervals` are those of the main number, None where there is no
    ground truth. `sure`: whether the interval of the gain excludes 0. `over` says what the interval is over.
    """
    main, baseline = main_method(scores.index), best_baseline(scores["headline"])
    rows = {} if intervals is None else {row["method"]: row for row in intervals.to_dict("records")}
    found = interval(rows[main], "gain") if main in rows and baseline else UNKNOWN
    gain = float(scores["gain"].get(main, np.nan))
    facts = {
        "method": main,
        "baseline": baseline,
        "gain": gain,
        "low": found.low,
        "high": found.high,
        "sure": found.excludes_zero,
        "closed": closed(scores),
        "images": next((row["images"] for row in rows.values()), 0),
        "over": "images and seeds" if any(row["seeds"] > 1 for row in rows.values()) else "images",
    }
    if intervals is None:
        name = domain_title(target_of(task))
        sentence = f"no scores. {name} has no labelled validation images; the predictions are shown below."
    elif not np.isfinite(gain):
        each = [f"{row_of(str(name)).title} {number(value)}" for name, value in scores["headline"].items()]
        sentence = f"{', '.join(each)} ({headline.title})."
    else:
        sentence = " ".join(_sentences(headline, scores, indistinct(intervals, "miou"), facts))
    return facts | {"sentence": sentence}


def closed(scores: pd.DataFrame) -> float:
    """Percent of the gap between the best baseline and the oracle that the main method closes; NaN without a gap."""
    gain, gap = (scores["gain"].get(name, np.nan) for name in (main_method(scores.index), "oracle"))
    return float(100 * gain / gap) if gap > 0 else np.nan


def _sentences(headline: Group, scores: pd.DataFrame, best: Sequence[str], facts: dict[str, Any]) -> list[str]:
    """The comparison with the best baseline, the share of the gap, and the best method if that is another one."""
    main, baseline, gain = facts["method"], facts["baseline"], facts["gain"]
    values = scores["headline"]
    ends = Interval(gain, facts["low"], facts["high"])
    reached = f"{row_of(main).title} reaches {number(values[main])} % {headline.title}"
    than = f"the best baseline, {row_of(baseline).title} ({number(values[baseline])} %)"
    points = f"{number(abs(gain))} points {'more' if gain >= 0 else 'less'}"
    over = f"over {facts['images']} images{' and the seeds' if facts['over'] != 'images' else ''}"
    if not np.isfinite(ends.low):
        compared = f"{reached}, {points} than {than}."
    elif facts["sure"]:
        size = Interval(abs(gain), *sorted((abs(ends.low), abs(ends.high))))
        between = f"95 % interval {number(size.low)} to {number(size.high)}, {over}"
        compared = f"{reached}, {points} than {than}; {between}."
    else:
        between = f"95 % interval {number(ends.low, '+.1f')} to {number(ends.high, '+.1f')}, {over}"
        compared = f"{reached}, not distinguishable from {than}: {points}, {between}."
    return [compared, *_gap(values, facts), *_best(values, best, main)]


def _gap(values: pd.Series, facts: dict[str, Any]) -> list[str]:
    if not np.isfinite(facts["closed"]):
        return []
    share = (
        f": {number(facts['closed'], '.0f')} % of the gap from the baseline to it is closed"
        if facts["gain"] > 0
        else ""
    )
    return [f"The oracle reaches {number(values['oracle'])} %{share}."]


def _best(values: pd.Series, best: Sequence[str], main: str) -> list[str]:
    if best[0] == main:
        return []
    near = f", not distinguishable from {row_of(main).title}" if main in best else ""
    return [f"Best: {row_of(best[0]).title} ({number(values[best[0]])} %{near})."]
