"""DAFormer (Hoyer et al., CVPR 2022): a hierarchical transformer, and a head that fuses its four maps with context.

The paper's encoder is MiT-B5, `model.backbone: mit_b5`; here it may be any network of timm with maps at these strides.
"""

import torch
from torch import Tensor, nn

from dacs.models.segmenter import Segmenter
from dacs.models.timm_backbones import normalisation_of, timm_backbone
from dacs.models.upsample import upsample
from dacs.settings import Model

STRIDES = (4, 8, 16, 32)  # of the maps of the encoder
DILATIONS = (6, 12, 18)
DROPOUT = 0.1  # of whole channels before the classifier


class DAFormerHead(nn.Module):
    """Maps projected to one width, concatenated at the finest of them, and seen by four parallel branches.

    The branches are a 1x1 convolution and three dilated depthwise separable ones; the released code calls this head
    "sepaspp". Every convolution but the classifier is followed by BatchNorm and ReLU, a depthwise one too.
    """

    def __init__(self, channels: list[int], classes: int, width: int) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Linear(each, width) for each in channels)
        stacked = len(channels) * width
        self.branches = nn.ModuleList([_conv(stacked, width, 1), *(_separable(stacked, width, d) for d in DILATIONS)])
        self.fuse = _conv(len(self.branches) * width, width, 3)
        self.dropout = nn.Dropout2d(DROPOUT)
        for conv in (module for module in self.modules() if isinstance(module, nn.Conv2d)):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        self.classify = nn.Conv2d(width, classes, 1)
        nn.init.normal_(self.classify.weight, 0, 0.01)
        nn.init.constant_(self.get_parameter("classify.bias"), 0)

    def forward(self, maps: list[Tensor]) -> Tensor:
        size = maps[0].shape[-2], maps[0].shape[-1]
        projected = [
            project(each.movedim(1, -1)).movedim(-1, 1) for project, each in zip(self.projections, maps, strict=True)
        ]
        enlarged = [upsample(each, size, align_corners=False).to(each.dtype) for each in projected[1:]]
        stacked = torch.cat([projected[0], *enlarged], dim=1)
        fused = self.fuse(torch.cat([branch(stacked) for branch in self.branches], dim=1))
        return self.classify(self.dropout(fused))


def daformer(classes: int, model: Model) -> Segmenter:
    """DAFormer on the backbone that `model.backbone` names; no pretrained weights.

    Raises BadRequest as `timm_backbone` does.
    """
    backbone = timm_backbone(model.backbone, STRIDES, drop_path=model.drop_path)
    head = DAFormerHead(backbone.feature_info.channels(), classes, model.head_width)
    return Segmenter(backbone, head, normalisation_of(model.backbone), stride=STRIDES[-1])


def _separable(channels: int, width: int, dilation: int) -> nn.Sequential:
    """A depthwise 3x3 convolution, then one of 1x1 to `width` channels."""
    return nn.Sequential(_conv(channels, channels, 3, dilation, groups=channels), _conv(channels, width, 1))


def _conv(channels_in: int, channels: int, size: int, dilation: int = 1, groups: int = 1) -> nn.Sequential:
    padding = dilation * (size // 2)
    conv = nn.Conv2d(channels_in, channels, size, padding=padding, dilation=dilation, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
