"""Street furniture: poles, lamps, traffic lights, signs, bins. Feet at y = 0, metres."""

from itertools import pairwise

import numpy as np

from dacs.demo_world.shapes import Face, Mesh, Outline, bar, box, disc, flat, flats, frustum, mesh, panel, plate, solid

LAMPS = ("green light", "amber light", "red light")  # from the lowest up
MIDDLE = 2.5  # metres, height of the middle of a sign


def _post(height: float, thick: float) -> list[Face]:
    half = thick / 2
    return solid(box((-half, half), (0.0, height), (-half, half)), "pole", "pole")


def pole(height: float, thick: float) -> Mesh:
    """A bare pole."""
    return mesh(_post(height, thick))


def lamp(height: float, arm: float) -> Mesh:
    """A street lamp with an arm of this length over the road."""
    reach = bar((0, height - 0.1), (arm, height + 0.15), 0.13)
    head = bar((arm - 0.1, height + 0.1), (arm + 0.7, height + 0.15), 0.18)
    return mesh(_post(height, 0.15) + flats("pole", (reach, "pole"), (head, "casing")))


def _signal(x: float, y: float, lit: str) -> list[Face]:
    """Three lamps in a dark casing with a pale rim, one of them lit."""
    rim = plate((x - 0.36, x + 0.36), (y - 0.06, y + 1.31))
    casing = plate((x - 0.3, x + 0.3), (y, y + 1.25))
    lamps = [(disc(x, y + 0.23 + 0.4 * k, 0.21), slot if slot == lit else "dark") for k, slot in enumerate(LAMPS)]
    return flats("traffic light", (rim, "plate"), (casing, "casing"), *lamps)


def lights(lit: str, *, overhead: bool) -> Mesh:
    """A traffic light on a post; with a second one on an arm over the road (towards -x)."""
    if not overhead:
        return mesh(_post(3.4, 0.14) + _signal(0, 2.3, lit))
    arm = flats("pole", (bar((0, 5.6), (-4.6, 5.9), 0.16), "pole"))
    return mesh(_post(5.8, 0.18) + arm + _signal(0.0, 2.5, lit) + _signal(-4.2, 5.0, lit))


def _square(half: float) -> Outline:
    return plate((-half, half), (MIDDLE - half, MIDDLE + half))


SIGNS = {  # rim and field
    "round": (disc(0, MIDDLE, 0.42), disc(0, MIDDLE, 0.3)),
    "triangle": (flat((-0.46, MIDDLE - 0.38), (0.0, MIDDLE + 0.42), (0.46, MIDDLE - 0.38)),
                 flat((-0.27, MIDDLE - 0.27), (0.0, MIDDLE + 0.2), (0.27, MIDDLE - 0.27))),
    "square": (_square(0.38), _square(0.29)),
    "arrow": (plate((-0.8, 0.8), (2.4, 2.85)), plate((-0.7, 0.7), (2.48, 2.77))),
}  # fmt: skip


def sign(form: str) -> Mesh:
    """A post with one board: its field is tint0, its rim tint1."""
    rim, field = SIGNS[form]
    return mesh(_post(MIDDLE, 0.09) + flats("traffic sign", (rim, "tint1"), (field, "tint0")))


def gantry() -> Mesh:
    """A direction board on two posts."""
    posts = [face for x in (-1.3, 1.18) for face in solid(box((x, x + 0.12), (0.0, 3.2), (0.0, 0.1)), "pole", "pole")]
    boards = ((plate((-1.5, 1.5), (2.0, 3.3)), "tint1"), (plate((-1.4, 1.4), (2.1, 3.2)), "tint0"))
    lines = [(plate((-1.2, end), (y, y + 0.14)), "tint1") for end, y in ((0.6, 2.85), (0.9, 2.55), (0.2, 2.25))]
    return mesh(posts + flats("traffic sign", *boards, *lines))


def bin() -> Mesh:
    """A litter bin, wider at the top."""
    return mesh(solid(frustum((-0.3, 0.3, -0.3, 0.3), (-0.36, 0.36, -0.36, 0.36), (0.0, 1.1)), "static", top="dark"))


def column() -> Mesh:
    """A column for posters: eight sides, a cap, bills in three colours."""
    corners = [(0.7 * float(np.cos(t)), 0.7 * float(np.sin(t))) for t in np.arange(9) * np.pi / 4]
    faces = []
    for k, ((x0, z0), (x1, z1)) in enumerate(pairwise(corners)):
        quad = [(x1, 0.0, z1), (x1, 3.0, z1), (x0, 3.0, z0), (x0, 0.0, z0)]
        faces.append(Face(quad, "tint1", "static"))
        faces.append(Face(panel(quad, (0.08, 0.92), (0.25, 0.85)), ("tint0", "tint2")[k % 2], "static"))
    return mesh(faces + flats("static", (flat((-0.8, 3.0), (-0.5, 3.3), (0.5, 3.3), (0.8, 3.0)), "dark")))


def shelter() -> Mesh:
    """A bus stop: a roof on posts before a pane of glass."""
    room = box((-0.7, 0.7), (0.0, 2.4), (-1.8, 1.8))
    faces = [Face(panel(quad, (0, 1), (0.1, 0.95)), "window", "static") for quad in (room.front, room.right)]
    for z in (-1.75, 1.7):
        faces += solid(box((-0.7, -0.62), (0.0, 2.4), (z, z + 0.08)), "static", "dark")
    faces += solid(box((-0.7, 0.7), (0.4, 0.5), (-1.2, 1.2)), "static", "tint0")
    return mesh(faces + solid(box((-0.9, 0.8), (2.4, 2.55), (-1.9, 1.9)), "static", "casing"))


def barrier() -> Mesh:
    """A striped board on two legs, as at road works."""
    legs = [(bar((x, 0), (x, 0.7), 0.1), "dark") for x in (-0.6, 0.6)]
    stripes = [(plate((x, x + 0.3), (0.65, 1.0)), "tint1") for x in (-0.75, -0.15, 0.45)]
    return mesh(flats("dynamic", *legs, (plate((-0.9, 0.9), (0.6, 1.05)), "tint0"), *stripes))


def skip() -> Mesh:
    """A skip full of rubble."""
    body = frustum((-0.8, 0.8, -1.3, 1.3), (-0.95, 0.95, -1.7, 1.7), (0.15, 1.25))
    rubble = frustum((-0.9, 0.9, -1.6, 1.6), (-0.4, 0.4, -0.8, 0.8), (1.2, 1.65))
    return mesh(solid(rubble, "dynamic", "tint1") + solid(body, "dynamic", "tint0"))
