"""The teacher: a moving average of the student that labels target frames."""

import copy
from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

from dacs.scene import Images, Logits, Scene


class Teacher:
    """An exponential moving average of a student's weights (mean teacher; seed section 4.2).

    `batch_norm`: "running" keeps the network in evaluation mode, so its statistics are an average of the student's
    (the seed); "batch" leaves it in training mode, so each batch is normalised by itself (the authors' code).
    """

    def __init__(self, student: nn.Module, *, ema: float, batch_norm: Literal["running", "batch"]) -> None:
        self.network = copy.deepcopy(student).requires_grad_(False)
        self.network.train(batch_norm == "batch")
        self.ema = ema
        # A frozen scale or shift is the same in both for ever; in DeepLab these are two thirds of all tensors.
        self.frozen = {name for name, weight in student.named_parameters() if not weight.requires_grad}

    @torch.no_grad()
    def follow(self, student: nn.Module, step: int) -> None:
        """Move towards the student after its step `step` (counted from 0) by 1 - α, α = min(1 - 1/(step + 1), ema).

        At step 0 the teacher becomes the student.
        """
        alpha = min(1 - 1 / (step + 1), self.ema)
        mine, theirs = self.network.state_dict(), student.state_dict()
        floats = [name for name, value in mine.items() if value.is_floating_point() and name not in self.frozen]
        torch._foreach_lerp_([mine[name] for name in floats], [theirs[name] for name in floats], 1 - alpha)
        for name, value in mine.items():  # counts of batches seen
            if not value.is_floating_point():
                value.copy_(theirs[name])


@torch.no_grad()
def label(network: Callable[[Images], Logits], images: Images) -> Scene:
    """The images with each pixel's most probable class and its probability: pseudo-labels and confidence."""
    confidence, classes = network(images).softmax(1).max(1)
    return Scene(images, classes, confidence)
