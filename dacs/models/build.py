"""Name → network."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from dacs.labels import CLASSES
from dacs.models.deeplab import Convention, Segmenter, deeplab, deeplab_mobilenet
from dacs.models.small import group_norm, small

NETWORKS: dict[str, Callable[..., Segmenter]] = {
    "small": small,
    "small_gn": partial(small, norm=group_norm),
    "deeplab_mobilenet": deeplab_mobilenet,
    "deeplab_resnet18": partial(deeplab, 18),
    "deeplab_resnet50": partial(deeplab, 50),
    "deeplab_resnet101": partial(deeplab, 101),
}


def build(
    network: str,
    *,
    aspp_branches: int,
    bn_affine: Literal["trained", "frozen"] = "trained",
    convention: Convention = "torchvision",
    seed: int = 0,
) -> Segmenter:
    """The named network for the 19 classes, its weights drawn from `seed`; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = NETWORKS[network](len(CLASSES), aspp_branches=aspp_branches, convention=convention)
    if bn_affine == "frozen":
        freeze_bn_affine(built)
    return built


def from_settings(model: Mapping[str, Any], seed: int = 0) -> Segmenter:
    """The network that the section `model` of params.yaml asks for."""
    return build(
        model["network"],
        aspp_branches=model["aspp_branches"],
        bn_affine=model["bn_affine"],
        convention=model["convention"],
        seed=seed,
    )


def freeze_bn_affine(network: nn.Module) -> None:
    """Keep scale and shift of every BatchNorm as they are; its statistics stay live (authors' code)."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False)
