"""The things of a street as models: tables of faces built once. Nothing here knows of domains or of chance.

Local axes: the front of a vehicle looks along +z, feet stand at y = 0. Sizes are metres; houses, walls and ground
strips are unit blocks that the street stretches.
"""

from functools import lru_cache

import numpy as np

from dacs.labels import LABELS
from dacs.world.shapes import Face, Model, Quad, bar, box, build, disc, frustum, panel, plate, side_disc

LANE_MARKING = 35  # not in the label table: SYNTHIA alone tells paint (its 22) from road
IDS = {label.name: label.id for label in LABELS} | {"lane marking": LANE_MARKING}

# Colours a face may ask for: three of the thing itself, then the materials that a whole frame shares.
SLOTS = (
    "own0", "own1", "own2", "glass", "tyre", "hub", "trim", "red lamp", "white lamp", "plate", "skin", "hair", "dark",
    "window", "shop", "roof", "pole", "casing", "red light", "amber light", "green light", "trunk", "road", "patch",
    "paint", "contact", "kerb", "sidewalk", "terrain", "ground", "rail", "ballast", "parking", "bonnet", "gleam",
)  # fmt: skip
SLOT = {name: index for index, name in enumerate(SLOTS)}


def _model(faces: list[Face], unit: bool = False) -> Model:
    return build(faces, SLOT, IDS, unit)


def _wheels(label: str, half: float, places: tuple[float, ...], radius: float) -> list[Face]:
    faces = []
    for z in places:
        for x in (-half, half):
            faces.append(Face(side_disc(x, radius, z, radius), "tyre", label))
            faces.append(Face(side_disc(x * 1.01, radius, z, radius * 0.55), "hub", label))
    return faces


def _solid(sides: dict[str, Quad], slots: dict[str, str], label: str, otherwise: str = "own0") -> list[Face]:
    return [Face(quad, slots.get(side, otherwise), label) for side, quad in sides.items()]


def _contact(half: float, rear: float, front: float) -> Face:
    """The dark of the road under a vehicle."""
    return Face([(-half, 0.01, rear), (-half, 0.01, front), (half, 0.01, front), (half, 0.01, rear)], "contact", "road")


def _lamps(body: dict[str, Quad], label: str, up: tuple[float, float]) -> list[Face]:
    faces = []
    for side, slot in (("rear", "red lamp"), ("front", "white lamp")):
        for across in ((0.04, 0.22), (0.78, 0.96)):
            faces.append(Face(panel(body[side], across, up), slot, label))
        faces.append(Face(panel(body[side], (0.38, 0.62), (0.28, 0.46)), "plate", "license plate"))
    return faces


def _car(length: float, belt: float, top: float, rear_glass: float, front_glass: float, tail: float) -> Model:
    """A body with a glass cabin; `tail` and the glass depths tell a saloon from an estate or a van."""
    half, rear, front = 0.9, -length / 2, length / 2
    body = box(-half, half, 0.28, belt, rear, front)
    foot = (-half + 0.03, half - 0.03, rear + tail, front - 1.15)
    head = (-half + 0.2, half - 0.2, rear + tail + rear_glass, front - 1.15 - front_glass)
    cabin = frustum(foot, head, belt, top)
    faces = [_contact(half * 1.08, rear - 0.15, front + 0.15)]
    faces += _solid(body, {}, "car")
    for side in ("front", "left", "right", "rear"):
        faces.append(Face(panel(body[side], (0, 1), (0, 0.16)), "trim", "car"))
    faces += _solid(cabin, {}, "car")
    faces += [Face(panel(cabin[side], (0.06, 0.94), (0.08, 0.88)), "glass", "car") for side in ("front", "rear")]
    for side in ("left", "right"):
        faces += [Face(panel(cabin[side], span, (0.08, 0.86)), "glass", "car") for span in ((0.06, 0.47), (0.53, 0.94))]
    faces += _lamps(body, "car", (0.5, 0.8))
    faces += _wheels("car", half + 0.01, (rear + 0.8, front - 0.85), 0.33)
    return _model(faces)


def _truck() -> Model:
    """A cab and a plain tall load."""
    load = box(-1.25, 1.25, 0.95, 3.7, -4.2, 2.2)
    cab = frustum((-1.2, 1.2, 2.4, 4.4), (-1.2, 1.2, 2.4, 4.1), 0.5, 2.9)
    faces = [_contact(1.3, -4.3, 4.4)]
    faces += _solid(box(-1.1, 1.1, 0.5, 0.95, -4.1, 2.4), {}, "truck", "dark")
    faces += _solid(cab, {}, "truck", "own1")
    faces.append(Face(panel(cab["front"], (0.06, 0.94), (0.5, 0.9)), "glass", "truck"))
    faces.append(Face(panel(cab["front"], (0.2, 0.8), (0.08, 0.3)), "trim", "truck"))
    faces += [Face(panel(cab[side], (0.2, 0.85), (0.52, 0.9)), "glass", "truck") for side in ("left", "right")]
    faces += _solid(load, {}, "truck")
    faces.append(Face(panel(load["rear"], (0.485, 0.515), (0.03, 0.97)), "trim", "truck"))
    faces += [Face(panel(load[side], (0, 1), (0.0, 0.05)), "trim", "truck") for side in ("left", "right", "rear")]
    faces += [Face(panel(load["rear"], across, (-0.12, -0.02)), "red lamp", "truck") for across in ((0.02, 0.14), (0.86, 0.98))]
    faces += _wheels("truck", 1.26, (-3.2, -2.2, 3.2), 0.5)
    return _model(faces)


def _bus() -> Model:
    """One long body, glass from end to end."""
    body = box(-1.3, 1.3, 0.35, 3.1, -6.0, 6.0)
    faces = [_contact(1.4, -6.1, 6.1), *_solid(body, {"top": "own1"}, "bus")]
    for side in ("left", "right"):
        faces.append(Face(panel(body[side], (0.02, 0.98), (0.42, 0.84)), "glass", "bus"))
        faces += [Face(panel(body[side], (u, u + 0.012), (0.42, 0.84)), "own0", "bus") for u in np.linspace(0.15, 0.85, 6)]
        faces.append(Face(panel(body[side], (0.0, 1.0), (0.14, 0.24)), "own1", "bus"))
    for side in ("rear", "front"):
        faces.append(Face(panel(body[side], (0.06, 0.94), (0.42, 0.82)), "glass", "bus"))
        faces.append(Face(panel(body[side], (0.2, 0.8), (0.86, 0.96)), "amber light" if side == "front" else "dark", "bus"))
    faces += _lamps(body, "bus", (0.14, 0.26))
    faces += _wheels("bus", 1.31, (-3.4, 3.6), 0.5)
    return _model(faces)


def _tram() -> Model:
    """Two jointed carriages: narrow, tall, close to the rails, a band of glass and a coloured skirt."""
    faces = []
    for rear, front in ((0.3, 13.0), (-13.0, -0.3)):
        body = frustum((-1.2, 1.2, rear, front), (-1.1, 1.1, rear + 0.3, front - 0.3), 0.15, 3.5)
        faces += _solid(body, {"top": "dark"}, "train")
        for side in ("left", "right"):
            faces.append(Face(panel(body[side], (0.02, 0.98), (0.45, 0.8)), "glass", "train"))
            faces += [Face(panel(body[side], (u, u + 0.03), (0.06, 0.8)), "own1", "train") for u in np.linspace(0.1, 0.87, 5)]
            faces.append(Face(panel(body[side], (0, 1), (0.0, 0.16)), "own1", "train"))
        for side in ("rear", "front"):
            faces.append(Face(panel(body[side], (0.1, 0.9), (0.42, 0.86)), "glass", "train"))
            faces.append(Face(panel(body[side], (0, 1), (0.0, 0.16)), "own1", "train"))
            faces.append(Face(panel(body[side], (0.4, 0.6), (0.26, 0.34)), "white lamp", "train"))
        faces += _solid(box(-0.5, 0.5, 3.5, 3.75, rear + 4, rear + 7), {}, "train", "dark")
    faces += _solid(box(-0.9, 0.9, 0.4, 3.2, -0.4, 0.4), {}, "train", "dark")
    return _model(faces)


def _person(stride: float, arms: float, skirt: bool = False) -> Model:
    """A standing figure 1.75 m tall: coat (own0), legs (own1), bag or shoes (dark)."""
    faces = [Face([(-0.3, 0.01, -0.15), (-0.3, 0.01, 0.2), (0.3, 0.01, 0.2), (0.3, 0.01, -0.15)], "contact", "sidewalk")]
    for side in (-1, 1):
        foot = side * stride
        faces.append(Face(bar(side * 0.09, 0.9, foot, 0.06, 0.17), "own1", "person", True))
        faces.append(Face(bar(foot - 0.04, 0.05, foot + 0.12, 0.05, 0.1), "dark", "person", True))
        faces.append(Face(bar(side * 0.22, 1.4, side * (0.26 + arms), 0.82, 0.11), "own0", "person", True))
    if skirt:
        faces.append(Face([(-0.28, 0.5, 0), (-0.18, 1.0, 0), (0.18, 1.0, 0), (0.28, 0.5, 0)], "own0", "person", True))
    faces.append(Face([(-0.2, 0.8, 0), (-0.24, 1.42, 0), (-0.1, 1.5, 0), (0.1, 1.5, 0), (0.24, 1.42, 0), (0.2, 0.8, 0)], "own0", "person", True))
    faces.append(Face(disc(0, 1.62, 0.14, 0.85), "skin", "person", True))
    faces.append(Face([(-0.13, 1.64, 0), (-0.1, 1.76, 0), (0.1, 1.76, 0), (0.13, 1.64, 0)], "hair", "person", True))
    return _model(faces)


def _cyclist(label: str, lean: float, seat: float, foot: float, helmet: str) -> list[Face]:
    """The rider of a two-wheeler seen from the side: the front is at +x."""
    hip, shoulder, hand = (-0.15, seat), (0.1 + lean, seat + 0.55), (0.45, seat + 0.12)
    return [
        Face(bar(*hip, 0.18, seat - 0.28, 0.19), "own1", label, True),
        Face(bar(0.18, seat - 0.28, 0.08, foot, 0.15), "own1", label, True),
        Face(bar(0.02, foot, 0.2, foot, 0.1), "dark", label, True),
        Face(bar(*hip, *shoulder, 0.34), "own0", label, True),
        Face(bar(shoulder[0], shoulder[1] - 0.06, *hand, 0.12), "own0", label, True),
        Face(disc(shoulder[0] + 0.06, shoulder[1] + 0.2, 0.15), "skin", label, True),
        Face(disc(shoulder[0] + 0.04, shoulder[1] + 0.26, 0.13), helmet, label, True),
    ]  # fmt: skip


def _wheel(x: float, radius: float, tyre: float, label: str) -> list[Face]:
    return [Face(disc(x, radius, radius), "tyre", label, True), Face(disc(x, radius, radius - tyre), "hub", label, True)]


def _bicycle(ridden: bool) -> Model:
    """From the side: two thin wheels and a frame; a rider on top when ridden."""
    faces = _wheel(-0.52, 0.34, 0.075, "bicycle") + _wheel(0.52, 0.34, 0.075, "bicycle")
    frame = ((-0.52, 0.34, -0.05, 0.34), (-0.52, 0.34, -0.2, 0.82), (-0.05, 0.34, -0.25, 0.95), (-0.05, 0.34, 0.36, 0.84),
             (-0.2, 0.8, 0.38, 0.82), (0.52, 0.34, 0.36, 1.0), (0.28, 1.02, 0.5, 1.0))
    faces += [Face(bar(*stroke, 0.07), "own2", "bicycle", True) for stroke in frame]
    faces.append(Face(bar(-0.38, 0.97, -0.12, 0.97, 0.08), "dark", "bicycle", True))
    return _model(faces + (_cyclist("rider", 0.12, 0.98, 0.3, "hair") if ridden else []))


def _bicycle_along(ridden: bool) -> Model:
    """From behind: a thin upright wheel, handlebars, and the rider's back."""
    faces = [
        Face(plate(-0.05, 0.05, 0.0, 0.68), "tyre", "bicycle", True),
        Face(bar(0, 0.5, 0, 1.0, 0.08), "own2", "bicycle", True),
        Face(bar(-0.3, 1.02, 0.3, 1.02, 0.07), "dark", "bicycle", True),
        Face(bar(-0.11, 0.92, 0.11, 0.92, 0.1), "dark", "bicycle", True),
        Face(bar(-0.06, 0.6, 0.06, 0.6, 0.1), "red lamp", "bicycle", True),
    ]
    return _model(faces + (_rider_back(0.95, 0.3, "hair") if ridden else []))


def _rider_back(seat: float, foot: float, helmet: str) -> list[Face]:
    """A rider seen along the street."""
    faces = []
    for side in (-1, 1):
        faces.append(Face(bar(side * 0.1, seat + 0.05, side * 0.17, foot + 0.15, 0.16), "own1", "rider", True))
        faces.append(Face(bar(side * 0.17, foot, side * 0.17, foot + 0.16, 0.12), "dark", "rider", True))
        faces.append(Face(bar(side * 0.2, seat + 0.52, side * 0.33, seat + 0.1, 0.11), "own0", "rider", True))
    faces.append(Face([(-0.17, seat - 0.05, 0), (-0.24, seat + 0.5, 0), (-0.1, seat + 0.62, 0), (0.1, seat + 0.62, 0), (0.24, seat + 0.5, 0), (0.17, seat - 0.05, 0)], "own0", "rider", True))
    faces.append(Face(disc(0, seat + 0.74, 0.14, 0.9), helmet, "rider", True))
    return faces


def _motorcycle(ridden: bool) -> Model:
    """From the side: two thick wheels under a heavy body."""
    faces = _wheel(-0.68, 0.33, 0.15, "motorcycle") + _wheel(0.68, 0.33, 0.15, "motorcycle")
    faces += [
        Face([(-0.55, 0.3, 0), (-0.45, 0.62, 0), (0.4, 0.7, 0), (0.35, 0.25, 0)], "dark", "motorcycle", True),
        Face(bar(-0.6, 0.28, 0.0, 0.26, 0.1), "hub", "motorcycle", True),
        Face([(-0.95, 0.78, 0), (-0.9, 0.9, 0), (-0.1, 0.86, 0), (-0.1, 0.66, 0)], "dark", "motorcycle", True),
        Face([(-0.9, 0.6, 0), (-0.95, 0.8, 0), (-0.3, 0.75, 0), (-0.3, 0.5, 0)], "own2", "motorcycle", True),
        Face([(-0.15, 0.62, 0), (-0.1, 0.92, 0), (0.25, 1.02, 0), (0.5, 0.95, 0), (0.45, 0.55, 0)], "own2", "motorcycle", True),
        Face(bar(0.68, 0.33, 0.42, 1.1, 0.1), "hub", "motorcycle", True),
        Face(bar(0.25, 1.1, 0.5, 1.12, 0.08), "dark", "motorcycle", True),
        Face(disc(0.56, 0.92, 0.11), "white lamp", "motorcycle", True),
    ]  # fmt: skip
    return _model(faces + (_cyclist("rider", 0.12, 0.92, 0.3, "own2") if ridden else []))


def _motorcycle_along(ridden: bool) -> Model:
    """From behind: a wide tyre, panniers, a lamp, and the rider's back."""
    faces = [
        Face(plate(-0.12, 0.12, 0.0, 0.62), "tyre", "motorcycle", True),
        Face(plate(-0.32, 0.32, 0.4, 0.78), "own2", "motorcycle", True),
        Face(plate(-0.18, 0.18, 0.6, 0.95), "dark", "motorcycle", True),
        Face(plate(-0.12, 0.12, 0.62, 0.74), "red lamp", "motorcycle", True),
        Face(bar(-0.42, 1.05, 0.42, 1.05, 0.09), "dark", "motorcycle", True),
    ]
    return _model(faces + (_rider_back(0.85, 0.25, "own2") if ridden else []))


def _blobs(count: int, wide: float, low: float, high: float, seed: int) -> list[Face]:
    """Foliage: overlapping rough discs within an ellipse, the lit ones (own1) up and last."""
    rng = np.random.default_rng(seed)
    faces = []
    for k in range(count):
        angle, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 1))
        lit = k / count
        x = wide * 0.62 * reach * np.cos(angle) - 0.12 * wide * lit
        y = (low + high) / 2 + (high - low) * 0.32 * (reach * np.sin(angle) + 0.35 * (2 * lit - 1))
        radius = (0.34 - 0.2 * lit) * min(wide, (high - low) / 2 + 0.3 * wide)
        angles = np.arange(8) * np.pi / 4 + rng.uniform(0, np.pi / 4)
        radii = radius * rng.uniform(0.85, 1.1, 8)
        outline = [(float(x - r * np.cos(a)), float(y + r * np.sin(a)), 0.0) for a, r in zip(angles, radii, strict=True)]
        slot = ("own0", "own1", "own2")[0 if lit < 0.4 else 2 if lit < 0.7 else 1]
        faces.append(Face(outline, slot, "vegetation", True))
    return faces


def _tree(seed: int) -> Model:
    """A trunk under a crown, 8 m tall."""
    trunk = Face([(-0.2, 0, 0), (-0.13, 3.6, 0), (0.13, 3.6, 0), (0.2, 0, 0)], "trunk", "vegetation", True)
    fork = Face(bar(0, 2.4, 0.9, 4.2, 0.15), "trunk", "vegetation", True)
    return _model([trunk, fork, *_blobs(22, 3.0, 2.3, 8.0, seed)])


def _poplar(seed: int) -> Model:
    trunk = Face(plate(-0.15, 0.15, 0.0, 2.0), "trunk", "vegetation", True)
    return _model([trunk, *_blobs(18, 1.5, 1.0, 9.5, seed)])


def _bush(seed: int) -> Model:
    return _model([Face(plate(-1.1, 1.1, 0.0, 0.8), "own0", "vegetation", True), *_blobs(12, 1.6, 0.0, 1.7, seed)])


def _thicket(seed: int) -> Model:
    """A wood's edge, 12 m wide and 9 m tall."""
    faces = [Face(plate(-6.0, 6.0, 0.0, 5.5), "own0", "vegetation", True)]
    rng = np.random.default_rng(seed)
    for k, x in enumerate(np.linspace(-4.6, 4.6, 5)):
        crown = _blobs(9, 2.4, rng.uniform(0, 1.5), rng.uniform(6.5, 9.5), seed * 7 + k)
        faces += [Face([(cx + float(x), cy, cz) for cx, cy, cz in face.corners], face.slot, face.label, True) for face in crown]
    return _model(faces)


def _house(floors: int, columns: int, shop: bool, gable: bool) -> Model:
    """A unit block with rows of windows: bands of glass, then piers over them (far fewer faces than windows)."""
    top = 0.78 if gable else 1.0
    sides = box(0, 1, 0, top, 0, 1)
    faces = []
    for side in ("front", "left", "right", "rear"):
        quad = sides[side]
        faces.append(Face(quad, "own0", "building"))
        base = 0.0 if not shop else 0.75 / (floors + 0.75)
        story = (1.0 - base) / floors
        for floor in range(floors):
            foot = base + story * floor
            faces.append(Face(panel(quad, (0.03, 0.97), (foot + 0.28 * story, foot + 0.8 * story)), "window", "building"))
        pier = 1.0 / columns
        for column in range(columns + 1):
            left = max(pier * (column - 0.24), 0.0)
            faces.append(Face(panel(quad, (left, min(pier * (column + 0.24), 1.0)), (base, 0.99)), "own0", "building"))
        if shop:
            faces.append(Face(panel(quad, (0.02, 0.98), (0.08 * base, 0.72 * base)), "shop", "building"))
            faces.append(Face(panel(quad, (0.0, 1.0), (0.76 * base, 0.97 * base)), "own2", "building"))
            faces += [Face(panel(quad, (u, u + 0.06), (0, 0.74 * base)), "own0", "building") for u in (0.0, 0.3, 0.62, 0.94)]
        faces.append(Face(panel(quad, (0, 1), (0.965, 1.0)), "own1", "building"))
    if gable:
        ridge = frustum((0, 1, 0, 1), (0.45, 0.55, 0, 1), top, 1.0)
        faces += [Face(ridge[side], "own0" if side in ("front", "rear") else "roof", "building") for side in ridge]
    else:
        faces.append(Face(sides["top"], "roof", "building"))
    return _model(faces, unit=True)


def _tower(floors: int) -> Model:
    """A modern unit block: unbroken bands of glass."""
    sides = box(0, 1, 0, 1, 0, 1)
    faces = []
    for side in ("front", "left", "right", "rear"):
        faces.append(Face(sides[side], "own0", "building"))
        for floor in range(floors):
            foot = floor / floors
            faces.append(Face(panel(sides[side], (0, 1), (foot + 0.3 / floors, foot + 0.85 / floors)), "window", "building"))
    return _model([*faces, Face(sides["top"], "roof", "building")], unit=True)


def _wall() -> Model:
    """A unit block, closed and plain, with a coping and a darker foot."""
    sides = box(0, 1, 0, 1, 0, 1)
    faces = _solid(sides, {"top": "own1"}, "wall")
    for side in ("front", "left", "right", "rear"):
        faces.append(Face(panel(sides[side], (0, 1), (0.9, 1.0)), "own1", "wall"))
        faces.append(Face(panel(sides[side], (0, 1), (0.0, 0.12)), "own2", "wall"))
        faces += [Face(panel(sides[side], (u, u + 0.012), (0.0, 0.9)), "own2", "wall") for u in (0.25, 0.5, 0.75)]
    return _model(faces, unit=True)


def _fence(pickets: int, along: bool) -> Model:
    """Upright bars between two rails, seen through; a unit long, along the street or across it."""
    sides = box(0, 0.02, 0, 1, 0, 1) if along else box(0, 1, 0, 1, 0, 0.02)
    faces = []
    for side in ("left", "right") if along else ("front", "rear"):
        quad = sides[side]
        faces.append(Face(quad, "own1", "fence"))
        for k in range(pickets):
            u = (k + 0.2) / pickets
            faces.append(Face(panel(quad, (u, u + 0.42 / pickets), (0, 1.0)), "own0", "fence"))
        faces += [Face(panel(quad, (0, 1), up), "own0", "fence") for up in ((0.12, 0.2), (0.84, 0.94))]
    return _model(faces, unit=True)


def _pole(height: float, thick: float, arm: float) -> list[Face]:
    faces = _solid(box(-thick / 2, thick / 2, 0, height, -thick / 2, thick / 2), {}, "pole", "pole")
    if arm:
        faces.append(Face(bar(0, height - 0.1, arm, height + 0.15, thick * 0.7), "pole", "pole", True))
        faces.append(Face(bar(arm - 0.1, height + 0.1, arm + 0.7, height + 0.15, 0.18), "casing", "pole", True))
    return faces


def _signal(x: float, y: float, lit: str) -> list[Face]:
    """A traffic light's head: three lamps in a dark casing, one of them lit."""
    faces = [Face(plate(x - 0.3, x + 0.3, y, y + 1.25), "casing", "traffic light", True)]
    for k, slot in enumerate(("green light", "amber light", "red light")):
        faces.append(Face(disc(x, y + 0.23 + 0.4 * k, 0.19), slot if slot == lit else "dark", "traffic light", True))
    return faces


def _lights(lit: str, overhead: bool) -> Model:
    if not overhead:
        return _model(_pole(3.4, 0.18, 0) + _signal(0, 2.3, lit))
    arm = [Face(bar(0, 5.6, -4.6, 5.9, 0.18), "pole", "pole", True)]
    return _model(_pole(5.8, 0.24, 0) + arm + _signal(0.0, 2.5, lit) + _signal(-4.2, 5.0, lit))


def _sign(form: str) -> Model:
    """A post with one board: round and square ones of own0 in a rim of own1, triangles, tall boards."""
    centre = 2.5
    outlines = {
        "round": (disc(0, centre, 0.42), disc(0, centre, 0.3)),
        "square": (plate(-0.38, 0.38, centre - 0.38, centre + 0.38), plate(-0.27, 0.27, centre - 0.27, centre + 0.27)),
        "triangle": ([(-0.46, centre - 0.38, 0.0), (0.0, centre + 0.42, 0.0), (0.46, centre - 0.38, 0.0)],
                     [(-0.27, centre - 0.27, 0.0), (0.0, centre + 0.2, 0.0), (0.27, centre - 0.27, 0.0)]),
        "board": (plate(-0.9, 0.9, centre - 0.4, centre + 0.5), plate(-0.8, 0.8, centre - 0.3, centre + 0.4)),
    }  # fmt: skip
    rim, face = outlines[form]
    return _model(_pole(centre, 0.1, 0) + [Face(rim, "own1", "traffic sign", True), Face(face, "own0", "traffic sign", True)])


def _gantry() -> Model:
    """A direction board on two posts over the pavement."""
    posts = _solid(box(-1.3, -1.15, 0, 3.2, 0, 0.1), {}, "pole", "pole") + _solid(box(1.15, 1.3, 0, 3.2, 0, 0.1), {}, "pole", "pole")
    board = [Face(plate(-1.5, 1.5, 2.0, 3.3), "own1", "traffic sign", True), Face(plate(-1.4, 1.4, 2.1, 3.2), "own0", "traffic sign", True)]
    text = [Face(plate(-1.2, x, y, y + 0.14), "own1", "traffic sign", True) for x, y in ((0.6, 2.85), (0.9, 2.55), (0.2, 2.25))]
    return _model(posts + board + text)


def _bin() -> Model:
    sides = frustum((-0.3, 0.3, -0.3, 0.3), (-0.36, 0.36, -0.36, 0.36), 0, 1.1)
    return _model(_solid(sides, {"top": "dark"}, "static"))


def _barrow() -> Model:
    """A thing that may have moved by tomorrow: a pram, a trolley, a road-works barrier."""
    stripes = [Face(plate(x, x + 0.3, 0.65, 1.0), "own1", "dynamic", True) for x in (-0.75, -0.15, 0.45)]
    legs = [Face(bar(x, 0, x, 0.7, 0.1), "dark", "dynamic", True) for x in (-0.6, 0.6)]
    return _model([*legs, Face(plate(-0.9, 0.9, 0.6, 1.05), "own0", "dynamic", True), *stripes])


STATIONS = (0.0, 3.0, 5.0, 7.0, 9.0, 12.0, 15.0, 19.0, 24.0, 30.0, 38.0, 50.0, 70.0, 110.0, 220.0)  # metres ahead


def _strip(slot: str, label: str, kerb: bool = False) -> Model:
    """Ground one unit wide, along the whole street in short pieces, so that it can bend and fade into haze."""
    faces = []
    for rear, front in zip(STATIONS, STATIONS[1:], strict=False):
        faces.append(Face([(0, 1, rear), (0, 1, front), (1, 1, front), (1, 1, rear)], slot, label))
        if kerb:
            faces.append(Face([(0, 0, front), (0, 1, front), (0, 1, rear), (0, 0, rear)], "kerb", label))
            faces.append(Face([(1, 0, rear), (1, 1, rear), (1, 1, front), (1, 0, front)], "kerb", label))
    return _model(faces)


def _tile(slot: str, label: str) -> Model:
    """Ground of one unit by one unit."""
    return _model([Face([(0, 0, 0), (0, 0, 1), (1, 0, 1), (1, 0, 0)], slot, label)])


def _dashes(label: str) -> Model:
    """A broken line: 3 m of paint, 6 m of road."""
    faces = []
    for rear in range(1, 75, 9):
        faces.append(Face([(0, 0, rear), (0, 0, rear + 3.0), (1, 0, rear + 3.0), (1, 0, rear)], "paint", label))
    return _model(faces)


@lru_cache(maxsize=1)
def models() -> dict[str, tuple[Model, ...]]:
    """All models by kind; where there are several of a kind, the street draws one."""
    houses = tuple(_house(f, c, s, g) for f, c, s, g in (
        (2, 3, False, True), (3, 4, True, False), (3, 3, False, True), (4, 5, True, False), (4, 4, False, False),
        (5, 5, True, False), (5, 6, False, False)))  # fmt: skip
    return {
        "car": (_car(4.3, 0.92, 1.46, 0.55, 0.65, 0.45), _car(3.9, 0.95, 1.5, 0.2, 0.6, 0.05),
                _car(4.6, 0.95, 1.5, 0.3, 0.7, 0.05), _car(4.7, 1.05, 1.95, 0.1, 0.4, 0.02)),
        "truck": (_truck(),),
        "bus": (_bus(),),
        "train": (_tram(),),
        "person": (_person(0.1, 0.0), _person(0.22, 0.06), _person(0.3, 0.1), _person(0.1, 0.04, True)),
        "bicycle": (_bicycle(False), _bicycle(False), _bicycle_along(False)),
        "bicycle ridden": (_bicycle_along(True), _bicycle(True)),
        "motorcycle": (_motorcycle(False), _motorcycle(False), _motorcycle_along(False)),
        "motorcycle ridden": (_motorcycle_along(True), _motorcycle(True)),
        "tree": tuple(_tree(seed) for seed in range(4)) + (_poplar(9),),
        "bush": tuple(_bush(seed) for seed in (20, 21, 22)),
        "thicket": tuple(_thicket(seed) for seed in (30, 31, 32)),
        "house": houses,
        "tower": tuple(_tower(floors) for floors in (6, 9)),
        "wall": (_wall(),),
        "fence": (_fence(14, True),),
        "fence across": (_fence(8, False),),
        "lamp": (_model(_pole(7.0, 0.2, 1.6)), _model(_pole(5.5, 0.22, 0)), _model(_pole(7.0, 0.2, -1.6))),
        "bollard": (_model(_pole(1.0, 0.14, 0)),),
        "traffic light": tuple(_lights(lit, over) for lit in ("red light", "green light") for over in (False, True)),
        "traffic sign": tuple(_sign(form) for form in ("round", "triangle", "square", "board")),
        "gantry": (_gantry(),),
        "bin": (_bin(),),
        "barrow": (_barrow(),),
        "road": (_strip("road", "road"),),
        "sidewalk": (_strip("sidewalk", "sidewalk", kerb=True),),
        "terrain": (_strip("terrain", "terrain"),),
        "ground": (_strip("ground", "ground"),),
        "parking": (_strip("parking", "parking"),),
        "rail track": (_strip("ballast", "rail track"),),
        "rail": (_strip("rail", "rail track"),),
        "line": (_strip("paint", "lane marking"),),
        "dashes": (_dashes("lane marking"),),
        "stripe": (_tile("paint", "lane marking"),),
        "crossing road": (_tile("road", "road"),),
        "patch": (_tile("patch", "road"),),
        "lawn": (_tile("terrain", "terrain"),),
        "yard": (_tile("sidewalk", "sidewalk"),),
    }  # fmt: skip
