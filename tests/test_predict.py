"""Labels for images of any size and kind: the run's own, at the images' own size, under their names."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from torch import nn

from dacs.cli import main
from dacs.datasets.decode import BadFrame
from dacs.errors import BadRequest, RunFailed
from dacs.evaluation import pictures
from dacs.evaluation import predict as module
from dacs.evaluation.evaluate import load
from dacs.evaluation.pictures import find, read
from dacs.evaluation.predict import predict_images
from dacs.evaluation.tiles import LEAST, MARGIN, label, spans, tiles
from dacs.files import digest, read_json
from dacs.labels import palette

SIZES = {"a": (40, 56), "b": (40, 56), "c": (33, 47), "d": (40, 56)}
OPTIONS: dict[str, Any] = {"network": None, "batch": 2, "tile": 4_000_000, "again": False}
SEEN = np.random.default_rng(1).integers(0, 65536, (20, 30, 4), dtype=np.uint16)  # RGB and alpha in 16 bits
HIGH = (SEEN >> 8).astype(np.uint8)  # of which this is taken


def run_on(weights: Path, images: list[Path], out: Path, **options: Any) -> None:
    predict_images(weights, images, out, **{**OPTIONS, **options})


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def street(height: int, width: int) -> np.ndarray:
    """Noise that is coarse, as things in the world are: uint8 of shape (height, width, 3)."""
    coarse = noise(height // 24 + 2, width // 24 + 2, 3)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.finished_run(tmp_path_factory.mktemp("runs") / "seed0")


@pytest.fixture(scope="module")
def network(run: Path) -> nn.Module:
    return load(run)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed, (name, size) in enumerate(SIZES.items()):
        Image.fromarray(noise(*size, 3, seed=seed)).save(folder / f"{name}.png")
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def out(run: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    run_on(run, [photos], folder)
    return folder


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def named(folder: Path, *names: str) -> Path:
    """A folder that holds small pictures of these names."""
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(9, 11, 3, seed=seed)).save(folder / name)
    return folder


def times(folder: Path) -> dict[str, int]:
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in folder.rglob("*.png")}


# --------------------------------------------------------------------------------------------------------------------
# Labels


def wanted(network: nn.Module, image: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return network(torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255).argmax(1)[0].numpy()


@pytest.mark.parametrize("name", SIZES)
def test_labels_are_the_networks_at_the_images_own_size(name: str, network: nn.Module, photos: Path, out: Path) -> None:
    found = pixels(out / f"ids/{name}.png")
    assert found.shape == SIZES[name]
    assert np.array_equal(found, wanted(network, pixels(photos / f"{name}.png")))


@pytest.mark.parametrize("name", SIZES)
def test_colours_and_overlays_show_the_labels(name: str, photos: Path, out: Path) -> None:
    colors = palette()[pixels(out / f"ids/{name}.png")]
    assert np.array_equal(pixels(out / f"colors/{name}.png"), colors)
    half = (pixels(photos / f"{name}.png").astype(float) + colors) / 2
    assert np.abs(pixels(out / f"overlays/{name}.png") - half).max() <= 1


def test_batch_size_changes_no_byte(run: Path, photos: Path, out: Path, tmp_path: Path) -> None:
    run_on(run, [photos], tmp_path, batch=1)
    assert tiny.contents(tmp_path) == tiny.contents(out)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (1, 300), (257, 2), (16, 1201)])
@pytest.mark.parametrize("kind", ["small", "small_gn", "deeplab_resnet18"])
def test_sizes_of_any_kind_are_labelled(kind: str, size: tuple[int, int], tmp_path: Path) -> None:
    run = tiny.finished_run(tmp_path / "run", kind)
    Image.fromarray(noise(*size, 3)).save(tmp_path / "odd.png")
    run_on(run, [tmp_path / "odd.png"], tmp_path / "out")
    for folder in ("ids", "colors", "overlays"):
        assert pixels(tmp_path / "out" / folder / "odd.png").shape[:2] == size


def test_the_teacher_answers_when_it_or_its_file_is_named(run: Path, photos: Path, out: Path, tmp_path: Path) -> None:
    run_on(run / "teacher.safetensors", [photos / "a.png"], tmp_path / "file")
    run_on(run, [photos / "a.png"], tmp_path / "network", network="teacher")
    assert sorted(path.name for path in (tmp_path / "file/ids").iterdir()) == ["a.png"]
    assert tiny.contents(tmp_path / "file") == tiny.contents(tmp_path / "network")
    assert not np.array_equal(pixels(tmp_path / "file/ids/a.png"), pixels(out / "ids/a.png"))


# --------------------------------------------------------------------------------------------------------------------
# Tiles


@pytest.mark.parametrize("limit", [LEAST, 700_000, 4_000_000])
@pytest.mark.parametrize("size", [(1, 1), (1052, 1914), (1000, 770), (30, 40_000), (9000, 200), (3001, 3001)])
def test_tiles_cover_a_picture_once_and_stay_within_the_limit(size: tuple[int, int], limit: int) -> None:
    seen = np.zeros(size, np.uint8)
    for rows, columns in tiles(*size, limit):
        assert (rows.stop - rows.start) * (columns.stop - columns.start) <= limit
        seen[rows.kept, columns.kept] += 1
        for span, length in ((rows, size[0]), (columns, size[1])):
            assert span.first - span.start == MARGIN or span.start == span.first == 0
            assert span.stop - span.end >= MARGIN or span.stop == span.end == length
    assert (seen == 1).all()


@pytest.mark.parametrize("length", range(775, 4000, 37))
def test_tiles_begin_where_features_lie_and_share_the_length(length: int) -> None:
    found = spans(length, 774)
    assert all(span.start % 16 == 0 for span in found)
    assert all((span.stop - span.start) % 16 == 1 for span in found[:-1])
    assert max(span.stop - span.start for span in found) <= 774
    assert len(found) == -(-(length - 2 * MARGIN - 1) // (769 - 2 * MARGIN - 1))


def in_both_ways(network: nn.Module, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels as a whole, and in tiles."""
    height, width = image.shape[:2]
    assert len(list(tiles(height, width, LEAST))) > 1
    whole, tiled = (label(network, [image], limit)[0] for limit in (height * width, LEAST))
    assert len(np.unique(whole)) > 9
    return whole, tiled


def test_labels_in_tiles_are_those_of_the_whole(network: nn.Module) -> None:
    whole, tiled = in_both_ways(
        network, street(801, 1001)
    )  # 1 more than multiples of 8: aligned corners stretch nothing
    assert (whole != tiled).mean() < 1e-4  # sums in another order


def test_labels_in_tiles_of_other_sizes_are_found_a_few_pixels_off(network: nn.Module) -> None:
    whole, tiled = in_both_ways(network, street(800, 1000))  # as a whole stretched by up to 7 pixels
    near = np.ones((15, 15), np.uint8)
    here = np.stack([cv2.dilate((whole == value).astype(np.uint8), near) for value in range(19)])
    found = np.take_along_axis(here, tiled[None].astype(np.int64), axis=0)
    assert (found == 0).mean() < 0.01
    assert (whole != tiled).mean() < 0.2  # of an untrained net, whose labels are all edges


def test_no_seam_shows_where_tiles_meet(network: nn.Module) -> None:
    breaks = [(labels[:, 1:] != labels[:, :-1]).mean(axis=0) for labels in in_both_ways(network, street(800, 1000))]
    cuts = {columns.first - 1 for _, columns in tiles(800, 1000, LEAST) if columns.first}
    assert cuts
    for cut in cuts:
        assert breaks[1][cut] <= breaks[0][cut - 8 : cut + 9].max()


def test_large_pictures_go_in_tiles_and_small_ones_together(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(()))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(images.shape))
            return torch.zeros(len(images), 19, *images.shape[-2:])

    monkeypatch.setattr(module, "load", lambda run, file: Watched())
    for name, size in {"a": (400, 600), "b": (400, 600), "c": (400, 600), "d": (800, 900), "e": (20, 30)}.items():
        Image.fromarray(noise(*size, 3)).save(tmp_path / f"{name}.png")
    run_on(run, [tmp_path], tmp_path / "out", batch=9, tile=LEAST)
    assert [shape[0] for shape in seen if shape[2:] == (400, 600)] == [2, 1]
    assert all(shape[0] * shape[2] * shape[3] <= LEAST for shape in seen)
    assert pixels(tmp_path / "out/ids/d.png").shape == (800, 900)


# --------------------------------------------------------------------------------------------------------------------
# Kinds of images


def by_pillow(channels: np.ndarray, **options: Any) -> Callable[[Path], object]:
    return lambda path: Image.fromarray(channels).save(path, **options)


def by_opencv(channels: np.ndarray) -> Callable[[Path], object]:
    return lambda path: cv2.imwrite(str(path), channels)


GRAY = np.repeat(HIGH[..., :1], 3, axis=2)
BLUE_FIRST = [2, 1, 0, 3]
PALETTE = Image.fromarray(HIGH[..., :3]).quantize(16)
KINDS = {  # how a file is written, and what is seen in it
    "rgb.png": (by_pillow(HIGH[..., :3]), HIGH[..., :3]),
    "rgba.png": (by_pillow(HIGH), HIGH[..., :3]),
    "gray.png": (by_pillow(HIGH[..., 0]), GRAY),
    "gray_alpha.png": (by_pillow(HIGH[..., [0, 3]]), GRAY),
    "palette.png": (PALETTE.save, np.asarray(PALETTE.convert("RGB"))),
    "one_bit.png": (by_pillow(HIGH[..., 0] > 127), np.where(GRAY > 127, 255, 0)),
    "rgb16.png": (by_opencv(SEEN[..., BLUE_FIRST[:3]]), HIGH[..., :3]),
    "rgba16.png": (by_opencv(SEEN[..., BLUE_FIRST]), HIGH[..., :3]),
    "gray16.png": (by_opencv(SEEN[..., 0]), GRAY),
    "rgb.bmp": (by_pillow(HIGH[..., :3]), HIGH[..., :3]),
    "rgb.tif": (by_pillow(HIGH[..., :3]), HIGH[..., :3]),
    "packed.tiff": (by_pillow(HIGH[..., :3], compression="tiff_lzw"), HIGH[..., :3]),
    "rgb16.tiff": (by_opencv(SEEN[..., BLUE_FIRST[:3]]), HIGH[..., :3]),
    "gray16.tif": (by_opencv(SEEN[..., 0]), GRAY),
    "LOUD.PNG": (by_pillow(HIGH[..., :3]), HIGH[..., :3]),
}


@pytest.mark.parametrize("name", KINDS)
def test_images_of_every_kind_are_seen_as_rgb_of_8_bits(name: str, tmp_path: Path) -> None:
    save, seen = KINDS[name]
    save(tmp_path / name)
    found = read(tmp_path / name)
    assert found.dtype == np.uint8
    assert np.array_equal(found, seen)


def test_a_jpeg_is_seen_up_to_its_losses(tmp_path: Path) -> None:
    image = street(40, 60)
    Image.fromarray(image).save(tmp_path / "photo.jpg", quality=95)
    assert np.abs(read(tmp_path / "photo.jpg").astype(int) - image).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_seen_upright(orientation: int, tmp_path: Path) -> None:
    image = street(48, 80)
    stored = {  # what a camera stores of it
        1: image,
        2: image[:, ::-1],
        3: image[::-1, ::-1],
        4: image[::-1],
        5: image.swapaxes(0, 1),
        6: np.rot90(image),
        7: image[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(image, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "photo.jpg", quality=95, exif=exif)
    found = read(tmp_path / "photo.jpg")
    assert found.shape == image.shape
    assert np.abs(found.astype(int) - image).mean() < 3


def test_damaged_notes_of_a_camera_do_not_spoil_a_picture(tmp_path: Path) -> None:
    Image.fromarray(street(16, 24)).save(tmp_path / "photo.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    assert read(tmp_path / "photo.jpg").shape == (16, 24, 3)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif"])
def test_half_an_image_is_none(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    Image.fromarray(noise(50, 60, 3)).save(path)
    content = path.read_bytes()
    for share in (0, 0.01, 0.5, 0.95):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(BadFrame) as caught:
            read(path)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif"])
def test_damage_anywhere_gives_a_picture_or_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    Image.fromarray(noise(20, 30, 3)).save(path)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(content)
        damaged[rng.integers(min(len(damaged), 200))] = rng.integers(256)
        path.write_bytes(damaged)
        with pictures.any_size():
            assert "\n" not in seen_or_told(path)


def seen_or_told(path: Path) -> str:
    try:
        return "x".join(map(str, read(path).shape))
    except BadFrame as fault:
        return str(fault)


def test_samples_that_have_no_high_byte_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 5), np.float32)).save(tmp_path / "depth.tif")
    with pytest.raises(BadFrame, match="float32"):
        read(tmp_path / "depth.tif")


def test_a_picture_of_too_many_pixels_is_told_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "LARGEST", 600)
    path = named(tmp_path, "a.png", "b.png") / "a.png"
    assert read(path).shape == (9, 11, 3)
    Image.fromarray(noise(20, 31, 3)).save(path)
    with pytest.raises(BadFrame, match=r"31x20 pixels are too many \(600 at most\)"):
        read(path)


def test_a_picture_that_pillow_takes_for_an_attack_is_labelled(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    folder = named(tmp_path / "photos", "a.png")
    run_on(run, [folder], tmp_path / "out")
    assert Image.MAX_IMAGE_PIXELS == 20
    assert (tmp_path / "out/ids/a.png").exists()


# --------------------------------------------------------------------------------------------------------------------
# Names


def test_folders_keep_their_tree(run: Path, tmp_path: Path) -> None:
    named(tmp_path / "video", "seq1/0001.png", "seq2/0001.png", "seq2/v1.2.png", "top.jpg")
    run_on(run, [tmp_path / "video"], tmp_path / "out")
    for kind in ("ids", "colors", "overlays"):
        found = {
            path.relative_to(tmp_path / "out" / kind).as_posix() for path in (tmp_path / "out" / kind).rglob("*.*")
        }
        assert found == {"seq1/0001.png", "seq2/0001.png", "seq2/v1.2.png", "top.png"}


def test_what_is_no_picture_is_passed_over_and_counted(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = named(tmp_path / ".photos", "a.png", ".hidden.png", ".cache/b.png", "sub/c.png")
    (folder / "notes.txt").write_text("no image")
    (folder / "folder.png").mkdir()
    run_on(run, [folder], tmp_path / "out")
    assert "2 images labelled, 3 other or hidden files passed over." in capsys.readouterr().out


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    folder = named(tmp_path / "photos", "a.png")
    named(tmp_path / "elsewhere", "b.png")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "round").symlink_to(folder)
    assert [picture.name for picture in find([folder], tmp_path / "out")[0]] == ["a", "linked/b"]


@pytest.mark.parametrize("below", ["", "out"])
def test_results_are_not_taken_for_pictures(below: str, run: Path, tmp_path: Path) -> None:
    folder = named(tmp_path / "photos", "a.png", "b/a.png")
    run_on(run, [folder], folder / below)
    assert [picture.name for picture in find([folder], folder / below)[0]] == ["a", "b/a"]


def test_what_is_asked_for_wrongly_is_told(run: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for given, told in (
        ([tmp_path / "nothing.png"], "not found"),
        ([tmp_path / "empty"], "no images"),
        ([photos, photos / "a.png"], "more than once"),
    ):
        with pytest.raises(BadRequest, match=told):
            run_on(run, given, tmp_path / "out")
    for options, told in (({"batch": 0}, "at least one"), ({"tile": 1000}, "megapixels")):
        with pytest.raises(BadRequest, match=told):
            run_on(run, [photos], tmp_path / "out", **options)
    for weights, network, told in (
        (run / "nowhere", None, "not found"),
        (run / "weights.safetensors", "teacher", "is not the teacher's"),
    ):
        with pytest.raises(BadRequest, match=told):
            run_on(weights, [photos], tmp_path / "out", network=network)
    assert not (tmp_path / "out").exists()


# --------------------------------------------------------------------------------------------------------------------
# What goes wrong


def test_damaged_images_are_listed_and_the_others_go_on(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = named(tmp_path / "photos", "a.png", "z.png")
    content = (folder / "a.png").read_bytes()
    for number in range(12):
        (folder / f"m{number:02d}.png").write_bytes(content[:-30])
    arguments = ["predict", "--weights", str(run), str(folder), "--out", str(tmp_path / "out")]
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert said.count("m00.png") == said.count("m11.png") + 1 == 2  # at once; and, but for those beyond ten, at the end
    assert "dacs predict: 12 of 14 images could not be read:" in said
    assert "2 more, 12 in all" in said
    assert sorted(path.stem for path in (tmp_path / "out/overlays").iterdir()) == ["a", "z"]
    for number in range(12):
        (folder / f"m{number:02d}.png").write_bytes(content)
    before = times(tmp_path / "out")
    assert main(arguments) == 0
    assert len(list((tmp_path / "out/ids").iterdir())) == 14
    assert before.items() <= times(tmp_path / "out").items()


def test_a_link_to_nowhere_is_a_damaged_image(run: Path, tmp_path: Path) -> None:
    folder = named(tmp_path / "photos", "a.png")
    (folder / "b.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(RunFailed, match="1 of 2 images") as caught:
        run_on(run, [folder], tmp_path / "out")
    assert "b.png" in str(caught.value)


def test_a_full_disk_leaves_no_broken_picture(run: Path, photos: Path, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))  # bytes: enough for the ids, not for an overlay
    try:
        with pytest.raises(RunFailed, match="could not be written"):
            run_on(run, [photos / "a.png"], tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    for path in tmp_path.rglob("*.png"):
        pixels(path)
    assert not list((tmp_path / "overlays").iterdir())


def test_want_of_memory_on_the_device_is_told_in_words(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> np.ndarray:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, "label", full)
    with pytest.raises(RunFailed, match="--tile"):
        run_on(run, [photos], tmp_path)


# --------------------------------------------------------------------------------------------------------------------
# Again


def test_what_is_there_is_not_made_again(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = named(tmp_path / "photos", "a.png", "b.png", "c.png")
    run_on(run, [folder], tmp_path / "out")
    before, content = times(tmp_path / "out"), tiny.contents(tmp_path / "out")
    (tmp_path / "out/overlays/b.png").unlink()
    Image.fromarray(noise(9, 11, 3, seed=9)).save(folder / "c.png")
    run_on(run, [folder], tmp_path / "out")
    made = {name for name, time in times(tmp_path / "out").items() if time != before[name]}
    assert made == {f"{kind}/{name}.png" for kind in ("ids", "colors", "overlays") for name in "bc"}
    assert "2 images labelled, 1 were there already." in capsys.readouterr().out
    changed = {name for name, found in tiny.contents(tmp_path / "out").items() if found != content[name]}
    assert changed == {"ids/c.png", "colors/c.png", "overlays/c.png"}


def test_an_older_image_put_into_place_is_labelled(run: Path, tmp_path: Path) -> None:
    folder = named(tmp_path / "photos", "a.png")
    run_on(run, [folder], tmp_path / "out")
    before = times(tmp_path / "out")
    old = named(tmp_path / "old", "x.png", "a.png") / "a.png"
    os.utime(old, (1, 1))
    os.replace(old, folder / "a.png")
    run_on(run, [folder], tmp_path / "out")
    assert all(time != before[name] for name, time in times(tmp_path / "out").items())


def test_a_killed_run_goes_on(run: Path, photos: Path, out: Path, tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from dacs.evaluation import predict\n"
        "write = predict.write\n"
        "def write_two(picture, *rest):\n"
        "    os.kill(os.getpid(), signal.SIGKILL) if picture.name == 'c' else write(picture, *rest)\n"
        "predict.write = write_two\n"
        "run, photos, out = map(Path, sys.argv[1:])\n"
        "predict.predict_images(run, [photos], out, network=None, batch=1, tile=4_000_000, again=False)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, run, photos, tmp_path])
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "ids/c.png").exists()
    assert (tmp_path / "predictions.json").exists()
    run_on(run, [photos], tmp_path)
    finished = {name: found for name, found in tiny.contents(tmp_path).items() if ".partial" not in name}
    assert finished == tiny.contents(out)


def test_results_tell_by_what_they_were_made(run: Path, photos: Path, out: Path) -> None:
    record = read_json(out / "predictions.json")
    assert record["weights"] == digest(run / "weights.safetensors")
    assert record["tile"] == OPTIONS["tile"]
    assert record["images"] == {name: str((photos / f"{name}.png").resolve()) for name in SIZES}


@pytest.mark.parametrize("options", [{"network": "teacher"}, {"tile": 5_000_000}])
def test_results_of_other_weights_or_settings_are_kept_apart(
    options: dict[str, Any], run: Path, tmp_path: Path
) -> None:
    folder = named(tmp_path / "photos", "a.png", "b.png")
    run_on(run, [folder], tmp_path / "out")
    before = tiny.contents(tmp_path / "out")
    with pytest.raises(BadRequest, match="another network or setting") as caught:
        run_on(run, [folder], tmp_path / "out", **options)
    assert "--again" in str(caught.value).splitlines()[-1]
    assert tiny.contents(tmp_path / "out") == before
    run_on(run, [folder], tmp_path / "out", again=True, **options)
    run_on(run, [folder], tmp_path / "fresh", **options)
    assert tiny.contents(tmp_path / "out") == tiny.contents(tmp_path / "fresh")


def test_another_image_of_the_same_name_is_refused(run: Path, tmp_path: Path) -> None:
    one, two = named(tmp_path / "one", "a.png"), named(tmp_path / "two", "x.png", "a.png")
    run_on(run, [one], tmp_path / "out")
    with pytest.raises(BadRequest, match="other images under 1 of these names"):
        run_on(run, [two], tmp_path / "out")
    run_on(run, [two], tmp_path / "out", again=True)
    run_on(run, [two], tmp_path / "fresh")
    assert tiny.contents(tmp_path / "out") == tiny.contents(tmp_path / "fresh")


def test_more_images_join_those_that_are_there(run: Path, tmp_path: Path) -> None:
    one, two = named(tmp_path / "one", "a.png"), named(tmp_path / "two", "b.png")
    run_on(run, [one], tmp_path / "out")
    before = times(tmp_path / "out")
    run_on(run, [two], tmp_path / "out")
    assert before.items() <= times(tmp_path / "out").items()
    assert list(read_json(tmp_path / "out/predictions.json")["images"]) == ["a", "b"]


def test_results_that_no_record_knows_are_made_anew(run: Path, tmp_path: Path) -> None:
    folder = named(tmp_path / "photos", "a.png")
    run_on(run, [folder], tmp_path / "out")
    (tmp_path / "out/predictions.json").unlink()
    before = times(tmp_path / "out")
    run_on(run / "teacher.safetensors", [folder], tmp_path / "out")
    assert all(time != before[name] for name, time in times(tmp_path / "out").items())
