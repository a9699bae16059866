"""DeepLab-v2's head on dilated networks of timm; on resnet101c, as DAFormer's code configures DACS."""

from pathlib import Path

import pytest
import timm
import tiny
import torch

from dacs.errors import BadRequest
from dacs.models.build import build, load_pretrained
from dacs.models.segmenter import Segmenter


@pytest.fixture(scope="module")
def v1c() -> Segmenter:
    with torch.device("meta"):
        return build(tiny.model(network="deeplab_timm", backbone="timm/resnet101c", aspp_branches=2))


def test_resnet101c_strides_in_the_3x3_and_its_stages_are_dilated_1_1_2_4(v1c: Segmenter) -> None:
    stages = [getattr(v1c.backbone.model, f"layer{n}") for n in (1, 2, 3, 4)]
    firsts = [(stage[0].conv1.stride[0], stage[0].conv2.stride[0], stage[0].conv2.dilation[0]) for stage in stages]
    assert firsts == [(1, 1, 1), (1, 2, 1), (1, 1, 1), (1, 1, 2)]  # the first of a dilated stage at half its dilation
    assert [{block.conv2.dilation[0] for block in stage[1:]} for stage in stages] == [{1}, {1}, {2}, {4}]
    assert {block.conv2.stride for stage in stages for block in stage[1:]} == {(1, 1)}


def test_resnet101c_has_a_stem_of_three_3x3_convolutions_and_the_weights_of_v1c(v1c: Segmenter) -> None:
    stem = v1c.backbone.model.conv1[::3]
    assert [(conv.kernel_size, conv.stride, conv.out_channels) for conv in stem] == [
        ((3, 3), (2, 2), 32),
        ((3, 3), (1, 1), 32),
        ((3, 3), (1, 1), 64),
    ]
    deep = 9 * (3 * 32 + 32 * 32 + 32 * 64) + 2 * (32 + 32)  # and two norms; 42,500,160 with a 7x7 convolution instead
    assert sum(weight.numel() for weight in v1c.backbone.parameters()) == 42_500_160 - 3 * 64 * 49 + deep
    assert [weight.numel() for weight in v1c.head.parameters()] == [2048 * 19 * 9, 19] * 2
    assert [branch.dilation for branch in v1c.head[1].branches] == [(6, 6), (12, 12)]


def test_maps_are_at_an_eighth_of_the_padded_image(v1c: Segmenter) -> None:
    images = torch.empty(1, 3, 512, 1019, device="meta")
    assert v1c.features(images).shape == (1, 2048, 64, 128)
    assert v1c(images).shape == (1, 19, 512, 1019)
    assert not v1c.align_corners


def test_the_head_is_drawn_as_the_reference_draws_it_and_a_file_of_the_strided_network_fits(tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    given = timm.create_model("resnet18").state_dict()
    torch.save(given, path)
    model = tiny.model(network="deeplab_timm", backbone="timm/resnet18", weights=str(path))
    network = build(model)
    assert len(network.head[1].branches) == 4
    for branch in network.head[1].branches:
        assert branch.weight.std().item() == pytest.approx(0.01, rel=0.05)
    load_pretrained(network, model)
    for own, value in network.backbone.state_dict().items():
        assert torch.equal(value, given[own.removeprefix("model.")]), own


@pytest.mark.parametrize("backbone", ["timm/pvt_v2_b0", "mit_b0", "timm/hrnet_w18_small", "timm/vgg11"])
def test_a_backbone_that_cannot_be_dilated_is_refused(backbone: str) -> None:
    with pytest.raises(BadRequest, match=rf"'{backbone}' cannot be dilated to output stride 8 \(.+\)\.\nName another"):
        build(tiny.model(network="deeplab_timm", backbone=backbone))


def test_stochastic_depth_is_refused_where_a_network_has_none() -> None:
    with pytest.raises(BadRequest, match=r"'timm/vgg11' has no stochastic depth .*\nSet model\.drop_path to 0"):
        build(tiny.model(network="pyramid", backbone="timm/vgg11", drop_path=0.1))
