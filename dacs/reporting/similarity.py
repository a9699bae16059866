"""How alike a source is to the target, from the statistics that `remap` leaves in card.json. No picture is opened.

Cross-domain mixing pastes a class where the source had it, so it should gain more where both domains put the same
things in the same places. Each measure is 0 for two equal domains and at most 1.
"""

from typing import Any

import numpy as np
import pandas as pd

MEASURES = {
    "frequency": "class frequency",
    "layout": "vertical layout",
    "presence": "classes in a frame",
    "color": "colours",
}


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    """Jensen-Shannon distance of two sets of counts or shares: 0 equal, 1 disjoint (root of the divergence in bits).

    >>> jensen_shannon(np.array([1, 0]), np.array([0, 2]))
    1.0
    """
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2
    return float(np.sqrt(max(0.0, (_divergence(p, middle) + _divergence(q, middle)) / 2)))


def distances(source: dict[str, Any], target: dict[str, Any]) -> dict[str, float]:
    """Each of `MEASURES` between two cards; of a target without labels colours are all that is known, NaN the rest."""
    color = float(np.abs(_colors(source) - _colors(target)).mean() / 255)
    if "pixels" not in target:
        return dict.fromkeys(MEASURES, float("nan")) | {"color": color}
    return {
        "frequency": jensen_shannon(np.asarray(source["pixels"], float), np.asarray(target["pixels"], float)),
        "layout": _layout(np.asarray(source["rows16"], float), np.asarray(target["rows16"], float)),
        "presence": float(np.abs(np.subtract(source["presence"], target["presence"])).mean()),
        "color": color,
    }


def similarity_table(cards: dict[tuple[str, str], tuple[dict[str, Any], dict[str, Any]]]) -> pd.DataFrame:
    """A row for each pair of source and target, given with their two cards, and each measure."""
    rows = [(*pair, measure, value) for pair, both in cards.items() for measure, value in distances(*both).items()]
    return pd.DataFrame(rows, columns=["source", "target", "measure", "distance"])


def _divergence(p: np.ndarray, q: np.ndarray) -> float:
    some = p > 0
    return float((p[some] * np.log2(p[some] / q[some])).sum())


def _layout(source: np.ndarray, target: np.ndarray) -> float:
    """Mean distance of the class shares of each horizontal band (19 x 16), but for bands that are void in either."""
    bands = [(p, q) for p, q in zip(source.T, target.T, strict=True) if p.sum() and q.sum()]
    return float(np.mean([jensen_shannon(p, q) for p, q in bands])) if bands else float("nan")


def _colors(card: dict[str, Any]) -> np.ndarray:
    """Mean and spread of red, green and blue: six numbers in 0..255."""
    return np.concatenate([card["image_mean"], card["image_std"]])
