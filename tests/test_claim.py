"""Laws of the claim: what gains are counted from, what intervals let the report say, and which methods are the best."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from dacs.labels import CITYSCAPES
from dacs.methods import METHODS
from dacs.reporting.claim import claim
from dacs.reporting.groups import groups_of
from dacs.reporting.intervals import INTERVALS, indistinct
from dacs.reporting.order import FAILS, HOLDS, LOST, MIOU, UNSURE, Interval, verdict
from dacs.reporting.rows import with_gain

TASK = "gta5-cityscapes"
SCORES = {"source": 30.0, "adabn": 28.0, "pseudo": 1.0, "naive": 31.0, "dacs": 41.0, "oracle": 52.0}
HALF = 0.6  # of the width of all intervals


def claimed(changes: dict[str, float], half: float = HALF, seeds: int = 1) -> tuple[dict[str, Any], list[str]]:
    """The claim of methods with these scores and the best methods, where all differences are known within `half`."""
    means = pd.Series(SCORES | changes)
    baseline = means[["source", "adabn"]].idxmax() if means[["source", "adabn"]].notna().any() else None
    rows = []
    for name, score in means.dropna().items():
        lead = score - means.drop([name, "oracle"], errors="ignore").max()
        row = {"method": name, "seeds": seeds, "images": 150}
        for column, value in (("miou", score), ("gain", score - means.get(baseline, np.nan)), ("lead", lead)):
            row |= {column: value, f"{column}_low": value - half, f"{column}_high": value + half}
        rows.append(row)
    scores = with_gain(pd.DataFrame({"miou": means, "n": seeds}))
    intervals = pd.DataFrame(rows, columns=INTERVALS)
    headline = groups_of(TASK, CITYSCAPES, []).headline
    return claim(TASK, headline, scores, intervals), indistinct(intervals, "miou")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"naive": 29.0, "dacs": 26.0},
            "DACS reaches 26.0 % mIoU over 19 classes, 4.0 points less than the best baseline, source only (30.0 %);"
            " 95 % interval 3.4 to 4.6, over 150 images.",
        ),
        (
            {"dacs": 30.5},
            "DACS reaches 30.5 % mIoU over 19 classes, not distinguishable from the best baseline, source only (30.0"
            " %): 0.5 points more, 95 % interval −0.1 to +1.1, over 150 images.",
        ),
        ({"dacs": 30.5}, "Best: naive mixing (31.0 %, not distinguishable from DACS)."),
        ({"dacs": 30.1}, "Best: naive mixing (31.0 %)."),
        ({}, "11.0 points more than the best baseline, source only (30.0 %); 95 % interval 10.4 to 11.6"),
        ({}, "The oracle reaches 52.0 %: 50 % of the gap from the baseline to it is closed."),
        ({"adabn": 35.0}, "6.0 points more than the best baseline, AdaBN (35.0 %)"),
        ({"adabn": 35.0}, "The oracle reaches 52.0 %: 35 % of the gap"),
        ({"adabn": 45.0, "dacs": 40.0}, "5.0 points less than the best baseline, AdaBN (45.0 %)"),
        ({"adabn": 45.0, "dacs": 40.0}, "images. The oracle reaches 52.0 %. Best: AdaBN (45.0 %)."),
        ({"oracle": 30.0}, "150 images."),  # there is no gap
        ({"adabn": np.nan}, "11.0 points more than the best baseline, source only (30.0 %)"),
        ({"source": np.nan}, "13.0 points more than the best baseline, AdaBN (28.0 %)"),
        ({"source": np.nan, "adabn": np.nan}, "naive mixing 31.0, DACS 41.0, oracle 52.0 (mIoU over 19 classes)."),
    ],
)
def test_the_main_method_is_compared_with_the_best_baseline_and_the_others(
    changes: dict[str, float], sentence: str
) -> None:
    found, _ = claimed(changes)
    assert sentence in found["sentence"]
    assert found["sentence"].endswith(".")


def test_what_an_interval_is_over_is_said() -> None:
    assert "over 150 images and the seeds." in claimed({}, seeds=3)[0]["sentence"]
    assert claimed({}, seeds=3)[0]["over"] == "images and seeds"
    found, best = claimed({}, half=np.nan)  # of a single image
    assert "interval" not in found["sentence"]
    assert not found["sure"]
    assert best[0] == "dacs"
    assert len(best) == 5


def test_a_gain_is_sure_only_if_its_interval_excludes_0() -> None:
    for dacs, sure in ((30.5, False), (30.7, True), (29.5, False), (29.3, True)):
        found, _ = claimed({"dacs": dacs})
        assert (found["sure"], found["gain"]) == (sure, pytest.approx(dacs - 30))
        assert ("not distinguishable from the best baseline" in found["sentence"]) != sure


@pytest.mark.parametrize(
    ("changes", "best"),
    [
        ({}, ["dacs"]),
        ({"naive": 40.5}, ["dacs", "naive"]),
        ({"naive": 41.5}, ["naive", "dacs"]),
        ({"naive": 40.5, "pseudo": 40.6}, ["dacs", "pseudo", "naive"]),
        ({"naive": 40.3}, ["dacs"]),
        ({"oracle": 20.0}, ["dacs"]),
    ],
)
def test_the_best_methods_are_those_that_no_interval_tells_apart(changes: dict[str, float], best: list[str]) -> None:
    assert claimed(changes)[1] == best


@pytest.mark.parametrize(
    ("changes", "baseline", "gain", "closed"),
    [
        ({}, "source", 11, 50),
        ({"adabn": 36.0}, "adabn", 5, 31.25),
        ({"dacs": 19.0}, "source", -11, -50),
        ({"dacs": 63.0}, "source", 33, 150),
        ({"source": np.nan}, "adabn", 13, 100 * 13 / 24),
        ({"source": np.nan, "adabn": np.nan}, None, None, None),
        ({"dacs": np.nan}, "source", None, None),
        ({"oracle": np.nan}, "source", 11, None),
        ({"oracle": 30.0}, "source", 11, None),  # there is no gap
        ({"oracle": 20.0}, "source", 11, None),
    ],
)
def test_gain_and_share_of_the_gap_are_counted_from_the_best_baseline(
    changes: dict[str, float], baseline: str | None, gain: float | None, closed: float | None
) -> None:
    found, _ = claimed(changes)
    assert found["baseline"] == baseline
    for name, expected in (("gain", gain), ("closed", closed)):
        assert found[name] == pytest.approx(np.nan if expected is None else expected, nan_ok=True), name


def test_a_target_without_ground_truth_has_no_claim() -> None:
    scores = with_gain(pd.DataFrame({"miou": dict.fromkeys(METHODS, np.nan), "n": 1}))
    found = claim(TASK, groups_of(TASK, CITYSCAPES, []).headline, scores, None)
    assert found["sentence"].startswith("no scores. Cityscapes has no labelled validation images")
    assert np.isnan([found["gain"], found["low"], found["closed"]]).all()


def test_a_line_of_the_expected_order_holds_as_far_as_its_interval_says() -> None:
    for low, high, expected in ((5.0, 9, HOLDS), (4.9, 9, UNSURE), (1, 5.1, UNSURE), (1, 4.9, FAILS), (-9, -5, FAILS)):
        assert verdict(Interval((low + high) / 2, low, high), 5, MIOU) == expected
    assert verdict(Interval(7, np.nan, np.nan), 5, MIOU) == UNSURE
    assert [verdict(Interval(value, np.nan, np.nan), 0, LOST) for value in (0.1, 0.0, -3)] == [HOLDS, FAILS, FAILS]
