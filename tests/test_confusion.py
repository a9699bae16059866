"""Counts of a confusion matrix add; scores are arithmetic on them; what did not occur is no number."""

import itertools

import numpy as np
import pytest

from dacs.evaluation.confusion import count, iou, scores
from dacs.labels import CLASS_SETS, IGNORE, NAMES


def frames(seed: int, classes: int = 19, void: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Truth with void in it, and a prediction that is often right; uint8 of shape (frames, height, width)."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, (3, 8, 9)).astype(np.uint8)
    predicted = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, classes, truth.shape)).astype(np.uint8)
    return np.where(rng.random(truth.shape) < void, IGNORE, truth).astype(np.uint8), predicted


def test_counts_agree_with_a_slow_loop() -> None:
    truth, predicted = frames(0)
    slow = np.zeros((19, 19), dtype=np.int64)
    for true, guess in zip(truth.flat, predicted.flat, strict=True):
        if true != IGNORE:
            slow[true, guess] += 1
    assert np.array_equal(count(truth, predicted), slow)


def test_counts_of_two_parts_are_the_counts_of_the_whole() -> None:
    one, other = frames(1), frames(2)
    both = [np.concatenate(parts) for parts in zip(one, other, strict=True)]
    assert np.array_equal(count(*one) + count(*other), count(*both))
    assert np.array_equal(sum(count(t, p) for t, p in zip(*both, strict=True)), count(*both))


def test_every_labelled_pixel_is_counted_once() -> None:
    truth, predicted = frames(3)
    found = count(truth, predicted)
    assert found.sum() == (truth != IGNORE).sum()
    assert np.array_equal(found.sum(1), np.bincount(truth[truth != IGNORE], minlength=19))


def test_void_is_not_counted_whatever_was_predicted_there() -> None:
    truth, predicted = frames(4)
    other = np.where(truth == IGNORE, 7, predicted).astype(np.uint8)
    assert np.array_equal(count(truth, predicted), count(truth, other))
    assert not count(np.full((2, 2), IGNORE, np.uint8), np.zeros((2, 2), np.uint8)).any()


def test_iou_is_intersection_over_union_of_sets_of_pixels() -> None:
    truth, predicted = frames(5)
    known = truth != IGNORE
    for label, found in enumerate(iou(count(truth, predicted))):
        true, guess = (truth == label) & known, (predicted == label) & known
        assert found == pytest.approx((true & guess).sum() / (true | guess).sum())


def test_a_class_in_neither_truth_nor_prediction_is_no_number() -> None:
    truth, predicted = frames(6, classes=4)
    found = iou(count(truth, predicted))
    assert np.isfinite(found[:4]).all()
    assert np.isnan(found[4:]).all()
    told = scores(count(truth, predicted))
    assert told["iou"][NAMES[3]] is not None
    assert told["iou"][NAMES[4]] is None
    assert told["miou19"] == pytest.approx(100 * np.mean(found[:4]), abs=1e-4)


def test_a_class_that_was_only_predicted_or_only_true_counts_as_0() -> None:
    only_predicted, only_true = np.zeros((19, 19), int), np.zeros((19, 19), int)
    only_predicted[0, 5] = only_true[5, 0] = 3
    assert iou(only_predicted)[5] == iou(only_true)[5] == 0


def test_perfect_and_wholly_wrong_predictions_score_100_and_0() -> None:
    truth, _ = frames(7)
    perfect = scores(count(truth, np.where(truth == IGNORE, 0, truth).astype(np.uint8)))
    wrong = scores(count(truth, np.where(truth == IGNORE, 0, (truth + 1) % 19).astype(np.uint8)))
    for name in ("miou19", "miou16", "miou13", "accuracy"):
        assert perfect[name] == 100
        assert wrong[name] == 0


def test_each_mean_is_the_plain_mean_over_its_classes() -> None:
    found = scores(count(*frames(8)))
    for name, ids in CLASS_SETS.items():
        each = [found["iou"][NAMES[label]] for label in ids]
        assert found[f"miou{name}"] == pytest.approx(sum(each) / len(each), abs=1e-3)


def test_classes_that_score_0_pull_the_mean_of_19_below_that_of_16() -> None:
    """The convention for SYNTHIA: with terrain, truck and train at 0, mIoU16 = mIoU19 * 19 / 16."""
    matrix = count(*frames(9, void=0.0))
    for label in set(CLASS_SETS["19"]) - set(CLASS_SETS["16"]):
        matrix[label, 0] += matrix[label].sum()
        matrix[label, 1:] = 0
        matrix[1:, label] = 0
        matrix[0, label] = 0
    found = scores(matrix)
    assert found["miou16"] == pytest.approx(found["miou19"] * 19 / 16, abs=1e-3)


def test_nothing_counted_scores_nothing() -> None:
    found = scores(np.zeros((19, 19), dtype=np.int64))
    assert {found[name] for name in ("miou19", "miou16", "miou13", "accuracy")} == {None}
    assert set(found["iou"].values()) == {None}


def test_accuracy_is_the_share_of_right_pixels() -> None:
    truth, predicted = frames(10)
    known = truth != IGNORE
    assert scores(count(truth, predicted))["accuracy"] == pytest.approx(
        100 * (truth == predicted)[known].mean(), abs=1e-4
    )


def test_all_dtypes_of_labels_count_alike() -> None:
    truth, predicted = frames(11)
    found = [
        count(truth.astype(a), predicted.astype(b))
        for a, b in itertools.product((np.uint8, np.int32, np.int64), repeat=2)
    ]
    assert all(np.array_equal(one, found[0]) for one in found)
