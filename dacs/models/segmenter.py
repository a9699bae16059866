"""A segmentation network: a backbone, a head, and the normalisation of its input.

Input: RGB in [0, 1]. What normalises it is saved with the weights, so that the two cannot be separated.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dacs.models.upsample import upsample
from dacs.types import Images, Logits

Convention = Literal["torchvision", "caffe"]
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]
Maps = Tensor | list[Tensor]  # of a backbone, finest first
NORMALISATION: dict[str, Normalisation] = {  # mean and standard deviation: RGB, of images in [0, 1]
    "torchvision": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "caffe": (tuple(v / 255 for v in (122.67891434, 116.66876762, 104.00698793)), (1 / 255,) * 3),  # 0..255, no scaling
}


class AtrousPyramid(nn.Module):
    """The head: parallel dilated 3x3 convolutions with bias, summed.

    DeepLab-v2 has four branches; in the authors' code a `return` inside the loop leaves two.
    """

    def __init__(self, channels: int, classes: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(channels, classes, 3, padding=dilation, dilation=dilation) for dilation in dilations
        )

    def forward(self, features: Tensor) -> Tensor:
        first, *others = self.branches
        return sum((branch(features) for branch in others), first(features))


class Segmenter(nn.Module):
    """A backbone and a head; logits have the size of the images.

    They are upsampled with aligned corners, or, where images are padded to multiples of a `stride`, with each position
    as the centre of its cell: then features lie where they lie in an image of any other size, unlike with padding
    inside of the backbone that depends on the size (TensorFlow's), or with aligned corners, which stretch its maps.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        normalisation: Normalisation = NORMALISATION["torchvision"],
        *,
        stride: int | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.stride = stride  # pixels; None: corners are aligned, and nothing is padded
        self.frozen_statistics = False
        mean, std = normalisation
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, images: Images) -> Logits:
        return self._logits(self._maps(images), images)

    def logits_and_features(self, images: Images) -> tuple[Logits, Tensor]:
        """Logits and `features`, of one forward pass."""
        maps = self._maps(images)
        return self._logits(maps, images), _coarsest(maps)

    def _logits(self, maps: Maps, images: Images) -> Logits:
        height, width = images.shape[-2:]
        coarse = self.head(maps)
        if self.stride is None:
            return upsample(coarse, (height, width), align_corners=True)
        padded = _multiple(height, self.stride), _multiple(width, self.stride)
        return upsample(coarse, padded, align_corners=False)[..., :height, :width]

    @property
    def align_corners(self) -> bool:
        """How its logits are to be enlarged further."""
        return self.stride is None

    def features(self, images: Images) -> Tensor:
        """The coarsest features of the backbone, of shape (batch, channels, height / stride, width / stride)."""
        return _coarsest(self._maps(images))

    def train(self, mode: bool = True) -> "Segmenter":
        """Set the mode of all modules, but leave frozen BatchNorm statistics of the backbone in evaluation mode."""
        super().train(mode)
        for module in self.backbone.modules() if self.frozen_statistics else ():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def _maps(self, images: Images) -> Maps:
        images = (images - self.mean) / self.std
        if self.stride is not None:
            height, width = images.shape[-2:]
            padding = (0, _multiple(width, self.stride) - width, 0, _multiple(height, self.stride) - height)
            images = F.pad(images, padding) if any(padding) else images
        return self.backbone(images)


def _coarsest(maps: Maps) -> Tensor:
    return maps if isinstance(maps, Tensor) else maps[-1]


def _multiple(length: int, stride: int) -> int:
    """The smallest multiple of a stride that is no smaller."""
    return -(-length // stride) * stride
