"""Accuracy of the pseudo-labels during a run, measured on a few validation images of the target.

For the report only: it decides nothing, and changes neither the networks nor any generator.
"""

import copy

import torch
from torch import nn

from dacs.adaptation.teacher import pseudo_label
from dacs.labels import IGNORE
from dacs.loading.split import Split
from dacs.training.run import Run

BATCH = 8  # images at a time


class Monitor:
    """A few images of the split that is evaluated on, evenly spread."""

    def __init__(self, run: Run) -> None:
        split = Split(run.target.measured)
        chosen = split.spread(run.settings.loop.monitor_frames)
        self.images = torch.stack([split.image(i) for i in chosen])
        labels = [label for i in chosen if (label := split.label(i)) is not None]
        self.labelled = split.labelled
        self.labels = torch.stack(labels) if labels else torch.zeros_like(self.images[:, 0])
        self.threshold = run.settings.schedule.threshold

    def measure(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Accuracy of the pseudo-labels, of the confident ones among them, and the share of these; percent.

        Without ground truth only the share is known, then of all pixels.
        """
        network = copy.deepcopy(network)  # BatchNorm on batch statistics would update the running ones
        correct = confident = both = counted = 0
        for images, labels in zip(self.images.split(BATCH), self.labels.split(BATCH), strict=True):
            found, ground_truth = pseudo_label(network, images.to(device).float() / 255), labels.to(device)
            known = ground_truth != IGNORE
            is_correct = (found.labels == ground_truth) & known
            is_confident = (found.confidence >= self.threshold) & known
            correct += int(is_correct.sum())
            confident += int(is_confident.sum())
            both += int((is_correct & is_confident).sum())
            counted += int(known.sum())
        counts = (
            {"pseudo_accuracy": (correct, counted), "confident_accuracy": (both, confident)} if self.labelled else {}
        )
        counts["confident_share"] = confident, counted
        return {name: round(100 * part / max(whole, 1), 3) for name, (part, whole) in counts.items()}
