"""Learning rates: of which weights, and when."""

import torch

from dacs.models.segmenter import Segmenter
from dacs.settings import RunSettings


def rate(step: int, *, steps: int, power: float, warmup: int) -> float:
    """The share of the learning rate at a step: a linear rise over `warmup` steps, times polynomial decay.

    >>> rate(0, steps=10, power=1.0, warmup=0), rate(5, steps=10, power=1.0, warmup=0)
    (1.0, 0.5)
    """
    return min(1.0, (step + 1) / (warmup + 1)) * (1 - step / steps) ** power


def optimizer_for(network: Segmenter, settings: RunSettings) -> torch.optim.Optimizer:
    """The optimizer of all weights that are trained, each listed once, with `initial_lr` in each group."""
    loop, decay, groups = settings.loop, settings.loop.weight_decay, []
    for part, factor in ((network.backbone, loop.backbone_lr_factor), (network.head, loop.head_lr_factor)):
        weights, lr = [weight for weight in part.parameters() if weight.requires_grad], settings.schedule.lr * factor
        groups.append({"params": weights, "lr": lr, "initial_lr": lr})
    if loop.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=loop.momentum, nesterov=loop.nesterov, weight_decay=decay)
    return torch.optim.AdamW(groups, weight_decay=decay, foreach=True)


def set_rate(optimizer: torch.optim.Optimizer, step: int, settings: RunSettings) -> None:
    """Set the learning rate of each group for a step (counted from 0).

    It starts anew where adaptation starts from a source-only run, so that the rest of that run differs from adaptation
    by the losses alone.
    """
    loop, steps, start = settings.loop, settings.schedule.steps, settings.start or 0
    first, last = (0, start) if step < start else (start, steps)
    share = rate(step - first, steps=last - first, power=loop.poly_power, warmup=loop.warmup)
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * share
