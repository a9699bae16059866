"""Any convolutional or hierarchical network of timm as a backbone; the head sums its maps at strides 4, 8 and 16."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from dacs.errors import BadRequest, RunFailed, nearest
from dacs.models.published import IN_ORDER, published
from dacs.models.segmenter import NORMALISATION, AtrousPyramid, Segmenter
from dacs.models.upsample import upsample
from dacs.models.weights import read
from dacs.settings import TIMM, Model

STRIDES = (4, 8, 16)  # of the maps that are used; deeper stages are not computed
WIDTH = 64  # channels to which each map is projected
GROUPS = 8  # of GroupNorm
TRIED = (70, 102)  # height, width of the images that a backbone is tried with: multiples of no stride


class PyramidHead(nn.Module):
    """Maps of a backbone, each projected to the same width, summed at the finest of them, smoothed and classified."""

    def __init__(self, channels: list[int], classes: int, branches: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(_conv(each, 1) for each in channels)
        self.smooth = nn.Sequential(nn.ReLU(), _conv(WIDTH, 3), nn.ReLU())
        self.classify = AtrousPyramid(WIDTH, classes, (1, 3, 6, 9)[:branches])

    def forward(self, maps: list[Tensor]) -> Tensor:
        fine, *coarser = (lateral(each) for lateral, each in zip(self.laterals, maps, strict=True))
        size = fine.shape[-2], fine.shape[-1]
        return self.classify(self.smooth(sum((upsample(each, size).to(fine.dtype) for each in coarser), fine)))


def pyramid(classes: int, model: Model) -> Segmenter:
    """A pyramid on the backbone that `model.backbone` names; no pretrained weights.

    Raises BadRequest for a name that timm does not have, and for a network without maps at strides 4, 8 and 16, or that
    takes images of some sizes only.
    """
    backbone = timm_backbone(model.backbone)
    head = PyramidHead(backbone.feature_info.channels(), classes, model.aspp_branches)
    described = timm.get_pretrained_cfg(model.backbone.removeprefix(TIMM))
    return Segmenter(backbone, head, (described.mean, described.std) if described else NORMALISATION["torchvision"])


def timm_backbone(name: str) -> Any:
    """The stages of a network of timm up to stride 16, as a module that returns their maps, finest first.

    Raises BadRequest as `pyramid` does.
    """
    short = name.removeprefix(TIMM)
    create: Callable[..., Any] = partial(timm.create_model, short, features_only=True, feature_cls="getter")
    if not timm.is_model(short):
        raise BadRequest(f"model.backbone: '{name}': {nearest(name, [TIMM + each for each in timm.list_models()])}")
    try:
        strides = create().feature_info.reduction()
        chosen = [len(strides) - 1 - strides[::-1].index(stride) for stride in STRIDES]
        backbone = create(out_indices=chosen)
        with torch.no_grad():
            backbone(torch.zeros(1, 3, *TRIED))
    except (RuntimeError, ValueError, AttributeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise BadRequest(
            f"model.backbone: '{name}' does not give maps at strides {', '.join(map(str, STRIDES))} of images of any"
            f" size ({reason}).\nName another one, such as timm/tf_efficientnet_lite0, timm/resnet50 or timm/pvt_v2_b1."
        ) from error
    return backbone


def load_timm(backbone: nn.Module, name: str, path: Path) -> None:
    """Copy the weights of a file into a backbone made by `timm_backbone`; deeper stages and classifier are left out.

    The tensors have timm's names, or, in a published file of other names, timm's order. Raises RunFailed unless they
    are those of the whole network.
    """
    whole = timm.create_model(name.removeprefix(TIMM))
    tensors = read(path)
    row = next((row for row in published() if row.file == path.name), None)
    try:
        if row is not None and row.layout == IN_ORDER:
            tensors = dict(zip(whole.state_dict(), tensors.values(), strict=True))
        whole = timm.create_model(
            name.removeprefix(TIMM), pretrained=True, pretrained_cfg_overlay={"state_dict": tensors}
        )
    except (RuntimeError, ValueError, KeyError) as error:
        raise RunFailed(f"{path}: does not fit {name} ({error}).\nName the weights' own network.") from error
    backbone.load_state_dict({f"model.{key}": value for key, value in whole.state_dict().items()}, strict=False)


def _conv(channels: int, size: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, WIDTH, size, padding=size // 2, bias=False), nn.GroupNorm(GROUPS, WIDTH))
