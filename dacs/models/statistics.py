"""BatchNorm statistics of a network: those of given images instead of those that it was trained with."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from dacs.types import Images

BATCH = 8  # images at a time


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[list[nn.BatchNorm2d]]:
    """Its BatchNorm layers, frozen ones too, in training mode: each normalises a batch by itself, and keeps a record.

    They are in the mode then that they were in before.
    """
    layers = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    modes = [layer.training for layer in layers]
    for layer in layers:
        layer.train()
    yield layers
    for layer, mode in zip(layers, modes, strict=True):
        layer.train(mode)


@torch.no_grad()
def track(network: nn.Module, forward: Callable[[Images], object], images: Images) -> None:
    """Move the statistics of every BatchNorm towards those of a batch, by its momentum; `forward` is the network's."""
    with batch_statistics(network):
        forward(images)


@torch.no_grad()
def re_estimate(network: nn.Module, images: torch.Tensor) -> int:
    """Set the statistics of every BatchNorm to the mean of those of batches of `images`; return the number of layers.

    `images`: uint8 of shape (number, 3, height, width). Frozen statistics are replaced too; no weight is changed.
    """
    device = next(network.parameters()).device
    with batch_statistics(network) as layers:
        momenta = [layer.momentum for layer in layers]
        for layer in layers:
            layer.reset_running_stats()
        for first in range(0, len(images), BATCH) if layers else ():
            some = images[first : first + BATCH]
            for layer in layers:
                layer.momentum = len(some) / (first + len(some))  # the mean over all images so far
            network(some.to(device).float() / 255)
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    return len(layers)
