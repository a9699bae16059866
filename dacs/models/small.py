"""A network for two CPU cores: 0.4 million weights, DeepLab's structure at a small size.

Residual blocks at a quarter and an eighth of the image, the last ones dilated, then the same head as DeepLab's; the
quarter's features join before it, since poles and lights are a pixel wide at an eighth.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from dacs.models.segmenter import NORMALISATION, AtrousPyramid, Segmenter
from dacs.models.upsample import upsample
from dacs.settings import Model

WIDTHS = (24, 48, 96)  # channels at a half, a quarter, an eighth of the image

Norm = Callable[[int], nn.Module]  # channels → normalisation


class Block(nn.Module):
    """Two normalised 3x3 convolutions beside a shortcut."""

    def __init__(self, channels_in: int, channels: int, norm: Norm, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.first = _conv(channels_in, channels, norm, stride=stride)
        self.second = _conv(channels, channels, norm, dilation=dilation)
        plain = stride == 1 and channels_in == channels
        self.shortcut = nn.Identity() if plain else _conv(channels_in, channels, norm, size=1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.second(F.relu(self.first(x))))


class SmallBackbone(nn.Module):
    """Features at a quarter of the size of the images."""

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        half, quarter, eighth = WIDTHS
        self.stem = _conv(3, half, norm, stride=2)
        self.quarter = Block(half, quarter, norm, stride=2)
        self.eighth = nn.Sequential(Block(quarter, eighth, norm, stride=2), Block(eighth, eighth, norm, dilation=2))
        self.detail = _conv(quarter, quarter, norm, size=1)
        self.context = _conv(eighth, quarter, norm, size=1)

    def forward(self, images: Tensor) -> Tensor:
        fine = self.quarter(F.relu(self.stem(images)))
        coarse = self.context(self.eighth(fine))
        coarse = upsample(coarse, (fine.shape[-2], fine.shape[-1]), align_corners=True).to(fine.dtype)
        return F.relu(self.detail(fine) + coarse)


def small(classes: int, model: Model, norm: Norm = nn.BatchNorm2d) -> Segmenter:
    """The small network; no pretrained weights."""
    backbone = SmallBackbone(norm)  # its weights are drawn first
    head = AtrousPyramid(WIDTHS[1], classes, (1, 3, 6, 9)[: model.aspp_branches])
    return Segmenter(backbone, head, NORMALISATION[model.convention])


def small_gn(classes: int, model: Model) -> Segmenter:
    """The same with GroupNorm, 8 channels a group: no running statistics, alike in training and evaluation."""
    return small(classes, model, lambda channels: nn.GroupNorm(channels // 8, channels))


def _conv(
    channels_in: int, channels: int, norm: Norm, *, size: int = 3, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    padding = dilation * (size // 2)
    conv = nn.Conv2d(channels_in, channels, size, stride=stride, padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(conv, norm(channels))
