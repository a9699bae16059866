"""The label table against the tables of the data sets, written down once more by other hands."""

import numpy as np

from dacs import labels

# Ids as the authors' loaders map them.
GTA5 = dict(zip((7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33), range(19), strict=True))
SYNTHIA = {
    3: 0,
    4: 1,
    2: 2,
    21: 3,
    5: 4,
    7: 5,
    15: 6,
    9: 7,
    6: 8,
    16: 9,
    1: 10,
    10: 11,
    17: 12,
    8: 13,
    18: 14,
}
SYNTHIA |= {19: 15, 20: 16, 12: 17, 11: 18}


def classes_of(table: dict[int, int]) -> dict[int, int]:
    return {raw: train for raw, train in table.items() if train != labels.IGNORE}


def test_train_ids_are_the_19_of_cityscapes_in_order() -> None:
    assert [label.train_id for label in labels.CLASSES] == list(range(19))
    assert labels.NAMES == (
        "road",
        "sidewalk",
        "building",
        "wall",
        "fence",
        "pole",
        "traffic light",
        "traffic sign",
        "vegetation",
        "terrain",
        "sky",
        "person",
        "rider",
        "car",
        "truck",
        "bus",
        "train",
        "motorcycle",
        "bicycle",
    )


def test_every_id_that_a_label_may_hold_has_one_train_id() -> None:
    assert sorted(labels.gta5_to_train()) == list(range(35))
    assert sorted(labels.cityscapes_to_train()) == list(range(34))
    assert sorted(labels.synthia_to_train()) == list(range(23))


def test_ids_map_as_in_the_authors_loaders() -> None:
    assert classes_of(labels.gta5_to_train()) == GTA5
    assert classes_of(labels.cityscapes_to_train()) == GTA5
    assert classes_of(labels.synthia_to_train()) == SYNTHIA


def test_13_classes_lie_in_16_and_16_in_19() -> None:
    sets = {name: set(ids) for name, ids in labels.CLASS_SETS.items()}
    assert {name: len(ids) for name, ids in sets.items()} == {"19": 19, "16": 16, "13": 13}
    assert sets["13"] < sets["16"] < sets["19"]
    assert {labels.NAMES[i] for i in sets["19"] - sets["16"]} == {"terrain", "truck", "train"}
    assert {labels.NAMES[i] for i in sets["16"] - sets["13"]} == {"wall", "fence", "pole"}


def test_the_16_classes_are_those_that_synthia_has() -> None:
    assert all(label.synthia_id is not None for label in labels.CLASSES if label.in16)


def test_names_and_ids_occur_once_and_colours_tell_the_19_apart() -> None:
    assert len({label.name for label in labels.LABELS}) == len(labels.LABELS)
    assert [label.id for label in labels.LABELS] == list(range(35))
    assert len({label.color for label in labels.CLASSES}) == 19


def test_the_palette_shows_each_class_in_its_colour_and_ignored_pixels_in_black() -> None:
    palette = labels.palette()
    assert palette.shape == (256, 3)
    assert palette.dtype == np.uint8
    assert [tuple(palette[label.train_id].tolist()) for label in labels.CLASSES] == [
        label.color for label in labels.CLASSES
    ]
    assert not palette[19:].any()


def test_the_table_is_the_official_one_of_cityscapes() -> None:
    from cityscapesscripts.helpers.labels import labels as official

    known = {label.id: label for label in official if label.id >= 0}
    ours = {label.id: label for label in labels.LABELS if label.id in known}
    assert ours.keys() == known.keys()
    for number, label in known.items():
        assert (ours[number].name, ours[number].train_id) == (label.name, label.trainId)
    colors = {number: label.color for number, label in ours.items()}
    assert colors == {number: label.color for number, label in known.items()} | {4: (20, 20, 20)}  # static, as in GTA5
    assert labels.cityscapes_to_train() == {number: label.trainId for number, label in known.items()}
