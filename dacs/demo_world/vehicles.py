"""Cars, trucks, buses and trams. The front looks along +z, wheels stand at y = 0, sizes are metres."""

import numpy as np

from dacs.demo_world.materials import model
from dacs.demo_world.shapes import Face, Model, Outline, Span, box, frustum, panel, panels, side_disc, solid

ENDS = ("rear", "front")
SIDES = ("left", "right")
AROUND = ("front", "left", "right", "rear")


def _contact(half: float, rear: float, front: float) -> Face:
    """The dark of the road under a vehicle."""
    return Face([(-half, 0.01, rear), (-half, 0.01, front), (half, 0.01, front), (half, 0.01, rear)], "contact", "road")


def _wheels(label: str, half: float, places: Span, radius: float) -> list[Face]:
    """Discs on the sides, and the breadth of the tyres as seen from behind and before."""
    faces = []
    for x in (-half, half):
        inner, outer = sorted((x, x * 0.72))
        rubber = box((inner, outer), (0.0, radius), (places[0] - radius * 0.6, places[1] + radius * 0.6))
        faces += [Face(rubber[end], "tyre", label) for end in ENDS]
        for z in places:
            faces.append(Face(side_disc(x, radius, z, radius), "tyre", label))
            faces.append(Face(side_disc(x * 1.01, radius, z, radius * 0.55), "hub", label))
    return faces


def _lamps(body: dict[str, Outline], label: str, up: Span) -> list[Face]:
    faces = []
    for end, slot in zip(ENDS, ("red lamp", "white lamp"), strict=True):
        faces += panels(body[end], slot, label, ((0.03, 0.2), (0.8, 0.97)), up)
        # GTA5 tells plates apart; on large vehicles they are too small to matter
        plate = "license plate" if label == "car" else label
        faces.append(Face(panel(body[end], (0.38, 0.62), (0.28, 0.46)), "plate", plate))
    return faces


def car(length: float, belt: float, top: float, boot: float, slopes: Span) -> Model:
    """A body under a glass cabin; `boot` and the slopes of rear and front glass tell saloon, estate and van apart."""
    half, rear, front = 0.9, -length / 2, length / 2
    body = box((-half, half), (0.26, belt), (rear, front))
    foot = (-half + 0.03, half - 0.03, rear + boot, front - 1.1)
    head = (-half + 0.2, half - 0.2, rear + boot + slopes[0], front - 1.1 - slopes[1])
    cabin = frustum(foot, head, (belt, top))
    faces = [_contact(half * 1.08, rear - 0.15, front + 0.15)]
    faces += _wheels("car", half + 0.01, (rear + 0.8, front - 0.85), 0.33)
    faces += solid(body, "car")
    faces += [Face(panel(body[side], (0, 1), (0, 0.2)), "trim", "car") for side in AROUND]
    faces += solid(cabin, "car")
    faces += [Face(panel(cabin[end], (0.06, 0.94), (0.08, 0.88)), "glass", "car") for end in ENDS]
    for side in SIDES:
        faces += panels(cabin[side], "glass", "car", ((0.06, 0.47), (0.53, 0.94)), (0.08, 0.86))
        for z in (rear + 0.8, front - 0.85):  # again over the body: arch and wheel
            x = (half + 0.015) * (-1 if side == "left" else 1)
            faces.append(Face(side_disc(x, 0.34, z, 0.36), "tyre", "car"))
            faces.append(Face(side_disc(x * 1.01, 0.33, z, 0.19), "hub", "car"))
    return model(faces + _lamps(body, "car", (0.5, 0.8)))


def truck() -> Model:
    """A cab and a plain tall load on a dark frame."""
    load = box((-1.25, 1.25), (0.95, 3.7), (-4.2, 2.2))
    cab = frustum((-1.2, 1.2, 2.4, 4.4), (-1.2, 1.2, 2.4, 4.1), (0.5, 2.9))
    faces = [_contact(1.3, -4.3, 4.4), *_wheels("truck", 1.2, (-3.2, 3.2), 0.5)]
    faces += solid(box((-1.1, 1.1), (0.45, 0.95), (-4.1, 2.4)), "truck", "dark")
    faces += solid(cab, "truck", "own1")
    faces.append(Face(panel(cab["front"], (0.06, 0.94), (0.5, 0.9)), "glass", "truck"))
    faces.append(Face(panel(cab["front"], (0.2, 0.8), (0.08, 0.3)), "trim", "truck"))
    faces += panels(cab["front"], "white lamp", "truck", ((0.03, 0.18), (0.82, 0.97)), (0.1, 0.24))
    faces += [Face(panel(cab[side], (0.2, 0.85), (0.52, 0.9)), "glass", "truck") for side in SIDES]
    faces += solid(load, "truck")
    faces += panels(load["rear"], "trim", "truck", ((0.485, 0.515), (0, 0.03), (0.97, 1)), (0.03, 0.97))
    faces += [Face(panel(load[side], (0, 1), (0.0, 0.05)), "trim", "truck") for side in ("left", "right", "rear")]
    faces += panels(load["rear"], "red lamp", "truck", ((0.02, 0.14), (0.86, 0.98)), (-0.12, -0.02))
    faces += [Face(panel(load[side], (0.1, 0.9), (0.3, 0.55)), "own1", "truck") for side in SIDES]
    return model(faces)


def bus() -> Model:
    """One long body, glass from end to end."""
    body = box((-1.3, 1.3), (0.35, 3.1), (-6.0, 6.0))
    faces = [_contact(1.4, -6.1, 6.1), *_wheels("bus", 1.28, (-3.4, 3.6), 0.5)]
    faces += solid(body, "bus", top="own1")
    for side in SIDES:
        faces.append(Face(panel(body[side], (0.02, 0.98), (0.42, 0.84)), "glass", "bus"))
        pillars = [(u, u + 0.012) for u in np.linspace(0.15, 0.85, 6)]
        faces += panels(body[side], "own0", "bus", pillars, (0.42, 0.84))
        faces.append(Face(panel(body[side], (0.0, 1.0), (0.14, 0.24)), "own1", "bus"))
        for z in (-3.4, 3.6):
            faces.append(Face(side_disc(-1.31 if side == "left" else 1.31, 0.5, z, 0.5), "tyre", "bus"))
    for end, slot in zip(ENDS, ("dark", "amber light"), strict=True):
        faces.append(Face(panel(body[end], (0.06, 0.94), (0.42, 0.82)), "glass", "bus"))
        faces.append(Face(panel(body[end], (0.2, 0.8), (0.86, 0.96)), slot, "bus"))
        faces.append(Face(panel(body[end], (0.0, 1.0), (0.0, 0.1)), "trim", "bus"))
    return model(faces + _lamps(body, "bus", (0.14, 0.26)))


def tram() -> Model:
    """Two jointed carriages: narrow, tall, close to the rails, doors and a skirt in the second colour."""
    faces = [_contact(1.2, -13.1, 13.1)]
    for rear, front in ((0.3, 13.0), (-13.0, -0.3)):
        body = frustum((-1.2, 1.2, rear, front), (-1.1, 1.1, rear + 0.3, front - 0.3), (0.15, 3.5))
        faces += solid(body, "train", top="dark")
        for side in SIDES:
            faces.append(Face(panel(body[side], (0.02, 0.98), (0.45, 0.8)), "glass", "train"))
            doors = [(u, u + 0.03) for u in np.linspace(0.1, 0.87, 5)]
            faces += panels(body[side], "own1", "train", doors, (0.06, 0.8))
        for end in ENDS:
            faces.append(Face(panel(body[end], (0.08, 0.92), (0.42, 0.86)), "glass", "train"))
            faces.append(Face(panel(body[end], (0.42, 0.58), (0.26, 0.34)), "white lamp", "train"))
        faces += [Face(panel(body[side], (0, 1), (0.0, 0.17)), "own1", "train") for side in AROUND]
        faces += solid(box((-0.5, 0.5), (3.5, 3.75), (rear + 4, rear + 7)), "train", "dark")
    return model(faces)
