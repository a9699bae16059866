"""BatchNorm statistics of a network: those of given images instead of those that it was trained with."""

from collections.abc import Callable

import torch
from torch import nn

from dacs.types import Images

BATCH = 8  # images at a time


@torch.no_grad()
def track(network: nn.Module, forward: Callable[[Images], object], images: Images) -> None:
    """Move the statistics of every BatchNorm towards those of a batch, by its momentum; `forward` is the network's.

    Each layer normalises the batch by itself meanwhile, and is in the mode then that it was in before.
    """
    layers = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    modes = [layer.training for layer in layers]
    for layer in layers:
        layer.train()
    forward(images)
    for layer, mode in zip(layers, modes, strict=True):
        layer.train(mode)


def re_estimate(network: nn.Module, images: torch.Tensor) -> int:
    """Set the statistics of every BatchNorm to the mean of those of batches of `images`; return the number of layers.

    `images`: uint8 of shape (number, 3, height, width). Frozen statistics are replaced too; no weight is changed. The
    network is in evaluation mode then.
    """
    layers = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    device, momenta = next(network.parameters()).device, [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.train()
    with torch.no_grad():
        for first in range(0, len(images), BATCH) if layers else ():
            some = images[first : first + BATCH]
            for layer in layers:
                layer.momentum = len(some) / (first + len(some))  # the mean over all images so far
            network(some.to(device).float() / 255)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    network.eval()
    return len(layers)
