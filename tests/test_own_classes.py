"""Runs whose classes are not those of Cityscapes: what `evaluate` measures and what `predict` writes."""

import csv
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from safetensors.torch import save_file

from dacs.cli import main
from dacs.errors import BadRequest, RunFailed
from dacs.evaluation.confusion import count
from dacs.evaluation.evaluate import evaluate_run, load
from dacs.evaluation.spec import labels_of
from dacs.files import read_json, write_json
from dacs.labels import CITYSCAPES, IGNORE
from dacs.layout import EvaluationDir, PreparedSplit, RunDir
from dacs.loading.split import Split
from dacs.models.build import build
from dacs.prepare.pixels import png_of_label
from dacs.settings import Labels

NUMBERS = (2, 26, 150)
Capture = pytest.CaptureFixture[str]


def color(number: int) -> list[int]:
    return [number + 1, 200 - number, 9]


def finished_run(folder: Path, number: int) -> RunDir:
    """A run of so many classes, the first two of which are a group, with untrained weights."""
    classes = {f"class {i}": {"color": color(i)} for i in range(number)}
    labels = Labels.model_validate({"classes": classes, "groups": {"few": ["class 1", "class 0"]}}, strict=False)
    run, model = tiny.finished_run(folder), tiny.model()
    for seed, path in enumerate((run.weights, run.teacher)):
        save_file(build(model, seed, classes=number).state_dict(), path)
    write_json(run.spec, {"settings": {"model": model.model_dump(mode="json"), "labels": labels.model_dump()}})
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, RunDir]:
    folder = tmp_path_factory.mktemp("runs")
    return {number: finished_run(folder / str(number), number) for number in NUMBERS}


def labelled_split(split: PreparedSplit, run: RunDir, number: int) -> PreparedSplit:
    """Frames whose labels show all of so many classes."""
    tiny.write_split(split, ("image", "label"), (24, 40), "png", seed=number)
    for path in (split.path / "labels").iterdir():
        label = np.resize(np.arange(number), (24, 40)).astype(np.uint8)
        label[:2] = IGNORE
        path.write_bytes(png_of_label(label, labels_of(run)))
    split.class_counts.write_text(",".join(["image", *(f"class {i}" for i in range(number))]) + "\n")
    return split


def predictions(run: RunDir, images: list[np.ndarray]) -> list[np.ndarray]:
    """What the student predicts for RGB images of the size of the file."""
    network = load(run.weights)
    with torch.no_grad():
        inputs = [torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255 for image in images]
        return [network(each).argmax(1)[0].numpy() for each in inputs]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


# ---- evaluate


@pytest.mark.parametrize("number", NUMBERS)
def test_a_run_is_measured_over_its_own_classes(number: int, runs: dict[int, RunDir], tmp_path: Path) -> None:
    run = runs[number]
    split = labelled_split(PreparedSplit(tmp_path / "drone/val"), run, number)
    out = EvaluationDir(tmp_path / "out")
    evaluate_run(run, split, split, out, tiny.evaluate_job(absent=[f"class {number - 1}"]))
    found, counts, data = read_json(out.metrics), read_json(out.confusion), Split(split)
    images = [data.image(i).permute(1, 2, 0).numpy() for i in range(len(data))]
    expected = np.zeros((number, number), np.int64)
    for i, predicted in enumerate(predictions(run, images)):
        expected += count(data.label(i).numpy(), predicted, number)
    assert counts["student"] == expected.tolist()
    assert counts["classes"] == [*found["student"]["iou"]] == [f"class {i}" for i in range(number)]
    means = {"miou1"} if number == 2 else {f"miou{number - 1}", "miou_few"}
    assert {*found["student"]} == {*means, "accuracy", "iou"}
    assert found["without_pixels"] == []
    with Image.open(min(out.predictions.iterdir())) as image:
        assert image.getpalette()[: 3 * number] == [part for i in range(number) for part in color(i)]


def test_frames_and_settings_of_other_classes_are_refused(runs: dict[int, RunDir], ready: Path, tmp_path: Path) -> None:
    train, out = PreparedSplit(ready / "cityscapes/train"), EvaluationDir(tmp_path / "out")
    with pytest.raises(RunFailed, match="prepared for 19 classes"):
        evaluate_run(runs[2], PreparedSplit(ready / "cityscapes/val"), train, out, tiny.evaluate_job())
    with pytest.raises(BadRequest, match="has no class 'water'"):
        evaluate_run(runs[2], train, train, out, tiny.evaluate_job(absent=["water"]))
    assert not out.path.exists()


def test_a_run_without_labels_in_its_settings_has_those_of_cityscapes(tmp_path: Path) -> None:
    assert labels_of(tiny.finished_run(tmp_path / "run")) is CITYSCAPES


def test_labels_that_this_version_does_not_know_are_an_error_that_names_them(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", 2)
    spec = read_json(run.spec)
    dict(spec["settings"]["labels"]["classes"])["class 1"]["depth"] = 3
    write_json(run.spec, spec)
    with pytest.raises(RunFailed, match=r"another version of dacs.*\(labels\.classes\.\S*1\.1\.depth: "):
        labels_of(run)


# ---- predict


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "a.png"
    tiny.save(np.random.default_rng(3).integers(0, 256, (40, 56, 3), dtype=np.uint8), path)
    return path


def predict(run: RunDir, photo: Path, out: Path, *options: str) -> int:
    fixed = ["--out", str(out), "--device", "cpu", "--size", "native"]
    return main(["predict", "--weights", str(run.path), str(photo), *fixed, *options])


def table(out: Path) -> list[dict[str, str]]:
    with (out / "classes.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("number", NUMBERS)
def test_ids_and_colours_are_those_of_the_run_and_a_table_says_what_they_mean(
    number: int, runs: dict[int, RunDir], photo: Path, tmp_path: Path
) -> None:
    assert predict(runs[number], photo, tmp_path) == 0
    (expected,) = predictions(runs[number], [pixels(photo)])
    assert len(np.unique(expected)) > min(number, 10) / 2
    assert np.array_equal(pixels(tmp_path / "ids/a.png"), expected)
    colors = np.array([color(i) for i in range(number)])
    assert np.array_equal(pixels(tmp_path / "colors/a.png"), colors[expected])
    keys = ("train_id", "name", "red", "green", "blue")
    rows = [dict(zip(keys, map(str, (i, f"class {i}", *color(i))), strict=True)) for i in range(number)]
    assert table(tmp_path) == rows


def test_classes_that_are_not_named_are_255_black_and_as_in_the_photo(
    runs: dict[int, RunDir], photo: Path, tmp_path: Path
) -> None:
    run, (expected,) = runs[26], predictions(runs[26], [pixels(photo)])
    most = np.bincount(expected.ravel()).argsort()[-2:].tolist()
    assert predict(run, photo, tmp_path / "all", "--confidence") == 0
    assert predict(run, photo, tmp_path / "two", "--confidence", "--classes", f"class {most[1]}, class {most[0]}") == 0
    kept = np.isin(expected, most)
    assert 0 < kept.mean() < 1
    assert np.array_equal(pixels(tmp_path / "two/ids/a.png"), np.where(kept, expected, 255))
    for kind, rest in (("colors", np.zeros((40, 56, 3))), ("overlays", pixels(photo))):
        every, found = (pixels(tmp_path / f"{out}/{kind}/a.png") for out in ("all", "two"))
        assert np.array_equal(found, np.where(kept[..., None], every, rest))
    assert np.array_equal(*(pixels(tmp_path / f"{out}/confidence/a.png") for out in ("all", "two")))
    assert table(tmp_path / "two") == table(tmp_path / "all")


def test_the_record_tells_results_of_other_classes_apart(
    runs: dict[int, RunDir], photo: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert predict(runs[26], photo, tmp_path, "--classes", "class 2,class 0") == 0
    assert read_json(tmp_path / "predictions.json")["classes"] == ["class 0", "class 2"]
    capsys.readouterr()
    assert predict(runs[26], photo, tmp_path, "--classes", "class 0,class 2") == 0
    assert "0 images predicted, 1 have results already" in capsys.readouterr().out
    for other in (["--classes", "class 0"], []):
        assert predict(runs[26], photo, tmp_path, *other) == 2
        assert "another network or setting (classes;" in capsys.readouterr().err
        assert predict(runs[26], photo, tmp_path, *other, "--again") == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--classes", "class 0,clas 1"], "--classes: this run has no class 'clas 1'; did you mean 'class 1'?"),
        (["--classes", ""], "--classes: this run has no class ''; valid: class 0, class 1."),
        (["--ids", "raw"], "--ids raw: labelIds are of the 19 classes of Cityscapes; this run has 2 of its own."),
    ],
)
def test_classes_and_ids_that_a_run_does_not_have_are_refused(
    options: list[str], said: str, runs: dict[int, RunDir], photo: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert predict(runs[2], photo, tmp_path / "out", *options) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_raw_ids_are_in_the_table_and_may_be_some(photo: Path, tmp_path: Path) -> None:
    run = tiny.finished_run(tmp_path / "run")
    (expected,) = predictions(run, [pixels(photo)])
    name = CITYSCAPES.names[shown := int(np.bincount(expected.ravel()).argmax())]
    assert predict(run, photo, tmp_path / "out", "--ids", "raw", "--classes", name) == 0
    ids = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    assert np.array_equal(pixels(tmp_path / "out/ids/a.png"), np.where(expected == shown, ids[shown], 255))
    assert [int(row["id"]) for row in table(tmp_path / "out")] == ids
    assert [row["name"] for row in table(tmp_path / "out")] == list(CITYSCAPES.names)
