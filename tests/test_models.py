"""Shapes, counts and beginnings of the networks. Big ones are built on the meta device, which computes only shapes."""

from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dacs.models.build import NETWORKS, build, freeze_bn_affine
from dacs.models.deeplab import NORMALISATION, AtrousPyramid, Convention, Segmenter, deeplab
from dacs.models.upsample import enlarge

DEPTHS = (18, 50, 101)
CONVENTIONS = get_args(Convention)


def sketch(depth: int, branches: int = 4, convention: Convention = "torchvision") -> Segmenter:
    with torch.device("meta"):
        return deeplab(depth, 19, aspp_branches=branches, convention=convention)


def weights(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def blank(height: int, width: int) -> Tensor:
    return torch.empty(1, 3, height, width, device="meta")


# ---- DeepLab


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("branches", [2, 4])
@pytest.mark.parametrize("depth", DEPTHS)
def test_deeplab_has_output_stride_8_as_the_original_rounds_it(
    depth: int, branches: int, convention: Convention
) -> None:
    network = sketch(depth, branches, convention)
    assert network.head(network.backbone(blank(512, 512))).shape == (1, 19, 65, 65)
    assert network.head(network.backbone(blank(512, 1024))).shape == (1, 19, 65, 129)
    assert network(blank(512, 1024)).shape == (1, 19, 512, 1024)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_deeplab_on_resnet_101_has_the_weights_of_the_original(convention: Convention) -> None:
    # torchvision's backbone differs from the Caffe-style one by where a bottleneck strides, which no count can see.
    network = sketch(101, convention=convention)
    assert weights(network) == 43_901_068
    freeze_bn_affine(network)
    assert sum(weight.numel() for weight in network.parameters() if weight.requires_grad) == 43_795_724
    kinds = [type(module) for module in network.modules()]
    assert kinds.count(nn.BatchNorm2d) == 104
    assert len(list(network.backbone.parameters())) == 104 + 208
    assert len(list(network.head.parameters())) == 8
    assert len(network.state_dict()) == 632 + 2  # mean and deviation of the input


@pytest.mark.parametrize(("width", "billions"), [(512, 185.3), (1024, 367.8)])
def test_a_forward_costs_what_the_original_does(width: int, billions: float) -> None:
    """Multiply-adds of the Caffe-style network with its two branches, on the way from an image to coarse logits."""
    network = sketch(101, 2, "caffe")
    with FlopCounterMode(display=False) as counter:
        network.head(network.backbone(blank(512, width)))
    assert counter.get_total_flops() / 2e9 == pytest.approx(billions, abs=0.05)


def test_two_branches_are_the_first_two_of_four() -> None:
    two, four = sketch(101, 2).head, sketch(101, 4).head
    assert [branch.dilation[0] for branch in two.branches] == [6, 12]
    assert [branch.dilation[0] for branch in four.branches] == [6, 12, 18, 24]
    assert weights(four) == 2 * weights(two) == 4 * (2048 * 19 * 9 + 19)


@pytest.mark.parametrize("depth", [50, 101])
def test_all_blocks_of_a_caffe_stage_are_dilated_alike(depth: int) -> None:
    stages = list(sketch(depth, convention="caffe").backbone)[-4:]
    convs = [[module for module in stage.modules() if isinstance(module, nn.Conv2d)] for stage in stages]
    square = [{conv.dilation for conv in stage if conv.kernel_size == (3, 3)} for stage in convs]
    assert square == [{(1, 1)}, {(1, 1)}, {(2, 2)}, {(4, 4)}]
    assert all(conv.padding == conv.dilation for stage in convs for conv in stage if conv.kernel_size == (3, 3))
    strides = [max(conv.stride for conv in stage) for stage in convs]
    assert strides == [(1, 1), (2, 2), (1, 1), (1, 1)]


@pytest.mark.parametrize("depth", DEPTHS)
def test_only_the_head_has_biases(depth: int) -> None:
    backbone = sketch(depth).backbone
    assert all(module.bias is None for module in backbone.modules() if isinstance(module, nn.Conv2d))


# ---- what all networks share


def test_the_head_sums_its_branches() -> None:
    head = AtrousPyramid(5, 3, (1, 2, 4))
    features = torch.rand(2, 5, 9, 11, generator=torch.Generator().manual_seed(0))
    one_by_one = torch.stack([branch(features) for branch in head.branches]).sum(0)
    assert torch.allclose(head(features), one_by_one, atol=1e-6)


@pytest.mark.parametrize("size", [(32, 32), (37, 51), (96, 192)])
def test_logits_have_the_size_of_the_images(size: tuple[int, int]) -> None:
    assert build("small", aspp_branches=4)(torch.rand(2, 3, *size)).shape == (2, 19, *size)


def test_images_are_normalised_inside_and_logits_enlarged_with_corners_aligned() -> None:
    network = build("small", aspp_branches=2).eval()
    images = torch.rand(1, 3, 33, 65, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values)[:, None, None] for values in NORMALISATION["torchvision"])
    coarse = network.head(network.backbone((images - mean) / std))
    fine = network(images)
    assert coarse.shape[-2:] == (9, 17)  # so that every fourth pixel lies on a position, corners included
    assert torch.allclose(fine[..., ::4, ::4], coarse, atol=1e-5)
    assert torch.allclose(fine[..., 2::4, ::4], (coarse[..., 1:, :] + coarse[..., :-1, :]) / 2, atol=1e-5)


def test_what_normalises_is_saved_with_the_weights_and_cannot_drift_from_them() -> None:
    caffe, other = (build("small", aspp_branches=4, convention=each, seed=1) for each in ("caffe", "torchvision"))
    images = torch.rand(1, 3, 32, 32)
    assert not torch.allclose(caffe.eval()(images), other.eval()(images))
    other.load_state_dict(caffe.state_dict())
    assert torch.equal(caffe(images), other(images))
    assert other.double().mean.dtype == torch.float64


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_trains_all_of_its_weights(name: str) -> None:
    network = build(name, aspp_branches=4).train()
    network(torch.rand(2, 3, 33, 33)).square().mean().backward()
    assert all(weight.grad is not None for weight in network.parameters())


def test_weights_are_drawn_from_the_seed_and_torchs_own_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    once, again, other = (build("small", aspp_branches=4, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(once[name], again[name]) for name in once)
    assert not torch.equal(once["head.branches.0.weight"], other["head.branches.0.weight"])


def test_the_small_network_is_a_hundredth_of_deeplab() -> None:
    assert 50 * weights(build("small", aspp_branches=4)) < weights(sketch(101))


def test_frozen_batchnorm_keeps_scale_and_shift_but_lives_on_in_its_statistics() -> None:
    network = build("small", aspp_branches=4, bn_affine="frozen").train()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(weight.requires_grad for norm in norms for weight in norm.parameters())
    assert all(weight.requires_grad for conv in network.head.branches for weight in conv.parameters())
    before = [norm.running_mean.clone() for norm in norms]
    network(torch.rand(2, 3, 32, 32)).sum().backward()
    assert not any(torch.equal(norm.running_mean, old) for norm, old in zip(norms, before, strict=True))
    assert all(norm.weight.grad is None for norm in norms)


@pytest.mark.parametrize(
    ("have", "want"), [((65, 65), (512, 512)), ((3, 5), (17, 9)), ((1, 4), (8, 4)), ((6, 6), (6, 6)), ((4, 4), (1, 1))]
)
def test_enlarging_is_bilinear_with_aligned_corners(have: tuple[int, int], want: tuple[int, int]) -> None:
    """Values and gradients of torch's own interpolation."""
    features = torch.randn(2, 3, *have, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ours, theirs = (features.clone().requires_grad_() for _ in range(2))
    found = enlarge(ours, want)
    expected = F.interpolate(theirs, size=want, mode="bilinear", align_corners=True)
    assert torch.allclose(found, expected, atol=1e-12)
    weights = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for result in (found, expected):
        (result * weights).sum().backward()
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-12)


def test_what_is_computed_in_fewer_bits_is_enlarged_in_float32() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert enlarge(torch.rand(1, 2, 3, 4).bfloat16(), (6, 8)).dtype == torch.float32
