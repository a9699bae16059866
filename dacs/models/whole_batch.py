"""Layers that see the whole batch of a group of processes: BatchNorm in training mode, dropout, stochastic depth.

Layers of a network become a subclass of what they are, so that weights, names and types stay. torch's SyncBatchNorm is
for GPUs alone, and for no subclass of BatchNorm such as timm's.
"""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dacs.group import Group


def see_whole_batch(network: nn.Module, group: Group, *, statistics: bool) -> None:
    """Let dropout draw for the whole batch and take its part; with `statistics`, let BatchNorm normalise by all of it.

    Copies of the network that are made later do the same.
    """
    for module in network.modules() if group.world > 1 else ():
        if isinstance(module, nn.BatchNorm2d):
            kind: Any = _BatchNorm if statistics else None
        else:
            kind = _Dropout if _probability(module) else None
        if kind is not None:
            of: Any = type(module)
            module.__class__ = _subclass(kind, of)
            vars(module)["group"] = group  # past torch, which looks for tensors


def own_statistics(network: nn.Module) -> list[Tensor]:
    """The statistics that BatchNorm layers move by the images of this process alone."""
    layers = (each for each in network.modules() if isinstance(each, nn.BatchNorm2d) and each.training)
    moved = [(each.running_mean, each.running_var) for each in layers if not isinstance(each, _BatchNorm)]
    return [values for pair in moved for values in pair if values is not None]


@cache
def _subclass(kind: Any, of: Any) -> Any:
    return type(of.__name__, (kind, of), {})


class _BatchNorm(nn.BatchNorm2d):
    """Normalise by mean and variance of the whole batch, and move the running ones towards them."""

    group: Group

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        images = input.to(torch.promote_types(input.dtype, torch.float32))
        mean, variance = self._statistics(images)
        self._move(mean.detach(), variance.detach(), input.numel() // input.shape[1] * self.group.world)
        scale, shift = (variance + self.eps).rsqrt(), -mean
        images = (images + shift[:, None, None]) * scale[:, None, None]
        if self.weight is not None:
            images = images * self.weight[:, None, None] + self.bias[:, None, None]
        images = images.to(input.dtype)
        for after in ("drop", "act"):  # of timm's
            images = getattr(self, after, _nothing)(images)
        return images

    def _statistics(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of each channel, exchanged at once: all processes hold as many images."""
        variance, mean = torch.var_mean(images, (0, 2, 3), correction=0)
        mine = F.one_hot(torch.tensor(self.group.rank, device=images.device), self.group.world).to(images.dtype)
        means, variances = self.group.sum(mine[:, None, None] * torch.stack([mean, variance])).unbind(1)
        mean = means.mean(0)
        return mean, variances.mean(0) + (means - mean).square().mean(0)

    @torch.no_grad()
    def _move(self, mean: Tensor, variance: Tensor, number: int) -> None:
        if self.running_mean is None or self.running_var is None or self.momentum is None:
            return
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        unbiased = variance * (number / max(number - 1, 1))
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


def _nothing(images: Tensor) -> Tensor:
    return images


def _probability(module: nn.Module) -> float:
    """That of being dropped, of the layers that draw for each image: torch's dropouts, timm's DropPath."""
    known = isinstance(module, nn.Dropout | nn.Dropout2d) or type(module).__name__ == "DropPath"
    return float(getattr(module, "p", getattr(module, "drop_prob", 0.0))) if known else 0.0


class _Dropout(nn.Module):
    """Drop what a single process would drop of these images."""

    group: Group

    def forward(self, values: Tensor) -> Tensor:
        if not self.training:
            return super().forward(values)
        # Whole images, whole channels, or single values.
        drawn = 1 if type(self).__name__ == "DropPath" else 2 if isinstance(self, nn.Dropout2d) else values.ndim
        shape = [*values.shape[:drawn], *[1] * (values.ndim - drawn)]
        whole: Any = super().forward(values.new_ones([shape[0] * self.group.world, *shape[1:]]))
        return values * self.group.part(whole)
