"""Label sets: the classes of a run. That of Cityscapes is the default; the table has its ids in each data set.

Torch-free, since the workflow and the report read it too. Ids of GTA5 are those of Cityscapes, but for its license
plate, which has an id of its own (34). Sources: the Cityscapes label table; the SYNTHIA README; ProDA and CBST for the
subsets of 16 and 13 classes; DAFormer's code for the things.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

IGNORE = 255  # train id of every pixel that no loss and no metric counts


Color = tuple[int, int, int]  # red, green, blue, 0..255


class Class(NamedTuple):
    """One class of a label set."""

    name: str
    color: Color
    thing: bool = False  # an object that can be counted, whose features DAFormer keeps close to ImageNet's


@dataclass(frozen=True)
class LabelSet:
    """The classes of a run; the index of a class is its train id."""

    classes: tuple[Class, ...]
    groups: dict[str, tuple[int, ...]]  # train ids, besides those of all classes, over which mIoU is reported too
    members: dict[str, int]  # name of a raw class of a data set → train id as which it counts; others are ignored

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the classes, by train id."""
        return tuple(each.name for each in self.classes)

    @cached_property
    def things(self) -> tuple[int, ...]:
        """The train ids of things."""
        return tuple(train_id for train_id, each in enumerate(self.classes) if each.thing)

    def palette(self) -> np.ndarray:
        """Colours of the train ids for a palette PNG: uint8 of shape (256, 3), black beyond the classes."""
        colors = np.zeros((256, 3), dtype=np.uint8)
        colors[: len(self.classes)] = [each.color for each in self.classes]
        return colors

    def measured(self, absent: Collection[str] = ()) -> dict[str, tuple[int, ...]]:
        """The train ids of each mean that is reported on a data set without the `absent` classes; the first has all.

        A group that is called by its number of classes is called by the number that is left. One that is left with
        the classes of another, or with none, is not reported.

        >>> {name: len(ids) for name, ids in CITYSCAPES.measured(["wall", "fence", "truck"]).items()}
        {'16': 16, '14': 14, '13': 13}
        """
        left = tuple(train_id for train_id, name in enumerate(self.names) if name not in absent)
        found = {str(len(left)): left}
        for name, group in self.groups.items():
            ids = tuple(train_id for train_id in group if train_id in left)
            key = str(len(ids)) if name.isdecimal() else name
            if ids and ids not in found.values() and key not in found:
                found[key] = ids
        return found

    def headline(self, group: str, absent: Collection[str] = ()) -> str:
        """The name in `measured` of a group, or that of all classes where the group is not reported."""
        found = self.measured(absent)
        wanted = tuple(each for each in self.groups.get(group, ()) if self.names[each] not in absent)
        return next((name for name, ids in found.items() if ids == wanted), next(iter(found)))


class Label(NamedTuple):
    """One class of the street."""

    name: str
    id: int  # in Cityscapes' labelIds and GTA5's palette
    train_id: int  # 0..18, or 255: ignored
    synthia_id: int | None  # in the first channel of SYNTHIA's GT/LABELS; None: SYNTHIA does not know it
    in16: bool  # one of the 16 classes that SYNTHIA shares with Cityscapes
    in13: bool  # one of the 13 that papers before 2020 averaged over: without wall, fence, pole
    color: Color  # of the official palette
    thing: bool = False


# fmt: off
LABELS = (
    #     name                    id  train  synthia  in16   in13   color
    Label("unlabeled",             0,   255,     0,   False, False, (0, 0, 0)),
    Label("ego vehicle",           1,   255,  None,   False, False, (0, 0, 0)),
    Label("rectification border",  2,   255,  None,   False, False, (0, 0, 0)),
    Label("out of roi",            3,   255,  None,   False, False, (0, 0, 0)),
    Label("static",                4,   255,  None,   False, False, (0, 0, 0)),
    Label("dynamic",               5,   255,    14,   False, False, (111, 74, 0)),     # SYNTHIA: road-work
    Label("ground",                6,   255,  None,   False, False, (81, 0, 81)),
    Label("road",                  7,     0,     3,   True,  True,  (128, 64, 128)),
    Label("sidewalk",              8,     1,     4,   True,  True,  (244, 35, 232)),
    Label("parking",               9,   255,    13,   False, False, (250, 170, 160)),
    Label("rail track",           10,   255,  None,   False, False, (230, 150, 140)),
    Label("building",             11,     2,     2,   True,  True,  (70, 70, 70)),
    Label("wall",                 12,     3,    21,   True,  False, (102, 102, 156)),
    Label("fence",                13,     4,     5,   True,  False, (190, 153, 153)),
    Label("guard rail",           14,   255,  None,   False, False, (180, 165, 180)),
    Label("bridge",               15,   255,  None,   False, False, (150, 100, 100)),
    Label("tunnel",               16,   255,  None,   False, False, (150, 120, 90)),
    Label("pole",                 17,     5,     7,   True,  False, (153, 153, 153)),
    Label("polegroup",            18,   255,  None,   False, False, (153, 153, 153)),
    Label("traffic light",        19,     6,    15,   True,  True,  (250, 170, 30), True),
    Label("traffic sign",         20,     7,     9,   True,  True,  (220, 220, 0), True),
    Label("vegetation",           21,     8,     6,   True,  True,  (107, 142, 35)),
    Label("terrain",              22,     9,    16,   False, False, (152, 251, 152)),  # never in RAND-CITYSCAPES
    Label("sky",                  23,    10,     1,   True,  True,  (70, 130, 180)),
    Label("person",               24,    11,    10,   True,  True,  (220, 20, 60), True),
    Label("rider",                25,    12,    17,   True,  True,  (255, 0, 0), True),
    Label("car",                  26,    13,     8,   True,  True,  (0, 0, 142), True),
    Label("truck",                27,    14,    18,   False, False, (0, 0, 70), True),       # never in RAND-CITYSCAPES
    Label("bus",                  28,    15,    19,   True,  True,  (0, 60, 100), True),
    Label("caravan",              29,   255,  None,   False, False, (0, 0, 90)),
    Label("trailer",              30,   255,  None,   False, False, (0, 0, 110)),
    Label("train",                31,    16,    20,   False, False, (0, 80, 100), True),     # never in RAND-CITYSCAPES
    Label("motorcycle",           32,    17,    12,   True,  True,  (0, 0, 230), True),
    Label("bicycle",              33,    18,    11,   True,  True,  (119, 11, 32), True),
    Label("license plate",        34,   255,  None,   False, False, (0, 0, 142)),      # GTA5 only
)
# fmt: on

_STREET = sorted((label for label in LABELS if label.train_id != IGNORE), key=lambda label: label.train_id)
CITYSCAPES = LabelSet(
    classes=tuple(Class(label.name, label.color, label.thing) for label in _STREET),
    groups={
        "16": tuple(label.train_id for label in _STREET if label.in16),
        "13": tuple(label.train_id for label in _STREET if label.in13),
    },
    members={label.name: label.train_id for label in _STREET},
)
