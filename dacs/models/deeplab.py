"""DeepLab-v2 on torchvision's ResNets: dilated to output stride 8, with a head that sums dilated 3x3 convolutions.

Chen et al. (2017), as AdaptSegNet and DACS configure it; on MobileNetV3, for small GPUs; and on networks of timm.
"""

from functools import partial
from typing import TypeVar

from torch import Tensor, nn
from torchvision.models import mobilenetv3, resnet

from dacs.models.segmenter import NORMALISATION, AtrousPyramid, Segmenter
from dacs.models.timm_backbones import normalisation_of, timm_backbone
from dacs.settings import Model

Network = TypeVar("Network", bound=nn.Module)

RESNETS = {18: resnet.resnet18, 50: resnet.resnet50, 101: resnet.resnet101}  # by depth


def deeplab_resnet(depth: int, classes: int, model: Model) -> Segmenter:
    """DeepLab-v2 on ResNet-`depth` (18, 50 or 101) at output stride 8; no pretrained weights.

    Torchvision strides in the 3x3 convolution of a bottleneck, the Caffe-style original in the 1x1 before it: the
    weights of one do not serve the other.
    """
    network = RESNETS[depth](weights=None)
    for module in network.modules() if model.convention == "caffe" else ():
        if isinstance(module, resnet.Bottleneck):
            module.conv1.stride, module.conv2.stride = module.conv2.stride, (1, 1)
    _dilate(network)
    network.maxpool.ceil_mode = True  # so that 512 pixels become 65 positions, as in the original
    stages = [network.conv1, network.bn1, network.relu, network.maxpool]
    backbone = nn.Sequential(*stages, network.layer1, network.layer2, network.layer3, network.layer4)
    head = AtrousPyramid(network.fc.in_features, classes, (6, 12, 18, 24)[: model.aspp_branches])
    return _initial(Segmenter(backbone, head, NORMALISATION[model.convention]))


deeplab_resnet18 = partial(deeplab_resnet, 18)
deeplab_resnet50 = partial(deeplab_resnet, 50)
deeplab_resnet101 = partial(deeplab_resnet, 101)  # the network of the paper


def deeplab_mobilenet(classes: int, model: Model) -> Segmenter:
    """The same head on MobileNetV3-Large at output stride 16, its dilations halved with the stride."""
    backbone = mobilenetv3.mobilenet_v3_large(weights=None, dilated=True).features
    head = AtrousPyramid(backbone[-1].out_channels, classes, (3, 6, 9, 12)[: model.aspp_branches])
    return _initial(Segmenter(backbone, head, NORMALISATION[model.convention]))


class Last(nn.Module):
    """The last of several maps."""

    def forward(self, maps: list[Tensor]) -> Tensor:
        return maps[-1]


def deeplab_timm(classes: int, model: Model) -> Segmenter:
    """The same head on the network of timm that `model.backbone` names, dilated to output stride 8; corners unaligned.

    On resnet101c this is DeepLab-v2 as DAFormer's code configures it. Raises BadRequest as `timm_backbone` does.
    """
    backbone = timm_backbone(model.backbone, (8,), drop_path=model.drop_path, output_stride=8)
    channels = backbone.feature_info.channels()[-1]
    head = nn.Sequential(Last(), AtrousPyramid(channels, classes, (6, 12, 18, 24)[: model.aspp_branches]))
    return Segmenter(backbone, _initial(head), normalisation_of(model.backbone), stride=8)


def _initial(network: Network) -> Network:
    """Every convolution from N(0, 0.01); BatchNorm and biases as torch initialises them (authors' code)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0, 0.01)
    return network


def _dilate(network: resnet.ResNet) -> None:
    """Replace the strides of the last two stages by dilation, so that pretrained weights compute the same.

    The convolution that strode keeps the dilation before it, all after it take twice that. With torchvision's strides
    the first 3x3 of a stage thus stays behind, as in its DeepLabV3; with Caffe's all blocks of a stage are alike.
    """
    for stage, before in ((network.layer3, 1), (network.layer4, 2)):
        for conv in (module for module in stage.modules() if isinstance(module, nn.Conv2d)):
            if conv.kernel_size == (3, 3):
                dilation = before if conv.stride == (2, 2) else 2 * before
                conv.dilation = conv.padding = (dilation, dilation)
            conv.stride = (1, 1)
