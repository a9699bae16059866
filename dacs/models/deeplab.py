"""DeepLab-v2 on torchvision's ResNets: dilated to output stride 8, with a head that sums dilated 3x3 convolutions.

Chen et al. (2017), as AdaptSegNet and DACS configure it. Input: RGB in [0, 1]; what normalises it lives here, so that
it cannot drift from the weights.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models import resnet

from dacs.models.enlarge import enlarge
from dacs.scene import Images, Logits

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # RGB, of images in [0, 1]; torchvision's convention
IMAGENET_STD = (0.229, 0.224, 0.225)

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

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)

    def forward(self, images: Images) -> Logits:
        logits = self.head(self.backbone((images - self.mean) / self.std))
        return enlarge(logits, (images.shape[-2], images.shape[-1]))


def deeplab(depth: int, classes: int, *, aspp_branches: int) -> Segmenter:
    """DeepLab-v2 on ResNet-`depth` (18, 50 or 101) at output stride 8; no pretrained weights.

    Unlike the Caffe-style original, torchvision strides in the 3x3 convolution of a bottleneck.
    """
    network = _dilate(RESNETS[depth](weights=None))
    channels = network.fc.in_features
    network.maxpool.ceil_mode = True  # so that 512 pixels become 65 positions, as in the original
    stages = [network.conv1, network.bn1, network.relu, network.maxpool]
    backbone = nn.Sequential(*stages, network.layer1, network.layer2, network.layer3, network.layer4)
    return Segmenter(backbone, AtrousPyramid(channels, classes, (6, 12, 18, 24)[:aspp_branches]))


def _dilate(network: resnet.ResNet) -> resnet.ResNet:
    """Replace the strides of the last two stages by dilation.

    torchvision's own option knows bottlenecks only, and leaves the first of each stage at the dilation before it;
    in the original all blocks of a stage are alike.
    """
    for stage, dilation in ((network.layer3, 2), (network.layer4, 4)):
        for module in stage.modules():
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)
                if module.kernel_size == (3, 3):
                    module.dilation = module.padding = (dilation, dilation)
    return network
