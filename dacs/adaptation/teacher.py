"""The teacher: a moving average of the student that labels target frames."""

import copy
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

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
        # Names by module: a frozen scale or shift is the same in both for ever, in DeepLab two thirds of all weights.
        self._moving = [_moving(module) for module in student.modules()]

    @torch.no_grad()
    def follow(self, student: nn.Module, step: int) -> None:
        """Move towards the student after its step `step` (counted from 0) by 1 - α, α = min(1 - 1/(step + 1), ema).

        At step 0 the teacher becomes the student.
        """
        alpha = min(1 - 1 / (step + 1), self.ema)
        modules = zip(self.network.modules(), student.modules(), self._moving, strict=True)
        pairs = [(getattr(mine, name), getattr(theirs, name)) for mine, theirs, names in modules for name in names]
        averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        counts = [pair for pair in pairs if not pair[0].is_floating_point()]  # of batches that BatchNorm has seen
        torch._foreach_lerp_(*_columns(averaged), 1 - alpha)
        if counts:
            torch._foreach_copy_(*_columns(counts))


def _moving(module: nn.Module) -> list[str]:
    """The module's own weights that are trained, and what it keeps count of."""
    weights = [name for name, weight in module.named_parameters(recurse=False) if weight.requires_grad]
    return weights + [name for name, _ in module.named_buffers(recurse=False)]


def _columns(pairs: list[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    return [mine for mine, _ in pairs], [theirs for _, theirs in pairs]


@torch.no_grad()
def label(network: Callable[[Images], Logits], images: Images) -> Scene:
    """The images with each pixel's most probable class and its probability: pseudo-labels and confidence."""
    confidence, classes = network(images).softmax(1).max(1)
    return Scene(images, classes, confidence)
