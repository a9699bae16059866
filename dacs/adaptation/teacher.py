"""The teacher: an exponential moving average of the student that gives target images their pseudo-labels."""

import copy
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from dacs.types import Images, LabelledImages, Logits


class Teacher:
    """An exponential moving average of a student's weights (mean teacher; review, section 4.2).

    `batch_norm`: "running" keeps the network in evaluation mode, so its statistics are an average of the student's
    (the review); "batch" leaves it in training mode, so each batch is normalised by itself (the authors' code). Dropout
    and stochastic depth are off in both.
    """

    def __init__(self, student: nn.Module, *, ema: float, batch_norm: Literal["running", "batch"]) -> None:
        self.network = copy.deepcopy(student).requires_grad_(False)
        self.network.train(batch_norm == "batch")
        for module in self.network.modules():
            if "Drop" in type(module).__name__:  # torch's dropouts, timm's DropPath
                module.eval()
        self.ema = ema
        self._source: nn.Module | None = None

    @torch.no_grad()
    def update(self, student: nn.Module, step: int) -> None:
        """Move towards the student after its step `step` (counted from 0) by 1 - α, α = min(1 - 1/(step + 1), ema).

        At step 0 the teacher becomes the student. Both networks must keep their tensors from the first step on (move
        or convert them before): listing those of DeepLab anew would take 2 ms of every step.
        """
        alpha = min(1 - 1 / (step + 1), self.ema)
        if self._source is not student:
            self._source, self._averaged, self._copied = student, *self._paired(student)
        torch._foreach_lerp_(*self._averaged, 1 - alpha)
        if self._copied[0]:
            torch._foreach_copy_(*self._copied)

    def _paired(self, student: nn.Module) -> list[tuple[list[Tensor], list[Tensor]]]:
        """Tensors of teacher and student, those to be averaged and those to be copied (counts of batches seen).

        Frozen weights never differ; in DeepLab they are two thirds of all.
        """
        frozen = {name for name, weight in student.named_parameters() if not weight.requires_grad}
        mine, theirs = self.network.state_dict(), student.state_dict()
        pairs = [(mine[name], theirs[name]) for name in mine if name not in frozen]
        kinds = [[pair for pair in pairs if pair[0].is_floating_point() == floating] for floating in (True, False)]
        return [([pair[0] for pair in kind], [pair[1] for pair in kind]) for kind in kinds]


@torch.no_grad()
def pseudo_label(network: Callable[[Images], Logits], images: Images) -> LabelledImages:
    """Label each pixel with its most probable class; the confidence is its probability."""
    confidence, classes = network(images).softmax(1).max(1)
    return LabelledImages(images, classes, confidence)
