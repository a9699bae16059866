"""The label table: every class, its id in each data set, and the sets that papers average over.

Torch-free, since the workflow and the report read it too. Ids of GTA5 are those of Cityscapes, but for its license
plate, which has an id of its own (34). Sources: the Cityscapes label table; the SYNTHIA README; ProDA and CBST for the
subsets of 16 and 13 classes.
"""

from typing import NamedTuple

import numpy as np

IGNORE = 255  # train id of every pixel that no loss and no metric counts


class Label(NamedTuple):
    """One class of the street."""

    name: str
    id: int  # in Cityscapes' labelIds and GTA5's palette
    train_id: int  # 0..18, or 255: ignored
    synthia_id: int | None  # in the first channel of SYNTHIA's GT/LABELS; None: SYNTHIA does not know it
    in16: bool  # one of the 16 classes that SYNTHIA shares with Cityscapes
    in13: bool  # one of the 13 that papers before 2020 averaged over: without wall, fence, pole
    color: tuple[int, int, int]  # RGB, the official palette


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
    Label("traffic light",        19,     6,    15,   True,  True,  (250, 170, 30)),
    Label("traffic sign",         20,     7,     9,   True,  True,  (220, 220, 0)),
    Label("vegetation",           21,     8,     6,   True,  True,  (107, 142, 35)),
    Label("terrain",              22,     9,    16,   False, False, (152, 251, 152)),  # never in RAND-CITYSCAPES
    Label("sky",                  23,    10,     1,   True,  True,  (70, 130, 180)),
    Label("person",               24,    11,    10,   True,  True,  (220, 20, 60)),
    Label("rider",                25,    12,    17,   True,  True,  (255, 0, 0)),
    Label("car",                  26,    13,     8,   True,  True,  (0, 0, 142)),
    Label("truck",                27,    14,    18,   False, False, (0, 0, 70)),       # never in RAND-CITYSCAPES
    Label("bus",                  28,    15,    19,   True,  True,  (0, 60, 100)),
    Label("caravan",              29,   255,  None,   False, False, (0, 0, 90)),
    Label("trailer",              30,   255,  None,   False, False, (0, 0, 110)),
    Label("train",                31,    16,    20,   False, False, (0, 80, 100)),     # never in RAND-CITYSCAPES
    Label("motorcycle",           32,    17,    12,   True,  True,  (0, 0, 230)),
    Label("bicycle",              33,    18,    11,   True,  True,  (119, 11, 32)),
    Label("license plate",        34,   255,  None,   False, False, (0, 0, 142)),      # GTA5 only
)
# fmt: on

CLASSES = tuple(sorted((label for label in LABELS if label.train_id != IGNORE), key=lambda label: label.train_id))
NAMES = tuple(label.name for label in CLASSES)  # index = train id
CLASS_SETS = {  # mIoU over each set is the plain mean over these train ids
    "19": tuple(range(19)),
    "16": tuple(label.train_id for label in CLASSES if label.in16),
    "13": tuple(label.train_id for label in CLASSES if label.in13),
}


def palette() -> np.ndarray:
    """Colours of the train ids for a palette PNG: uint8 of shape (256, 3), black beyond the 19."""
    colors = np.zeros((256, 3), dtype=np.uint8)
    colors[: len(CLASSES)] = [label.color for label in CLASSES]
    return colors
