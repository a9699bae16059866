"""Evaluation counts what the networks predict, frame by frame, and shows a few of the predictions."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from dacs.data.dataset import Split
from dacs.errors import RunFailed
from dacs.evaluation.confusion import count, scores
from dacs.evaluation.evaluate import evaluate_run, load
from dacs.evaluation.shown import save_labels
from dacs.files import read_json
from dacs.labels import NAMES, palette
from dacs.models.build import build


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.finished_run(tmp_path_factory.mktemp("runs") / "seed0")


@pytest.fixture(scope="module")
def evaluation(run: Path, ready: Path) -> Path:
    evaluate_run(run, ready / "cityscapes/val", run / "evaluation", batch=3, frames=2)
    return run / "evaluation"


def predictions(run: Path, split: Split, file: str) -> list[np.ndarray]:
    network = load(run, file)
    with torch.no_grad():
        return [network(split.image(i)[None] / 255).argmax(1)[0].numpy() for i in range(len(split))]


@pytest.mark.parametrize(("role", "file"), [("student", "weights.safetensors"), ("teacher", "teacher.safetensors")])
def test_counts_are_those_of_each_network_frame_by_frame(
    role: str, file: str, run: Path, ready: Path, evaluation: Path
) -> None:
    split = Split(ready / "cityscapes/val")
    guesses = predictions(run, split, file)
    wanted = sum(count(split.label(i).numpy(), guess) for i, guess in enumerate(guesses))
    found = read_json(evaluation / "confusion.json")
    assert found[role] == wanted.tolist()
    assert found["classes"] == list(NAMES)
    assert read_json(evaluation / "metrics.json")[role] == scores(wanted)


def test_student_and_teacher_are_told_apart(evaluation: Path) -> None:
    found = read_json(evaluation / "confusion.json")
    assert found["student"] != found["teacher"]


def test_predictions_are_the_students_as_palette_images_of_train_ids(run: Path, ready: Path, evaluation: Path) -> None:
    split = Split(ready / "cityscapes/val")
    shown = sorted((evaluation / "predictions").iterdir())
    assert len(shown) == 2
    for path in shown:
        place = split.names.index(path.stem)
        with Image.open(path) as image:
            assert image.mode == "P"
            assert image.getpalette()[: 19 * 3] == palette()[:19].flatten().tolist()
            assert np.array_equal(np.asarray(image), predictions(run, split, "weights.safetensors")[place])


def test_batch_size_changes_no_byte(run: Path, ready: Path, evaluation: Path, tmp_path: Path) -> None:
    evaluate_run(run, ready / "cityscapes/val", tmp_path, batch=1, frames=2)
    assert tiny.contents(tmp_path) == tiny.contents(evaluation)


@pytest.mark.parametrize(("frames", "shown"), [(1, 1), (4, 4), (99, 4)])
def test_as_many_frames_are_shown_as_are_asked_for_and_there(
    frames: int, shown: int, run: Path, ready: Path, tmp_path: Path
) -> None:
    evaluate_run(run, ready / "cityscapes/val", tmp_path, batch=4, frames=frames)
    assert len(list((tmp_path / "predictions").iterdir())) == shown


def test_frames_without_labels_cannot_be_evaluated_on(run: Path, ready: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="no labels"):
        evaluate_run(run, ready / "cityscapes/train", tmp_path / "out", batch=4, frames=2)
    assert not (tmp_path / "out").exists()


def test_a_loaded_network_is_the_one_that_was_saved_and_evaluates(run: Path) -> None:
    network = load(run)
    assert not network.training
    saved = build("small", aspp_branches=4, seed=0).state_dict()
    for name, value in network.state_dict().items():
        assert torch.equal(value, saved[name])


@pytest.mark.parametrize("damage", ["truncated", "missing", "other network"])
def test_weights_that_do_not_fit_are_told_in_words(damage: str, run: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(run, tmp_path / "run")
    weights = broken / "weights.safetensors"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "missing":
        weights.unlink()
    else:
        shutil.copy(tiny.finished_run(tmp_path / "other", "deeplab_resnet18") / "weights.safetensors", weights)
    with pytest.raises(RunFailed, match="not weights of small") as caught:
        load(broken)
    assert str(weights) in str(caught.value).splitlines()[0]


def test_a_folder_that_is_no_run_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"settings\.json: not found"):
        load(tmp_path)


def test_saved_labels_come_back(tmp_path: Path) -> None:
    labels = np.array([[0, 18], [255, 7]], dtype=np.uint8)
    save_labels(labels, tmp_path / "label.png")
    with Image.open(tmp_path / "label.png") as image:
        assert np.array_equal(np.asarray(image), labels)
        assert image.convert("RGB").getpixel((1, 0)) == tuple(palette()[18].tolist())
