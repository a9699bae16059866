"""The colour slots and label ids that meshes refer to."""

from dacs.labels import LABELS

LANE_MARKING = 35  # not in the label table: only SYNTHIA distinguishes lane marking (its 22) from road
IDS = {label.name: label.id for label in LABELS} | {"lane marking": LANE_MARKING}

TINT_SLOTS = 3  # a face takes one of three colours of its object, or a material that the whole frame shares
MATERIALS = (
    "glass", "tyre", "hub", "trim", "red lamp", "white lamp", "plate", "skin", "hair", "dark", "window", "shop", "roof",
    "pole", "casing", "red light", "amber light", "green light", "trunk", "road", "patch", "paint", "contact", "shaded",
    "kerb", "sidewalk", "terrain", "ground", "rail", "ballast", "parking", "bonnet", "gleam",
)  # fmt: skip
SLOTS = ("tint0", "tint1", "tint2", *MATERIALS)
SLOT = {name: index for index, name in enumerate(SLOTS)}
