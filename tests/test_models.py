"""Shapes, sizes and initial weights of the networks. Large ones are built on the meta device, which computes shapes."""

from typing import Any, get_args

import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dacs.errors import RunFailed
from dacs.models.build import build
from dacs.models.device import Forward, device_for
from dacs.models.segmenter import NORMALISATION, AtrousPyramid, Convention, Segmenter
from dacs.models.upsample import upsample
from dacs.networks import NETWORKS

RESNETS = ("deeplab_resnet18", "deeplab_resnet50", "deeplab_resnet101")
CONVENTIONS = get_args(Convention)
BIG = RESNETS[-1]


def on_meta(network: str = BIG, **changes: Any) -> Segmenter:
    with torch.device("meta"):
        return build(tiny.model(network=network, **changes))


def small(seed: int = 0, **changes: Any) -> Segmenter:
    return build(tiny.model(network="small", **changes), seed)


def size_of(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def blank(height: int, width: int) -> Tensor:
    return torch.empty(1, 3, height, width, device="meta")


def random_images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [part for part in module.modules() if isinstance(part, nn.Conv2d)]


# ---- DeepLab


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("branches", [2, 4])
@pytest.mark.parametrize("network", RESNETS)
def test_deeplab_has_output_stride_8_as_the_original_rounds_it(network: str, branches: int, convention: str) -> None:
    found = on_meta(network, aspp_branches=branches, convention=convention)
    assert found.head(found.features(blank(512, 512))).shape == (1, 19, 65, 65)
    assert found.head(found.features(blank(512, 1024))).shape == (1, 19, 65, 129)
    assert found(blank(512, 1024)).shape == (1, 19, 512, 1024)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_deeplab_on_resnet_101_has_the_weights_of_the_original(convention: str) -> None:
    # torchvision's backbone differs from the Caffe-style one by where a bottleneck strides, which changes no number.
    network, frozen = on_meta(convention=convention), on_meta(convention=convention, bn_affine="frozen")
    assert size_of(network) == 43_901_068
    assert sum(weight.numel() for weight in frozen.parameters() if weight.requires_grad) == 43_795_724
    assert len(list(network.backbone.parameters())) == 104 + 208
    assert len(list(network.head.parameters())) == 8
    assert len(network.state_dict()) == 632 + 2  # mean and deviation of the input
    assert 100 * size_of(small()) < size_of(network)


@pytest.mark.parametrize(("width", "billions"), [(512, 185.3), (1024, 367.8)])
def test_a_forward_costs_what_the_original_does(width: int, billions: float) -> None:
    """Multiply-adds of the Caffe-style network with its two branches, from an image to coarse logits."""
    network = on_meta(aspp_branches=2, convention="caffe")
    with FlopCounterMode(display=False) as counter:
        network.head(network.backbone(blank(512, width)))
    assert counter.get_total_flops() / 2e9 == pytest.approx(billions, abs=0.05)


def test_two_branches_are_the_first_two_of_four() -> None:
    two, four = (on_meta(aspp_branches=branches).head for branches in (2, 4))
    assert [branch.dilation[0] for branch in two.branches] == [6, 12]
    assert [branch.dilation[0] for branch in four.branches] == [6, 12, 18, 24]
    assert size_of(four) == 2 * size_of(two) == 4 * (2048 * 19 * 9 + 19)


@pytest.mark.parametrize("network", RESNETS[1:])
def test_all_blocks_of_a_caffe_stage_are_dilated_alike(network: str) -> None:
    stages = [convolutions(stage) for stage in list(on_meta(network, convention="caffe").backbone)[-4:]]
    square = [[conv for conv in stage if conv.kernel_size == (3, 3)] for stage in stages]
    assert [{conv.dilation for conv in stage} for stage in square] == [{(1, 1)}, {(1, 1)}, {(2, 2)}, {(4, 4)}]
    assert all(conv.padding == conv.dilation for stage in square for conv in stage)
    assert [max(conv.stride for conv in stage) for stage in stages] == [(1, 1), (2, 2), (1, 1), (1, 1)]


def test_mobilenet_has_output_stride_16() -> None:
    network = build(tiny.model(network="deeplab_mobilenet"))
    assert network.features(torch.rand(1, 3, 256, 320)).shape == (1, 960, 16, 20)
    assert size_of(network.head) == 4 * (960 * 19 * 9 + 19)


@pytest.mark.parametrize("network", ["deeplab_resnet18", "deeplab_mobilenet"])
def test_initial_weights_of_deeplab_are_drawn_as_the_reference_draws_them(network: str) -> None:
    found = build(tiny.model(network=network), seed=7)
    large = [conv.weight for conv in convolutions(found) if conv.weight.numel() > 5000]
    norms = [part for part in found.modules() if isinstance(part, nn.BatchNorm2d)]
    assert len(large) > 9
    assert norms
    for weight in large:
        assert weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert abs(weight.mean().item()) < 0.001
    assert all((norm.weight == 1).all() and not norm.bias.any() for norm in norms)


# ---- what all networks share


def test_the_head_sums_its_branches() -> None:
    head = AtrousPyramid(5, 3, (1, 2, 4))
    features = random_images(2, 5, 9, 11)
    one_by_one = torch.stack([branch(features) for branch in head.branches]).sum(0)
    assert torch.allclose(head(features), one_by_one, atol=1e-6)


def test_images_are_normalised_inside_and_logits_upsampled_with_corners_aligned() -> None:
    network, images = small(aspp_branches=2).eval(), random_images(1, 3, 33, 65)
    mean, std = (torch.tensor(values)[:, None, None] for values in NORMALISATION["torchvision"])
    coarse = network.head(network.backbone((images - mean) / std))
    fine = network(images)
    assert coarse.shape[-2:] == (9, 17)  # so that every fourth pixel lies on a position, corners included
    assert torch.allclose(fine[..., ::4, ::4], coarse, atol=1e-5)
    assert torch.allclose(fine[..., 2::4, ::4], (coarse[..., 1:, :] + coarse[..., :-1, :]) / 2, atol=1e-5)


def test_the_normalisation_is_saved_with_the_weights() -> None:
    caffe, other = (small(1, convention=convention).eval() for convention in ("caffe", "torchvision"))
    images = random_images(1, 3, 32, 32)
    assert not torch.allclose(caffe(images), other(images))
    other.load_state_dict(caffe.state_dict())
    assert torch.equal(caffe(images), other(images))
    assert other.double().mean.dtype == torch.float64


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_makes_logits_of_the_size_of_the_images_and_trains_all_of_its_weights(network: str) -> None:
    found = build(tiny.model(network=network)).train()
    logits = found(torch.rand(2, 3, 37, 51))
    logits.square().mean().backward()
    assert logits.shape == (2, 19, 37, 51)
    assert all(weight.grad is not None for weight in found.parameters())


def test_weights_are_drawn_from_the_seed_and_torchs_own_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    once, again, other = (small(seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(once[name], again[name]) for name in once)
    assert not torch.equal(once["head.branches.0.weight"], other["head.branches.0.weight"])


def test_frozen_batchnorm_keeps_scale_and_shift_but_updates_its_statistics() -> None:
    network = small(bn_affine="frozen").train()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(weight.requires_grad for norm in norms for weight in norm.parameters())
    assert all(weight.requires_grad for conv in convolutions(network) for weight in conv.parameters())
    before = [norm.running_mean.clone() for norm in norms]
    network(torch.rand(2, 3, 32, 32)).sum().backward()
    assert not any(torch.equal(norm.running_mean, old) for norm, old in zip(norms, before, strict=True))
    assert all(norm.weight.grad is None for norm in norms)


@pytest.mark.parametrize(
    ("have", "want"), [((65, 65), (512, 512)), ((3, 5), (17, 9)), ((1, 4), (8, 4)), ((6, 6), (6, 6)), ((4, 4), (1, 1))]
)
@pytest.mark.parametrize("align_corners", [True, False])
def test_upsampling_is_torchs_bilinear_interpolation(
    have: tuple[int, int], want: tuple[int, int], align_corners: bool
) -> None:
    """Values and gradients."""
    features = random_images(2, 3, *have).double()
    ours, theirs = (features.clone().requires_grad_() for _ in range(2))
    found = upsample(ours, want, align_corners=align_corners)
    expected = F.interpolate(theirs, size=want, mode="bilinear", align_corners=align_corners)
    assert torch.allclose(found, expected, atol=1e-12)
    weights = random_images(*expected.shape).double()
    for result in (found, expected):
        (result * weights).sum().backward()
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-12)


def test_features_of_16_bits_are_upsampled_in_float32() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert upsample(torch.rand(1, 2, 3, 4).bfloat16(), (6, 8), align_corners=True).dtype == torch.float32


def test_a_network_that_has_made_predictions_can_be_trained() -> None:
    network, images = small(), random_images(2, 3, 44, 52)
    with torch.inference_mode():
        network(images)
    network(images).sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())


# ---- where and in which numbers they compute


def test_the_head_makes_the_logits_of_the_features() -> None:
    network, images = small().eval(), random_images(1, 3, 32, 48)
    forward = Forward(network, "fp32")
    features = forward.features(images)
    assert features.shape == (1, 48, 8, 12)
    assert torch.equal(upsample(network.head(features), (32, 48), align_corners=True), forward(images))


def test_features_and_logits_are_computed_in_the_precision_and_returned_in_that_of_the_images() -> None:
    network, images = small().eval(), random_images(1, 3, 32, 48)
    computed_in: list[torch.dtype] = []
    network.backbone.register_forward_hook(lambda module, inputs, output: computed_in.append(output.dtype))
    full, half = Forward(network, "fp32"), Forward(network, "bf16")
    for exact, rounded in ((full.features(images), half.features(images)), (full(images), half(images))):
        assert exact.dtype == rounded.dtype == torch.float32
        assert not torch.equal(exact, rounded)
        assert torch.allclose(exact, rounded, atol=0.1)
    assert computed_in == [torch.float32, torch.bfloat16] * 2


def test_a_gpu_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_for("auto") == torch.device("cpu")
    with pytest.raises(RunFailed, match=r"loop\.device"):
        device_for("cuda")
