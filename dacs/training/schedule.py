"""Learning rates: which weights learn how fast, and when."""

from typing import Any, Literal

import torch
from torch import nn

from dacs.models.deeplab import Segmenter


def rate(step: int, *, steps: int, power: float, warmup: int) -> float:
    """The share of the learning rate at a step: a linear rise over `warmup` steps, times polynomial decay.

    >>> rate(0, steps=10, power=1.0, warmup=0), rate(5, steps=10, power=1.0, warmup=0)
    (1.0, 0.5)
    """
    return min(1.0, (step + 1) / (warmup + 1)) * (1 - step / steps) ** power


def optimizer_for(
    network: Segmenter,
    *,
    kind: Literal["adamw", "sgd"],
    lr: float,
    backbone_lr_factor: float,
    head_lr_factor: float,
    weight_decay: float,
    momentum: float,
    nesterov: bool,
) -> torch.optim.Optimizer:
    """The optimizer of all weights that are trained, each listed once, with `initial_lr` in each group."""
    groups: list[dict[str, Any]] = [
        {"params": _trained(network.backbone), "lr": lr * backbone_lr_factor},
        {"params": _trained(network.head), "lr": lr * head_lr_factor},
    ]
    optimizer: torch.optim.Optimizer
    if kind == "sgd":
        optimizer = torch.optim.SGD(groups, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
    else:
        optimizer = torch.optim.AdamW(groups, weight_decay=weight_decay, foreach=True)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer


def set_rate(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Give each group its share of its own initial learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * share


def _trained(module: nn.Module) -> list[nn.Parameter]:
    return [weight for weight in module.parameters() if weight.requires_grad]
