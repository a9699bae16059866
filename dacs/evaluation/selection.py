"""Choosing a checkpoint without labels: criteria on unlabelled images of the target, and what the choice costs.

Each criterion is oriented so that higher is better, and lies between -1 and 1.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from dacs.evaluation.likeliest import top
from dacs.types import Images, Logits

DECIMALS = 5  # that the size of a batch does not change


class Criteria(NamedTuple):
    """What is known of a checkpoint without labels."""

    agreement: float  # share of the pixels whose class is the same for student and teacher
    entropy: float  # minus the mean entropy of the student's prediction, by that of a uniform one
    information: float  # mutual information of pixel and prediction: H(mean p) - mean H(p), by log of the classes


class Choice(NamedTuple):
    """The step of a run that is chosen without labels, and what that costs."""

    criterion: str  # by which it is chosen
    chosen: int
    best: int | None  # the step whose student has the highest mIoU on labels; None without labels
    regret: dict[str, float] | None  # by criterion, and of the last step: how many points its choice is below the best


@torch.inference_mode()
def criteria_of(
    student: Callable[[Images], Logits], teacher: Callable[[Images], Logits], batches: Iterable[Tensor]
) -> Criteria:
    """Measure the criteria on images.

    `information` is the mutual information that Shi and Sha (2012) maximise, as Musgrave et al. (2022) compare it for
    the choice of checkpoints: predictions should be certain, and of all classes together diverse. Entropy alone rewards
    a network that predicts one class everywhere.
    """
    agreeing = pixels = 0
    entropy, total = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for images in batches:
        logits, others = student(images), teacher(images)
        agreeing += int((top(logits)[1] == top(others)[1]).sum())
        pixels += logits[:, 0].numel()
        probability = logits.softmax(1)
        entropy = entropy + torch.special.entr(probability).sum((1, 2, 3)).double().sum().cpu()
        total = total + probability.sum((2, 3)).double().sum(0).cpu()
    most = math.log(len(total))
    mean, of_mean = float(entropy) / pixels / most, float(torch.special.entr(total / pixels).sum()) / most
    return Criteria(*(round(value, DECIMALS) + 0.0 for value in (agreeing / pixels, -mean, of_mean - mean)))


def highest(values: Mapping[int, float]) -> int:
    """The step with the highest value; the latest of equal ones."""
    return max(values, key=lambda step: (values[step], step))


def choice(criteria: Mapping[int, Criteria], scores: Mapping[int, float | None], by: str) -> Choice:
    """What each criterion chooses, and what that costs on labels.

    `scores`: mIoU of the student by step, in percent; None without labels.
    """
    picks = {name: highest({step: getattr(each, name) for step, each in criteria.items()}) for name in Criteria._fields}
    known = {step: score for step, score in scores.items() if score is not None}
    if not known:
        return Choice(by, picks[by], None, None)
    best, picked = highest(known), {"last": max(scores), **picks}
    return Choice(by, picks[by], best, {name: round(known[best] - known[step], 10) for name, step in picked.items()})
