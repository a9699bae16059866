"""Counts of a confusion matrix add; scores follow from them; what does not occur has no score."""

import numpy as np
import pytest

from dacs.evaluation.confusion import count, iou, predicted_as, scores
from dacs.labels import CLASS_SETS, IGNORE, NAMES

SCORES = ("miou19", "miou16", "miou13", "accuracy")


def images(seed: int, classes: int = 19) -> tuple[np.ndarray, np.ndarray]:
    """Ground truth with ignored pixels, and a prediction that is often correct; uint8 of shape (3, 8, 9)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, (3, 8, 9)).astype(np.uint8)
    predicted = np.where(rng.random(labels.shape) < 0.6, labels, rng.integers(0, classes, labels.shape))
    labels[rng.random(labels.shape) < 0.2] = IGNORE
    return labels, predicted.astype(np.uint8)


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.int64])
def test_counts_are_of_pairs_of_labelled_pixels(kind: type) -> None:
    labels, predicted = images(0)
    expected = np.zeros((19, 19), dtype=np.int64)
    np.add.at(expected, (labels[labels != IGNORE], predicted[labels != IGNORE]), 1)
    assert np.array_equal(count(labels.astype(kind), predicted), expected)
    assert np.array_equal(count(labels, predicted.astype(kind)), expected)


def test_counts_of_two_parts_add_up_to_the_counts_of_the_whole() -> None:
    one, other = images(1), images(2)
    both = [np.concatenate(parts) for parts in zip(one, other, strict=True)]
    assert np.array_equal(count(*one) + count(*other), count(*both))


def test_iou_is_intersection_over_union_of_sets_of_pixels() -> None:
    labels, predicted = images(5)
    known = labels != IGNORE
    for index, found in enumerate(iou(count(labels, predicted))):
        actual, guess = (labels == index) & known, (predicted == index) & known
        assert found == pytest.approx((actual & guess).sum() / (actual | guess).sum())


def test_a_class_in_neither_ground_truth_nor_prediction_has_no_iou() -> None:
    counts = count(*images(6, classes=4))
    each, found = iou(counts), scores(counts)
    assert np.isfinite(each).tolist() == [True] * 4 + [False] * 15
    assert [found["iou"][name] is not None for name in NAMES] == np.isfinite(each).tolist()
    assert found["miou19"] == pytest.approx(100 * np.mean(each[:4]), abs=1e-4)


def test_a_class_in_only_one_of_ground_truth_and_prediction_has_iou_0() -> None:
    counts = np.zeros((19, 19), int)
    counts[0, 5] = 3
    assert iou(counts)[0] == iou(counts)[5] == 0


def test_perfect_and_wholly_wrong_predictions_score_100_and_0() -> None:
    labels, _ = images(7)
    for shift, expected in ((0, 100), (1, 0)):
        found = scores(count(labels, np.where(labels == IGNORE, 0, (labels + shift) % 19)))
        assert [found[name] for name in SCORES] == [expected] * 4


def test_each_mean_is_the_plain_mean_over_its_classes() -> None:
    found = scores(count(*images(8)))
    for name, ids in CLASS_SETS.items():
        assert found[f"miou{name}"] == pytest.approx(np.mean([found["iou"][NAMES[index]] for index in ids]), abs=1e-3)


def test_absent_classes_have_no_iou_and_are_in_no_mean() -> None:
    counts = count(*images(9))
    found = scores(counts, absent=["sky", "train"])
    kept = [index for index, name in enumerate(NAMES) if name not in ("sky", "train")]
    assert found["iou"]["sky"] is found["iou"]["train"] is None
    assert found["miou19"] == pytest.approx(100 * iou(counts)[kept].mean(), abs=1e-4)


def test_scores_without_pixels_are_none() -> None:
    found = scores(np.zeros((19, 19), dtype=np.int64))
    assert {found[name] for name in SCORES} == {*found["iou"].values()} == {None}


def test_accuracy_is_the_share_of_correct_pixels() -> None:
    labels, predicted = images(10)
    correct = 100 * (labels == predicted)[labels != IGNORE].mean()
    assert scores(count(labels, predicted))["accuracy"] == pytest.approx(correct, abs=1e-4)


def test_predicted_as_is_a_share_of_the_ground_truth() -> None:
    counts = np.zeros((19, 19), int)
    counts[1, :2] = 3, 1  # sidewalk
    assert predicted_as(counts, "sidewalk", "road") == 75
    assert np.isnan(predicted_as(counts, "road", "sidewalk"))
