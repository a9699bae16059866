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
    for module in network.modules() if model.bn_affine == "frozen" else ():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False)  # scale and shift; its statistics stay live (authors' code)
    return network
