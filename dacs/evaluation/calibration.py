"""How good the pseudo-labels of a teacher are, and how well their confidence says so."""

from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Integer, UInt8
from torch import Tensor

from dacs.labels import IGNORE, LabelSet

BINS = 10  # of equal width
DECIMALS = 5  # of percentages


class PseudoLabels:
    """Counts of pseudo-labels by their confidence, over frames.

    Pixels are those with ground truth; where there is none, all of them, of which only confidences are known.
    """

    def __init__(self, labels: LabelSet, threshold: float | None) -> None:
        """`threshold`: the confidence from which on a pixel counts as confident in the run; None: it has none."""
        self.names, self.threshold = labels.names, threshold
        self.labelled = False
        zeros = partial(torch.zeros, dtype=torch.float64)
        self._bins = zeros(3, BINS)  # pixels, sum of confidences, correct pixels
        self._confident = zeros(2, len(self.names))  # by class given: pixels, correct pixels
        self._truth = zeros(len(self.names))  # pixels by class of the ground truth

    def add(
        self,
        given: Integer[Tensor, "height width"],
        confidence: Float[Tensor, "height width"],
        truth: UInt8[Tensor, "height width"] | None,
    ) -> None:
        """Count a frame: the class that the teacher gives each pixel, its probability, and the ground truth."""
        classes = len(self.names)
        if truth is not None:
            self.labelled = True
            known = truth != IGNORE
            given, confidence, truth = given[known], confidence[known], truth[known]
            self._truth += torch.bincount(truth, minlength=classes).cpu()
        given, confidence = given.flatten(), confidence.flatten()
        correct = given == truth if truth is not None else torch.zeros_like(given, dtype=torch.bool)
        edges = torch.arange(1, BINS, device=given.device) / BINS
        bins = torch.bucketize(confidence, edges)  # (low, high]
        weights = (torch.ones_like(confidence), confidence, correct)
        self._bins += torch.stack([torch.bincount(bins, each.double(), BINS) for each in weights]).cpu()
        if self.threshold is not None:
            confident = confidence >= self.threshold
            each = (given[confident], given[confident & correct])
            self._confident += torch.stack([torch.bincount(part, minlength=classes) for part in each]).cpu()

    def summary(self) -> dict[str, float | None]:
        """Accuracy of all and of the confident pseudo-labels, the share of these, and the ECE, in percent.

        ECE: the expected calibration error (Guo et al., 2017, equation 3), over 10 bins of equal width.
        """
        pixels, confidence, correct = self._bins
        total, confident = float(pixels.sum()), self._confident.sum(1).tolist()
        known = total if self.labelled else 0.0
        of_threshold = total if self.threshold is not None else 0.0
        return {
            "pseudo_accuracy": _percent(float(correct.sum()), known),
            "confident_accuracy": _percent(confident[1], confident[0] if self.labelled else 0.0),
            "confident_share": _percent(confident[0], of_threshold),
            "ece": _percent(float((correct - confidence).abs().sum()), known),
        }

    def reliability(self) -> list[dict[str, Any]]:
        """For each bin of confidence its pixels, their mean confidence and their accuracy, in percent."""
        return [
            {
                "low": round(100 * number / BINS),
                "high": round(100 * (number + 1) / BINS),
                "pixels": round(pixels),
                "confidence": _percent(confidence, pixels),
                "accuracy": _percent(correct, pixels if self.labelled else 0.0),
            }
            for number, (pixels, confidence, correct) in enumerate(self._bins.T.tolist())
        ]

    def by_class(self) -> list[dict[str, Any]]:
        """For each class its share of the confident pixels, by the label given, and of the ground truth, in percent."""
        confident, truth = self._confident[0].tolist(), self._truth.tolist()
        return [
            {
                "class": name,
                "confident_share": _percent(confident[train_id], sum(confident)),
                "truth_share": _percent(truth[train_id], sum(truth)),
            }
            for train_id, name in enumerate(self.names)
        ]


def _percent(part: float, whole: float) -> float | None:
    return round(100 * part / whole, DECIMALS) if whole else None
