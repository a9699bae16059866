"""DeepLab-v2 on torchvision's ResNets: dilated to output stride 8, with a head that sums dilated 3x3 convolutions.

Chen et al. (2017), as AdaptSegNet and DACS configure it; and on MobileNetV3, for small GPUs. Input: RGB in [0, 1]; what
normalises it lives here and is saved with the weights, so that it cannot drift from them.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.models import mobilenetv3, resnet

from dacs.models.upsample import enlarge
from dacs.types import Images, Logits

Convention = Literal["torchvision", "caffe"]
NORMALISATION = {  # mean and standard deviation: RGB, of images in [0, 1]
    "torchvision": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "caffe": (tuple(v / 255 for v in (122.67891434, 116.66876762, 104.00698793)), (1 / 255,) * 3),  # 0..255, no spread
}
INITIAL_STD = 0.01  # of every convolution that has no weights yet (authors' code)

RESNETS = {18: resnet.resnet18, 50: resnet.resnet50, 101: resnet.resnet101}  # by depth


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
        total = self.branches[0](features)
        for branch in self.branches[1:]:
            total = total + branch(features)
        return total


class Segmenter(nn.Module):
    """A backbone and a head; logits come out at the size of the images, enlarged with corners aligned."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, head: nn.Module, convention: Convention = "torchvision") -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        mean, std = NORMALISATION[convention]
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, images: Images) -> Logits:
        logits = self.head(self.backbone((images - self.mean) / self.std))
        return enlarge(logits, (images.shape[-2], images.shape[-1]))


def deeplab(depth: int, classes: int, *, aspp_branches: int, convention: Convention = "torchvision") -> Segmenter:
    """DeepLab-v2 on ResNet-`depth` (18, 50 or 101) at output stride 8; no pretrained weights.

    Torchvision strides in the 3x3 convolution of a bottleneck, the Caffe-style original in the 1x1 before it: the
    weights of one do not serve the other.
    """
    network = RESNETS[depth](weights=None)
    if convention == "caffe":
        _stride_first(network)
    _dilate(network)
    channels = network.fc.in_features
    network.maxpool.ceil_mode = True  # so that 512 pixels become 65 positions, as in the original
    stages = [network.conv1, network.bn1, network.relu, network.maxpool]
    backbone = nn.Sequential(*stages, network.layer1, network.layer2, network.layer3, network.layer4)
    head = AtrousPyramid(channels, classes, (6, 12, 18, 24)[:aspp_branches])
    return _initial(Segmenter(backbone, head, convention))


def deeplab_mobilenet(classes: int, *, aspp_branches: int, convention: Convention = "torchvision") -> Segmenter:
    """The same head on MobileNetV3-Large at output stride 16, its dilations halved with the stride."""
    backbone = mobilenetv3.mobilenet_v3_large(weights=None, dilated=True).features
    head = AtrousPyramid(backbone[-1].out_channels, classes, (3, 6, 9, 12)[:aspp_branches])
    return _initial(Segmenter(backbone, head, convention))


def _initial(network: Segmenter) -> Segmenter:
    """Every convolution from N(0, 0.01), BatchNorm as the identity; biases as torch draws them (authors' code)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0, INITIAL_STD)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    return network


def _stride_first(network: resnet.ResNet) -> None:
    """Move the stride of each bottleneck from its 3x3 convolution to the 1x1 before."""
    for module in network.modules():
        if isinstance(module, resnet.Bottleneck):
            module.conv1.stride, module.conv2.stride = module.conv2.stride, (1, 1)


def _dilate(network: resnet.ResNet) -> None:
    """Replace the strides of the last two stages by dilation, so that weights go on computing what they did.

    The convolution that strode keeps the dilation before it, all after it take twice that. With torchvision's strides
    the first 3x3 of a stage thus stays behind, as in its DeepLabV3; with Caffe's all blocks of a stage are alike.
    """
    for stage, before in ((network.layer3, 1), (network.layer4, 2)):
        for conv in (module for module in stage.modules() if isinstance(module, nn.Conv2d)):
            if conv.kernel_size == (3, 3):
                dilation = before if conv.stride == (2, 2) else 2 * before
                conv.dilation = conv.padding = (dilation, dilation)
            conv.stride = (1, 1)
