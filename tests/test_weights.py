"""Published weights: found by name, checked by hash, read as plain data, and computing what they did before."""

import hashlib
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import servers
import timm
import tiny
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from servers import Server, running
from torch import Tensor, nn
from torchvision.models import mobilenet_v3_large, resnet18, resnet50, resnet101
from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large, deeplabv3_resnet50

from dacs.errors import BadRequest, RunFailed
from dacs.fields import TIMM
from dacs.models import weights as module
from dacs.models.build import build
from dacs.models.deeplab import RESNETS
from dacs.models.published import IN_ORDER, Published, published
from dacs.models.segmenter import Segmenter
from dacs.models.timm_backbones import load_timm, timm_backbone
from dacs.models.weights import LAYOUTS, layout_of, load_backbone, read, weights_file
from dacs.networks import NETWORKS
from dacs.settings import Model

IMAGES = torch.rand(1, 3, 65, 65, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
POSITIONS = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
STATISTICS = ("running_mean", "running_var", "weight", "bias")
State = dict[str, Tensor]
Patch = pytest.MonkeyPatch


def save(tensors: State, folder: Path) -> Path:
    """A .pth with the digits of its hash in its name, as torch hub names files."""
    torch.save(tensors, folder / "new.pth")
    digits = hashlib.sha256((folder / "new.pth").read_bytes()).hexdigest()[:8]
    return (folder / "new.pth").rename(folder / f"weights-{digits}.pth")


def deeplab(network: str, seed: int = 0, **changes: Any) -> Segmenter:
    return build(tiny.model(network=network, **changes), seed)


def with_statistics(network: nn.Module) -> nn.Module:
    """The network in evaluation mode with random statistics, so that a missing one changes results."""
    generator = torch.Generator().manual_seed(1)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.copy_(torch.randn(part.running_mean.shape, generator=generator) * 0.1)
            part.running_var.copy_(torch.rand(part.running_var.shape, generator=generator) + 0.5)
    return network.eval()


def normalise(images: Tensor) -> Tensor:
    """Normalise images as torchvision's weights expect it."""
    mean, std = (torch.tensor(each)[:, None, None] for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return (images - mean) / std


def caffe(network: nn.Module, prefix: str) -> State:
    """A state dict as the Caffe-style files hold it: their names, blue first, a head of 21 classes."""
    tensors = {}
    for name, value in network.state_dict().items():
        position, rest = name.split(".", 1)
        if not name.endswith("num_batches_tracked"):
            tensors[f"{prefix}{POSITIONS[position]}.{rest}"] = value.flip(1) if name == "0.weight" else value
    head = {f"{prefix}layer5.conv2d_list.{n}.weight": torch.zeros(21, 2048, 3, 3) for n in range(4)}
    return tensors | head


# ---- layouts

NO_WEIGHTS: dict[str, Any] = {"weights": None, "weights_backbone": None}
REFERENCES: dict[str, tuple[str, Callable[[], nn.Module], str, Callable[[Any, Tensor], Tensor]]] = {
    "mobilenet": (
        "deeplab_mobilenet",
        partial(mobilenet_v3_large, dilated=True),
        "torchvision",
        lambda network, images: network.features(images),
    ),
    "deeplabv3 resnet": (
        "deeplab_resnet50",
        partial(deeplabv3_resnet50, **NO_WEIGHTS, aux_loss=True),
        "torchvision_deeplab",
        lambda network, images: network.backbone(images)["out"],
    ),
    "deeplabv3 mobilenet": (
        "deeplab_mobilenet",
        partial(deeplabv3_mobilenet_v3_large, **NO_WEIGHTS),
        "torchvision_deeplab",
        lambda network, images: network.backbone(images)["out"],
    ),
}


def loaded(network: str, tensors: State, folder: Path, **changes: Any) -> Segmenter:
    """Our network in float64 with a backbone of these tensors."""
    ours = deeplab(network, seed=4, **changes).double().eval()
    load_backbone(ours.backbone, save(tensors, folder), convention=changes.get("convention", "torchvision"))
    return ours


def close(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


@torch.no_grad()
@pytest.mark.parametrize("reference", REFERENCES)
def test_torchvisions_files_compute_the_features_of_their_own_network(reference: str, tmp_path: Path) -> None:
    name, make, layout, features = REFERENCES[reference]
    theirs = with_statistics(make()).double()
    assert layout_of(theirs.state_dict()) == layout
    assert close(loaded(name, theirs.state_dict(), tmp_path).features(IMAGES), features(theirs, normalise(IMAGES)))


@torch.no_grad()
@pytest.mark.parametrize("depth", RESNETS)
def test_dilation_adds_positions_between_those_that_weights_were_trained_at(depth: int, tmp_path: Path) -> None:
    """At every fourth position ours computes what torchvision's own network does; 65 pixels suit both roundings."""
    theirs = with_statistics(RESNETS[depth](weights=None)).double()
    assert layout_of(theirs.state_dict()) == "torchvision"
    found = loaded(f"deeplab_resnet{depth}", theirs.state_dict(), tmp_path).features(IMAGES)
    expected = nn.Sequential(*list(theirs.children())[:-2])(normalise(IMAGES))  # up to its pooling, at stride 32
    assert (found.shape[-2:], expected.shape[-2:]) == ((9, 9), (3, 3))
    assert close(found[..., ::4, ::4], expected)


@torch.no_grad()
@pytest.mark.parametrize("prefix", ["", "Scale."])
def test_caffe_files_compute_what_the_original_computes(prefix: str, tmp_path: Path) -> None:
    """Against the original written out as a function of its file and of images as it reads them."""
    tensors = caffe(with_statistics(deeplab("deeplab_resnet101", seed=3)).backbone, prefix)
    ours = loaded("deeplab_resnet101", tensors, tmp_path, convention="caffe")
    images = torch.rand(1, 3, 72, 64, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = ours.features(images)
    blue_first = images.flip(1) * 255 - torch.tensor((104.00698793, 116.66876762, 122.67891434))[:, None, None]
    expected = original({name.removeprefix(prefix): value.double() for name, value in tensors.items()}, blue_first)
    assert found.shape == (1, 2048, 10, 9)  # a position more than an eighth of the image, by ceil_mode
    assert close(found, expected)


def original(tensors: State, x: Tensor) -> Tensor:
    """DeepLab-v2's ResNet-101 as the authors' code has it: strides in the first 1x1, dilations of 2 and 4."""

    def normal(x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (tensors[f"{name}.{part}"] for part in STATISTICS)
        return F.batch_norm(x, mean, var, weight, bias)

    x = F.relu(normal(F.conv2d(x, tensors["conv1.weight"], stride=2, padding=3), "bn1"))
    x = F.max_pool2d(x, 3, stride=2, padding=1, ceil_mode=True)
    for stage, (blocks, first, dilation) in enumerate(((3, 1, 1), (4, 2, 1), (23, 1, 2), (3, 1, 4)), start=1):
        for block in range(blocks):
            name, stride = f"layer{stage}.{block}", first if block == 0 else 1
            inner = F.relu(normal(F.conv2d(x, tensors[f"{name}.conv1.weight"], stride=stride), f"{name}.bn1"))
            inner = F.conv2d(inner, tensors[f"{name}.conv2.weight"], padding=dilation, dilation=dilation)
            inner = F.relu(normal(inner, f"{name}.bn2"))
            inner = normal(F.conv2d(inner, tensors[f"{name}.conv3.weight"]), f"{name}.bn3")
            if block == 0:
                x = normal(F.conv2d(x, tensors[f"{name}.downsample.0.weight"], stride=stride), f"{name}.downsample.1")
            x = F.relu(x + inner)
    return x


# ---- what is refused, and what is read


@pytest.mark.parametrize("convention", ["torchvision", "caffe"])
def test_weights_of_the_other_convention_are_refused(convention: str, tmp_path: Path) -> None:
    backbone = deeplab("deeplab_resnet50").backbone
    tensors = caffe(backbone, "") if convention == "torchvision" else resnet50(weights=None).state_dict()
    with pytest.raises(BadRequest, match=r"(?s)layout of .*Set model\.convention"):
        load_backbone(backbone, save(tensors, tmp_path), convention=convention)


def test_tensors_that_are_missing_or_of_another_shape_are_listed(tmp_path: Path) -> None:
    tensors = resnet50(weights=None).state_dict()
    tensors["conv1.weight"] = torch.zeros(64, 4, 7, 7)
    kept = {name: value for name, value in tensors.items() if not name.startswith("layer4")}
    backbone = deeplab("deeplab_resnet50").backbone
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    with pytest.raises(RunFailed, match=r"tensors of the backbone do not fit") as caught:
        load_backbone(backbone, save(kept, tmp_path), convention="torchvision")
    assert str(caught.value).count("\n  ") == 10
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_a_deeper_networks_file_is_refused_although_it_has_every_tensor(tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = resnet101(weights=None).state_dict()
    tensors = {name: torch.zeros(value.shape, dtype=value.dtype) for name, value in shapes.items()}
    with pytest.raises(RunFailed, match=r"306 tensors of the backbone do not fit:\n.*not expected"):
        load_backbone(deeplab("deeplab_resnet50").backbone, save(tensors, tmp_path), convention="torchvision")


STATE = resnet18(weights=None).state_dict()
BARE = {name: value for name, value in STATE.items() if not name.startswith("fc.")}
WRAPPED: dict[str, Any] = {
    "DataParallel": {f"module.{name}": value for name, value in STATE.items()},
    "several prefixes": {f"module.model.encoder.{name}": value for name, value in BARE.items()},
    "checkpoint": {"model_state": STATE, "optimizer": {"state": {0: {"step": torch.ones(1)}}}, "epoch": 3},
    "nested": {"model": {"state_dict": STATE, "config": "x"}},
    "average alone": {"state_dict_ema": STATE},
    "student and average": {"model": STATE, "ema_model": {name: value + 1 for name, value in STATE.items()}},
    "average by name": {**{f"module.{name}": value for name, value in STATE.items()}, "n_averaged": torch.ones(1)},
    "backbone and head": {
        "state_dict": {f"backbone.{n}": v for n, v in BARE.items()} | {"decode_head.a": torch.ones(1)}
    },
    "a whole network of ours": deeplab("deeplab_resnet18", seed=7).state_dict(),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_wrappers_around_weights_are_seen_through(kind: str, tmp_path: Path) -> None:
    ours = kind.endswith("ours")
    torch.save(WRAPPED[kind], tmp_path / "mine.pth")
    backbone = deeplab("deeplab_resnet18").backbone
    load_backbone(backbone, tmp_path / "mine.pth", convention="torchvision")
    for own, name in {"0.weight": "conv1.weight", "7.1.bn2.running_var": "layer4.1.bn2.running_var"}.items():
        expected = WRAPPED[kind][f"backbone.{own}"] if ours else STATE[name]
        assert torch.equal(backbone.state_dict()[own], expected)


@pytest.mark.parametrize("prefix", ["module.", "backbone.", "module.encoder.", "model."])
def test_wrappers_around_weights_of_timm_are_seen_through(prefix: str, tmp_path: Path) -> None:
    given = timm.create_model("resnet18").state_dict()
    torch.save({f"{prefix}{name}": value for name, value in given.items()}, tmp_path / "mine.pth")
    backbone = timm_backbone("timm/resnet18", (32,))
    load_timm(backbone, "timm/resnet18", tmp_path / "mine.pth")
    assert torch.equal(backbone.state_dict()["model.conv1.weight"], given["conv1.weight"])


def test_what_does_not_fit_has_the_names_of_the_file(tmp_path: Path) -> None:
    tensors = {f"encoder.{name}": value for name, value in BARE.items() if name != "layer2.0.conv1.weight"}
    tensors["encoder.layer3.0.conv1.weight"] = torch.zeros(1)
    words = (
        r"2 tensors of the backbone do not fit:\n  encoder\.layer2\.0\.conv1\.weight: missing\n"
        r"  encoder\.layer3\.0\.conv1\.weight: \(1,\), expected \(256, 128, 3, 3\)\n"
        r"Name the weights' own network; the file holds encoder\.conv1\.weight, encoder\.bn1\.weight"
    )
    with pytest.raises(RunFailed, match=words):
        load_backbone(deeplab("deeplab_resnet18").backbone, save(tensors, tmp_path), convention="torchvision")


@pytest.mark.parametrize("kind", ["safetensors", "format of 2017"])
def test_files_of_other_formats_are_read_too(kind: str, tmp_path: Path) -> None:
    """The Caffe-style files are of 2017."""
    tensors = {"conv1.weight": torch.rand(2, 3), "bn1.weight": torch.rand(2)}
    if kind == "safetensors":
        save_file(tensors, path := tmp_path / "mine.safetensors")
    else:
        torch.save(tensors, path := tmp_path / "old.pth", _use_new_zipfile_serialization=False)
        assert path.read_bytes()[:2] != b"PK"
    found = read(path)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], value) for name, value in tensors.items())


def test_a_renamed_file_is_reported_unless_it_is_a_published_one(
    tmp_path: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]
) -> None:
    backbone = deeplab("deeplab_resnet18").backbone
    known = save(resnet18(weights=None).state_dict(), tmp_path)
    renamed = tmp_path / "mine.pth"
    renamed.write_bytes(known.read_bytes())
    for path in (known, renamed):
        load_backbone(backbone, path, convention="torchvision")
    reported = capsys.readouterr().err
    assert reported.startswith(f"{renamed}: not a published file (sha256 {known.stem[-8:]}")
    assert reported.count("\n") == 1
    publish(known, "http://127.0.0.1:9/", monkeypatch)
    load_backbone(backbone, renamed, convention="torchvision")
    assert capsys.readouterr().err == ""


class Hostile:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path, ...]]:
        return (Path.touch, (Path("owned"),))


@pytest.mark.parametrize("content", [Hostile(), {"conv1.weight": Hostile()}, {"conv1.weight": "text"}, [1, 2]])
def test_what_is_not_plain_tensors_is_refused_and_never_run(
    content: object, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "bad.pth")
    with pytest.raises(RunFailed, match=r"bad\.pth: not a "):
        read(tmp_path / "bad.pth")
    assert not Path("owned").exists()


# ---- files


def test_each_published_file_names_its_hash_and_is_for_a_network_we_have() -> None:
    assert published()
    for row in published():
        assert re.search(r"-[0-9a-f]{8}\.", row.file)
        assert row.network in NETWORKS or timm.is_model(row.network.removeprefix(TIMM))
        assert row.layout in {*LAYOUTS, IN_ORDER}
        assert row.address.endswith(row.file)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: Patch) -> Iterator[Server]:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "none"))
    with running(Server()) as started:
        yield started


def publish(path: Path, address: str, monkeypatch: Patch) -> None:
    """Make a file the only published one, as `mine`."""
    row = Published("mine", "deeplab_resnet18", path.name, "torchvision", address, "", "example.org/mine")
    monkeypatch.setattr(module, "published", lambda: [row])


def section(weights: str, folder: Path) -> Model:
    return tiny.model(network="deeplab_resnet18", weights=weights, weights_folder=str(folder / "folder"))


def test_a_file_is_downloaded_once_and_then_found(server: Server, tmp_path: Path, monkeypatch: Patch) -> None:
    path = save({"a": torch.ones(1)}, tmp_path)
    server.files["/mine"] = path.read_bytes()
    publish(path, server.address("/mine"), monkeypatch)
    first = weights_file(section("mine", tmp_path))
    assert weights_file(section("mine", tmp_path)) == first
    assert first.read_bytes() == path.read_bytes()
    assert len(server.log) == 1


def test_a_file_in_the_cache_of_torch_hub_is_found_there(tmp_path: Path, monkeypatch: Patch) -> None:
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    path = save({"a": torch.ones(1)}, tmp_path / "hub/checkpoints")
    publish(path, "http://127.0.0.1:9/", monkeypatch)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert weights_file(section("mine", tmp_path)) == path


@pytest.mark.parametrize("act", [servers.status(404), servers.instead(b"something else"), servers.html])
def test_where_a_download_fails_the_message_says_where_the_file_is_and_where_to_put_it(
    act: servers.Act, server: Server, tmp_path: Path, monkeypatch: Patch
) -> None:
    path = save({"a": torch.ones(1)}, tmp_path)
    server.files["/mine"] = path.read_bytes()
    publish(path, server.address("/mine"), monkeypatch)
    server.script.append(act)
    words = (
        rf"downloaded from http.*\nPut the file there; its sha256 begins with {path.stem[-8:]}. A browser .*example.org"
    )
    with pytest.raises(RunFailed, match=words):
        weights_file(section("mine", tmp_path))
    assert not list((tmp_path / "folder").iterdir())


def test_a_file_whose_name_has_another_hash_is_refused(tmp_path: Path) -> None:
    path = save({"a": torch.ones(1)}, tmp_path).rename(tmp_path / "weights-00000000.pth")
    with pytest.raises(RunFailed, match="its name says 00000000"):
        weights_file(section(str(path), tmp_path))


def test_weights_that_are_no_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"imagenet_v3 was not found.\nName a \.pth or \.safetensors file"):
        weights_file(section("imagenet_v3", tmp_path))
