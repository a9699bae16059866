"""The words that models are written in: colour slots and label ids."""

from dacs.demo_world.shapes import Face, Model, build
from dacs.labels import LABELS

LANE_MARKING = 35  # not in the label table: SYNTHIA alone tells paint (its 22) from road
IDS = {label.name: label.id for label in LABELS} | {"lane marking": LANE_MARKING}

OWN = 3  # a face may ask for one of three colours of its thing, or for a material that the whole frame shares
MATERIALS = (
    "glass", "tyre", "hub", "trim", "red lamp", "white lamp", "plate", "skin", "hair", "dark", "window", "shop", "roof",
    "pole", "casing", "red light", "amber light", "green light", "trunk", "road", "patch", "paint", "contact", "shaded",
    "kerb", "sidewalk", "terrain", "ground", "rail", "ballast", "parking", "bonnet", "gleam",
)  # fmt: skip
SLOTS = ("own0", "own1", "own2", *MATERIALS)
SLOT = {name: index for index, name in enumerate(SLOTS)}


def model(faces: list[Face]) -> Model:
    """Faces as a model; an unknown slot or label is a KeyError."""
    return build(faces, SLOT, IDS)
