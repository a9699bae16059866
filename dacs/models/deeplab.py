"""DeepLab-v2 on torchvision's ResNets: dilated to output stride 8, with a head that sums dilated 3x3 convolutions.

Chen et al. (2017), as AdaptSegNet and DACS configure it; and on MobileNetV3, for small GPUs.
"""

from functools import partial

from torch import nn
from torchvision.models import mobilenetv3, resnet

from dacs.models.segmenter import NORMALISATION, AtrousPyramid, Segmenter
from dacs.settings import Model

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


def _initial(network: Segmenter) -> Segmenter:
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
