"""Street furniture: poles, lamps, traffic lights, signs, bins. Feet at y = 0, metres."""

from itertools import pairwise

import numpy as np

from dacs.demo_world.materials import model
from dacs.demo_world.shapes import Face, Model, Outline, bar, box, disc, flat, frustum, panel, plate, solid

LAMPS = ("green light", "amber light", "red light")  # from the lowest up


def _post(height: float, thick: float) -> list[Face]:
    half = thick / 2
    return solid(box((-half, half), (0.0, height), (-half, half)), "pole", "pole")


def pole(height: float, thick: float) -> Model:
    """A bare pole."""
    return model(_post(height, thick))


def lamp(height: float, arm: float) -> Model:
    """A street lamp whose arm reaches so far over the road."""
    reach = Face(bar((0, height - 0.1), (arm, height + 0.15), 0.13), "pole", "pole", True)
    head = Face(bar((arm - 0.1, height + 0.1), (arm + 0.7, height + 0.15), 0.18), "casing", "pole", True)
    return model([*_post(height, 0.15), reach, head])


def _signal(x: float, y: float, lit: str) -> list[Face]:
    """Three lamps in a dark casing with a pale rim, one of them lit."""
    faces = [Face(plate((x - 0.36, x + 0.36), (y - 0.06, y + 1.31)), "plate", "traffic light", True)]
    faces.append(Face(plate((x - 0.3, x + 0.3), (y, y + 1.25)), "casing", "traffic light", True))
    for k, slot in enumerate(LAMPS):
        faces.append(Face(disc(x, y + 0.23 + 0.4 * k, 0.21), slot if slot == lit else "dark", "traffic light", True))
    return faces


def lights(lit: str, *, overhead: bool) -> Model:
    """A traffic light on a post; with a second one on an arm over the road (towards -x)."""
    if not overhead:
        return model(_post(3.4, 0.14) + _signal(0, 2.3, lit))
    arm = [Face(bar((0, 5.6), (-4.6, 5.9), 0.16), "pole", "pole", True)]
    return model(_post(5.8, 0.18) + arm + _signal(0.0, 2.5, lit) + _signal(-4.2, 5.0, lit))


_MIDDLE = 2.5  # metres above the ground


def _square(half: float) -> Outline:
    return plate((-half, half), (_MIDDLE - half, _MIDDLE + half))


_BOARDS = {
    "round": (disc(0, _MIDDLE, 0.42), disc(0, _MIDDLE, 0.3)),
    "triangle": (flat((-0.46, _MIDDLE - 0.38), (0.0, _MIDDLE + 0.42), (0.46, _MIDDLE - 0.38)),
                 flat((-0.27, _MIDDLE - 0.27), (0.0, _MIDDLE + 0.2), (0.27, _MIDDLE - 0.27))),
    "square": (_square(0.38), _square(0.29)),
    "arrow": (plate((-0.8, 0.8), (2.4, 2.85)), plate((-0.7, 0.7), (2.48, 2.77))),
}  # fmt: skip
SIGNS = tuple(_BOARDS)


def sign(form: str) -> Model:
    """A post with one board: its field is own0, its rim own1."""
    rim, face = _BOARDS[form]
    boards = [Face(rim, "own1", "traffic sign", True), Face(face, "own0", "traffic sign", True)]
    return model(_post(_MIDDLE, 0.09) + boards)


def gantry() -> Model:
    """A direction board on two posts."""
    faces = [face for x in (-1.3, 1.18) for face in solid(box((x, x + 0.12), (0.0, 3.2), (0.0, 0.1)), "pole", "pole")]
    faces.append(Face(plate((-1.5, 1.5), (2.0, 3.3)), "own1", "traffic sign", True))
    faces.append(Face(plate((-1.4, 1.4), (2.1, 3.2)), "own0", "traffic sign", True))
    for end, y in ((0.6, 2.85), (0.9, 2.55), (0.2, 2.25)):
        faces.append(Face(plate((-1.2, end), (y, y + 0.14)), "own1", "traffic sign", True))
    return model(faces)


def bin() -> Model:
    """A litter bin, wider at the top."""
    return model(solid(frustum((-0.3, 0.3, -0.3, 0.3), (-0.36, 0.36, -0.36, 0.36), (0.0, 1.1)), "static", top="dark"))


def column() -> Model:
    """A column for posters: eight sides, a cap, bills in three colours."""
    corners = [(0.7 * float(np.cos(t)), 0.7 * float(np.sin(t))) for t in np.arange(9) * np.pi / 4]
    faces = []
    for k, ((x0, z0), (x1, z1)) in enumerate(pairwise(corners)):
        quad = [(x1, 0.0, z1), (x1, 3.0, z1), (x0, 3.0, z0), (x0, 0.0, z0)]
        faces.append(Face(quad, "own1", "static"))
        faces.append(Face(panel(quad, (0.08, 0.92), (0.25, 0.85)), ("own0", "own2")[k % 2], "static"))
    cap = Face(flat((-0.8, 3.0), (-0.5, 3.3), (0.5, 3.3), (0.8, 3.0)), "dark", "static", True)
    return model([*faces, cap])


def shelter() -> Model:
    """A bus stop: a roof on posts before a pane of glass."""
    room = box((-0.7, 0.7), (0.0, 2.4), (-1.8, 1.8))
    faces = [Face(panel(room[side], (0, 1), (0.1, 0.95)), "window", "static") for side in ("front", "right")]
    for z in (-1.75, 1.7):
        faces += solid(box((-0.7, -0.62), (0.0, 2.4), (z, z + 0.08)), "static", "dark")
    faces += solid(box((-0.7, 0.7), (0.4, 0.5), (-1.2, 1.2)), "static", "own0")
    return model(faces + solid(box((-0.9, 0.8), (2.4, 2.55), (-1.9, 1.9)), "static", "casing"))


def barrier() -> Model:
    """A striped board of the road works, which may be gone tomorrow."""
    legs = [Face(bar((x, 0), (x, 0.7), 0.1), "dark", "dynamic", True) for x in (-0.6, 0.6)]
    stripes = [Face(plate((x, x + 0.3), (0.65, 1.0)), "own1", "dynamic", True) for x in (-0.75, -0.15, 0.45)]
    return model([*legs, Face(plate((-0.9, 0.9), (0.6, 1.05)), "own0", "dynamic", True), *stripes])


def heap() -> Model:
    """A skip full of rubble."""
    skip = frustum((-0.8, 0.8, -1.3, 1.3), (-0.95, 0.95, -1.7, 1.7), (0.15, 1.25))
    rubble = frustum((-0.9, 0.9, -1.6, 1.6), (-0.4, 0.4, -0.8, 0.8), (1.2, 1.65))
    return model(solid(rubble, "dynamic", "own1") + solid(skip, "dynamic", "own0"))
