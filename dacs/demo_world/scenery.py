"""Houses, walls, fences, bridges and the ground. Metres, or unit blocks that the street stretches."""

from itertools import pairwise

import numpy as np

from dacs.demo_world.shapes import Face, Mesh, Outline, box, frustum, mesh, panel, panels, solid

UNIT = (0.0, 1.0)
STATIONS = (-4.0, 3.0, 5.0, 7.0, 9.0, 12.0, 15.0, 19.0, 24.0, 30.0, 38.0, 50.0, 70.0, 110.0, 220.0)  # metres ahead


def house(floors: int, columns: int, *, shop: bool = False, gable: bool = False) -> Mesh:
    """A unit block with windows all round, under a flat or a pitched roof."""
    eaves = 0.78 if gable else 1.0
    block = box(UNIT, (0.0, eaves), UNIT)
    faces = [face for quad in block.around for face in _facade(quad, floors, columns, shop)]
    if not gable:
        return mesh([*faces, Face(block.top, "roof", "building")])
    roof = frustum((0, 1, 0, 1), (0.45, 0.55, 0, 1), (eaves, 1.0))
    return mesh(faces + solid(roof, "building", "roof", front="tint0", rear="tint0"))


def _facade(quad: Outline, floors: int, columns: int, shop: bool) -> list[Face]:
    """Rows of windows as bands of glass with piers over them, which needs far fewer faces than windows."""
    base = 0.75 / (floors + 0.75) if shop else 0.0
    story, pier = (1.0 - base) / floors, 1.0 / columns
    faces = [Face(quad, "tint0", "building")]
    for foot in (base + story * floor for floor in range(floors)):
        faces.append(Face(panel(quad, (0.03, 0.97), (foot + 0.28 * story, foot + 0.8 * story)), "window", "building"))
    piers = [(max(pier * (k - 0.24), 0.0), min(pier * (k + 0.24), 1.0)) for k in range(columns + 1)]
    faces += panels(quad, "tint0", "building", piers, (base, 0.99))
    if shop:
        faces += _shop(quad, base)
    return [*faces, Face(panel(quad, (0, 1), (0.965, 1.0)), "tint1", "building")]


def _shop(quad: Outline, top: float) -> list[Face]:
    """A ground floor of shop windows under an awning (tint2)."""
    glass = Face(panel(quad, (0.02, 0.98), (0.08 * top, 0.72 * top)), "shop", "building")
    awning = Face(panel(quad, (0.0, 1.0), (0.76 * top, 0.97 * top)), "tint2", "building")
    posts = [(u, u + 0.06) for u in (0.0, 0.3, 0.62, 0.94)]
    return [glass, awning, *panels(quad, "tint0", "building", posts, (0, 0.74 * top))]


def tower(floors: int) -> Mesh:
    """A modern unit block: unbroken bands of glass."""
    block, faces = box(UNIT, UNIT, UNIT), list[Face]()
    for quad in block.around:
        faces.append(Face(quad, "tint0", "building"))
        for floor in range(floors):
            up = ((floor + 0.3) / floors, (floor + 0.85) / floors)
            faces.append(Face(panel(quad, UNIT, up), "window", "building"))
    return mesh([*faces, Face(block.top, "roof", "building")])


def wall() -> Mesh:
    """A unit block, closed and plain, with a coping (tint1) and joints (tint2)."""
    block = box(UNIT, UNIT, UNIT)
    faces = solid(block, "wall", top="tint1")
    for quad in block.around:
        faces.append(Face(panel(quad, UNIT, (0.9, 1.0)), "tint1", "wall"))
        faces.append(Face(panel(quad, UNIT, (0.0, 0.12)), "tint2", "wall"))
        faces += panels(quad, "tint2", "wall", [(u, u + 0.012) for u in (0.25, 0.5, 0.75)], (0.0, 0.9))
    return mesh(faces)


def fence(pickets: int) -> Mesh:
    """Upright bars (tint0) between two rails, and what is seen between them (tint1); a unit long, along the street."""
    block, faces = box((0.0, 0.02), UNIT, UNIT), list[Face]()
    bars = [((k + 0.2) / pickets, (k + 0.62) / pickets) for k in range(pickets)]
    for quad in (block.left, block.right):
        faces.append(Face(quad, "tint1", "fence"))
        faces += panels(quad, "tint0", "fence", bars, UNIT)
        faces += [Face(panel(quad, UNIT, up), "tint0", "fence") for up in ((0.12, 0.2), (0.84, 0.94))]
    return mesh(faces)


def guard_rail() -> Mesh:
    """A low band on stout posts, a unit long, along the street."""
    block, faces = box((0.0, 0.05), (0.0, 0.8), UNIT), list[Face]()
    for quad in (block.left, block.right):
        faces += panels(quad, "dark", "guard rail", [(u, u + 0.02) for u in (0.1, 0.35, 0.6, 0.85)], (0, 0.8))
        faces.append(Face(panel(quad, UNIT, (0.45, 1.0)), "tint0", "guard rail"))
        faces.append(Face(panel(quad, UNIT, (0.66, 0.78)), "tint1", "guard rail"))
    return mesh(faces)


def bridge() -> Mesh:
    """A deck across the street, 60 m long, on two piers."""
    deck = box((-30.0, 30.0), (5.2, 6.4), (0.0, 7.0))
    piers = [box((x, x + 1.5), (0.0, 5.3), (1.0, 6.0)) for x in (-14.0, 12.5)]
    faces = [face for block in (*piers, deck) for face in solid(block, "bridge")]
    return mesh([*faces, Face(panel(deck.rear, UNIT, (0.8, 1.0)), "tint1", "bridge")])


def strip(slot: str, label: str, *, kerb: bool = False) -> Mesh:
    """Ground one unit wide along the whole street, in short pieces so that it can bend and fade into haze."""
    faces = []
    for rear, front in pairwise(STATIONS):
        faces.append(Face(_ground(rear, front, 1), slot, label))
        if kerb:
            faces.append(Face([(0, 0, front), (0, 1, front), (0, 1, rear), (0, 0, rear)], "kerb", label))
            faces.append(Face([(1, 0, rear), (1, 1, rear), (1, 1, front), (1, 0, front)], "kerb", label))
    return mesh(faces)


def tile(slot: str, label: str) -> Mesh:
    """Ground of one unit by one unit."""
    return mesh([Face(_ground(0, 1, 0), slot, label)])


def dashes(paint: float, pause: float) -> Mesh:
    """A broken line one unit wide: metres of paint, metres of road."""
    starts = np.arange(1.0, 76.0, paint + pause).tolist()
    return mesh([Face(_ground(z, z + paint, 0), "paint", "lane marking") for z in starts])


def _ground(rear: float, front: float, up: float) -> Outline:
    """A horizontal rectangle one unit wide."""
    return [(0, up, rear), (0, up, front), (1, up, front), (1, up, rear)]
