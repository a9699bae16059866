"""A network of timm with maps at strides 4, 8 and 16 as a backbone; the head sums these maps."""

from torch import Tensor, nn

from dacs.models.segmenter import AtrousPyramid, Segmenter
from dacs.models.timm_backbones import normalisation_of, timm_backbone
from dacs.models.upsample import upsample
from dacs.settings import Model

STRIDES = (4, 8, 16)  # of the maps that are used; deeper stages are not computed
WIDTH = 64  # channels to which each map is projected
GROUPS = 8  # of GroupNorm


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
        enlarged = (upsample(each, size, align_corners=False).to(fine.dtype) for each in coarser)
        return self.classify(self.smooth(sum(enlarged, fine)))


def pyramid(classes: int, model: Model) -> Segmenter:
    """A pyramid on the backbone that `model.backbone` names; no pretrained weights.

    Raises BadRequest as `timm_backbone` does.
    """
    backbone = timm_backbone(model.backbone, STRIDES, drop_path=model.drop_path)
    head = PyramidHead(backbone.feature_info.channels(), classes, model.aspp_branches)
    return Segmenter(backbone, head, normalisation_of(model.backbone), stride=STRIDES[-1])


def _conv(channels: int, size: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, WIDTH, size, padding=size // 2, bias=False), nn.GroupNorm(GROUPS, WIDTH))
