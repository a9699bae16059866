"""Who and what moves or stands about in a street: furniture, vehicles, people. Nothing here knows of pixels."""

import numpy as np

from dacs.world.looks import Color
from dacs.world.street import GREY, KERB, LANE, PARKING, Street, _leaves

ONCOMING = float(np.pi)


def furnish(s: Street) -> None:
    """Trees, lamps, signs, lights, bins along both sidewalks."""
    for rate, kind in (("tree", "tree"), ("bush", "bush")):
        for _ in range(s.count(rate)):
            s.put(kind, _walk_place(s, 0.55, 1.0, 8, 70), size=(1, s.span(0.8, 1.25), 1), tints=_leaves(s))
    for rate, kind, near in (("lamp", "lamp", 7), ("bollard", "bollard", 5)):
        for _ in range(s.count(rate)):
            s.put(kind, _walk_place(s, 0.3, 0.6, near, 60))
    for _ in range(s.count("sign")):
        tints = (s.color("sign"), s.color("sign rim"), GREY)
        s.put("traffic sign", _walk_place(s, 0.4, 0.9, 6, 35), size=(1, s.span(0.9, 1.25), 1), tints=tints)
    for _ in range(s.count("gantry")):
        s.put("gantry", _walk_place(s, 1.6, 1.9, 10, 40), tints=(s.color("board"), s.color("sign rim"), GREY))
    for _ in range(s.count("bin")):
        s.put("bin", _walk_place(s, 0.6, 2.2, 6, 40), tints=(s.color("bin"), GREY, GREY))
    for _ in range(s.count("barrow")):
        s.put("barrow", _walk_place(s, 0.2, 1.4, 6, 40), tints=(s.color("barrow"), s.color("sign rim"), GREY))
    _signals(s)


def _signals(s: Street) -> None:
    for _ in range(s.count("light")):
        x, y, z = _walk_place(s, 0.35, 0.6, 7, 30)
        if s.crossing < s.end:
            z = s.crossing - s.span(0.5, 5.0)
        s.put("traffic light", (x, y, z), size=(-1 if x < 0 else 1, 1, 1))


def _walk_place(s: Street, low: float, high: float, near: float, far: float) -> tuple[float, float, float]:
    """A place so many metres from the kerb on one of the sidewalks."""
    side = 1 if s.chance(0.55) else -1
    kerb = s.right if side > 0 else s.left
    return kerb + side * s.span(low, high), KERB, s.depth(near, far)


def _vehicle(s: Street, kind: str, x: float, z: float, heading: float, body: str, trim: str, length: float = 1.0) -> None:
    s.put(kind, (x, 0, z), heading=heading, size=(1, s.span(0.95, 1.05), length), tints=(s.color(body), s.color(trim), GREY))


def park_cars(s: Street) -> None:
    """Rows of parked cars where there is room for them at the kerb."""
    for x, there, heading in ((s.right - 1.45, s.right > LANE / 2 + PARKING, 0.0), (s.left + 1.25, True, ONCOMING)):
        if not there:
            continue
        z = s.span(4, 12)
        while z < 70:
            z += s.span(5.4, 6.6)
            if s.chance(s.look.rates["parked"]) and abs(z - s.crossing - 4) > 8:
                _vehicle(s, "car", x + s.span(-0.1, 0.1), z, heading + s.span(-0.03, 0.03), "car", "car")


def drive(s: Street) -> None:
    """Moving vehicles: cars in all lanes, and now and then something big."""
    for _ in range(s.count("car")):
        x, heading = _lane(s)
        _vehicle(s, "car", x, s.depth(9, 70), heading, "car", "car")
    for kind, near in (("truck", 12), ("bus", 13)):
        for _ in range(s.count(kind)):
            x, heading = _lane(s)
            _vehicle(s, kind, x, s.depth(near, 45), heading, kind, {"truck": "truck cab", "bus": "bus trim"}[kind])
    if not np.isnan(s.tracks) and s.chance(0.8):
        _vehicle(s, "train", s.tracks, s.depth(20, 60), ONCOMING * s.chance(0.5), "train", "train trim")


def _lane(s: Street) -> tuple[float, float]:
    """The middle of a lane and its heading; the own lane is one of them."""
    lanes = max(int((-LANE / 2 - s.left) / LANE), 1)
    lane = int(s.span(0, lanes + 1))
    return -LANE * lane, ONCOMING * (lane > lanes // 2)


def _dress(s: Street, third: str = "cycle") -> tuple[Color, Color, Color]:
    return s.color("coat"), s.color("legs"), s.color(third)


def people(s: Street) -> None:
    """Walkers alone or in pairs on the sidewalks, some on the road."""
    todo = s.count("person")
    while todo > 0:
        x, y, z = _walk_place(s, 0.7, max(min(s.walk_left, s.walk_right), 1.5), 6, 50)
        if s.chance(0.12):
            x, y = s.span(s.left, s.right), 0.0
        for step in range(min(1 + int(s.span(0, 2.2)), todo)):
            tall = s.span(0.92, 1.1)
            size = (tall if s.chance(0.5) else -tall, tall, 1)
            s.put("person", (x + 0.7 * step, y, z + 0.3 * step), size=size, tints=_dress(s))
            todo -= 1


def ride(s: Street) -> None:
    """Bicycles and motorcycles, ridden at the edge of the road or left at the kerb."""
    for rate, kind, third in (("rider", "bicycle ridden", "cycle"), ("biker", "motorcycle ridden", "motorcycle")):
        for _ in range(s.count(rate)):
            across = s.chance(0.4)
            x = s.span(s.left + 1.5, s.right - 0.5) if across else s.right - s.span(0.4, 1.2)
            size = (-1 if s.chance(0.5) else 1, 1, 1)
            s.put(kind, (x, 0, s.depth(6, 28)), size=size, tints=_dress(s, third), variant=int(across))
    for rate, third, low, high in (("bicycle", "cycle", 0.8, 2.4), ("motorcycle", "motorcycle", -0.8, 0.9)):
        for _ in range(s.count(rate)):
            x, y, z = _walk_place(s, low, high, 6, 30)
            turn = s.span(-0.9, 0.9)
            s.put(rate, (x, y, z), heading=turn, size=(-1 if s.chance(0.5) else 1, 1, 1), tints=_dress(s, third))
