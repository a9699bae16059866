"""DAFormer's encoder and head, and MiT's weights under the names of NVlabs, transformers and timm."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dacs.config import load
from dacs.errors import BadRequest, RunFailed
from dacs.models.build import build, load_pretrained
from dacs.models.daformer import STRIDES, DAFormerHead
from dacs.models.segmenter import Segmenter
from dacs.models.timm_backbones import load_timm, timm_backbone

MIT = {  # blocks by stage, weights, tensors
    "mit_b0": ((2, 2, 2, 2), 3_319_392, 176),
    "mit_b1": ((2, 2, 2, 2), 13_151_424, 176),
    "mit_b2": ((3, 4, 6, 3), 24_196_288, 332),
    "mit_b3": ((3, 4, 18, 3), 44_072_128, 572),
    "mit_b4": ((3, 8, 27, 3), 60_842_688, 832),
    "mit_b5": ((3, 6, 40, 3), 81_443_008, 1_052),
}
PARTS = {  # of a block: the name of NVlabs → that of transformers
    "norm1": "layer_norm_1",
    "attn.q": "attention.self.query",
    "attn.kv": "attention.self.{key,value}",
    "attn.proj": "attention.output.dense",
    "attn.sr": "attention.self.sr",
    "attn.norm": "attention.self.layer_norm",
    "norm2": "layer_norm_2",
    "mlp.fc1": "mlp.dense1",
    "mlp.dwconv.dwconv": "mlp.dwconv.dwconv",
    "mlp.fc2": "mlp.dense2",
}
State = dict[str, Tensor]


def network(backbone: str = "mit_b0", **changes: Any) -> Segmenter:
    return build(tiny.model(**{"network": "daformer", "backbone": backbone, "head_width": 32, **changes}))


def on_meta(backbone: str, **changes: Any) -> Segmenter:
    with torch.device("meta"):
        return network(backbone, **changes)


def size_of(module: nn.Module) -> tuple[int, int]:
    """Weights and tensors."""
    sizes = [weight.numel() for weight in module.parameters()]
    return sum(sizes), len(sizes)


def images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


# ---- the encoder and the head


@pytest.mark.parametrize("name", MIT)
def test_the_encoder_has_the_weights_of_mit(name: str) -> None:
    found = on_meta(name, drop_path=0.1).backbone
    depths, weights, tensors = MIT[name]
    assert size_of(found) == (weights, tensors)
    assert tuple(len(stage.blocks) for stage in found.model.stages) == depths
    rates = [getattr(block.drop_path2, "drop_prob", 0) for stage in found.model.stages for block in stage.blocks]
    assert rates == pytest.approx(np.linspace(0, 0.1, sum(depths)))
    assert not any("pos" in own for own, _ in found.named_parameters())


@pytest.mark.parametrize(
    ("name", "head", "whole"), [("mit_b0", 3_581_203, 6_900_595), ("mit_b5", 3_712_275, 85_155_283)]
)
def test_the_network_has_the_size_and_the_shapes_of_daformer(name: str, head: int, whole: int) -> None:
    found = on_meta(name, head_width=256)
    assert size_of(found.head) == (head, 34)
    assert len(found.head.state_dict()) == 58
    assert size_of(found)[0] == whole
    maps = found.backbone(torch.empty(1, 3, 512, 1024, device="meta"))
    assert [each.shape[-2:] for each in maps] == [(128, 256), (64, 128), (32, 64), (16, 32)]
    assert found.head(maps).shape == (1, 19, 128, 256)
    assert found(torch.empty(1, 3, 510, 1000, device="meta")).shape == (1, 19, 510, 1000)


def test_each_kind_of_norm_has_its_epsilon() -> None:
    norms = {own: part for own, part in network().backbone.named_modules() if isinstance(part, nn.LayerNorm)}
    inner = {own for own in norms if own.endswith(("patch_embed.norm", "downsample.norm", "attn.norm"))}
    assert len(norms) == 4 + 6 + 2 * 8 + 4  # patches, reduced keys, two in a block, the end of a stage
    assert len(inner) == 4 + 6
    assert {own: part.eps for own, part in norms.items()} == {own: 1e-5 if own in inner else 1e-6 for own in norms}


def test_maps_are_normalised_and_each_stage_is_trained() -> None:
    found = network().train()
    maps = found.backbone(images(2, 3, 64, 96))
    for each in maps:
        assert each.mean(1).abs().max() < 1e-5
        each.retain_grad()
    found.head(maps).square().mean().backward()
    assert all(each.grad.abs().max() > 0 for each in maps)
    assert all(weight.grad.abs().max() > 0 for weight in found.parameters() if weight.ndim > 1)


def test_every_convolution_of_the_head_but_the_classifier_has_batchnorm_and_relu() -> None:
    head = DAFormerHead([32, 64, 160, 256], 19, 256)
    convs = [part for part in head.modules() if isinstance(part, nn.Conv2d)]
    blocks = [part for part in head.modules() if isinstance(part, nn.Sequential) and isinstance(part[0], nn.Conv2d)]
    assert [tuple(map(type, block)) for block in blocks] == [(nn.Conv2d, nn.BatchNorm2d, nn.ReLU)] * 8
    assert [block[0] for block in blocks] == [conv for conv in convs if conv is not head.classify]
    assert [conv for conv in convs if conv.bias is not None] == [head.classify]
    depthwise = [conv for conv in convs if conv.groups == 1024]
    assert [(conv.dilation, conv.padding) for conv in depthwise] == [((d, d), (d, d)) for d in (6, 12, 18)]
    for conv in (*depthwise, head.fuse[0]):
        assert conv.weight.std().item() == pytest.approx((2 / (9 * conv.out_channels)) ** 0.5, rel=0.05)
    assert head.classify.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not head.classify.bias.any()
    assert (head.dropout.p, type(head.dropout)) == (0.1, nn.Dropout2d)


@torch.no_grad()
def test_the_head_computes_what_the_reference_says() -> None:
    """Written out with torch's own operations; BatchNorm has its first statistics, which divide by sqrt(1 + eps)."""
    head = DAFormerHead([3, 4, 5, 6], 19, 8).eval()
    maps = [
        images(1, channels, 32 // stride, 48 // stride) for channels, stride in zip((3, 4, 5, 6), STRIDES, strict=True)
    ]
    linear = [
        layer(each.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) for layer, each in zip(head.projections, maps, strict=True)
    ]
    stacked = torch.cat([F.interpolate(each, (8, 12), mode="bilinear", align_corners=False) for each in linear], 1)
    weights = [part.weight for part in head.modules() if isinstance(part, nn.Conv2d)]

    def conv(x: Tensor, weight: Tensor, dilation: int = 1) -> Tensor:
        padding, groups = dilation * (weight.shape[-1] // 2), x.shape[1] // weight.shape[1]
        return F.relu(F.conv2d(x, weight, None, 1, padding, dilation, groups) / (1 + 1e-5) ** 0.5)

    seen = [conv(stacked, weights[0])]
    for dilation, depthwise, pointwise in zip((6, 12, 18), weights[1:7:2], weights[2:7:2], strict=True):
        seen.append(conv(conv(stacked, depthwise, dilation), pointwise))
    expected = F.conv2d(conv(torch.cat(seen, 1), weights[7]), weights[8], head.classify.bias)
    assert torch.allclose(head(maps), expected, atol=1e-5 * expected.abs().max().item())


@torch.no_grad()
@pytest.mark.parametrize("backbone", ["mit_b0", "timm/tf_efficientnet_lite0"])
def test_an_image_of_any_size_is_padded_with_the_mean_colour(backbone: str) -> None:
    found, given = network(backbone).eval(), images(1, 3, 69, 64)
    canvas = found.mean.repeat(1, 1, 96, 64)
    canvas[..., :69, :] = given
    assert torch.allclose(found(given), found(canvas)[..., :69, :], atol=1e-6)


# ---- weights of a file


def names(of: str) -> Iterator[tuple[str, str, str]]:
    """Names of MiT's tensors: of timm, NVlabs and transformers."""
    for i, blocks in enumerate(MIT[of][0]):
        embed = f"stages.{i}.downsample" if i else "patch_embed"
        modules = [(f"{embed}.proj", f"patch_embed{i + 1}.proj", f"patch_embeddings.{i}.proj")]
        modules += [(f"{embed}.norm", f"patch_embed{i + 1}.norm", f"patch_embeddings.{i}.layer_norm")]
        for j, (part, theirs) in product(range(blocks), PARTS.items()):
            if i < 3 or part not in ("attn.sr", "attn.norm"):  # the last stage reduces no keys
                ours = part.replace("dwconv.dwconv", "dwconv")
                modules += [(f"stages.{i}.blocks.{j}.{ours}", f"block{i + 1}.{j}.{part}", f"block.{i}.{j}.{theirs}")]
        modules += [(f"stages.{i}.norm", f"norm{i + 1}", f"layer_norm.{i}")]
        for (ours, nvlabs, theirs), kind in product(modules, ("weight", "bias")):
            yield f"{ours}.{kind}", f"{nvlabs}.{kind}", f"segformer.encoder.{theirs}.{kind}"


def written(tensors: State, of: str, layout: str) -> State:
    """The tensors of an encoder as a file of a layout has them; that of transformers with a classifier."""
    found = {"classifier.weight": torch.ones(2, 3)} if layout == "transformers" else {}
    for ours, nvlabs, theirs in names(of):
        if layout == "transformers" and "{key,value}" in theirs:
            for half, word in zip(tensors[ours].chunk(2), ("key", "value"), strict=True):
                found[theirs.replace("{key,value}", word)] = half
        else:
            found[{"timm": ours, "NVlabs": nvlabs, "transformers": theirs}[layout]] = tensors[ours]
    return found


def blank(name: str) -> State:
    """The tensors of an encoder, all zero, which take no memory."""
    with torch.device("meta"):
        tensors = timm_backbone(name, STRIDES).state_dict()
    return {own.removeprefix("model."): torch.zeros(1).expand(value.shape) for own, value in tensors.items()}


def test_the_names_of_b5_are_those_of_timm_one_to_one() -> None:
    known, ours, theirs = list(names("mit_b5")), blank("mit_b5"), blank("timm/pvt_v2_b5")
    assert len({nvlabs for _, nvlabs, _ in known}) == 1_052
    assert {own for own, _, _ in known} == {*ours} == {*theirs}
    assert all(value.shape == theirs[own].shape for own, value in ours.items())  # so that MiT's weights fit both


@torch.no_grad()
@pytest.mark.parametrize("layout", ["NVlabs", "transformers", "timm"])
@pytest.mark.parametrize(
    ("name", "backbone"), [("daformer", "mit_b0"), ("daformer", "timm/pvt_v2_b0"), ("pyramid", "mit_b0")]
)
def test_a_file_in_any_of_the_layouts_gives_its_networks_features(
    name: str, backbone: str, layout: str, tmp_path: Path
) -> None:
    source, generator = timm_backbone(backbone, STRIDES).eval(), torch.Generator().manual_seed(0)
    for weight in source.parameters():
        weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
    tensors = {own.removeprefix("model."): value for own, value in source.state_dict().items()}
    head = {} if layout == "transformers" else {"head.weight": torch.ones(1000, 256), "head.bias": torch.ones(1000)}
    torch.save({"state_dict": head | written(tensors, "mit_b0", layout)}, tmp_path / "mine.pth")
    model = tiny.model(network=name, backbone=backbone, head_width=32, weights=str(tmp_path / "mine.pth"))
    ours, untrained = build(model).eval(), build(model).eval()
    load_pretrained(ours, model)
    given = images(1, 3, 64, 64)
    maps = [each.backbone(given) for each in (ours, untrained)]
    for found, before, expected in zip(*maps, source(given)[: len(maps[0])], strict=True):
        assert torch.equal(found, expected)
        assert not torch.allclose(before, expected, atol=0.1)
    assert all(torch.equal(value, untrained.head.state_dict()[own]) for own, value in ours.head.state_dict().items())


@pytest.mark.parametrize(
    ("of", "layout", "backbone"),
    [
        ("mit_b2", "NVlabs", "mit_b5"),
        ("mit_b2", "transformers", "mit_b1"),
        ("mit_b0", "NVlabs", "mit_b1"),
        ("mit_b0", "timm", "timm/pvt_v2_b0"),
        ("mit_b0", "transformers", "timm/resnet18"),
    ],
)
def test_a_file_of_another_size_is_refused(of: str, layout: str, backbone: str, tmp_path: Path) -> None:
    torch.save(written(blank(of), of, layout), tmp_path / "other.pth")
    words = rf"other\.pth: does not fit {backbone} \(.{{20,320}}\)\.\nName the weights' own"
    with pytest.raises(RunFailed, match=words):
        load_timm(nn.Identity(), backbone, tmp_path / "other.pth")


def test_imagenet_weights_of_mit_are_refused_with_a_reason() -> None:
    chosen = tiny.changed("model.backbone", "mit_b3", tiny.changed("model.network", "daformer"))
    with pytest.raises(BadRequest, match=r"mit_b3 are under a non-commercial licence.*\n.*timm/pvt_v2_b3.*Apache-2\.0"):
        load(chosen)
    assert load(tiny.changed("model.weights", "mit_b3.pth", chosen)).model.pretrained_part == "mit_b3"
    assert load(tiny.changed("model.backbone", "timm/pvt_v2_b3", chosen)).model.weights == "imagenet"
