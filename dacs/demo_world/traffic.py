"""Who and what moves or stands about in a street: furniture, vehicles, people."""

import numpy as np

from dacs.demo_world.lining import plant
from dacs.demo_world.street import GREY, KERB, LANE, PARKING, Street, Tints, Triple

ONCOMING = float(np.pi)
LENGTHS = {"car": 4.6, "truck": 8.8, "bus": 12.2, "train": 26.5}  # metres


def _mirror(s: Street) -> Triple:
    return (-1.0 if s.chance(0.5) else 1.0, 1.0, 1.0)


def _aside(s: Street, off: tuple[float, float], ahead: tuple[float, float], side: int | None = None) -> Triple:
    """A place on a sidewalk: metres from the kerb, metres ahead."""
    side = s.side() if side is None else side
    return s.kerb(side) + side * s.span(*off), KERB, s.ahead(*ahead)


def furnish(s: Street) -> None:
    """Trees, lamps, signs, lights and odd things along both sidewalks."""
    for kind in ("tree", "bush"):
        for _ in range(s.count(kind)):
            plant(s, kind, *_aside(s, (0.8, 1.4), (9, 70)))
    for _ in range(s.count("lamp")):
        x, y, z = _aside(s, (0.3, 0.6), (8, 60))
        s.put("lamp", x, y, z, size=(1 if x > 0 else -1, 1, 1))
    for _ in range(s.count("bollard")):
        s.put("bollard", *_aside(s, (0.3, 0.6), (6, 40)))
    for _ in range(s.count("traffic sign")):
        tints = (s.color("sign"), s.color("sign rim"), GREY)
        s.put("traffic sign", *_aside(s, (0.4, 0.9), (7, 35)), size=(1, s.span(0.9, 1.25), 1), tints=tints)
    for _ in range(s.count("gantry")):
        s.put("gantry", *_aside(s, (1.6, 1.9), (12, 40)), tints=(s.color("board"), s.color("sign rim"), GREY))
    for kind, ahead in (("static", (7, 45)), ("dynamic", (8, 40))):
        for _ in range(s.count(kind)):
            s.put(kind, *_aside(s, (0.8, 2.2), ahead), tints=(s.color(kind), s.color("sign rim"), s.color("sign")))
    _signals(s)


def _signals(s: Street) -> None:
    """Traffic lights, before the crossing if there is one."""
    for _ in range(s.count("traffic light")):
        x, y, z = _aside(s, (0.35, 0.6), (8, 30))
        if s.crossing < s.end:
            z = s.crossing - s.span(0.5, 5.0)
        s.put("traffic light", x, y, z, size=(1 if x > 0 else -1, 1, 1))


def _vehicle(s: Street, kind: str, x: float, z: float, heading: float, trim: str | None = None) -> None:
    if s.free(x, z, LENGTHS[kind]):
        tints = (s.color(kind), s.color(trim or kind), GREY)
        s.put(kind, x, 0, z, heading=heading + s.span(-0.02, 0.02), size=(1, s.span(0.95, 1.05), 1), tints=tints)


def park_cars(s: Street) -> None:
    """Rows of parked cars at the kerbs, where there is room."""
    rows = ((s.right - 1.25, s.right > LANE / 2 + PARKING, 0.0), (s.left + 1.25, True, ONCOMING))
    for x, room, heading in rows:
        z = s.span(2, 12)
        while room and z < 60:
            z += s.span(5.4, 6.6)
            if s.chance(s.look.rates["parked"]) and abs(z - s.crossing - 4) > 8:
                _vehicle(s, "car", x + s.span(-0.1, 0.1), z, heading)


def drive(s: Street) -> None:
    """Moving vehicles: the big and rare ones first, so that they find room."""
    if not np.isnan(s.tracks) and s.chance(0.85):
        _vehicle(s, "train", s.tracks, s.ahead(28, 80), ONCOMING * s.chance(0.5), "train trim")
    for kind, near in (("bus", 18), ("truck", 18)):
        for _ in range(s.count(kind)):
            x, heading = _lane(s)
            _vehicle(s, kind, x, s.ahead(near, 60), heading, f"{kind} trim")
    for _ in range(s.count("car")):
        x, heading = _lane(s)
        _vehicle(s, "car", x, s.ahead(10, 70), heading)


def _lane(s: Street) -> tuple[float, float]:
    """The middle of a lane, the own one among them, and the heading of its traffic."""
    lanes = max(int((-LANE / 2 - s.left) / LANE), 1)
    lane = int(s.span(0, lanes + 1))
    return -LANE * lane, ONCOMING * (lane > lanes // 2)


def _dress(s: Street, third: str) -> Tints:
    return s.color("coat"), s.color("legs"), s.color(third)


def people(s: Street) -> None:
    """Walkers alone or in twos on the sidewalks, some on the road."""
    todo = s.count("person")
    while todo > 0:
        side = s.side()
        x, y, z = _aside(s, (0.7, max(s.verges[side] + s.walks[side], 1.5)), (6.5, 50), side)
        road = s.span(s.left, s.right)
        if s.chance(0.1) and s.free(road, z, 1.5):
            x, y = road, 0.0
        for step in range(min(1 + s.chance(0.45), todo)):
            _walker(s, x + 0.7 * step, y, z + 0.3 * step)
        todo -= 1 + step


def _walker(s: Street, x: float, y: float, z: float) -> None:
    tall = s.span(0.92, 1.1)
    s.tile("shade on sidewalk" if y else "shade on road", (x - 0.3, x + 0.3), (z - 0.15, z + 0.2), 7, y)
    s.put("person", x, y, z, size=(tall if s.chance(0.5) else -tall, tall, 1), tints=_dress(s, "cycle"))


def ride(s: Street) -> None:
    """Bicycles and motorcycles, ridden on the road or left at the kerb."""
    for kind, third in (("bicycle", "cycle"), ("motorcycle", "motorcycle")):
        for _ in range(s.count(f"{kind} ridden")):
            across = s.chance(0.45)
            x = s.span(max(s.left, -6) + 1, s.right - 0.5) if across else s.right - s.span(0.4, 1.2)
            z = s.ahead(7, 26)
            if s.free(x, z, 2.0):
                s.put(f"{kind} ridden", x, 0, z, size=_mirror(s), tints=_dress(s, third), variant=int(across))
    for kind, third, off in (("bicycle", "cycle", (0.7, 2.4)), ("motorcycle", "motorcycle", (-0.9, 0.9))):
        for _ in range(s.count(kind)):
            x, y, z = _aside(s, off, (7, 28))
            turn, y = s.span(-0.8, 0.8), y if abs(x) > s.right else 0.0
            s.put(kind, x, y, z, heading=turn, size=_mirror(s), tints=_dress(s, third))
