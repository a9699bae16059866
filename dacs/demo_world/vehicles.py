"""Cars, trucks, buses and trams. The front looks along +z, wheels stand at y = 0, sizes are metres."""

import numpy as np

from dacs.demo_world.shapes import Block, Face, Mesh, Span, box, frustum, mesh, panel, panels, side_disc, solid


def _contact(half: float, rear: float, front: float) -> Face:
    """The dark part of the road under a vehicle."""
    return Face([(-half, 0.01, rear), (-half, 0.01, front), (half, 0.01, front), (half, 0.01, rear)], "contact", "road")


def _wheels(label: str, half: float, axles: Span, radius: float) -> list[Face]:
    """Discs on the sides, and the breadth of the tyres as seen from behind and before."""
    faces = []
    for x in (-half, half):
        inner, outer = sorted((x, x * 0.72))
        rubber = box((inner, outer), (0.0, radius), (axles[0] - radius * 0.6, axles[1] + radius * 0.6))
        faces += [Face(quad, "tyre", label) for quad in (rubber.rear, rubber.front)]
        for z in axles:
            faces.append(Face(side_disc(x, radius, z, radius), "tyre", label))
            faces.append(Face(side_disc(x * 1.01, radius, z, radius * 0.55), "hub", label))
    return faces


def _lamps(body: Block, label: str, up: Span) -> list[Face]:
    """Lamps and number plates on both ends. GTA5 labels plates; on large vehicles they are too small to matter."""
    faces, plate = list[Face](), "license plate" if label == "car" else label
    for quad, slot in ((body.rear, "red lamp"), (body.front, "white lamp")):
        faces += panels(quad, slot, label, ((0.03, 0.2), (0.8, 0.97)), up)
        faces.append(Face(panel(quad, (0.38, 0.62), (0.28, 0.46)), "plate", plate))
    return faces


def car(length: float, belt: float, top: float, boot: float, slopes: Span) -> Mesh:
    """A body under a glass cabin; `boot` and the slopes of rear and front glass make a saloon, an estate or a van."""
    half, rear, front = 0.9, -length / 2, length / 2
    axles = rear + 0.8, front - 0.85
    body = box((-half, half), (0.26, belt), (rear, front))
    foot = (-half + 0.03, half - 0.03, rear + boot, front - 1.1)
    head = (-half + 0.2, half - 0.2, rear + boot + slopes[0], front - 1.1 - slopes[1])
    cabin = frustum(foot, head, (belt, top))
    faces = [_contact(half * 1.08, rear - 0.15, front + 0.15), *_wheels("car", half + 0.01, axles, 0.33)]
    faces += solid(body, "car")
    faces += [Face(panel(quad, (0, 1), (0, 0.2)), "trim", "car") for quad in body.around]
    faces += solid(cabin, "car")
    faces += [Face(panel(quad, (0.06, 0.94), (0.08, 0.88)), "glass", "car") for quad in (cabin.rear, cabin.front)]
    for quad, x in ((cabin.left, -half - 0.015), (cabin.right, half + 0.015)):
        faces += panels(quad, "glass", "car", ((0.06, 0.47), (0.53, 0.94)), (0.08, 0.86))
        for z in axles:  # again over the body: arch and wheel
            faces.append(Face(side_disc(x, 0.34, z, 0.36), "tyre", "car"))
            faces.append(Face(side_disc(x * 1.01, 0.33, z, 0.19), "hub", "car"))
    return mesh(faces + _lamps(body, "car", (0.5, 0.8)))


def truck() -> Mesh:
    """A cab and a plain tall load on a dark frame."""
    load = box((-1.25, 1.25), (0.95, 3.7), (-4.2, 2.2))
    cab = frustum((-1.2, 1.2, 2.4, 4.4), (-1.2, 1.2, 2.4, 4.1), (0.5, 2.9))
    faces = [_contact(1.3, -4.3, 4.4), *_wheels("truck", 1.2, (-3.2, 3.2), 0.5)]
    faces += solid(box((-1.1, 1.1), (0.45, 0.95), (-4.1, 2.4)), "truck", "dark")
    faces += solid(cab, "truck", "tint1")
    faces.append(Face(panel(cab.front, (0.06, 0.94), (0.5, 0.9)), "glass", "truck"))
    faces.append(Face(panel(cab.front, (0.2, 0.8), (0.08, 0.3)), "trim", "truck"))
    faces += panels(cab.front, "white lamp", "truck", ((0.03, 0.18), (0.82, 0.97)), (0.1, 0.24))
    faces += [Face(panel(quad, (0.2, 0.85), (0.52, 0.9)), "glass", "truck") for quad in (cab.left, cab.right)]
    faces += solid(load, "truck")
    faces += panels(load.rear, "trim", "truck", ((0.485, 0.515), (0, 0.03), (0.97, 1)), (0.03, 0.97))
    faces += [Face(panel(quad, (0, 1), (0.0, 0.05)), "trim", "truck") for quad in load.around[1:]]
    faces += panels(load.rear, "red lamp", "truck", ((0.02, 0.14), (0.86, 0.98)), (-0.12, -0.02))
    faces += [Face(panel(quad, (0.1, 0.9), (0.3, 0.55)), "tint1", "truck") for quad in (load.left, load.right)]
    return mesh(faces)


def bus() -> Mesh:
    """One long body, glass from end to end."""
    body = box((-1.3, 1.3), (0.35, 3.1), (-6.0, 6.0))
    faces = [_contact(1.4, -6.1, 6.1), *_wheels("bus", 1.28, (-3.4, 3.6), 0.5), *solid(body, "bus", top="tint1")]
    pillars = [(u, u + 0.012) for u in np.linspace(0.15, 0.85, 6)]
    for quad, x in ((body.left, -1.31), (body.right, 1.31)):
        faces.append(Face(panel(quad, (0.02, 0.98), (0.42, 0.84)), "glass", "bus"))
        faces += panels(quad, "tint0", "bus", pillars, (0.42, 0.84))
        faces.append(Face(panel(quad, (0.0, 1.0), (0.14, 0.24)), "tint1", "bus"))
        faces += [Face(side_disc(x, 0.5, z, 0.5), "tyre", "bus") for z in (-3.4, 3.6)]
    for quad, slot in ((body.rear, "dark"), (body.front, "amber light")):
        faces.append(Face(panel(quad, (0.06, 0.94), (0.42, 0.82)), "glass", "bus"))
        faces.append(Face(panel(quad, (0.2, 0.8), (0.86, 0.96)), slot, "bus"))
        faces.append(Face(panel(quad, (0.0, 1.0), (0.0, 0.1)), "trim", "bus"))
    return mesh(faces + _lamps(body, "bus", (0.14, 0.26)))


def tram() -> Mesh:
    """Two jointed carriages: narrow, tall, close to the rails, doors and a skirt in the second colour."""
    faces = [_contact(1.2, -13.1, 13.1)]
    doors = [(u, u + 0.03) for u in np.linspace(0.1, 0.87, 5)]
    for rear, front in ((0.3, 13.0), (-13.0, -0.3)):
        body = frustum((-1.2, 1.2, rear, front), (-1.1, 1.1, rear + 0.3, front - 0.3), (0.15, 3.5))
        faces += solid(body, "train", top="dark")
        for quad in (body.left, body.right):
            faces.append(Face(panel(quad, (0.02, 0.98), (0.45, 0.8)), "glass", "train"))
            faces += panels(quad, "tint1", "train", doors, (0.06, 0.8))
        for quad in (body.rear, body.front):
            faces.append(Face(panel(quad, (0.08, 0.92), (0.42, 0.86)), "glass", "train"))
            faces.append(Face(panel(quad, (0.42, 0.58), (0.26, 0.34)), "white lamp", "train"))
        faces += [Face(panel(quad, (0, 1), (0.0, 0.17)), "tint1", "train") for quad in body.around]
        faces += solid(box((-0.5, 0.5), (3.5, 3.75), (rear + 4, rear + 7)), "train", "dark")
    return mesh(faces)
