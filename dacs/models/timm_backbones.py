"""Networks of timm as backbones, by name, and weights of a file for them.

The encoder of SegFormer and DAFormer, MiT (Mix Transformer; Xie et al., 2021), is timm's PVTv2 with other widths in its
MLPs: the same layers in the same order, of the same shapes.
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dacs.errors import BadRequest, RunFailed, nearest
from dacs.fields import TIMM
from dacs.models.published import IN_ORDER, published
from dacs.models.segmenter import NORMALISATION, Normalisation
from dacs.models.weights import read, unwrapped

Create = Callable[..., Any]  # a network, with further options
TRIED = (70, 102)  # height, width of the images that a backbone is tried with: multiples of no stride
UNFIT = (RuntimeError, ValueError, AttributeError, AssertionError, TypeError)  # of a network that cannot be used
COARSEST = 32  # stride of the last stage of a whole network
TRANSFORMERS = "encoder.patch_embeddings.0.proj.weight"  # in files of Hugging Face's transformers
RENAMED = (  # patterns of names in these files, and what timm has there
    (r"^(segformer\.)?encoder\.", ""),
    (r"^patch_embeddings\.0\.", "patch_embed."),
    (r"^patch_embeddings\.(\d)\.", r"stages.\1.downsample."),
    (r"^block\.(\d)\.", r"stages.\1.blocks."),
    (r"^layer_norm\.(\d)\.", r"stages.\1.norm."),
    (r"\.layer_norm_([12])\.", r".norm\1."),
    (r"\.layer_norm\.", ".norm."),
    (r"\.attention\.self\.", ".attn."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.attn\.query\.", ".attn.q."),
    (r"\.mlp\.dense([12])\.", r".mlp.fc\1."),
    (r"\.dwconv\.dwconv\.", ".dwconv."),
)


class Padding(nn.Module):
    """A backbone that pads images to multiples of some number of pixels, and crops its maps to what the images cover.

    Zeros are added at the bottom and at the right.
    """

    def __init__(self, backbone: Any, multiple: int) -> None:
        super().__init__()
        self.model, self.indices, self.feature_info = backbone.model, backbone.out_indices, backbone.feature_info
        self.multiple = multiple

    def forward(self, images: Tensor) -> list[Tensor]:
        height, width = images.shape[-2:]
        padded = F.pad(images, (0, -width % self.multiple, 0, -height % self.multiple))
        maps = self.model.forward_intermediates(
            padded, indices=self.indices, output_fmt="NCHW", intermediates_only=True
        )
        strides = [padded.shape[-1] // each.shape[-1] for each in maps]
        return [each[..., : -(-height // at), : -(-width // at)] for each, at in zip(maps, strides, strict=True)]


def timm_backbone(
    name: str, strides: tuple[int, ...], *, drop_path: float = 0.0, output_stride: int | None = None
) -> Any:
    """The stages of a network up to the last of `strides`, as a module that returns the maps at these, finest first.

    With an `output_stride`, later stages are dilated instead of strided. Raises BadRequest for a name that timm does
    not have, a network without such maps or for images of one size only, and one that cannot be dilated so.
    """
    short, given = _in_timm(name)
    if not timm.is_model(short):
        raise BadRequest(f"model.backbone: '{name}': {nearest(name, [TIMM + each for each in timm.list_models()])}")
    wanted = {"drop_path_rate": drop_path, "output_stride": output_stride}
    given |= {option: value for option, value in wanted.items() if value}  # of which some networks know neither
    create: Create = partial(timm.create_model, short, features_only=True, feature_cls="getter", **given)
    try:
        info = create().feature_info
        found = info.reduction()
        if output_stride and found[-1] != output_stride:
            raise ValueError(f"its last map is at stride {found[-1]}")
        indices = [info.out_indices[len(found) - 1 - found[::-1].index(stride)] for stride in strides]
        return _fitting(partial(create, out_indices=indices), strides, drop_path)
    except UNFIT as error:
        raise BadRequest(f"model.backbone: '{name}' {_fault(error, strides, output_stride)}") from error


def normalisation_of(name: str) -> Normalisation:
    """That of the images that the published weights of a network were trained with."""
    described = timm.get_pretrained_cfg(_in_timm(name)[0])
    return (described.mean, described.std) if described else NORMALISATION["torchvision"]


def load_timm(backbone: nn.Module, name: str, path: Path) -> None:
    """Copy the weights of a file into a backbone made by `timm_backbone`; deeper stages and classifier are left out.

    The tensors have the names of timm, of the network's authors or, of MiT, of transformers; or, in a published file of
    other names, timm's order. Raises RunFailed unless they are those of the whole network; MiT's may lack a classifier.
    """
    short, given = _in_timm(name)
    whole = timm.create_model(short, **given)
    tensors = read(path)
    row = next((row for row in published() if row.file == path.name), None)
    try:
        if row is not None and row.layout == IN_ORDER:
            tensors = dict(zip(whole.state_dict(), tensors.values(), strict=True))
        if any(each.endswith(TRANSFORMERS) for each in tensors):
            tensors = _from_transformers(tensors)
        tensors, _ = unwrapped(tensors, whole.state_dict(), path)
        if short.startswith("pvt_v2_"):
            tensors = {own: value for own, value in whole.state_dict().items() if own.startswith("head.")} | tensors
        whole = timm.create_model(short, pretrained=True, pretrained_cfg_overlay={"state_dict": tensors}, **given)
    except (RuntimeError, ValueError, KeyError) as error:
        reason = shorten(str(error), 300)  # it may list a thousand names
        raise RunFailed(f"{path}: does not fit {name} ({reason}).\nName the weights' own network.") from error
    backbone.load_state_dict({f"model.{key}": value for key, value in whole.state_dict().items()}, strict=False)


def _in_timm(name: str) -> tuple[str, dict[str, Any]]:
    """The name of a network in timm, and what it is created with there."""
    if name.startswith(TIMM):
        return name.removeprefix(TIMM), {}
    return name.replace("mit", "pvt_v2"), {"mlp_ratios": (4, 4, 4, 4)}


def _fitting(create: Create, strides: tuple[int, ...], drop_path: float) -> Any:
    """The network as it is or, where it does not take images of any size, as one that pads them.

    Raises what the network raised, if that does not help.
    """
    backbone = create()
    try:
        with torch.no_grad():
            backbone(torch.zeros(1, 3, *TRIED))
    except UNFIT:
        # Unless told so, Swin takes images of one size, and has stochastic depth.
        flexible = partial(create, dynamic_img_size=True, drop_path_rate=drop_path)
        padding = _padding(flexible, strides) or _padding(create, strides)
        if padding is None:
            raise
        return padding
    return backbone


def _padding(create: Create, strides: tuple[int, ...]) -> Padding | None:
    """The network with padding to the first multiple at which it gives the maps; None if there is none.

    Tried are the last stride, that of the whole network (HRNet and SAM 2's Hiera compute all of its stages), and the
    side of a window in the last stage, which is a fixed part of the images that the network was made for.
    """
    try:
        backbone = create()
    except UNFIT:  # which do not know the options
        return None
    side = backbone.pretrained_cfg["input_size"][-1]
    multiples = sorted({strides[-1], COARSEST, side * strides[-1] // COARSEST})
    each = (Padding(backbone, multiple) for multiple in multiples)
    return next((padding for padding in each if _gives_maps(padding, strides)), None)


@torch.no_grad()
def _gives_maps(backbone: Padding, strides: tuple[int, ...]) -> bool:
    """Whether the maps of an image that is no square have the sizes and channels that are expected.

    It is one image, in evaluation mode, since some networks normalise the mean of each channel over the batch.
    """
    height = TRIED[0] + -TRIED[0] % backbone.multiple
    width = height + backbone.multiple
    channels = backbone.feature_info.channels()
    try:
        shapes = [tuple(each.shape) for each in backbone.eval()(torch.zeros(1, 3, height, width))]
    except UNFIT:
        return False
    finally:
        backbone.train()
    return shapes == [(1, each, height / at, width / at) for each, at in zip(channels, strides, strict=True)]


def _fault(error: Exception, strides: tuple[int, ...], output_stride: int | None) -> str:
    """What is wrong with a backbone, and what to name instead."""
    reason = str(error).partition("\n")[0] or type(error).__name__
    if "drop_path_rate" in reason:
        return f"has no stochastic depth ({reason}).\nSet model.drop_path to 0, or name another one."
    if output_stride:
        return (
            f"cannot be dilated to output stride {output_stride} ({reason}).\n"
            "Name another one, such as timm/resnet101c, timm/resnet18 or timm/convnext_tiny."
        )
    return (
        f"does not give maps at strides {', '.join(map(str, strides))} of images of any size ({reason}).\n"
        "Name another one, such as timm/tf_efficientnet_lite0, timm/resnet50 or timm/pvt_v2_b1."
    )


def _from_transformers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The encoder of a SegFormer of transformers under timm's names: keys and values are one projection there."""
    found = {}
    for name, value in tensors.items():
        for pattern, ours in RENAMED:
            name = re.sub(pattern, ours, name)
        if name.startswith(("patch_embed.", "stages.")):
            found[name] = value
    for name in [each for each in found if ".attn.key." in each]:
        pair = [found.pop(name), found.pop(name.replace(".key.", ".value."))]
        found[name.replace(".key.", ".kv.")] = torch.cat(pair)
    return found
