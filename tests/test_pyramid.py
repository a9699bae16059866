"""Backbones of timm, their published weights, and BatchNorm statistics that stay as they came.

The pictures in data/ are cut from chelsea.png, a cat, by Stefan van der Walt and coffee.png, an espresso, by Rachel
Michetti, both of scikit-image's sample data; their photographers have released them under CC0.
"""

import copy
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import timm
import tiny
import torch
from huggingface_hub.errors import HTTPError
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from dacs.errors import BadRequest, RunFailed
from dacs.evaluation.tiles import predict, tiles
from dacs.models import weights as module
from dacs.models.build import build, load_pretrained
from dacs.models.pyramid import STRIDES
from dacs.models.segmenter import Segmenter
from dacs.models.timm_backbones import load_timm, timm_backbone
from dacs.models.weights import read, weights_file, weights_on_disk
from dacs.settings import Model

LITE, RESNET = "timm/tf_efficientnet_lite0", "timm/resnet18"
PICTURES = {  # file → the classes of ImageNet that it may be taken for, by their number
    "cat.jpg": (281, 282, 285),  # tabby, tiger cat, Egyptian cat
    "coffee.jpg": (967,),  # espresso
}
State = dict[str, Tensor]
Patch = pytest.MonkeyPatch


def section(backbone: str = LITE, **changes: Any) -> Model:
    return tiny.model(network="pyramid", backbone=backbone, **changes)


def random_images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def norms_of(network: nn.Module) -> list[nn.BatchNorm2d]:
    return [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]


def statistics(network: nn.Module) -> list[Tensor]:
    return [each.clone() for norm in norms_of(network) for each in (norm.running_mean, norm.running_var)]


# ---- frozen statistics

NORMALISED = [
    {"network": "small"},
    {"network": "pyramid", "backbone": RESNET},
    {"network": "pyramid", "backbone": LITE},
]


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("kept", ["frozen", "live"])
@pytest.mark.parametrize("changes", NORMALISED, ids=["small", "resnet18", "lite0"])
def test_a_training_step_changes_live_statistics_and_no_frozen_ones(
    changes: dict[str, str], kept: str, copied: bool
) -> None:
    network = build(tiny.model(**changes))
    network.frozen_statistics = kept == "frozen"
    if copied:
        network = copy.deepcopy(network)
    before, weight = statistics(network.backbone), norms_of(network.backbone)[0].weight.clone()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network.eval().train()
    network(random_images(2, 3, 64, 64)).square().mean().backward()
    optimizer.step()
    assert network.training
    assert len(before) > 8
    same = {torch.equal(old, new) for old, new in zip(before, statistics(network.backbone), strict=True)}
    assert same == {kept == "frozen"}
    assert not torch.equal(norms_of(network.backbone)[0].weight, weight)  # scale and shift are trained in both


def test_with_frozen_statistics_other_images_of_a_batch_do_not_matter() -> None:
    network, images = build(section(RESNET)), random_images(3, 3, 64, 64)
    for frozen in (True, False):
        network.frozen_statistics = frozen
        network.train()
        assert torch.allclose(network(images)[:1], network(images[:1]), atol=1e-5) == frozen


def test_the_norms_of_a_head_and_other_modules_are_trained_as_ever() -> None:
    def block(channels: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(channels, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5))

    network = Segmenter(block(3), block(4))
    network.frozen_statistics = True
    before = statistics(network.head)
    network.train()
    network(random_images(2, 3, 8, 8))
    assert [part.training for part in network.backbone] == [True, False, True]
    assert all(part.training for part in network.head)
    assert not any(torch.equal(old, new) for old, new in zip(before, statistics(network.head), strict=True))
    network.eval()
    assert not any(part.training for part in network.modules())


# ---- backbones by name


@pytest.mark.parametrize(
    "name", ["tf_efficientnet_lite0", "resnet18", "pvt_v2_b0", "convnext_atto", "mobilenetv3_small_050"]
)
def test_a_backbone_is_named_and_gives_maps_at_strides_4_8_and_16(name: str) -> None:
    network = build(section(f"timm/{name}")).eval()
    with torch.no_grad():
        assert network(random_images(1, 3, 70, 102)).shape == (1, 19, 70, 102)
        images = random_images(1, 3, 64, 96)  # which are not padded
        maps = network.backbone((images - network.mean) / network.std)
        assert [each.shape[-2:] for each in maps] == [(16, 24), (8, 12), (4, 6)]
        assert torch.equal(network.features(images), maps[-1])
    described = timm.get_pretrained_cfg(name)
    assert network.mean.flatten().tolist() == pytest.approx(described.mean)
    assert network.std.flatten().tolist() == pytest.approx(described.std)


def test_every_map_reaches_the_logits() -> None:
    network = build(section(RESNET)).eval()
    maps = network.backbone(random_images(1, 3, 64, 64))
    for each in maps:
        each.retain_grad()
    network.head(maps).square().mean().backward()
    assert all(each.grad.abs().max() > 0 for each in maps)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm/tf_efficientnet_lit0", "did you mean 'timm/tf_efficientnet_lite0'"),
        ("timm/resnet", "did you mean 'timm/resnet"),
        ("timm/vit_tiny_patch16_224", "'timm/vit_tiny_patch16_224' does not give maps at strides 4, 8, 16"),
    ],
)
def test_a_backbone_that_timm_does_not_have_or_that_has_no_such_maps_is_refused(name: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        build(section(name))


# ---- pixels of large images


@pytest.fixture(scope="module")
def local() -> Segmenter:
    """Without GroupNorm, whose statistics are those of the whole image, a pixel depends on those around it only."""
    network = build(section()).eval()
    modules = [(part, *each) for part in network.head.modules() for each in part.named_children()]
    norms = [(part, own) for part, own, inner in modules if isinstance(inner, nn.GroupNorm)]
    assert len(norms) == 4
    for part, own in norms:
        setattr(part, own, nn.Identity())
    return network


def smooth(height: int, width: int) -> np.ndarray:
    """A picture of blobs: uint8 of shape (height, width, 3)."""
    blobs = np.random.default_rng(0).integers(0, 256, (height // 24, width // 24, 3), dtype=np.uint8)
    return np.array(Image.fromarray(blobs).resize((width, height), Image.Resampling.BICUBIC))


@torch.no_grad()
@pytest.mark.parametrize(("down", "right"), [(0, 0), (5, 9)])  # pixels beyond a multiple of the stride
def test_a_pixel_does_not_depend_on_the_size_of_the_image(down: int, right: int, local: Segmenter) -> None:
    """Far from the edges of a crop that starts at a multiple of the stride."""
    image = torch.from_numpy(smooth(640 + down, 656 + right)).permute(2, 0, 1)[None] / 255
    whole, crop = local(image)[..., 32:, 48:], local(image[..., 32:, 48:])
    inner = (..., slice(256, 352), slice(256, 352))
    assert torch.allclose(crop[inner], whole[inner], atol=1e-4 * whole.abs().max().item())


@pytest.mark.parametrize(("normalised", "share"), [(False, 0.999), (True, 0.97)])
def test_a_picture_in_tiles_is_predicted_as_in_one_piece(normalised: bool, share: float, local: Segmenter) -> None:
    network, picture, limit = build(section()).eval() if normalised else local, smooth(700, 1105), 700 * 850
    whole, parts = (predict(network, [picture], most)[0] for most in (picture.size, limit))
    assert len(list(tiles(700, 1105, limit))) == 2
    assert len(np.unique(whole)) > 5
    assert (whole == parts).mean() > share


# ---- weights of the package


def in_order(path: Path, name: str = LITE) -> State:
    """The tensors of a file under timm's names, in timm's order."""
    names = timm.create_model(name.removeprefix("timm/")).state_dict()
    return dict(zip(names, read(path).values(), strict=True))


@pytest.fixture(scope="module")
def shipped() -> Path:
    return weights_file(section(weights="imagenet"))


def test_the_backbone_has_the_tensors_of_the_package(shipped: Path) -> None:
    model = section(weights="imagenet")
    network, plain = build(model, seed=3), build(model, seed=3)
    load_pretrained(network, model)
    expected, found = in_order(shipped), network.backbone.state_dict()
    assert len(found) > 190
    for name, value in found.items():
        assert torch.equal(value, expected[name.removeprefix("model.")]), name
    assert all(torch.equal(value, plain.head.state_dict()[name]) for name, value in network.head.state_dict().items())


@torch.no_grad()
@pytest.mark.parametrize("picture", PICTURES)
def test_weights_of_the_package_recognise_what_is_on_a_picture(picture: str, shipped: Path) -> None:
    """The whole network with its classifier, which computes the same features as our backbone on its way."""
    model = section(weights="imagenet")
    ours, theirs = build(model).eval(), timm.create_model("tf_efficientnet_lite0").eval()
    load_pretrained(ours, model)
    theirs.load_state_dict(in_order(shipped))
    pixels = np.array(Image.open(Path(__file__).with_name("data") / picture))
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    maps: dict[int, Tensor] = {}
    for index, block in enumerate(theirs.blocks):
        block.register_forward_hook(lambda block, given, output, index=index: maps.update({index: output}))
    probability = theirs((images - ours.mean) / ours.std).softmax(1)[0]
    assert probability[list(PICTURES[picture])].sum() > 0.6
    assert int(probability.argmax()) in PICTURES[picture]
    assert torch.allclose(ours.features(images), maps[4], atol=1e-5)
    assert maps[4].shape == (1, 112, 14, 14)


def test_a_run_starts_from_the_backbone_of_the_package_and_keeps_its_statistics(shipped: Path, ready: Path) -> None:
    from dacs.training.loop import initial_state

    given = {"network": "pyramid", "backbone": LITE, "weights": "imagenet", "bn_statistics": "frozen"}
    state = initial_state(tiny.run(ready, "dacs", **given), torch.device("cpu"))
    expected = in_order(shipped)
    for network in (state.student, state.teacher.network):
        for name, value in network.backbone.state_dict().items():
            assert torch.equal(value, expected[name.removeprefix("model.")]), name
    state.student(random_images(2, 3, 64, 64)).sum().backward()
    assert torch.equal(state.student.backbone.state_dict()["model.bn1.running_mean"], expected["bn1.running_mean"])


def test_without_the_package_the_file_is_looked_for_elsewhere_and_asked_for(
    shipped: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "none"))
    model = section(weights="imagenet", weights_folder=str(tmp_path / "folder"))
    with pytest.raises(RunFailed, match=r"Put the file there; its sha256 begins with 57934424"):
        weights_file(model)
    shutil.copy(shipped, tmp_path / "folder" / shipped.name)
    assert weights_file(model) == tmp_path / "folder" / shipped.name


# ---- weights of a file, and of timm's own server


def tensors(name: str) -> State:
    return {key: value.contiguous() for key, value in timm.create_model(name).state_dict().items()}


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0", "pvt_v2_b0", "convnext_atto"])
@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_a_file_in_timms_own_names_is_loaded(name: str, ending: str, tmp_path: Path) -> None:
    """Each tensor of the backbone is of the file; which one follows from its shape and its values."""
    path, given = tmp_path / f"mine.{ending}", tensors(name)
    save_file(given, path) if ending == "safetensors" else torch.save(given, path)
    backbone = timm_backbone(f"timm/{name}", STRIDES)
    load_timm(backbone, f"timm/{name}", path)
    for own, value in backbone.state_dict().items():
        assert torch.equal(value, given[own.removeprefix("model.")]), own


def changed(given: State, change: str) -> State:
    """A file that is not of ResNet-18."""
    if change == "one tensor is missing":
        return {name: value for name, value in given.items() if name != "layer2.0.conv1.weight"}
    if change == "one tensor is of another shape":
        return {**given, "conv1.weight": torch.zeros(64, 4, 5, 5)}
    return {"weight": torch.ones(3)}


@pytest.mark.parametrize(
    ("backbone", "of"),
    [
        (RESNET, "tf_efficientnet_lite0"),
        (LITE, "resnet18"),
        (RESNET, "resnet34"),
        ("timm/resnet34", "resnet18"),
        ("timm/tf_efficientnet_lite1", "tf_efficientnet_lite0"),
        (RESNET, "one tensor is missing"),
        (RESNET, "one tensor is of another shape"),
        (RESNET, "no tensor has a known name"),
    ],
)
def test_a_file_of_another_network_is_refused(backbone: str, of: str, tmp_path: Path) -> None:
    """Also where all names that both have are of the same shapes: the rest would stay random."""
    save_file(tensors(of) if timm.is_model(of) else changed(tensors("resnet18"), of), tmp_path / "other.safetensors")
    with pytest.raises(RunFailed, match=rf"other\.safetensors: does not fit {backbone}"):
        load_timm(timm_backbone(backbone, STRIDES), backbone, tmp_path / "other.safetensors")


def test_a_published_file_with_fewer_tensors_is_refused(shipped: Path, tmp_path: Path) -> None:
    short = dict(list(read(shipped).items())[:-1])
    torch.save(short, tmp_path / shipped.name)
    with pytest.raises(RunFailed, match="does not fit timm/tf_efficientnet_lite0"):
        load_timm(timm_backbone(LITE, STRIDES), LITE, tmp_path / shipped.name)


def test_weights_of_timms_server_are_downloaded_once_and_then_found(tmp_path: Path, monkeypatch: Patch) -> None:
    calls = []

    def download(repository: str, file: str, *, local_dir: Path) -> str:
        calls.append((repository, file))
        local_dir.mkdir(parents=True)
        save_file(tensors("resnet18"), local_dir / file)
        return str(local_dir / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    model = section(RESNET, weights="imagenet", weights_folder=str(tmp_path))
    assert weights_on_disk(model) is None
    first = weights_file(model)
    assert weights_file(model) == weights_on_disk(model) == first
    assert calls == [(timm.get_pretrained_cfg("resnet18").hf_hub_id, "model.safetensors")]
    load_pretrained(build(model), model)


@pytest.mark.parametrize("reason", ["no network", "timed out", "not known to timm"])
def test_where_timms_server_cannot_be_reached_the_message_says_what_to_do(
    reason: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    def refuse(*given: Any, **options: Any) -> str:
        kind = HTTPError if reason == "timed out" else ConnectionError
        raise kind(f"{reason}\nand much more")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    if reason == "not known to timm":
        monkeypatch.setattr(timm, "get_pretrained_cfg", lambda name: None)
        reason = "timm names none"
    model = section(RESNET, weights="imagenet", weights_folder=str(tmp_path))
    with pytest.raises(RunFailed) as caught:
        weights_file(model)
    first, advice = str(caught.value).splitlines()
    assert first.startswith(f"model.weights: the imagenet weights of {RESNET} could not be downloaded ({reason})")
    assert advice.startswith(f"Put timm's model.safetensors of this network into {tmp_path / RESNET}")
    assert "name a file in model.weights" in advice
