"""How right the pseudo-labels are while a run goes on, measured on a few frames of the target.

A measurement to be shown: it decides nothing, and touches neither the networks nor any generator.
"""

import copy
from pathlib import Path

import torch
from torch import nn

from dacs.adaptation.teacher import label
from dacs.evaluation.spread import spread
from dacs.labels import IGNORE
from dacs.loading.split import Split


class Monitor:
    """A few frames of a split, evenly spread, and the threshold of confidence."""

    def __init__(self, folder: Path, *, frames: int, threshold: float) -> None:
        split = Split(folder)
        chosen = spread(frames, len(split))
        self.images = torch.stack([split.image(i) for i in chosen])
        labels = [truth for i in chosen if (truth := split.label(i)) is not None]
        self.labels = torch.stack(labels) if labels else None
        self.threshold = threshold

    def measure(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Accuracy of the labels that `network` gives, of the confident ones among them, and their share; percent.

        Without true labels only the share is known, then of all pixels.
        """
        network = copy.deepcopy(network)  # BatchNorm on batch statistics would remember these frames
        right = sure = right_and_sure = counted = 0
        for numbers in torch.split(torch.arange(len(self.images)), 8):
            scene = label(network, self.images[numbers].to(device).float() / 255)
            truth = scene.label if self.labels is None else self.labels[numbers].to(device)
            known = truth != IGNORE
            correct = (scene.label == truth) & known
            confident = (scene.confidence >= self.threshold) & known
            right += int(correct.sum())
            sure += int(confident.sum())
            right_and_sure += int((correct & confident).sum())
            counted += int(known.sum())
        share = {"confident_share": round(100 * sure / max(counted, 1), 3)}
        if self.labels is None:
            return share
        return {
            "pseudo_accuracy": round(100 * right / max(counted, 1), 3),
            "confident_accuracy": round(100 * right_and_sure / max(sure, 1), 3),
            **share,
        }
