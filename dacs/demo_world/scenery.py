"""What stands along a street and lies under it: plants, houses, walls, fences, ground. Metres, or unit blocks."""

from itertools import pairwise

import numpy as np

from dacs.demo_world.materials import model
from dacs.demo_world.shapes import (
    UNIT,
    Face,
    Model,
    Outline,
    bar,
    box,
    flat,
    frustum,
    moved,
    panel,
    panels,
    plate,
    solid,
)

AROUND = ("front", "left", "right", "rear")


def _crown(count: int, wide: float, low: float, high: float, seed: int) -> list[Face]:
    """Foliage: overlapping rough discs within an ellipse, dark ones (own0) first, lit ones (own1) high and last."""
    rng = np.random.default_rng(seed)
    faces = []
    for k in range(count):
        lit = k / count
        angle, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 1))
        x = wide * 0.62 * reach * np.cos(angle) - 0.12 * wide * lit
        y = (low + high) / 2 + (high - low) * 0.32 * (reach * np.sin(angle) + 0.35 * (2 * lit - 1))
        radii = (0.36 - 0.2 * lit) * np.sqrt(wide * (high - low) / 2) * rng.uniform(0.85, 1.1, 8)
        angles = np.arange(8) * np.pi / 4 + rng.uniform(0, np.pi / 4)
        points = [(float(x - r * np.cos(a)), float(y + r * np.sin(a))) for a, r in zip(angles, radii, strict=True)]
        slot = "own0" if lit < 0.4 else "own2" if lit < 0.7 else "own1"
        faces.append(Face(flat(*points), slot, "vegetation", True))
    return faces


def tree(seed: int) -> Model:
    """A trunk under a broad crown, 8 m tall."""
    trunk = Face(flat((-0.2, 0), (-0.13, 3.6), (0.13, 3.6), (0.2, 0)), "trunk", "vegetation", True)
    fork = Face(bar((0, 2.4), (0.9, 4.2), 0.15), "trunk", "vegetation", True)
    return model([trunk, fork, *_crown(24, 3.0, 2.3, 8.0, seed)])


def poplar(seed: int) -> Model:
    """A slim tree, 9 m tall."""
    trunk = Face(plate((-0.15, 0.15), (0.0, 2.0)), "trunk", "vegetation", True)
    return model([trunk, *_crown(22, 1.6, 1.0, 9.0, seed)])


def bush(seed: int) -> Model:
    """A bush as tall as a person."""
    foot = Face(plate((-1.1, 1.1), (0.0, 0.8)), "own0", "vegetation", True)
    return model([foot, *_crown(12, 1.6, 0.0, 1.7, seed)])


def thicket(seed: int) -> Model:
    """The edge of a wood, 12 m wide and 9 m tall."""
    rng = np.random.default_rng(seed)
    faces = [Face(plate((-6.0, 6.0), (0.0, 5.5)), "own0", "vegetation", True)]
    for k, x in enumerate(np.linspace(-4.6, 4.6, 5)):
        faces += moved(_crown(9, 2.4, rng.uniform(0, 1.5), rng.uniform(6.5, 9.5), seed * 7 + k), float(x))
    return model(faces)


def _shop(quad: Outline, top: float) -> list[Face]:
    """A ground floor of shop windows under an awning (own2)."""
    faces = [Face(panel(quad, (0.02, 0.98), (0.08 * top, 0.72 * top)), "shop", "building")]
    faces.append(Face(panel(quad, (0.0, 1.0), (0.76 * top, 0.97 * top)), "own2", "building"))
    posts = [(u, u + 0.06) for u in (0.0, 0.3, 0.62, 0.94)]
    return faces + panels(quad, "own0", "building", posts, (0, 0.74 * top))


def _facade(quad: Outline, floors: int, columns: int, shop: bool) -> list[Face]:
    """Rows of windows as bands of glass with piers over them: far fewer faces than windows."""
    base = 0.75 / (floors + 0.75) if shop else 0.0
    story, pier = (1.0 - base) / floors, 1.0 / columns
    faces = [Face(quad, "own0", "building")]
    for floor in range(floors):
        foot = base + story * floor
        faces.append(Face(panel(quad, (0.03, 0.97), (foot + 0.28 * story, foot + 0.8 * story)), "window", "building"))
    for column in range(columns + 1):
        across = (max(pier * (column - 0.24), 0.0), min(pier * (column + 0.24), 1.0))
        faces.append(Face(panel(quad, across, (base, 0.99)), "own0", "building"))
    if shop:
        faces += _shop(quad, base)
    return [*faces, Face(panel(quad, (0, 1), (0.965, 1.0)), "own1", "building")]


def house(floors: int, columns: int, *, shop: bool = False, gable: bool = False) -> Model:
    """A unit block with windows all round, under a flat or a pitched roof."""
    eaves = 0.78 if gable else 1.0
    sides = box((0.0, 1.0), (0.0, eaves), (0.0, 1.0))
    faces = [face for side in AROUND for face in _facade(sides[side], floors, columns, shop)]
    if not gable:
        return model([*faces, Face(sides["top"], "roof", "building")])
    roof = frustum((0, 1, 0, 1), (0.45, 0.55, 0, 1), (eaves, 1.0))
    return model(faces + solid(roof, "building", "roof", front="own0", rear="own0"))


def tower(floors: int) -> Model:
    """A modern unit block: unbroken bands of glass."""
    sides = box(*UNIT)
    faces = []
    for side in AROUND:
        faces.append(Face(sides[side], "own0", "building"))
        for floor in range(floors):
            up = ((floor + 0.3) / floors, (floor + 0.85) / floors)
            faces.append(Face(panel(sides[side], (0, 1), up), "window", "building"))
    return model([*faces, Face(sides["top"], "roof", "building")])


def wall() -> Model:
    """A unit block, closed and plain, with a coping (own1) and joints (own2)."""
    sides = box(*UNIT)
    faces = solid(sides, "wall", top="own1")
    for side in AROUND:
        faces.append(Face(panel(sides[side], (0, 1), (0.9, 1.0)), "own1", "wall"))
        faces.append(Face(panel(sides[side], (0, 1), (0.0, 0.12)), "own2", "wall"))
        faces += panels(sides[side], "own2", "wall", [(u, u + 0.012) for u in (0.25, 0.5, 0.75)], (0.0, 0.9))
    return model(faces)


def fence(pickets: int) -> Model:
    """Upright bars (own0) between two rails, with what is seen through them (own1); a unit long, along the street."""
    sides = box((0.0, 0.02), (0.0, 1.0), (0.0, 1.0))
    faces = []
    for quad in (sides["left"], sides["right"]):
        faces.append(Face(quad, "own1", "fence"))
        bars = [((k + 0.2) / pickets, (k + 0.62) / pickets) for k in range(pickets)]
        faces += panels(quad, "own0", "fence", bars, (0, 1))
        faces += [Face(panel(quad, (0, 1), up), "own0", "fence") for up in ((0.12, 0.2), (0.84, 0.94))]
    return model(faces)


def guard_rail() -> Model:
    """A low band on stout posts, a unit long, along the street."""
    sides = box((0.0, 0.05), (0.0, 0.8), (0.0, 1.0))
    faces = []
    for quad in (sides["left"], sides["right"]):
        faces += panels(quad, "dark", "guard rail", [(u, u + 0.02) for u in (0.1, 0.35, 0.6, 0.85)], (0, 0.8))
        faces.append(Face(panel(quad, (0, 1), (0.45, 1.0)), "own0", "guard rail"))
        faces.append(Face(panel(quad, (0, 1), (0.66, 0.78)), "own1", "guard rail"))
    return model(faces)


def bridge() -> Model:
    """A deck across the street, 60 m long, on two piers."""
    deck = box((-30.0, 30.0), (5.2, 6.4), (0.0, 7.0))
    faces = []
    for x in (-14.0, 12.5):
        faces += solid(box((x, x + 1.5), (0.0, 5.3), (1.0, 6.0)), "bridge")
    faces += solid(deck, "bridge")
    return model([*faces, Face(panel(deck["rear"], (0, 1), (0.8, 1.0)), "own1", "bridge")])


STATIONS = (-4.0, 3.0, 5.0, 7.0, 9.0, 12.0, 15.0, 19.0, 24.0, 30.0, 38.0, 50.0, 70.0, 110.0, 220.0)  # metres ahead


def strip(slot: str, label: str, *, kerb: bool = False) -> Model:
    """Ground one unit wide along the whole street, in short pieces so that it can bend and fade into haze."""
    faces = []
    for rear, front in pairwise(STATIONS):
        faces.append(Face([(0, 1, rear), (0, 1, front), (1, 1, front), (1, 1, rear)], slot, label))
        if kerb:
            faces.append(Face([(0, 0, front), (0, 1, front), (0, 1, rear), (0, 0, rear)], "kerb", label))
            faces.append(Face([(1, 0, rear), (1, 1, rear), (1, 1, front), (1, 0, front)], "kerb", label))
    return model(faces)


def tile(slot: str, label: str) -> Model:
    """Ground of one unit by one unit."""
    return model([Face([(0, 0, 0), (0, 0, 1), (1, 0, 1), (1, 0, 0)], slot, label)])


def dashes(paint: float, pause: float) -> Model:
    """A broken line one unit wide: metres of paint, metres of road."""
    faces = []
    for rear in np.arange(1.0, 76.0, paint + pause):
        z0, z1 = float(rear), float(rear + paint)
        faces.append(Face([(0, 0, z0), (0, 0, z1), (1, 0, z1), (1, 0, z0)], "paint", "lane marking"))
    return model(faces)
