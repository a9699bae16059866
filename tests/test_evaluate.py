"""Evaluation counts what the networks predict, frame by frame, and shows a few of the predictions."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from dacs.errors import RunFailed
from dacs.evaluation.confusion import count, scores
from dacs.evaluation.evaluate import counted, evaluate_run, load
from dacs.evaluation.spread import save_labels
from dacs.files import read_json
from dacs.labels import NAMES, palette
from dacs.loading.split import Split
from dacs.models.build import build
from dacs.models.deeplab import Segmenter


def settings(**changes: Any) -> dict[str, Any]:
    return {"batch": 4, "frames": 2, "labels": "prepared", "absent": []} | changes


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.finished_run(tmp_path_factory.mktemp("runs") / "seed0")


@pytest.fixture(scope="module")
def evaluation(run: Path, ready: Path) -> Path:
    evaluate_run(run, ready / "cityscapes/val", run / "evaluation", **settings(batch=3))
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


def test_want_of_memory_is_told_with_what_to_set(run: Path, ready: Path, tmp_path: Path, monkeypatch: Any) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 4 GiB")

    monkeypatch.setattr(Segmenter, "forward", full)
    with pytest.raises(RunFailed, match=r"Tried to allocate 4 GiB[^$]*Set evaluate\.batch to 2"):
        evaluate_run(run, ready / "cityscapes/val", tmp_path, **settings())
    assert not list(tmp_path.rglob("*.json"))


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
    evaluate_run(run, ready / "cityscapes/val", tmp_path, **settings(batch=1))
    assert tiny.contents(tmp_path) == tiny.contents(evaluation)


@pytest.mark.parametrize(("frames", "shown"), [(1, 1), (4, 4), (99, 4)])
def test_as_many_frames_are_shown_as_are_asked_for_and_there(
    frames: int, shown: int, run: Path, ready: Path, tmp_path: Path
) -> None:
    evaluate_run(run, ready / "cityscapes/val", tmp_path, **settings(frames=frames))
    assert len(list((tmp_path / "predictions").iterdir())) == shown


def test_frames_without_labels_give_predictions_and_no_number(run: Path, ready: Path, tmp_path: Path) -> None:
    evaluate_run(run, ready / "cityscapes/train", tmp_path, **settings())
    found = read_json(tmp_path / "metrics.json")
    assert found["student"] == found["teacher"] == scores(np.zeros((19, 19), int))
    assert found["labels"] is None
    assert found["unmeasured"].startswith("No labels came with the train frames of cityscapes")
    assert not np.any(read_json(tmp_path / "confusion.json")["student"])
    split = Split(ready / "cityscapes/train")
    for path in (tmp_path / "predictions").iterdir():
        place = split.names.index(path.stem)
        assert np.array_equal(np.asarray(Image.open(path)), predictions(run, split, "weights.safetensors")[place])
    assert len(list((tmp_path / "predictions").iterdir())) == 2


def test_what_was_measured_is_told(run: Path, ready: Path, evaluation: Path) -> None:
    found = read_json(evaluation / "metrics.json")
    assert found["labels"] == "prepared 36x72"
    assert found["absent"] == []
    assert "unmeasured" not in found


def test_full_labels_are_counted_against_enlarged_logits(run: Path, ready: Path, tmp_path: Path) -> None:
    split, network, wanted = Split(ready / "cityscapes/val"), load(run), np.zeros((19, 19), int)
    for i in range(len(split)):
        with torch.no_grad():
            logits = network(split.image(i)[None] / 255)
        large = torch.nn.functional.interpolate(logits, size=(72, 144), mode="bilinear", align_corners=True)
        wanted += count(split.full(i).numpy(), large.argmax(1)[0].numpy())
    evaluate_run(run, ready / "cityscapes/val", tmp_path, **settings(labels="full"))
    assert read_json(tmp_path / "confusion.json")["student"] == wanted.tolist()
    assert read_json(tmp_path / "metrics.json")["labels"] == "full 72x144"


def test_predictions_are_shown_at_the_size_of_the_frames_whatever_is_counted(
    run: Path, ready: Path, evaluation: Path, tmp_path: Path
) -> None:
    evaluate_run(run, ready / "cityscapes/val", tmp_path, **settings(labels="full"))
    assert tiny.contents(tmp_path / "predictions") == tiny.contents(evaluation / "predictions")


def test_full_labels_of_several_sizes_are_all_counted(run: Path, ready: Path, tmp_path: Path) -> None:
    val = shutil.copytree(ready / "cityscapes/val", tmp_path / "cityscapes/val")
    save_labels(np.zeros((10, 20), np.uint8), sorted((val / "full").iterdir())[0])
    evaluate_run(run, val, tmp_path / "out", **settings(labels="full"))
    assert read_json(tmp_path / "out/metrics.json")["labels"] == "full, 2 sizes"
    shapes = [Split(val).full(i) for i in range(4)]
    counted = np.sum(read_json(tmp_path / "out/confusion.json")["student"])
    assert counted == sum(int((label != 255).sum()) for label in shapes)


def test_full_labels_that_are_not_there_are_told_of(run: Path, ready: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="no labels at full size"):
        evaluate_run(run, ready / "cityscapes/oracle", tmp_path / "out", **settings(labels="full"))
    assert not (tmp_path / "out").exists()


def test_means_leave_out_what_the_data_set_cannot_have(run: Path, ready: Path, tmp_path: Path) -> None:
    evaluate_run(run, ready / "cityscapes/val", tmp_path, **settings(absent=["train", "sky"]))
    found, counts = read_json(tmp_path / "metrics.json"), read_json(tmp_path / "confusion.json")
    whole = scores(np.array(counts["student"]))
    left = [value for name, value in whole["iou"].items() if name not in ("train", "sky") and value is not None]
    assert found["student"]["miou19"] == pytest.approx(np.mean(left), abs=1e-3)
    assert found["student"]["iou"]["sky"] is None
    assert found["student"]["accuracy"] == whole["accuracy"]
    assert found["absent"] == ["train", "sky"]


def test_a_class_predicted_where_it_cannot_be_is_an_error_of_the_class_that_is_there() -> None:
    counts = np.zeros((19, 19), int)
    counts[0, 0], counts[0, 16] = 3, 1  # a quarter of the road is called train
    assert scores(counts)["miou19"] == 37.5
    assert scores(counts, absent=["train"])["miou19"] == 75


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


def test_counting_where_frames_lie_is_counting() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 21, (30, 40), generator=generator).byte()
    truth[truth >= 19] = 255
    predicted = torch.randint(0, 19, (30, 40), generator=generator)
    assert np.array_equal(counted(truth, predicted).numpy(), count(truth.numpy(), predicted.byte().numpy()))
