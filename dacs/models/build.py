"""Build a network by its name in `dacs.networks`, and copy pretrained weights into its backbone."""

from pkgutil import resolve_name

import torch
from torch import nn

from dacs.labels import CITYSCAPES
from dacs.models.segmenter import Segmenter
from dacs.models.weights import load_backbone, weights_file
from dacs.networks import NETWORKS, WITH_BACKBONE
from dacs.settings import Model


def build(model: Model, seed: int = 0, *, classes: int = len(CITYSCAPES.classes)) -> Segmenter:
    """The network of `model`, its weights drawn from `seed`; the global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: Segmenter = resolve_name(NETWORKS[model.network])(classes, model)
    for module in network.modules() if model.bn_affine == "frozen" else ():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False)  # scale and shift (authors' code)
    return network


def load_pretrained(network: Segmenter, model: Model) -> None:
    """Copy the weights that `model` names into the backbone of a network; a head is left out: it has other classes."""
    if model.network in WITH_BACKBONE:
        from dacs.models.timm_backbones import load_timm  # which no other network needs

        load_timm(network.backbone, model.backbone, weights_file(model))
    else:
        load_backbone(network.backbone, weights_file(model), convention=model.convention)
