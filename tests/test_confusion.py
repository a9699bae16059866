"""Counts of a confusion matrix add; scores follow from them; what does not occur has no score."""

import numpy as np
import pytest

from dacs.evaluation.confusion import count, iou, predicted_as, scores, without_pixels
from dacs.labels import CITYSCAPES, IGNORE, Class, LabelSet

NAMES = CITYSCAPES.names
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


@pytest.mark.parametrize(("pixels", "stretch"), [(0, 1), (1, 1), (12, 12), (12, 5), (12, 1)])
def test_counts_do_not_depend_on_how_long_stretches_of_equal_pixels_are(pixels: int, stretch: int) -> None:
    classes = (np.arange(pixels) // stretch % 3).astype(np.uint8)
    found = count(classes, classes)
    assert np.diag(found)[:3].tolist() == [(classes == train_id).sum() for train_id in range(3)]
    assert (found.dtype, found.sum()) == (np.int64, pixels)


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
    each, found = iou(counts), scores(counts, CITYSCAPES)
    assert np.isfinite(each).tolist() == [True] * 4 + [False] * 15
    assert [found["iou"][name] is not None for name in NAMES] == np.isfinite(each).tolist()
    assert found["miou19"] == pytest.approx(100 * np.mean(each[:4]), abs=1e-4)


def test_a_class_in_the_ground_truth_only_has_iou_0_and_one_in_the_prediction_only_has_none() -> None:
    counts = np.zeros((19, 19), int)
    counts[0, 5] = 3
    assert iou(counts)[0] == 0
    assert np.isnan(iou(counts)[5])


def test_means_of_all_methods_are_over_the_same_classes_whatever_they_predict() -> None:
    """Train and terrain are not in the frames; one network predicts both, one a few pixels of train, one neither."""
    terrain, train = NAMES.index("terrain"), NAMES.index("train")
    labels = np.resize([i for i in range(19) if i not in (terrain, train)], (20, 17)).astype(np.uint8)
    careful, careless, reckless = labels.copy(), labels.copy(), labels.copy()
    careless[0, :1] = reckless[0, :1] = train
    reckless[0, 1:2] = terrain
    matrices = [count(labels, each) for each in (careful, careless, reckless)]
    assert [without_pixels(each, CITYSCAPES) for each in matrices] == [["terrain", "train"]] * 3
    assert [without_pixels(each, CITYSCAPES, ["train"]) for each in matrices] == [["terrain"]] * 3
    found = [scores(each, CITYSCAPES) for each in matrices]
    assert [sum(value is not None for value in each["iou"].values()) for each in found] == [17] * 3
    assert [each["miou19"] for each in found] == pytest.approx([100, 100 - 5 / 17, 100 - 10 / 17])  # 1 of 20 pixels
    assert [each["miou16"] for each in found] == pytest.approx([100, 100 - 5 / 16, 100 - 10 / 16])


def test_perfect_and_wholly_wrong_predictions_score_100_and_0() -> None:
    labels, _ = images(7)
    for shift, expected in ((0, 100), (1, 0)):
        found = scores(count(labels, np.where(labels == IGNORE, 0, (labels + shift) % 19)), CITYSCAPES)
        assert [found[name] for name in SCORES] == [expected] * 4


def test_each_mean_is_the_plain_mean_over_its_classes() -> None:
    found = scores(count(*images(8)), CITYSCAPES)
    for name, ids in CITYSCAPES.measured().items():
        assert found[f"miou{name}"] == pytest.approx(np.mean([found["iou"][NAMES[index]] for index in ids]), abs=1e-3)


def test_absent_classes_have_no_iou_and_are_in_no_mean() -> None:
    counts = count(*images(9))
    found = scores(counts, CITYSCAPES, absent=["sky", "train"])
    kept = [index for index, name in enumerate(NAMES) if name not in ("sky", "train")]
    assert found["iou"]["sky"] is found["iou"]["train"] is None
    assert found["miou17"] == pytest.approx(100 * iou(counts)[kept].mean(), abs=1e-4)
    assert [name for name in found if name.startswith("miou")] == ["miou17", "miou15", "miou12"]


def test_scores_without_pixels_are_none() -> None:
    nothing = np.zeros((19, 19), dtype=np.int64)
    found = scores(nothing, CITYSCAPES)
    assert without_pixels(nothing, CITYSCAPES) == []
    assert {found[name] for name in SCORES} == {*found["iou"].values()} == {None}


def test_accuracy_is_the_share_of_correct_pixels() -> None:
    labels, predicted = images(10)
    correct = 100 * (labels == predicted)[labels != IGNORE].mean()
    assert scores(count(labels, predicted), CITYSCAPES)["accuracy"] == pytest.approx(correct, abs=1e-4)


def test_predicted_as_is_a_share_of_the_ground_truth() -> None:
    counts = np.zeros((19, 19), int)
    counts[1, :2] = 3, 1  # sidewalk
    assert predicted_as(counts, CITYSCAPES, "sidewalk", "road") == 75
    assert np.isnan(predicted_as(counts, CITYSCAPES, "road", "sidewalk"))


@pytest.mark.parametrize("number", [2, 26, 150, 255])
def test_scores_of_any_label_set_have_its_names_and_those_of_its_groups(number: int) -> None:
    classes = tuple(Class(f"class {i}", (i + 1, 0, 0)) for i in range(number))
    groups = {"1": (1,), "small": (number - 1,), "first": (0,)}  # of two classes, "1" and small are the same
    own, (labels, predicted) = LabelSet(classes, groups, {}), images(11, number)
    counts, rows = np.zeros((number, number), int), (labels != IGNORE).nonzero()
    np.add.at(counts, (labels[rows], predicted[rows]), 1)
    assert np.array_equal(count(labels, predicted, number), counts)
    found = scores(counts, own)
    means = ["miou2", "miou1", "miou_first"] if number == 2 else [f"miou{number}", "miou1", "miou_small", "miou_first"]
    assert [*found] == [*means, "accuracy", "iou"]
    assert [*found["iou"]] == [each.name for each in classes]
    actual, guess = labels[rows] == 0, predicted[rows] == 0
    expected = 100 * (actual & guess).sum() / (actual | guess).sum() if actual.any() else None
    assert found["miou_first"] == found["iou"]["class 0"] == (None if expected is None else pytest.approx(expected))
    assert without_pixels(counts, own) == [f"class {i}" for i in range(number) if not (labels[rows] == i).any()]
