"""The label table and the ids of the data sets against the tables of others; label sets of any size."""

from typing import Any

import numpy as np
import pytest
import trees

from dacs import labels
from dacs.datasets.registry import DATASETS
from dacs.labels import CITYSCAPES, IGNORE
from dacs.settings import Labels

# Raw ids of the 19 classes in the order of their train ids, as the authors' loaders map them.
AUTHORS = {
    "gta5": (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33),
    "synthia": (3, 4, 2, 21, 5, 7, 15, 9, 6, 16, 1, 10, 17, 8, 18, 19, 20, 12, 11),
}


def own(classes: dict[str, Any], **more: Any) -> labels.LabelSet:
    return Labels.model_validate({"classes": classes, **more}, strict=False).label_set


def color(number: int) -> tuple[int, int, int]:
    return (number + 1, 200 - number % 7, 255 - number)


def test_every_id_that_a_label_may_hold_has_one_train_id_and_a_name() -> None:
    for domain, raw_ids in trees.RAW_IDS.items():
        row = DATASETS[domain]
        assert sorted(row.train_ids(CITYSCAPES)) == sorted(row.id_names) == list(raw_ids)


def test_ids_map_as_in_the_authors_loaders() -> None:
    for domain, raw_ids in AUTHORS.items():
        row = DATASETS[domain]
        found = {raw: train for raw, train in row.train_ids(CITYSCAPES).items() if train != IGNORE}
        assert found == {raw: train for train, raw in enumerate(raw_ids)}
        assert {raw: row.id_names[raw] for raw in raw_ids} == dict(zip(raw_ids, CITYSCAPES.names, strict=True))
    assert (DATASETS["gta5"].id_names[34], DATASETS["synthia"].id_names[22]) == ("license plate", "lane marking")


def test_13_classes_are_among_16_and_16_among_19() -> None:
    sets = {name: set(ids) for name, ids in CITYSCAPES.measured().items()}
    assert {name: len(ids) for name, ids in sets.items()} == {"19": 19, "16": 16, "13": 13}
    assert sets["13"] < sets["16"] < sets["19"]
    assert {CITYSCAPES.names[i] for i in sets["19"] - sets["16"]} == {"terrain", "truck", "train"}
    assert all(label.synthia_id is not None for label in labels.LABELS if label.in16)
    assert {CITYSCAPES.names[i] for i in sets["16"] - sets["13"]} == {"wall", "fence", "pole"}


def test_names_and_ids_occur_once_and_colours_distinguish_the_19() -> None:
    assert len({label.name for label in labels.LABELS}) == len(labels.LABELS)
    assert [label.id for label in labels.LABELS] == list(range(35))
    assert len({each.color for each in CITYSCAPES.classes}) == 19


def test_the_palette_has_each_class_in_its_colour_and_ignored_pixels_in_black() -> None:
    palette = CITYSCAPES.palette()
    assert (palette.shape, palette.dtype) == ((256, 3), np.uint8)
    assert [tuple(row) for row in palette[:19].tolist()] == [each.color for each in CITYSCAPES.classes]
    assert not palette[19:].any()


def test_the_table_is_the_official_one_of_cityscapes() -> None:
    from cityscapesscripts.helpers.labels import labels as official

    known = {label.id: label for label in official if label.id >= 0}
    ours = {label.id: label for label in labels.LABELS if label.id in known}
    assert ours.keys() == known.keys()
    for number, label in known.items():
        assert (ours[number].name, ours[number].train_id) == (label.name, label.trainId)
    assert {number: label.color for number, label in ours.items()} == {
        number: label.color for number, label in known.items()
    }
    (plate,) = (label for label in official if label.name == "license plate")  # whose id in GTA5 is 34
    assert (labels.LABELS[34].name, labels.LABELS[34].color) == (plate.name, plate.color)
    names = {label.trainId: label.name for label in known.values()}
    assert tuple(map(names.get, range(19))) == CITYSCAPES.names
    assert DATASETS["cityscapes"].train_ids(CITYSCAPES) == {number: label.trainId for number, label in known.items()}


# ---- other label sets


def test_things_are_those_of_daformer() -> None:
    names = "traffic light, traffic sign, person, rider, car, truck, bus, train, motorcycle, bicycle"
    assert [CITYSCAPES.names[each] for each in CITYSCAPES.things] == names.split(", ")


@pytest.mark.parametrize("number", [2, 7, 26, 150, 255])
def test_a_label_set_may_have_2_to_255_classes(number: int) -> None:
    found = own({f"class {each}": {"color": color(each)} for each in range(number)})
    assert (len(found.names), list(found.measured())) == (number, [str(number)])
    assert len({tuple(row) for row in found.palette()[:number].tolist()}) == number


def test_a_class_covers_raw_classes_of_its_own_name_and_those_that_it_lists() -> None:
    two = own({"drivable": {"color": (1, 2, 3), "of": ["road", "parking"]}, "sky": {"color": (4, 5, 6)}})
    ids = DATASETS["gta5"].train_ids(two)
    assert {raw: train for raw, train in ids.items() if train != IGNORE} == {7: 0, 9: 0, 23: 1}
    synthia = DATASETS["synthia"].train_ids(two)
    assert {raw: train for raw, train in synthia.items() if train != IGNORE} == {3: 0, 13: 0, 1: 1}
    assert DATASETS["cityscapes"].lacks(own({"sky": {"color": (1, 2, 3)}, "water": {"color": (4, 5, 6)}})) == ("water",)


def test_one_class_more_than_the_19_keeps_their_ids_and_their_means() -> None:
    more = own({"lane marking": {"color": (255, 255, 0)}}, base="cityscapes")
    assert more.names == (*CITYSCAPES.names, "lane marking")
    assert {name: len(ids) for name, ids in more.measured().items()} == {"20": 20, "19": 19, "16": 16, "13": 13}
    assert DATASETS["synthia"].train_ids(more)[22] == 19
    assert DATASETS["cityscapes"].lacks(more) == ("lane marking",)
    assert more.measured(["lane marking"]) == CITYSCAPES.measured()  # not twice over the same classes


def test_means_are_called_by_the_number_of_classes_that_are_left() -> None:
    lacking = DATASETS["camvid"].lacks(CITYSCAPES)
    assert {name: len(ids) for name, ids in CITYSCAPES.measured(lacking).items()} == {"11": 11, "9": 9}
    assert [CITYSCAPES.headline(group, lacking) for group in ("", "16", "13")] == ["11", "11", "9"]
    assert [CITYSCAPES.headline(group) for group in ("", "16", "unknown")] == ["19", "16", "19"]


def test_groups_have_means_of_their_own_unless_nothing_of_them_is_left() -> None:
    classes = {name: {"color": color(number)} for number, name in enumerate(("tree", "car", "van"))}
    found = own(classes, groups={"vehicles": ["van", "car"], "plants": ["tree"]})
    assert found.measured() == {"3": (0, 1, 2), "vehicles": (1, 2), "plants": (0,)}
    assert found.measured(["tree", "van"]) == {"1": (1,)}


def test_labels_that_do_not_tell_classes_apart_count_as_the_first() -> None:
    camvid = DATASETS["camvid"]
    assert (camvid.merged(CITYSCAPES), camvid.train_ids(CITYSCAPES)[10]) == ({"bicycle": "rider"}, 12)
    cyclist = own({"cyclist": {"color": (1, 2, 3), "of": ["rider", "bicycle"]}, "car": {"color": (4, 5, 6)}})
    assert (camvid.merged(cyclist), camvid.lacks(cyclist)) == ({}, ())
