"""The label table and the ids of the data sets against the tables of others."""

import numpy as np
import trees

from dacs import labels
from dacs.datasets.registry import DATASETS

# Raw ids of the 19 classes in the order of their train ids, as the authors' loaders map them.
AUTHORS = {
    "gta5": (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33),
    "synthia": (3, 4, 2, 21, 5, 7, 15, 9, 6, 16, 1, 10, 17, 8, 18, 19, 20, 12, 11),
}


def test_every_id_that_a_label_may_hold_has_one_train_id_and_a_name() -> None:
    for domain, raw_ids in trees.RAW_IDS.items():
        assert sorted(DATASETS[domain].train_ids) == sorted(DATASETS[domain].id_names) == list(raw_ids)


def test_ids_map_as_in_the_authors_loaders() -> None:
    for domain, raw_ids in AUTHORS.items():
        row = DATASETS[domain]
        found = {raw: train for raw, train in row.train_ids.items() if train != labels.IGNORE}
        assert found == {raw: train for train, raw in enumerate(raw_ids)}
        assert {raw: row.id_names[raw] for raw in raw_ids} == dict(zip(raw_ids, labels.NAMES, strict=True))
    assert (DATASETS["gta5"].id_names[34], DATASETS["synthia"].id_names[22]) == ("license plate", "lane marking")


def test_13_classes_are_among_16_and_16_among_19() -> None:
    sets = {name: set(ids) for name, ids in labels.CLASS_SETS.items()}
    assert {name: len(ids) for name, ids in sets.items()} == {"19": 19, "16": 16, "13": 13}
    assert sets["13"] < sets["16"] < sets["19"]
    assert {labels.NAMES[i] for i in sets["19"] - sets["16"]} == {"terrain", "truck", "train"}
    assert all(label.synthia_id is not None for label in labels.CLASSES if label.in16)
    assert {labels.NAMES[i] for i in sets["16"] - sets["13"]} == {"wall", "fence", "pole"}


def test_names_and_ids_occur_once_and_colours_distinguish_the_19() -> None:
    assert len({label.name for label in labels.LABELS}) == len(labels.LABELS)
    assert [label.id for label in labels.LABELS] == list(range(35))
    assert len({label.color for label in labels.CLASSES}) == 19


def test_the_palette_has_each_class_in_its_colour_and_ignored_pixels_in_black() -> None:
    palette = labels.palette()
    assert (palette.shape, palette.dtype) == ((256, 3), np.uint8)
    assert [tuple(row) for row in palette[:19].tolist()] == [label.color for label in labels.CLASSES]
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
    assert tuple(map(names.get, range(19))) == labels.NAMES
    assert DATASETS["cityscapes"].train_ids == {number: label.trainId for number, label in known.items()}
