"""Evaluation counts what both networks predict, frame by frame, and keeps a few of the predictions as pictures."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from dacs.errors import RunFailed
from dacs.evaluation.confusion import count, iou, scores
from dacs.evaluation.evaluate import evaluate_run, load
from dacs.files import read_json, write_json
from dacs.labels import CITYSCAPES, IGNORE
from dacs.layout import EvaluationDir, PreparedSplit, RunDir
from dacs.loading.split import Split
from dacs.models.build import build
from dacs.models.segmenter import Segmenter
from dacs.prepare.pixels import png_of_label


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return tiny.finished_run(tmp_path_factory.mktemp("runs") / "seed0")


@pytest.fixture(scope="module")
def val(ready: Path) -> PreparedSplit:
    return PreparedSplit(ready / "cityscapes/val")


@pytest.fixture(scope="module")
def train(ready: Path) -> PreparedSplit:
    return PreparedSplit(ready / "cityscapes/train")


@pytest.fixture(scope="module")
def evaluation(run: RunDir, val: PreparedSplit, train: PreparedSplit) -> EvaluationDir:
    evaluate_run(run, val, train, run.evaluation, tiny.evaluate_job(batch=3))
    return run.evaluation


@pytest.fixture
def out(tmp_path: Path) -> EvaluationDir:
    return EvaluationDir(tmp_path / "out")


def predictions(weights: Path, split: Split) -> list[np.ndarray]:
    network = load(weights)
    with torch.no_grad():
        return [network(split.image(i)[None] / 255).argmax(1)[0].numpy() for i in range(len(split))]


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_counts_are_those_of_each_network_frame_by_frame(
    role: str, run: RunDir, val: PreparedSplit, evaluation: EvaluationDir
) -> None:
    split = Split(val)
    predicted = predictions({"student": run.weights, "teacher": run.teacher}[role], split)
    expected = sum(count(split.label(i).numpy(), each) for i, each in enumerate(predicted))
    found = read_json(evaluation.confusion)
    assert found[role] == expected.tolist()
    assert found["classes"] == list(CITYSCAPES.names)
    assert found["student"] != found["teacher"]
    metrics = read_json(evaluation.metrics)
    assert metrics[role] == scores(expected, CITYSCAPES)
    assert (metrics["labels"], metrics["absent"], metrics["without_pixels"]) == ("prepared 36x72", [], [])
    assert "unmeasured" not in metrics


def test_too_little_memory_is_an_error_that_says_what_to_set(
    run: RunDir, val: PreparedSplit, train: PreparedSplit, out: EvaluationDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 4 GiB")

    monkeypatch.setattr(Segmenter, "forward", full)
    with pytest.raises(RunFailed, match=r"Tried to allocate 4 GiB[^$]*Set evaluate\.batch to 2"):
        evaluate_run(run, val, train, out, tiny.evaluate_job())
    assert not out.path.exists()


def test_conflation_is_what_each_class_is_predicted_as_instead(evaluation: EvaluationDir) -> None:
    """Each pair of classes from a tenth of a percent of the pixels of the first on, in percent."""
    matrix = np.array(read_json(evaluation.confusion)["student"])
    expected = {
        (CITYSCAPES.names[a], CITYSCAPES.names[b]): 100 * matrix[a, b] / matrix[a].sum()
        for a in range(19)
        for b in range(19)
        if a != b and matrix[a].sum() and 1000 * matrix[a, b] >= matrix[a].sum()
    }
    rows = list(csv.DictReader(evaluation.conflation.open()))
    found = {(row["class"], row["taken_for"]): float(row["percent"]) for row in rows}
    assert len(rows) == len(expected) > 0
    assert found == pytest.approx(expected, abs=0.006)


def check_pictures(folder: Path, weights: Path, split: Split) -> None:
    """Whether pictures of two spread frames, the worst and the best are palette PNG of what these weights predict."""
    paths, predicted = sorted(folder.iterdir()), predictions(weights, split)
    numbers = {0, 2}
    if split.labelled:
        means = [np.nanmean(iou(count(split.label(i).numpy(), each))) for i, each in enumerate(predicted)]
        numbers |= {int(np.argmin(means)), int(np.argmax(means))}
    assert [path.stem for path in paths] == sorted(split.names[i] for i in numbers)
    for path in paths:
        with Image.open(path) as image:
            assert image.mode == "P"
            assert image.getpalette()[: 19 * 3] == CITYSCAPES.palette()[:19].flatten().tolist()
            assert np.array_equal(np.asarray(image), predicted[split.names.index(path.stem)])


def test_pictures_are_the_students_predictions(run: RunDir, val: PreparedSplit, evaluation: EvaluationDir) -> None:
    check_pictures(evaluation.predictions, run.weights, Split(val))


def test_batch_size_changes_no_byte(
    run: RunDir, val: PreparedSplit, train: PreparedSplit, evaluation: EvaluationDir, out: EvaluationDir
) -> None:
    evaluate_run(run, val, train, out, tiny.evaluate_job(batch=1))
    assert tiny.contents(out.path) == tiny.contents(evaluation.path)


@pytest.mark.parametrize(("frames", "kept"), [(1, 2), (4, 4), (99, 4)])
def test_as_many_predictions_are_kept_as_are_asked_for_and_there_beside_the_worst_and_the_best(
    frames: int, kept: int, run: RunDir, val: PreparedSplit, train: PreparedSplit, out: EvaluationDir
) -> None:
    evaluate_run(run, val, train, out, tiny.evaluate_job(frames=frames))
    assert len(list(out.predictions.iterdir())) == kept


def test_frames_without_labels_give_predictions_and_no_scores(
    run: RunDir, train: PreparedSplit, out: EvaluationDir
) -> None:
    evaluate_run(run, train, train, out, tiny.evaluate_job())
    found = read_json(out.metrics)
    assert found["student"] == found["teacher"] == scores(np.zeros((19, 19), int), CITYSCAPES)
    assert (found["labels"], found["without_pixels"]) == (None, [])
    assert "The train frames of cityscapes have no labels" in found["unmeasured"]
    assert not np.any(read_json(out.confusion)["student"])
    check_pictures(out.predictions, run.weights, Split(train))


def test_full_labels_are_counted_against_upsampled_logits(
    run: RunDir, val: PreparedSplit, train: PreparedSplit, evaluation: EvaluationDir, out: EvaluationDir
) -> None:
    split, network, expected = Split(val), load(run.weights), np.zeros((19, 19), int)
    for i in range(len(split)):
        with torch.no_grad():
            logits = network(split.image(i)[None] / 255)
        large = torch.nn.functional.interpolate(logits, size=(72, 144), mode="bilinear", align_corners=True)
        expected += count(split.full(i).numpy(), large.argmax(1)[0].numpy())
    evaluate_run(run, val, train, out, tiny.evaluate_job(labels="full"))
    assert read_json(out.confusion)["student"] == expected.tolist()
    assert read_json(out.metrics)["labels"] == "full 72x144"
    assert tiny.contents(out.predictions) == tiny.contents(evaluation.predictions)  # at the size of the frames


def test_full_labels_of_several_sizes_are_all_counted(
    run: RunDir, ready: Path, train: PreparedSplit, out: EvaluationDir
) -> None:
    val = PreparedSplit(shutil.copytree(ready / "cityscapes/val", out.path.parent / "cityscapes/val"))
    min((val.path / "full").iterdir()).write_bytes(png_of_label(np.zeros((10, 20), np.uint8)))
    evaluate_run(run, val, train, out, tiny.evaluate_job(labels="full"))
    assert read_json(out.metrics)["labels"] == "full, 2 sizes"
    known = sum(int((Split(val).full(i) != 255).sum()) for i in range(tiny.FRAMES))
    assert np.sum(read_json(out.confusion)["student"]) == known


def test_full_labels_that_are_not_there_are_an_error(
    run: RunDir, ready: Path, train: PreparedSplit, out: EvaluationDir
) -> None:
    with pytest.raises(RunFailed, match="no labels at full size"):
        evaluate_run(run, PreparedSplit(ready / "cityscapes/oracle"), train, out, tiny.evaluate_job(labels="full"))
    assert not out.path.exists()


def test_means_leave_out_the_classes_that_a_data_set_does_not_have(
    run: RunDir, val: PreparedSplit, train: PreparedSplit, out: EvaluationDir
) -> None:
    evaluate_run(run, val, train, out, tiny.evaluate_job(absent=["train", "sky"]))
    found, whole = read_json(out.metrics), scores(np.array(read_json(out.confusion)["student"]), CITYSCAPES)
    rest = [value for name, value in whole["iou"].items() if name not in ("train", "sky") and value is not None]
    assert found["student"]["miou17"] == pytest.approx(np.mean(rest), abs=1e-3)
    assert found["student"]["iou"]["sky"] is None
    assert found["student"]["accuracy"] == whole["accuracy"]
    assert found["absent"] == ["train", "sky"]


def test_an_absent_class_that_is_predicted_is_an_error_of_the_class_that_is_there() -> None:
    counts = np.zeros((19, 19), int)
    counts[0, 0], counts[0, 16] = 3, 1  # a quarter of the road is predicted as train
    assert scores(counts, CITYSCAPES)["miou19"] == 75
    assert scores(counts, CITYSCAPES, absent=["train"])["miou18"] == 75
    counts[16, 16] = 1
    assert scores(counts, CITYSCAPES)["miou19"] == 62.5
    assert scores(counts, CITYSCAPES, absent=["train"])["miou18"] == 75


def test_a_class_without_pixels_in_the_frames_is_in_no_mean_and_named(
    run: RunDir, val: PreparedSplit, train: PreparedSplit, out: EvaluationDir
) -> None:
    split = PreparedSplit(shutil.copytree(val.path, out.path.parent / "cityscapes/val"))
    for path in (split.path / "labels").iterdir():
        with Image.open(path) as image:
            label = np.array(image)
        label[np.isin(label, [10, 16])] = IGNORE
        path.write_bytes(png_of_label(label))
    evaluate_run(run, split, train, out, tiny.evaluate_job(absent=["sky"]))
    found, counts = read_json(out.metrics), read_json(out.confusion)
    assert (found["absent"], found["without_pixels"]) == (["sky"], ["train"])
    for role in ("student", "teacher"):
        assert np.sum(counts[role], 0)[10] > 0  # sky is predicted
        each = found[role]["iou"]
        assert {name for name, value in each.items() if value is None} == {"sky", "train"}
        assert [name for name in found[role] if name.startswith("miou")] == ["miou18", "miou15", "miou12"]
        assert found[role]["miou18"] == pytest.approx(np.mean([value for value in each.values() if value is not None]))


def test_a_loaded_network_is_the_one_that_was_saved_in_evaluation_mode(run: RunDir) -> None:
    network, saved = load(run.weights), build(tiny.model(), seed=0).state_dict()
    assert not network.training
    assert network.state_dict().keys() == saved.keys()
    assert all(torch.equal(value, saved[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("damage", ["truncated", "missing", "other network"])
def test_weights_that_do_not_fit_are_an_error_that_names_them(damage: str, run: RunDir, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"settings\.json: not found"):
        load(tmp_path / run.weights.name)
    broken = RunDir(shutil.copytree(run.path, tmp_path / "run"))
    if damage == "truncated":
        broken.weights.write_bytes(broken.weights.read_bytes()[:1000])
    elif damage == "missing":
        broken.weights.unlink()
    else:
        shutil.copy(tiny.finished_run(tmp_path / "other", "small_gn").weights, broken.weights)
    with pytest.raises(RunFailed, match="not weights of small") as caught:
        load(broken.weights)
    assert str(broken.weights) in str(caught.value).splitlines()[0]


def test_a_run_of_an_earlier_version_is_refused_in_one_line(tmp_path: Path) -> None:
    run = tiny.finished_run(tmp_path / "run")
    spec = read_json(run.spec)
    del spec["settings"]["model"]["head_width"]
    write_json(run.spec, spec)
    with pytest.raises(RunFailed, match=r"made by another version of dacs.*\(model.head_width: Field required\)"):
        load(run.weights)
