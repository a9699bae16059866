"""Build a network by its name in `dacs.networks`."""

from pkgutil import resolve_name

import torch
from torch import nn

from dacs.labels import CLASSES
from dacs.models.segmenter import Segmenter
from dacs.networks import NETWORKS
from dacs.settings import Model


def build(model: Model, seed: int = 0) -> Segmenter:
    """The network of `model` for the 19 classes, its weights drawn from `seed`; the global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: Segmenter = resolve_name(NETWORKS[model.network])(len(CLASSES), model)
    if model.bn_affine == "frozen":
        freeze_bn_affine(network)
    return network


def freeze_bn_affine(network: nn.Module) -> None:
    """Keep scale and shift of every BatchNorm as they are; its statistics stay live (authors' code)."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False)
