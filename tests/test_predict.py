"""Predictions for images of any size and format, at the size of the images, under their names."""

import os
import resource
import signal
import subprocess
import sys
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
from dacs.evaluation.pictures import read
from dacs.evaluation.predict import predict_images
from dacs.evaluation.results import RESULTS, find
from dacs.evaluation.tiles import LEAST, MARGIN, predict, spans, tiles
from dacs.files import digest, read_json
from dacs.labels import CITYSCAPES
from dacs.layout import RunDir
from dacs.models.segmenter import Segmenter

SIZES = {"a": (40, 56), "b": (40, 56), "c": (33, 47), "d": (40, 56)}
OPTIONS: dict[str, Any] = {"network": None, "batch": 2, "tile": 4_000_000, "again": False, "device": "cpu"}
Patch = pytest.MonkeyPatch
Capture = pytest.CaptureFixture[str]


def run_on(weights: Path, images: list[Path], out: Path, **options: Any) -> None:
    predict_images(weights, images, out, **OPTIONS | options)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def coarse_noise(height: int, width: int) -> np.ndarray:
    """Noise as coarse as photographs are: uint8 of shape (height, width, 3)."""
    small = Image.fromarray(noise(height // 24 + 2, width // 24 + 2, 3))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return tiny.finished_run(tmp_path_factory.mktemp("runs") / "seed0")


@pytest.fixture(scope="module")
def weights(run: RunDir) -> Path:
    return run.path


@pytest.fixture(scope="module")
def network(run: RunDir) -> nn.Module:
    return load(run.weights)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed, (name, size) in enumerate(SIZES.items()):
        Image.fromarray(noise(*size, 3, seed=seed)).save(folder / f"{name}.png")
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def out(weights: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    run_on(weights, [photos], folder)
    return folder


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def write(folder: Path, *names: str, seed: int = 0) -> Path:
    """Write small images of these names to a folder; return it."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(9, 11, 3, seed=seed + number)).save(folder / name)
    return folder


def times(folder: Path) -> dict[str, int]:
    """When each picture was written."""
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in folder.rglob("*.png")}


# --------------------------------------------------------------------------------------------------------------------
# Predictions


@pytest.mark.parametrize("name", SIZES)
def test_results_are_ids_of_the_network_at_the_size_of_the_image_with_colours_and_overlay(
    name: str, network: nn.Module, photos: Path, out: Path
) -> None:
    photo, ids = pixels(photos / f"{name}.png"), pixels(out / f"ids/{name}.png")
    assert ids.shape == SIZES[name]
    with torch.no_grad():
        expected = network(torch.from_numpy(photo.copy()).permute(2, 0, 1)[None] / 255).argmax(1)[0]
    assert np.array_equal(ids, expected)
    palette = CITYSCAPES.palette()
    assert np.array_equal(pixels(out / f"colors/{name}.png"), palette[ids])
    half = (photo.astype(float) + palette[ids]) / 2
    assert np.abs(pixels(out / f"overlays/{name}.png") - half).max() <= 1


def test_batch_size_changes_no_byte(weights: Path, photos: Path, out: Path, tmp_path: Path) -> None:
    run_on(weights, [photos], tmp_path, batch=1)
    assert tiny.contents(tmp_path) == tiny.contents(out)


@pytest.mark.parametrize("kind", ["small", "small_gn", "deeplab_resnet18"])
def test_images_of_any_size_have_predictions(kind: str, tmp_path: Path) -> None:
    sizes = {"a": (1, 1), "b": (7, 5), "c": (1, 300), "d": (257, 2), "e": (16, 1201)}
    for name, size in sizes.items():
        Image.fromarray(noise(*size, 3)).save(tmp_path / f"{name}.png")
    run_on(tiny.finished_run(tmp_path / "run", kind).path, [tmp_path], tmp_path / "out")
    for result in RESULTS:
        assert {name: pixels(tmp_path / f"out/{result}/{name}.png").shape[:2] for name in sizes} == sizes


def test_the_teacher_predicts_when_it_or_its_file_is_named(
    run: RunDir, photos: Path, out: Path, tmp_path: Path
) -> None:
    run_on(run.teacher, [photos / "a.png"], tmp_path / "file")
    run_on(run.path, [photos / "a.png"], tmp_path / "network", network="teacher")
    assert [path.name for path in (tmp_path / "file/ids").iterdir()] == ["a.png"]
    assert tiny.contents(tmp_path / "file") == tiny.contents(tmp_path / "network")
    assert not np.array_equal(pixels(tmp_path / "file/ids/a.png"), pixels(out / "ids/a.png"))


# --------------------------------------------------------------------------------------------------------------------
# Tiles


@pytest.mark.parametrize("limit", [LEAST, 700_000, 4_000_000])
@pytest.mark.parametrize("size", [(1, 1), (1052, 1914), (1000, 770), (30, 40_000), (9000, 200), (3001, 3001)])
def test_tiles_cover_an_image_once_and_stay_within_the_limit(size: tuple[int, int], limit: int) -> None:
    covered = np.zeros(size, np.uint8)
    for rows, columns in tiles(*size, limit):
        assert (rows.stop - rows.start) * (columns.stop - columns.start) <= limit
        covered[rows.first : rows.end, columns.first : columns.end] += 1
        for span, length in ((rows, size[0]), (columns, size[1])):
            assert span.first - span.start == MARGIN or span.start == span.first == 0
            assert span.stop - span.end >= MARGIN or span.stop == span.end == length
    assert (covered == 1).all()


@pytest.mark.parametrize("length", range(775, 4000, 37))
def test_tiles_begin_at_positions_of_features_and_share_the_length(length: int) -> None:
    found = spans(length, 774)
    assert all(span.start % 16 == 0 for span in found)
    assert all((span.stop - span.start) % 16 == 1 for span in found[:-1])
    assert max(span.stop - span.start for span in found) <= 774
    assert len(found) == -(-(length - 2 * MARGIN - 1) // (769 - 2 * MARGIN - 1))


def whole_and_tiled(network: nn.Module, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictions for an image as a whole, and in tiles."""
    image = coarse_noise(height, width)
    assert len(list(tiles(height, width, LEAST))) > 1
    whole, tiled = (predict(network, [image], limit).ids[0] for limit in (height * width, LEAST))
    assert len(np.unique(whole)) > 9
    return whole, tiled


def test_predictions_in_tiles_are_those_of_the_whole_image(network: nn.Module) -> None:
    whole, tiled = whole_and_tiled(network, 801, 1001)  # 1 more than multiples of 8: aligned corners stretch nothing
    assert (whole != tiled).mean() < 1e-4  # sums in another order


def test_predictions_in_tiles_of_other_sizes_are_found_a_few_pixels_off_and_show_no_seam(network: nn.Module) -> None:
    whole, tiled = whole_and_tiled(network, 800, 1000)  # as a whole stretched by up to 7 pixels
    near = np.ones((15, 15), np.uint8)
    around = np.stack([cv2.dilate((whole == value).astype(np.uint8), near) for value in range(19)])
    assert (np.take_along_axis(around, tiled[None].astype(np.int64), axis=0) == 0).mean() < 0.01
    assert (whole != tiled).mean() < 0.2  # of an untrained net, whose predictions are all edges
    breaks, expected = ((ids[:, 1:] != ids[:, :-1]).mean(axis=0) for ids in (tiled, whole))
    cuts = {columns.first - 1 for _, columns in tiles(800, 1000, LEAST) if columns.first}
    assert cuts
    assert all(breaks[cut] <= expected[cut - 8 : cut + 9].max() for cut in cuts)


class Watched(Segmenter):
    """A network that notes the shapes of its inputs."""

    def __init__(self) -> None:
        super().__init__(nn.Identity(), nn.Identity())
        self.weight, self.shapes = nn.Parameter(torch.zeros(())), list[torch.Size]()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.shapes.append(images.shape)
        return torch.zeros(len(images), 19, *images.shape[-2:])


def test_large_images_are_split_into_tiles_and_small_ones_are_batched(
    weights: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    network = Watched()
    monkeypatch.setattr(module, "load", lambda weights: network)
    for name, size in {"a": (400, 600), "b": (400, 600), "c": (400, 600), "d": (800, 900), "e": (20, 30)}.items():
        Image.fromarray(noise(*size, 3)).save(tmp_path / f"{name}.png")
    run_on(weights, [tmp_path], tmp_path / "out", batch=9, tile=LEAST)
    assert [shape[0] for shape in network.shapes if shape[2:] == (400, 600)] == [2, 1]
    assert all(shape[0] * shape[2] * shape[3] <= LEAST for shape in network.shapes)
    assert pixels(tmp_path / "out/ids/d.png").shape == (800, 900)


# --------------------------------------------------------------------------------------------------------------------
# Formats of images

DEEP = np.random.default_rng(1).integers(0, 65536, (20, 30, 4), dtype=np.uint16)  # RGB and alpha in 16 bits
HIGH = (DEEP >> 8).astype(np.uint8)  # the bytes that are used of it
RGB, GRAY = HIGH[..., :3], np.repeat(HIGH[..., :1], 3, axis=2)
PALETTE = Image.fromarray(RGB).quantize(16)
FORMATS: dict[str, tuple[Any, np.ndarray]] = {  # what is written to a file, and what is read from it
    "rgb.png": (RGB, RGB),
    "rgba.png": (HIGH, RGB),
    "gray.png": (HIGH[..., 0], GRAY),
    "gray_alpha.png": (HIGH[..., [0, 3]], GRAY),
    "palette.png": (PALETTE, np.asarray(PALETTE.convert("RGB"))),
    "one_bit.png": (HIGH[..., 0] > 127, np.where(GRAY > 127, 255, 0)),
    "rgb16.png": (DEEP[..., [2, 1, 0]], RGB),
    "rgba16.png": (DEEP[..., [2, 1, 0, 3]], RGB),
    "gray16.png": (DEEP[..., 0], GRAY),
    "rgb.bmp": (RGB, RGB),
    "rgb.tif": (RGB, RGB),
    "lzw.tiff": (RGB, RGB),
    "rgb16.tiff": (DEEP[..., [2, 1, 0]], RGB),
    "gray16.tif": (DEEP[..., 0], GRAY),
    "LOUD.PNG": (RGB, RGB),
}


@pytest.mark.parametrize("name", FORMATS)
def test_images_of_every_format_are_read_as_rgb_of_8_bits(name: str, tmp_path: Path) -> None:
    given, expected = FORMATS[name]
    if "16" in name:
        cv2.imwrite(str(tmp_path / name), given)
    else:
        image = given if isinstance(given, Image.Image) else Image.fromarray(given)
        image.save(tmp_path / name, **{"compression": "tiff_lzw"} if "lzw" in name else {})
    found = read(tmp_path / name)
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected)


def test_samples_that_have_no_high_byte_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 5), np.float32)).save(tmp_path / "depth.tif")
    with pytest.raises(BadFrame, match="float32"):
        read(tmp_path / "depth.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_read_upright_up_to_the_losses_of_jpeg(orientation: int, tmp_path: Path) -> None:
    image = coarse_noise(48, 80)
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


def test_damaged_exif_data_do_not_spoil_an_image(tmp_path: Path) -> None:
    Image.fromarray(coarse_noise(16, 24)).save(tmp_path / "photo.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    assert read(tmp_path / "photo.jpg").shape == (16, 24, 3)


def error_of(path: Path) -> str:
    """What is wrong with an image, or its path alone."""
    try:
        with pictures.any_size():
            read(path)
    except BadFrame as fault:
        return str(fault)
    return str(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif"])
def test_a_truncated_image_is_an_error_and_damage_anywhere_one_or_an_image(name: str, tmp_path: Path) -> None:
    path, rng = tmp_path / name, np.random.default_rng(0)
    Image.fromarray(noise(50, 60, 3)).save(path)
    content = path.read_bytes()
    for share in (0, 0.01, 0.5, 0.95):
        path.write_bytes(content[: int(share * len(content))])
        assert error_of(path) != str(path)
    for _ in range(150):
        damaged = bytearray(content)
        damaged[rng.integers(min(len(damaged), 200))] = rng.integers(256)
        path.write_bytes(damaged)
        assert error_of(path).startswith(str(path))
        assert "\n" not in error_of(path)


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(pictures, "LARGEST", 600)
    path = write(tmp_path, "a.png") / "a.png"
    assert read(path).shape == (9, 11, 3)
    Image.fromarray(noise(20, 31, 3)).save(path)
    with pytest.raises(BadFrame, match=r"31x20 pixels are too many \(600 at most\)"):
        read(path)


def test_an_image_that_pillow_takes_for_an_attack_has_a_prediction(
    weights: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    run_on(weights, [write(tmp_path / "photos", "a.png")], tmp_path / "out")
    assert Image.MAX_IMAGE_PIXELS == 20
    assert (tmp_path / "out/ids/a.png").exists()


# --------------------------------------------------------------------------------------------------------------------
# Names


def test_folders_keep_their_tree_and_other_files_are_skipped(weights: Path, tmp_path: Path, capsys: Capture) -> None:
    folder = write(tmp_path / ".video", "seq1/1.png", "seq2/1.png", "seq2/v1.2.png", "top.jpg", ".a.png", ".b/c.png")
    (folder / "notes.txt").write_text("no image")
    (folder / "folder.png").mkdir()
    run_on(weights, [folder], tmp_path / "out")
    expected = {f"{kind}/{name}.png" for kind in RESULTS for name in ("seq1/1", "seq2/1", "seq2/v1.2", "top")}
    assert set(times(tmp_path / "out")) == expected
    assert "4 images predicted, 3 other or hidden files skipped." in capsys.readouterr().out


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    folder = write(tmp_path / "photos", "a.png")
    (folder / "linked").symlink_to(write(tmp_path / "elsewhere", "b.png"))
    (folder / "round").symlink_to(folder)
    assert [picture.name for picture in find([folder], tmp_path / "out").pictures] == ["a", "linked/b"]


@pytest.mark.parametrize("below", ["", "out"])
def test_results_are_not_taken_for_images(below: str, weights: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "photos", "a.png", "b/a.png")
    run_on(weights, [folder], folder / below)
    assert [picture.name for picture in find([folder], folder / below).pictures] == ["a", "b/a"]


@pytest.mark.parametrize(
    ("file", "images", "options", "message"),
    [
        ("", ["nothing.png"], {}, "not found"),
        ("", ["empty"], {}, "no images"),
        ("", ["photos", "photos/a.png"], {}, "more than once"),
        ("", ["photos"], {"tile": 1000}, "megapixels"),
        ("nowhere", ["photos"], {}, "not found"),
        ("weights.safetensors", ["photos"], {"network": "teacher"}, "is not of the teacher"),
    ],
)
def test_what_makes_no_sense_is_refused(
    file: str, images: list[str], options: dict[str, Any], message: str, weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "photos", "a.png")
    with pytest.raises(BadRequest, match=message):
        run_on(weights / file, [tmp_path / path for path in images], tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


# --------------------------------------------------------------------------------------------------------------------
# Errors


def test_damaged_images_are_listed_and_the_others_are_predicted(weights: Path, tmp_path: Path, capsys: Capture) -> None:
    folder, out = write(tmp_path / "photos", "a.png", "z.png"), tmp_path / "out"
    content = (folder / "a.png").read_bytes()
    damaged = [folder / f"m{number:02d}.png" for number in range(12)]
    for path in damaged:
        path.write_bytes(content[:-30])
    arguments = ["predict", "--weights", str(weights), str(folder), "--out", str(out), "--device", "cpu"]
    assert main(arguments) == 1
    printed = capsys.readouterr().err
    assert printed.count("m00.png") == printed.count("m11.png") + 1 == 2  # at once; and the first ten at the end
    assert "dacs predict: 12 of 14 images could not be read:" in printed
    assert "2 more, 12 in all" in printed
    assert sorted(path.stem for path in (out / "overlays").iterdir()) == ["a", "z"]
    for path in damaged:
        path.write_bytes(content)
    before = times(out)
    assert main(arguments) == 0
    assert len(list((out / "ids").iterdir())) == 14
    assert before.items() <= times(out).items()


def test_a_link_to_nowhere_is_a_damaged_image(weights: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "photos", "a.png")
    (folder / "b.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(RunFailed, match=r"1 of 2 images[^$]*b\.png"):
        run_on(weights, [folder], tmp_path / "out")


def test_a_full_disk_leaves_no_broken_picture(weights: Path, photos: Path, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))  # bytes: enough for the ids, not for an overlay
    try:
        with pytest.raises(RunFailed, match="could not be written"):
            run_on(weights, [photos / "a.png"], tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert {pixels(path).size > 0 for path in tmp_path.rglob("*.png")} == {True}
    assert not list((tmp_path / "overlays").iterdir())


def test_too_little_memory_is_an_error_that_says_what_to_set(
    weights: Path, photos: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    def full(*_: object, **__: object) -> np.ndarray:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, "predict", full)
    with pytest.raises(RunFailed, match="--tile"):
        run_on(weights, [photos], tmp_path)


# --------------------------------------------------------------------------------------------------------------------
# Results of earlier runs


def test_results_that_are_there_and_newer_than_their_image_are_not_made_again(
    weights: Path, tmp_path: Path, capsys: Capture
) -> None:
    folder, out = write(tmp_path / "photos", "a.png", "b.png", "c.png", "d.png"), tmp_path / "out"
    run_on(weights, [folder], out)
    before, content = times(out), tiny.contents(out)
    (out / "overlays/b.png").unlink()
    write(folder, "c.png", seed=9)
    old = write(tmp_path / "old", "d.png", seed=8) / "d.png"
    os.utime(old, (1, 1))
    os.replace(old, folder / "d.png")
    run_on(weights, [folder], out)
    made = {name for name, time in times(out).items() if time != before[name]}
    assert made == {f"{kind}/{name}.png" for kind in RESULTS for name in "bcd"}
    assert "3 images predicted, 1 have results already." in capsys.readouterr().out
    changed = {name for name, found in tiny.contents(out).items() if found != content[name]}
    assert changed == {f"{kind}/{name}.png" for kind in RESULTS for name in "cd"}


def test_a_killed_run_is_resumed(weights: Path, photos: Path, out: Path, tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from dacs.evaluation import predict\n"
        "write = predict.write\n"
        "def write_two(picture, *rest):\n"
        "    os.kill(os.getpid(), signal.SIGKILL) if picture.name == 'c' else write(picture, *rest)\n"
        "predict.write = write_two\n"
        "run, photos, out = map(Path, sys.argv[1:])\n"
        "predict.predict_images(run, [photos], out, network=None, batch=1, tile=4_000_000, again=False, device='cpu')"
    )
    killed = subprocess.run([sys.executable, "-c", program, weights, photos, tmp_path])
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "ids/c.png").exists()
    assert (tmp_path / "predictions.json").exists()
    run_on(weights, [photos], tmp_path)
    finished = {name: found for name, found in tiny.contents(tmp_path).items() if ".partial" not in name}
    assert finished == tiny.contents(out)


def test_the_record_says_what_results_were_made_with(run: RunDir, photos: Path, out: Path) -> None:
    record = read_json(out / "predictions.json")
    assert (record["weights"], record["tile"]) == (digest(run.weights), OPTIONS["tile"])
    assert record["images"] == {name: str((photos / f"{name}.png").resolve()) for name in SIZES}


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        ("one", {"network": "teacher"}, "another network or setting"),
        ("one", {"tile": 5_000_000}, "another network or setting"),
        ("two", {}, "other images under 1 of these names"),
    ],
)
def test_results_of_other_weights_settings_or_images_are_overwritten_only_when_asked_for(
    images: str, options: dict[str, Any], message: str, weights: Path, tmp_path: Path
) -> None:
    write(tmp_path / "one", "a.png")
    write(tmp_path / "two", "a.png", seed=1)
    run_on(weights, [tmp_path / "one"], tmp_path / "out")
    before = tiny.contents(tmp_path / "out")
    with pytest.raises(BadRequest, match=message) as caught:
        run_on(weights, [tmp_path / images], tmp_path / "out", **options)
    assert "--again" in str(caught.value).splitlines()[-1]
    assert tiny.contents(tmp_path / "out") == before
    run_on(weights, [tmp_path / images], tmp_path / "out", again=True, **options)
    run_on(weights, [tmp_path / images], tmp_path / "fresh", **options)
    assert tiny.contents(tmp_path / "out") == tiny.contents(tmp_path / "fresh")


def test_more_images_are_added_to_those_that_are_there(weights: Path, tmp_path: Path) -> None:
    run_on(weights, [write(tmp_path / "one", "a.png")], tmp_path / "out")
    before = times(tmp_path / "out")
    run_on(weights, [write(tmp_path / "two", "b.png")], tmp_path / "out")
    assert before.items() <= times(tmp_path / "out").items()
    assert list(read_json(tmp_path / "out/predictions.json")["images"]) == ["a", "b"]


def test_results_that_the_record_does_not_list_are_made_again(run: RunDir, tmp_path: Path) -> None:
    folder = write(tmp_path / "photos", "a.png")
    run_on(run.path, [folder], tmp_path / "out")
    (tmp_path / "out/predictions.json").unlink()
    before = times(tmp_path / "out")
    run_on(run.teacher, [folder], tmp_path / "out")
    assert all(time != before[name] for name, time in times(tmp_path / "out").items())
