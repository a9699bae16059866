"""Networks of timm for images of some sizes only: images are padded for them, and their maps are cropped."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import timm
import tiny
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from dacs.errors import BadRequest
from dacs.layout import RunDir
from dacs.models.build import build, load_pretrained
from dacs.models.pyramid import STRIDES
from dacs.models.timm_backbones import Padding, timm_backbone
from dacs.training.loop import train_run

SWIN, HRNET, MAXVIT = "swin_tiny_patch4_window7_224", "hrnet_w18_small", "maxvit_pico_rw_256"
INDICES = {SWIN: (0, 1, 2), HRNET: (1, 2, 3), MAXVIT: (1, 2, 3)}  # timm's, of the maps at strides 4, 8 and 16
SIDES = {SWIN: 224, HRNET: 96, MAXVIT: 128}  # of images that are not padded, in pixels; Swin's is that of its weights
CHANNELS = {
    SWIN: [96, 192, 384],
    HRNET: [128, 256, 512],
    MAXVIT: [32, 64, 128],
    "dla46_c": [64, 64, 128],  # whose first stage, which is not strided, timm does not count among its maps
    "skresnet18": [64, 128, 256],  # which normalises means of channels over the batch
}


def random_images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@cache
def backbone_of(name: str) -> nn.Module:
    """With random weights, in evaluation mode; not to be changed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return timm_backbone(f"timm/{name}", STRIDES).eval()


@cache
def whole(name: str) -> Any:
    """The network as timm has it, with the same weights; its last stage and classifier differ."""
    network = timm.create_model(name).eval()
    given = {own.removeprefix("model."): value for own, value in backbone_of(name).state_dict().items()}
    assert not network.load_state_dict(given, strict=False).unexpected_keys
    return network


def maps_of_timm(name: str, images: Tensor) -> list[Tensor]:
    return whole(name).forward_intermediates(images, indices=INDICES[name], stop_early=True, intermediates_only=True)


@torch.no_grad()
@pytest.mark.parametrize("name", CHANNELS)
def test_maps_of_an_image_of_any_size_have_its_size_divided_by_their_stride_and_rounded_up(name: str) -> None:
    maps = backbone_of(name)(random_images(1, 3, 70, 102))
    sizes = [(18, 26), (9, 13), (5, 7)]
    assert [tuple(each.shape) for each in maps] == [
        (1, channels, *size) for channels, size in zip(CHANNELS[name], sizes, strict=True)
    ]


@torch.no_grad()
@pytest.mark.parametrize("name", INDICES)
def test_where_the_size_fits_maps_are_those_of_the_network_of_timm(name: str) -> None:
    images = random_images(1, 3, SIDES[name], SIDES[name])
    maps, expected = backbone_of(name)(images), maps_of_timm(name, images)
    assert all(torch.equal(own, theirs) for own, theirs in zip(maps, expected, strict=True))


@torch.no_grad()
@pytest.mark.parametrize(("name", "height", "width"), [(HRNET, 96, 128), (MAXVIT, 128, 128)])
def test_elsewhere_they_are_those_of_the_image_with_zeros_up_to_the_next_size(
    name: str, height: int, width: int
) -> None:
    images, padded = random_images(1, 3, 70, 102), torch.zeros(1, 3, height, width)
    padded[..., :70, :102] = images
    maps, expected = backbone_of(name)(images), maps_of_timm(name, padded)
    sizes = [(18, 26), (9, 13), (5, 7)]
    for own, theirs, (rows, columns) in zip(maps, expected, sizes, strict=True):
        assert torch.equal(own, theirs[..., :rows, :columns])


@pytest.mark.parametrize("name", INDICES)
def test_gradients_reach_the_first_layer_and_logits_have_the_size_of_the_images(name: str) -> None:
    network = build(tiny.model(network="pyramid", backbone=f"timm/{name}"))
    logits = network(random_images(2, 3, 41, 70))
    assert logits.shape == (2, 19, 41, 70)
    logits.square().mean().backward()
    first = next(network.backbone.parameters()).grad
    assert first is not None
    assert first.abs().max() > 0


def test_a_network_for_images_of_any_size_is_left_as_it_is() -> None:
    assert not any(isinstance(timm_backbone(f"timm/{name}", STRIDES), Padding) for name in ("resnet18", "pvt_v2_b0"))


@pytest.mark.parametrize("drop_path", [0.0, 0.2])
def test_the_stochastic_depth_of_swin_is_that_of_the_settings(drop_path: float) -> None:
    backbone = timm_backbone(f"timm/{SWIN}", STRIDES, drop_path=drop_path)
    found = [module.drop_prob for module in backbone.modules() if type(module).__name__ == "DropPath"]
    assert max(found, default=0.0) == pytest.approx(drop_path * 9 / 11)  # of block 10 of 12; the last two are left out


@pytest.mark.parametrize("name", [SWIN, HRNET])
def test_a_file_in_timms_own_names_is_loaded(name: str, tmp_path: Path) -> None:
    given = {own: value.contiguous() for own, value in timm.create_model(name).state_dict().items()}
    save_file(given, tmp_path / "mine.safetensors")
    model = tiny.model(network="pyramid", backbone=f"timm/{name}", weights=str(tmp_path / "mine.safetensors"))
    network = build(model)
    load_pretrained(network, model)
    found = network.backbone.state_dict()
    assert len(found) > 100
    for own, value in found.items():
        assert torch.equal(value, given[own.removeprefix("model.")]), own


@pytest.mark.parametrize("name", ["hiera_tiny_224", "coat_tiny", "coatnet_pico_rw_224", "gcvit_xxtiny"])
def test_a_network_for_images_of_one_size_is_refused(name: str) -> None:
    words = rf"'timm/{name}' does not give maps at strides 4, 8, 16 of images of any size \(.+\)\.\nName another one"
    with pytest.raises(BadRequest, match=words):
        timm_backbone(f"timm/{name}", STRIDES)


@pytest.mark.parametrize("name", [HRNET, MAXVIT])
def test_a_run_trains_on_such_a_network(name: str, ready: Path, tmp_path: Path) -> None:
    run = tiny.run(ready, "dacs", steps=2, network="pyramid", backbone=f"timm/{name}", checkpoint_every=1)
    train_run(RunDir(tmp_path / "run"), run, "key")
    assert RunDir(tmp_path / "run").weights.exists()
