"""Street furniture, vehicles and people."""

import numpy as np

from dacs.demo_world.palettes import Color
from dacs.demo_world.roadside import plant
from dacs.demo_world.street import KERB, LANE, PARKING, Street, Triple

ONCOMING = float(np.pi)
LENGTHS = {"car": 4.6, "truck": 8.8, "bus": 12.2, "train": 26.5}  # metres


def _mirror(s: Street) -> Triple:
    """A size that mirrors every second thing."""
    return (-1.0 if s.chance(0.5) else 1.0, 1.0, 1.0)


def _sidewalk(s: Street, off: tuple[float, float], ahead: tuple[float, float], side: int = 0) -> Triple:
    """A place on a sidewalk, of either side by default: metres from the kerb, metres ahead."""
    side = side or _side(s)
    return s.kerb(side) + side * s.span(*off), KERB, s.ahead(*ahead)


def _side(s: Street) -> int:
    return 1 if s.chance(0.5) else -1


def place_furniture(s: Street) -> None:
    """Trees, lamps, signs, lights and other objects along both sidewalks."""
    for kind in ("tree", "bush"):
        for _ in range(s.count(kind)):
            plant(s, kind, _sidewalk(s, (0.8, 1.4), (9, 70)))
    for _ in range(s.count("lamp")):
        _put_facing_road(s, "lamp", _sidewalk(s, (0.3, 0.6), (8, 60)))
    for _ in range(s.count("bollard")):
        s.put("bollard", _sidewalk(s, (0.3, 0.6), (6, 40)))
    for _ in range(s.count("traffic sign")):
        tints = (s.color("sign"), s.color("sign rim"))
        s.put("traffic sign", _sidewalk(s, (0.4, 0.9), (7, 35)), size=(1, s.span(0.9, 1.25), 1), tints=tints)
    for _ in range(s.count("gantry")):
        s.put("gantry", _sidewalk(s, (1.6, 1.9), (12, 40)), tints=(s.color("board"), s.color("sign rim")))
    for kind, ahead in (("static", (7, 45)), ("dynamic", (8, 40))):
        for _ in range(s.count(kind)):
            place = _sidewalk(s, (0.8, 2.2), ahead)
            s.put(kind, place, tints=(s.color(kind), s.color("sign rim"), s.color("sign")))
    for _ in range(s.count("traffic light")):
        x, y, z = _sidewalk(s, (0.35, 0.6), (8, 30))
        if s.crossing < s.end:  # then before the crossing
            z = s.crossing - s.span(0.5, 5.0)
        _put_facing_road(s, "traffic light", (x, y, z))


def _put_facing_road(s: Street, kind: str, place: Triple) -> None:
    s.put(kind, place, size=(1 if place[0] > 0 else -1, 1, 1))


def park_cars(s: Street) -> None:
    """Rows of parked cars at the kerbs, where there is room."""
    rows = ((s.right - 1.25, s.right > LANE / 2 + PARKING, 0.0), (s.left + 1.25, True, ONCOMING))
    for x, room, heading in rows:
        z = s.span(2, 12)
        while room and z < 60:
            z += s.span(5.4, 6.6)
            if s.chance(s.look.rates["parked"]) and abs(z - s.crossing - 4) > 8:
                _put_vehicle(s, "car", x + s.span(-0.1, 0.1), z, heading)


def place_vehicles(s: Street) -> None:
    """Moving vehicles: the large and rare ones first, so that they find room."""
    if not np.isnan(s.tracks) and s.chance(0.85):
        _put_vehicle(s, "train", s.tracks, s.ahead(28, 80), ONCOMING * s.chance(0.5), "train trim")
    for kind, ahead, trim in (("bus", (18, 60), "bus trim"), ("truck", (18, 60), "truck trim"), ("car", (10, 70), "")):
        for _ in range(s.count(kind)):
            x, heading = _lane(s)
            _put_vehicle(s, kind, x, s.ahead(*ahead), heading, trim)


def _lane(s: Street) -> tuple[float, float]:
    """The middle of a lane, the camera's among them, and the heading of its traffic."""
    lanes = max(int((-LANE / 2 - s.left) / LANE), 1)
    lane = int(s.span(0, lanes + 1))
    return -LANE * lane, ONCOMING * (lane > lanes // 2)


def _put_vehicle(s: Street, kind: str, x: float, z: float, heading: float, trim: str = "") -> None:
    if s.reserve(x, z, LENGTHS[kind]):
        tints = (s.color(kind), s.color(trim or kind))
        heading += s.span(-0.02, 0.02)
        s.put(kind, (x, 0, z), heading=heading, size=(1, s.span(0.95, 1.05), 1), tints=tints)


def place_people(s: Street) -> None:
    """Pedestrians alone or in twos on the sidewalks, some on the road."""
    todo = s.count("person")
    while todo > 0:
        side = _side(s)
        x, y, z = _sidewalk(s, (0.7, max(s.verges[side] + s.walks[side], 1.5)), (6.5, 50), side)
        road = s.span(s.left, s.right)
        if s.chance(0.1) and s.reserve(road, z, 1.5):
            x, y = road, 0.0
        group = min(1 + s.chance(0.45), todo)
        for step in range(group):
            _put_pedestrian(s, x + 0.7 * step, y, z + 0.3 * step)
        todo -= group


def _put_pedestrian(s: Street, x: float, y: float, z: float) -> None:
    tall = s.span(0.92, 1.1)
    s.tile("shade on sidewalk" if y else "shade on road", (x - 0.3, x + 0.3), (z - 0.15, z + 0.2), 7, y)
    s.put("person", (x, y, z), size=(tall if s.chance(0.5) else -tall, tall, 1), tints=_person_tints(s, "cycle"))


def _person_tints(s: Street, third: str) -> tuple[Color, ...]:
    return s.color("coat"), s.color("legs"), s.color(third)


def place_cycles(s: Street) -> None:
    """Bicycles and motorcycles, ridden on the road or parked at the kerb."""
    for kind, third in (("bicycle", "cycle"), ("motorcycle", "motorcycle")):
        for _ in range(s.count(f"{kind} ridden")):
            across = s.chance(0.45)
            x = s.span(max(s.left, -6) + 1, s.right - 0.5) if across else s.right - s.span(0.4, 1.2)
            z = s.ahead(7, 26)
            if s.reserve(x, z, 2.0):
                size, tints = _mirror(s), _person_tints(s, third)
                s.put(f"{kind} ridden", (x, 0, z), size=size, tints=tints, variant=int(across))
    for kind, third, off in (("bicycle", "cycle", (0.7, 2.4)), ("motorcycle", "motorcycle", (-0.9, 0.9))):
        for _ in range(s.count(kind)):
            x, y, z = _sidewalk(s, off, (7, 28))
            turn, y = s.span(-0.8, 0.8), y if abs(x) > s.right else 0.0
            s.put(kind, (x, y, z), heading=turn, size=_mirror(s), tints=_person_tints(s, third))
