"""Pseudo-labels of a teacher: accuracy, share and calibration against numbers computed by hand."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from dacs.evaluation.calibration import PseudoLabels
from dacs.evaluation.counts import read_counts
from dacs.evaluation.evaluate import evaluate_run, load
from dacs.labels import CITYSCAPES, IGNORE
from dacs.layout import EvaluationDir, PreparedDomain, RunDir
from dacs.loading.split import Split

NAMES = CITYSCAPES.names
MEDIAN = 0.0605  # confidence of a network without training, in evaluation mode


def counted(
    given: list[int], confidence: list[float], truth: list[int] | None, threshold: float | None = 0.9
) -> PseudoLabels:
    """Pseudo-labels of a frame of one row."""
    found = PseudoLabels(CITYSCAPES, threshold)
    label = None if truth is None else torch.tensor([truth], dtype=torch.uint8)
    found.add(torch.tensor([given]), torch.tensor([confidence]), label)
    return found


# ---- by hand


def test_a_small_example() -> None:
    """ECE: 2/5 |0.5 - 0.95| + 2/5 |1 - 0.65| + 1/5 |0 - 0.25| = 0.18 + 0.14 + 0.05; the sixth pixel is ignored."""
    found = counted([0, 0, 1, 1, 2, 2], [0.95, 0.95, 0.65, 0.65, 0.25, 0.99], [0, 1, 1, 1, 0, IGNORE])
    assert found.summary() == pytest.approx(
        {"pseudo_accuracy": 60, "confident_accuracy": 50, "confident_share": 40, "ece": 37}, abs=1e-4
    )
    bins = {row["low"]: row for row in found.reliability()}
    assert [(row["low"], row["high"]) for row in found.reliability()] == [(low, low + 10) for low in range(0, 100, 10)]
    assert [bins[low]["pixels"] for low in (20, 60, 90, 0)] == [1, 2, 2, 0]
    assert [bins[low]["accuracy"] for low in (20, 60, 90, 0)] == [0, 100, 50, None]
    assert [bins[low]["confidence"] for low in (20, 60, 90)] == pytest.approx([25, 65, 95], abs=1e-4)
    by_class = {row["class"]: (row["confident_share"], row["truth_share"]) for row in found.by_class()}
    assert by_class == dict.fromkeys(NAMES, (0, 0)) | {"road": (100, 40), "sidewalk": (0, 60)}


def test_a_bin_has_its_upper_bound_and_the_threshold_is_confident() -> None:
    found = counted([0, 0, 0, 0], [0.1, 0.3, 0.9, 1.0], [0, 0, 0, 0])
    pixels = {row["high"]: row["pixels"] for row in found.reliability()}
    assert [high for high, number in pixels.items() if number] == [10, 30, 90, 100]
    assert found.summary()["confident_share"] == 50


def test_frames_add_up() -> None:
    given, confidence, truth = [0, 1, 2, 2], [0.95, 0.45, 0.97, 0.6], [0, 2, 1, 2]
    whole, parts = counted(given, confidence, truth), counted(given[:1], confidence[:1], truth[:1])
    parts.add(*(torch.tensor([values[1:]]) for values in (given, confidence)), torch.tensor([truth[1:]]).byte())
    assert (whole.summary(), whole.reliability(), whole.by_class()) == (
        parts.summary(),
        parts.reliability(),
        parts.by_class(),
    )


def test_without_ground_truth_the_share_of_confident_pixels_is_known_alone() -> None:
    found = counted([0, 0, 1, 2], [0.95, 0.4, 0.92, 0.2], None)
    assert found.summary() == {
        "pseudo_accuracy": None,
        "confident_accuracy": None,
        "confident_share": 50,
        "ece": None,
    }
    assert {row["accuracy"] for row in found.reliability()} == {None}
    shares = {row["class"]: (row["confident_share"], row["truth_share"]) for row in found.by_class()}
    assert shares == dict.fromkeys(NAMES, (0, None)) | {"road": (50, None), "sidewalk": (50, None)}


def test_without_a_threshold_nothing_is_called_confident() -> None:
    found = counted([0, 1], [0.95, 0.45], [0, 0], threshold=None)
    assert found.summary() == pytest.approx(
        {"pseudo_accuracy": 50, "confident_accuracy": None, "confident_share": None, "ece": 25}, abs=1e-4
    )
    assert {row["confident_share"] for row in found.by_class()} == {None}


# ---- of a run


@pytest.fixture(scope="module")
def target(ready: Path) -> PreparedDomain:
    return PreparedDomain(ready / "cityscapes")


def evaluate(run: RunDir, target: PreparedDomain, out: Path, split: str = "val", **changes: Any) -> EvaluationDir:
    found = EvaluationDir(out)
    evaluate_run(run, target.split(split), target.train, found, tiny.evaluate_job(**changes))
    return found


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def teacher(weights: Path, run: RunDir, split: Split, *, together: int = 0) -> np.ndarray:
    """Probabilities of a teacher for all frames; its BatchNorm normalises so many `together`, or by its averages."""
    network = load(weights, run).train(bool(together))
    images = Split(split.prepared).spread_images(len(split)) / 255
    with torch.no_grad():
        return torch.cat([network(part).softmax(1) for part in images.split(together or 1)]).numpy()


def expected(probability: np.ndarray, truth: np.ndarray, threshold: float) -> dict[str, float]:
    """The columns of checkpoints.csv, from the definition."""
    known = truth != IGNORE
    confidence, correct = probability.max(1)[known], (probability.argmax(1) == truth)[known]
    confident = confidence >= np.float32(threshold)
    ece = 0.0
    for low in np.arange(10, dtype=np.float32) / np.float32(10):
        inside = (confidence > low) & (confidence <= np.float32(low + np.float32(0.1)))
        ece += abs(correct[inside].sum() - confidence[inside].sum(dtype=float)) / len(correct)
    return {
        "pseudo_accuracy": 100 * correct.mean(),
        "confident_accuracy": 100 * correct[confident].mean(),
        "confident_share": 100 * confident.mean(),
        "ece": 100 * ece,
    }


@pytest.mark.parametrize(
    ("statistics", "teacher_bn", "together", "threshold"),
    [("live", "running", 0, MEDIAN), ("target", "batch", 0, MEDIAN), ("live", "batch", tiny.LOOP["batch"], 0.15)],
)
def test_pseudo_labels_are_those_of_the_teacher_as_it_gave_them(
    statistics: str, teacher_bn: str, together: int, threshold: float, target: PreparedDomain, tmp_path: Path
) -> None:
    """In evaluation mode, or in batches of the run's size where each was normalised by itself."""
    changes = {"bn_statistics": statistics, "teacher_bn": teacher_bn, "threshold": threshold}
    run, split = tiny.run_with_snapshots(tmp_path / "run", **changes), Split(target.split("val"))
    out = evaluate(run, target, tmp_path / "out", batch=3)
    truth = torch.stack([split.label(i) for i in range(len(split))]).numpy()
    for row, weights in zip(
        rows(out.checkpoints), [run.snapshot(2, "teacher"), run.snapshot(4, "teacher"), run.teacher], strict=True
    ):
        wanted = expected(teacher(weights, run, split, together=together), truth, threshold)
        assert 0 < wanted["confident_share"] < 100
        assert {name: float(row[name]) for name in wanted} == pytest.approx(wanted, abs=1e-3)
    matrix = read_counts(out.counts).matrix("last/teacher/prepared")  # in evaluation mode always
    predicted = teacher(run.teacher, run, split).argmax(1)
    assert np.trace(matrix) == (predicted == truth).sum()


def test_merged_classes_count_as_the_other(target: PreparedDomain, tmp_path: Path) -> None:
    run, split = tiny.run_with_snapshots(tmp_path / "run", threshold=MEDIAN), Split(target.split("val"))
    truth = torch.stack([split.label(i) for i in range(len(split))]).numpy()
    predicted = teacher(run.teacher, run, split).argmax(1)
    most = int(np.bincount(predicted[truth != IGNORE]).argmax())
    other = (most + 1) % len(NAMES)
    out = evaluate(run, target, tmp_path / "out", merged={NAMES[most]: NAMES[other]})
    merged = np.where(predicted == most, other, predicted)
    accuracy = 100 * (merged == truth)[truth != IGNORE].mean()
    assert float(rows(out.checkpoints)[-1]["pseudo_accuracy"]) == pytest.approx(accuracy, abs=1e-3)
    last = {row["class"]: row for row in rows(out.confident) if row["step"] == "6"}
    assert float(last[NAMES[most]]["confident_share"]) == 0
    pixels = np.bincount(truth[truth != IGNORE], minlength=len(NAMES))
    shares = [float(last[name]["truth_share"]) for name in NAMES]
    assert shares == pytest.approx((100 * pixels / pixels.sum()).tolist(), abs=1e-3)


def test_an_unlabelled_target_has_the_share_of_as_many_frames_as_the_criteria(
    target: PreparedDomain, tmp_path: Path
) -> None:
    run, split = tiny.run_with_snapshots(tmp_path / "run", threshold=MEDIAN), Split(target.train)
    out = evaluate(run, target, tmp_path / "out", split="train", criteria_frames=2, labels="full")
    confident = teacher(run.teacher, run, split)[[0, 2]].max(1) >= np.float32(MEDIAN)
    last = rows(out.checkpoints)[-1]
    assert float(last["confident_share"]) == pytest.approx(100 * confident.mean(), abs=1e-3)
    assert [last[name] for name in ("student", "teacher", "pseudo_accuracy", "confident_accuracy", "ece")] == [""] * 5
    assert sum(int(row["pixels"]) for row in rows(out.calibration) if row["step"] == "6") == confident.size
    assert {row["truth_share"] for row in rows(out.confident)} == {""}
