"""How right the pseudo-labels are while a run goes on, measured on a few validation frames.

A measurement to be shown: it decides nothing, and touches neither the networks nor any generator.
"""

import copy
from pathlib import Path

import torch
from torch import nn

from dacs.adaptation.teacher import label
from dacs.data.dataset import Split
from dacs.evaluation.shown import spread
from dacs.labels import IGNORE


class Monitor:
    """A few validation frames, evenly spread, and the threshold of confidence."""

    def __init__(self, folder: Path, *, frames: int, threshold: float) -> None:
        split = Split(folder)
        chosen = spread(frames, len(split))
        self.images = torch.stack([split.image(i) for i in chosen])
        self.labels = torch.stack([truth for i in chosen if (truth := split.label(i)) is not None])
        self.threshold = threshold

    def measure(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Accuracy of the labels that `network` gives, of the confident ones among them, and their share; percent."""
        network = copy.deepcopy(network)  # BatchNorm on batch statistics would remember these frames
        right = sure = right_and_sure = counted = 0
        for images, labels in zip(torch.split(self.images, 8), torch.split(self.labels, 8), strict=True):
            scene = label(network, images.to(device).float() / 255)
            known = labels.to(device) != IGNORE
            correct = (scene.label == labels.to(device)) & known
            confident = (scene.confidence >= self.threshold) & known
            right += int(correct.sum())
            sure += int(confident.sum())
            right_and_sure += int((correct & confident).sum())
            counted += int(known.sum())
        return {
            "pseudo_accuracy": round(100 * right / max(counted, 1), 3),
            "confident_accuracy": round(100 * right_and_sure / max(sure, 1), 3),
            "confident_share": round(100 * sure / max(counted, 1), 3),
        }
