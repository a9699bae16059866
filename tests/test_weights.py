"""Published weights: found by name, held to their hash, read as plain data, and computing what they computed before."""

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import servers
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from servers import Server, running
from torch import Tensor, nn
from torchvision.models import ResNet, mobilenet_v3_large, resnet18, resnet50, resnet101
from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large, deeplabv3_resnet50, deeplabv3_resnet101

from dacs.errors import BadRequest, RunFailed
from dacs.models import weights as module
from dacs.models.build import build
from dacs.models.deeplab import RESNETS
from dacs.models.weights import Published, file_of, layout_of, load_backbone, published

IMAGES = torch.rand(1, 3, 65, 65, generator=torch.Generator().manual_seed(0))
PLACES = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
STATISTICS = ("running_mean", "running_var", "weight", "bias")
State = dict[str, Tensor]


def saved(folder: Path, tensors: State, stem: str = "weights") -> Path:
    """A .pth with the digits of its hash in its name, as torch hub names files."""
    torch.save(tensors, folder / "new.pth")
    digits = hashlib.sha256((folder / "new.pth").read_bytes()).hexdigest()[:8]
    return (folder / "new.pth").rename(folder / f"{stem}-{digits}.pth")


def lively(network: nn.Module) -> nn.Module:
    """Random statistics too, so that nothing that is forgotten goes unseen."""
    generator = torch.Generator().manual_seed(1)
    for module_ in network.modules():
        if isinstance(module_, nn.BatchNorm2d):
            module_.running_mean.copy_(torch.randn(module_.running_mean.shape, generator=generator) * 0.1)
            module_.running_var.copy_(torch.rand(module_.running_var.shape, generator=generator) + 0.5)
    return network.eval()


def normalised(images: Tensor) -> Tensor:
    """As torchvision's weights want images."""
    mean, std = (torch.tensor(each)[:, None, None] for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return (images - mean) / std


def caffe(network: nn.Module, prefix: str) -> State:
    """A state dict as the Caffe-style files hold it: their names, blue first, a head of 21 classes."""
    tensors = {}
    for name, value in network.state_dict().items():
        place, rest = name.split(".", 1)
        if not name.endswith("num_batches_tracked"):
            tensors[f"{prefix}{PLACES[place]}.{rest}"] = value.flip(1) if name == "0.weight" else value
    head = {f"{prefix}layer5.conv2d_list.{n}.weight": torch.zeros(21, 2048, 3, 3) for n in range(4)}
    return tensors | head


# ---- layouts

MAKERS: dict[str, tuple[str, Callable[[], State], str]] = {
    "resnet": ("deeplab_resnet50", lambda: lively(resnet50(weights=None)).state_dict(), "torchvision"),
    "mobilenet": ("deeplab_mobilenet", lambda: lively(mobilenet_v3_large(weights=None)).state_dict(), "torchvision"),
    "deeplabv3 resnet": (
        "deeplab_resnet50",
        lambda: lively(deeplabv3_resnet50(weights=None, weights_backbone=None, aux_loss=True)).state_dict(),
        "torchvision_deeplab",
    ),
    "deeplabv3 mobilenet": (
        "deeplab_mobilenet",
        lambda: lively(deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None)).state_dict(),
        "torchvision_deeplab",
    ),
}


@pytest.mark.parametrize("maker", MAKERS)
def test_torchvisions_files_become_the_same_tensors_of_our_backbone(maker: str, tmp_path: Path) -> None:
    """In the order of the layers, which is the same in both, whatever they are called."""
    network, make, layout = MAKERS[maker]
    tensors = make()
    ours = build(network, aspp_branches=4, seed=5)
    load_backbone(ours.backbone, saved(tmp_path, tensors), convention="torchvision")
    assert layout_of(tensors) == layout
    source = [value for name, value in tensors.items() if not name.startswith(("fc.", "classifier.", "aux_"))]
    found = list(ours.backbone.state_dict().values())
    assert len(found) == len(source)
    assert all(torch.equal(one, other) for one, other in zip(found, source, strict=True))


def plain(network: ResNet) -> nn.Sequential:
    """A ResNet of torchvision's up to its pooling, as it comes: at output stride 32."""
    return nn.Sequential(*list(network.children())[:-2])


def close(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


@torch.no_grad()
@pytest.mark.parametrize("depth", RESNETS)
def test_dilation_adds_positions_between_those_that_weights_were_trained_at(depth: int, tmp_path: Path) -> None:
    """At every fourth position ours computes what torchvision's own network does; 65 pixels suit both roundings."""
    reference = lively(RESNETS[depth](weights=None)).double()
    ours = build(f"deeplab_resnet{depth}", aspp_branches=2).double().eval()
    load_backbone(ours.backbone, saved(tmp_path, reference.state_dict()), convention="torchvision")
    found, expected = ours.backbone(normalised(IMAGES.double())), plain(reference)(normalised(IMAGES.double()))
    assert (found.shape[-2:], expected.shape[-2:]) == ((9, 9), (3, 3))
    assert close(found[..., ::4, ::4], expected)


@torch.no_grad()
@pytest.mark.parametrize(
    ("network", "make"),
    [
        ("deeplab_resnet50", lambda: deeplabv3_resnet50(weights=None, weights_backbone=None)),
        ("deeplab_resnet101", lambda: deeplabv3_resnet101(weights=None, weights_backbone=None)),
        ("deeplab_mobilenet", lambda: deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None)),
    ],
)
def test_the_backbone_of_torchvisions_deeplab_computes_its_features(
    network: str, make: Callable[[], nn.Module], tmp_path: Path
) -> None:
    reference = lively(make()).double()
    ours = build(network, aspp_branches=2).double().eval()
    load_backbone(ours.backbone, saved(tmp_path, reference.state_dict()), convention="torchvision")
    images = normalised(IMAGES.double())
    assert close(ours.backbone(images), reference.backbone(images)["out"])


@torch.no_grad()
@pytest.mark.parametrize("prefix", ["", "Scale."])
def test_caffe_files_compute_what_the_original_computes(prefix: str, tmp_path: Path) -> None:
    """Against the original written out as a function of its file and of images as it reads them."""
    tensors = caffe(lively(build("deeplab_resnet101", aspp_branches=4, seed=3)).backbone, prefix)
    ours = build("deeplab_resnet101", aspp_branches=4, convention="caffe", seed=4).double().eval()
    load_backbone(ours.backbone, saved(tmp_path, tensors), convention="caffe")
    images = torch.rand(1, 3, 72, 64, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = ours.backbone((images - ours.mean) / ours.std)
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


@pytest.mark.parametrize("convention", ["torchvision", "caffe"])
def test_weights_of_the_other_convention_are_refused(convention: str, tmp_path: Path) -> None:
    network = build("deeplab_resnet50", aspp_branches=4)
    tensors = caffe(network.backbone, "") if convention == "torchvision" else resnet50(weights=None).state_dict()
    with pytest.raises(BadRequest, match=r"(?s)layout of .*Set model\.convention"):
        load_backbone(network.backbone, saved(tmp_path, tensors), convention=convention)


def test_tensors_that_are_missing_or_of_another_shape_are_listed(tmp_path: Path) -> None:
    tensors = resnet50(weights=None).state_dict()
    tensors["conv1.weight"] = torch.zeros(64, 4, 7, 7)
    for name in [name for name in tensors if name.startswith("layer4")]:
        del tensors[name]
    backbone = build("deeplab_resnet50", aspp_branches=4).backbone
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    with pytest.raises(RunFailed, match=r"tensors of the backbone do not fit") as caught:
        load_backbone(backbone, saved(tmp_path, tensors), convention="torchvision")
    assert str(caught.value).count("\n  ") == 10
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_a_deeper_networks_file_is_refused_although_it_has_every_tensor(tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = resnet101(weights=None).state_dict()
    tensors = {name: torch.zeros(value.shape, dtype=value.dtype) for name, value in shapes.items()}
    backbone = build("deeplab_resnet50", aspp_branches=4).backbone
    with pytest.raises(RunFailed, match=r"306 tensors of the backbone do not fit:\n.*not expected"):
        load_backbone(backbone, saved(tmp_path, tensors), convention="torchvision")


def test_safetensors_are_read_too(tmp_path: Path) -> None:
    tensors = resnet50(weights=None).state_dict()
    save_file(tensors, tmp_path / "mine.safetensors")
    ours = build("deeplab_resnet50", aspp_branches=4)
    load_backbone(ours.backbone, tmp_path / "mine.safetensors", convention="torchvision")
    assert torch.equal(ours.backbone[0].weight, tensors["conv1.weight"])


def test_files_in_the_format_of_2017_are_read(tmp_path: Path) -> None:
    """The Caffe-style files are as old."""
    tensors = {"conv1.weight": torch.rand(2, 3), "bn1.weight": torch.rand(2)}
    torch.save(tensors, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert (tmp_path / "old.pth").read_bytes()[:2] != b"PK"
    found = module.read(tmp_path / "old.pth")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], value) for name, value in tensors.items())


def test_a_renamed_file_is_told_unless_it_is_a_published_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = build("deeplab_resnet18", aspp_branches=2)
    known = saved(tmp_path, resnet18(weights=None).state_dict())
    renamed = tmp_path / "mine.pth"
    renamed.write_bytes(known.read_bytes())
    for path in (known, renamed):
        load_backbone(reference.backbone, path, convention="torchvision")
    told = capsys.readouterr().err
    assert told.startswith(f"{renamed}: none of the published files (its sha256 begins with {module._prefix(known)}")
    assert told.count("\n") == 1
    row = Published("mine", "deeplab_resnet18", known.name, "torchvision", "http://127.0.0.1:9/", "")
    monkeypatch.setattr(module, "published", lambda: [row])
    load_backbone(reference.backbone, renamed, convention="torchvision")
    assert capsys.readouterr().err == ""


class Hostile:
    """Would run on being unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, ...]]:
        return (Path.touch, (Path("owned"),))  # type: ignore[return-value]


@pytest.mark.parametrize("content", [Hostile(), {"conv1.weight": Hostile()}, {"conv1.weight": "text"}, [1, 2]])
def test_what_is_not_plain_tensors_is_refused_and_never_run(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "bad.pth")
    with pytest.raises(RunFailed, match=r"bad\.pth: not a "):
        load_backbone(
            build("deeplab_resnet18", aspp_branches=4).backbone, tmp_path / "bad.pth", convention="torchvision"
        )
    assert not Path("owned").exists()


# ---- files


def test_each_published_file_tells_its_hash_and_serves_a_network_we_have() -> None:
    from dacs.models.build import NETWORKS

    for row in published():
        assert len(module._prefix(Path(row.file))) == 8
        assert row.network in NETWORKS
        assert row.layout in module.LAYOUTS
        assert row.address.endswith(row.file)


@pytest.fixture
def server() -> Iterator[Server]:
    with running(Server()) as started:
        yield started


def offer(server: Server, path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    """Publish a file on a server of our own."""
    server.files[f"/{path.name}"] = path.read_bytes()
    row = Published("mine", "deeplab_resnet18", path.name, "torchvision", server.address(f"/{path.name}"), "")
    monkeypatch.setattr(module, "published", lambda: [row])
    return row


def test_a_file_is_brought_once_and_then_found(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(server, saved(tmp_path, {"a": torch.ones(1)}), monkeypatch)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "none"))
    first = file_of("mine", "deeplab_resnet18", tmp_path / "folder")
    assert file_of("mine", "deeplab_resnet18", tmp_path / "folder") == first
    assert len(server.log) == 1


def test_a_file_in_the_cache_of_torch_hub_is_found_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    path = saved(tmp_path / "hub/checkpoints", {"a": torch.ones(1)})
    row = Published("mine", "deeplab_resnet18", path.name, "torchvision", "http://127.0.0.1:9/", "")
    monkeypatch.setattr(module, "published", lambda: [row])
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert file_of("mine", "deeplab_resnet18", tmp_path / "folder") == path


@pytest.mark.parametrize("act", [servers.status(404), servers.instead(b"something else"), servers.html])
def test_where_a_file_cannot_be_had_one_line_says_where_to_put_it(
    act: servers.Act, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = offer(server, saved(tmp_path, {"a": torch.ones(1)}), monkeypatch)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "none"))
    server.script.append(act)
    with pytest.raises(
        RunFailed, match=r"could not be downloaded from http.*\nPut the file there; its sha256 begins with"
    ):
        file_of("mine", "deeplab_resnet18", tmp_path / "folder")
    assert not (tmp_path / "folder" / row.file).exists()


def test_who_cannot_download_the_originals_file_is_told_where_else_it_lies(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row for row in published() if row.name == "caffe_imagenet"]
    gone = [row._replace(address=server.address(f"/{row.file}")) for row in rows]
    monkeypatch.setattr(module, "published", lambda: gone)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "none"))
    with pytest.raises(RunFailed, match=rf"begins with f81d91e8\. A browser finds it at {re.escape(rows[0].by_hand)}"):
        file_of("caffe_imagenet", "deeplab_resnet101", tmp_path / "folder")


def test_a_file_whose_name_tells_another_hash_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, {"a": torch.ones(1)}).rename(tmp_path / "weights-00000000.pth")
    with pytest.raises(RunFailed, match="its name says 00000000"):
        file_of(str(path), "deeplab_resnet18", tmp_path)


def test_unknown_weights_are_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"neither published for deeplab_resnet18 \(imagenet_v1\) nor a file"):
        file_of("imagenet_v3", "deeplab_resnet18", tmp_path)


# ---- the light backbone and first weights


def test_mobilenet_has_output_stride_16_and_the_weights_of_torchvisions() -> None:
    network = build("deeplab_mobilenet", aspp_branches=4)
    assert network.backbone(torch.rand(1, 3, 256, 320)).shape == (1, 960, 16, 20)
    reference = mobilenet_v3_large(weights=None).features
    count = sum(weight.numel() for weight in reference.parameters())
    head = 4 * (960 * 19 * 9 + 19)
    assert sum(weight.numel() for weight in network.parameters()) == count + head


@pytest.mark.parametrize("network", ["deeplab_resnet18", "deeplab_mobilenet"])
def test_first_weights_of_deeplab_are_drawn_as_the_reference_draws_them(network: str) -> None:
    for part in build(network, aspp_branches=4, seed=7).modules():
        if isinstance(part, nn.Conv2d) and part.weight.numel() > 5000:
            assert part.weight.std().item() == pytest.approx(0.01, rel=0.05)
            assert abs(part.weight.mean().item()) < 0.001
        elif isinstance(part, nn.BatchNorm2d):
            assert torch.equal(part.weight, torch.ones_like(part.weight))
            assert not part.bias.any()
