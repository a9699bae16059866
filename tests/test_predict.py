"""Labels for images of any size: the run's own, at the images' own size, under their names."""

import resource
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from dacs.errors import BadRequest, RunFailed
from dacs.evaluation.evaluate import load
from dacs.evaluation.predict import predict_images
from dacs.labels import palette

SIZES = {"a": (40, 56), "b": (40, 56), "c": (33, 47), "d": (40, 56)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.finished_run(tmp_path_factory.mktemp("runs") / "seed0")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name, size in SIZES.items():
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def out(run: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    predict_images(run, [photos], folder, batch=2)
    return folder


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize("name", SIZES)
def test_labels_are_the_networks_at_the_images_own_size(name: str, run: Path, photos: Path, out: Path) -> None:
    image = torch.from_numpy(pixels(photos / f"{name}.png").copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        wanted = load(run)(image).argmax(1)[0].numpy()
    found = pixels(out / f"ids/{name}.png")
    assert found.shape == SIZES[name]
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("name", SIZES)
def test_colours_and_overlays_show_the_labels(name: str, photos: Path, out: Path) -> None:
    colors = palette()[pixels(out / f"ids/{name}.png")]
    assert np.array_equal(pixels(out / f"colors/{name}.png"), colors)
    half = (pixels(photos / f"{name}.png").astype(float) + colors) / 2
    assert np.abs(pixels(out / f"overlays/{name}.png") - half).max() <= 1


def test_batch_size_changes_no_byte(run: Path, photos: Path, out: Path, tmp_path: Path) -> None:
    predict_images(run, [photos], tmp_path, batch=1)
    assert tiny.contents(tmp_path) == tiny.contents(out)


def test_the_teacher_answers_when_its_file_is_named(run: Path, photos: Path, out: Path, tmp_path: Path) -> None:
    predict_images(run / "teacher.safetensors", [photos / "a.png"], tmp_path, batch=1)
    assert sorted(path.name for path in (tmp_path / "ids").iterdir()) == ["a.png"]
    assert not np.array_equal(pixels(tmp_path / "ids/a.png"), pixels(out / "ids/a.png"))


def test_what_is_asked_for_wrongly_is_told(run: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for given, told in (
        ([tmp_path / "nothing.png"], "not found"),
        ([tmp_path / "empty"], "no images"),
        ([photos, photos / "a.png"], "more than once"),
    ):
        with pytest.raises(BadRequest, match=told):
            predict_images(run, given, tmp_path / "out", batch=1)
    assert not (tmp_path / "out").exists()


def test_an_image_that_cannot_be_read_is_named(run: Path, photos: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes((photos / "a.png").read_bytes()[:200])
    with pytest.raises(RunFailed, match="not a readable image") as caught:
        predict_images(run, [broken], tmp_path / "out", batch=1)
    assert str(broken) in str(caught.value)


def test_a_full_disk_leaves_no_broken_picture(run: Path, photos: Path, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))  # bytes: enough for the ids, not for an overlay
    try:
        with pytest.raises(RunFailed, match="could not be written"):
            predict_images(run, [photos / "a.png"], tmp_path, batch=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    for path in tiny.contents(tmp_path):
        pixels(tmp_path / path)
    assert not list((tmp_path / "overlays").iterdir())
