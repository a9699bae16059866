"""Learning rates: of which weights, and when."""

import torch
from torch import nn

from dacs.models.segmenter import Segmenter
from dacs.settings import RunSettings


def rate(step: int, *, steps: int, power: float, warmup: int, warmup_ratio: float) -> float:
    """The share of the learning rate at a step: a linear rise from `warmup_ratio`, times polynomial decay.

    >>> [rate(step, steps=10, power=1.0, warmup=2, warmup_ratio=0.5) for step in (0, 1, 2, 5)]
    [0.5, 0.675, 0.8, 0.5]
    """
    rise = 1 if step >= warmup else 1 - (1 - step / warmup) * (1 - warmup_ratio)
    return rise * (1 - step / steps) ** power


class ListedSGD(torch.optim.SGD):
    """Momentum SGD that takes as many steps as each group has `listings`, as if its weights were listed that often.

    So the optimizer of the authors' code moves its backbone, with the loop over weights that torch had then.
    """

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        groups = self.param_groups
        for number in range(max(group["listings"] for group in groups)):
            self.param_groups = [group for group in groups if group["listings"] > number]
            super().step()
        self.param_groups = groups


def optimizer_for(network: Segmenter, settings: RunSettings) -> torch.optim.Optimizer:
    """The optimizer of all weights that are trained, each listed once, with `initial_lr` in each group."""
    loop, groups = settings.loop, dict[tuple[float, float, int], list[nn.Parameter]]()
    listed = loop.backbone_lr_factor == "listed"
    factor = 1.0 if isinstance(loop.backbone_lr_factor, str) else loop.backbone_lr_factor
    for name, weight in network.backbone.named_parameters():
        # The authors' code lists a weight once for each module that holds it.
        listings = name.count(".") if listed else 1
        decay = 0.0 if "norm" in name and not loop.norm_decay else loop.weight_decay
        if weight.requires_grad:
            groups.setdefault((factor, decay, listings), []).append(weight)
    head = [weight for weight in network.head.parameters() if weight.requires_grad]
    described = [*groups.items(), ((loop.head_lr_factor, loop.weight_decay, 1), head)]
    options = [
        {"params": weights, "lr": lr, "initial_lr": lr, "weight_decay": decay, "listings": listings}
        for (factor, decay, listings), weights in described
        for lr in [settings.schedule.lr * factor]
    ]
    if loop.optimizer == "sgd":
        return (ListedSGD if listed else torch.optim.SGD)(options, momentum=loop.momentum, nesterov=loop.nesterov)
    return torch.optim.AdamW(options, foreach=True)


def set_rate(optimizer: torch.optim.Optimizer, step: int, settings: RunSettings) -> None:
    """Set the learning rate of each group for a step (counted from 0).

    It starts anew where adaptation starts from a source-only run, so that the rest of that run differs from adaptation
    by the losses alone.
    """
    loop, steps, start = settings.loop, settings.schedule.steps, settings.start or 0
    first, last = (0, start) if step < start else (start, steps)
    share = rate(
        step - first,
        steps=last - first,
        power=loop.poly_power,
        warmup=loop.warmup,
        warmup_ratio=loop.warmup_ratio,
    )
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * share
