"""The ground of a street, and the houses, walls and plants along its sides and at its end."""

from collections.abc import Callable
from functools import partial

import numpy as np

from dacs.demo_world.palettes import Color
from dacs.demo_world.street import KERB, LANE, PARKING, Street, Triple

WIDE = 120.0  # metres to each side that the ground reaches
BEHIND = 4.0  # metres behind the camera at which the sides begin, so that no edge is in view


def scale_color(color: Color, share: float) -> Color:
    """A lighter or darker tone of a colour."""
    red, green, blue = (min(int(channel * share), 255) for channel in color)
    return red, green, blue


def plant(s: Street, kind: str, place: Triple, *, wide: float = 1.0, rank: float | None = None) -> None:
    """A plant in three of the street's greens: dark, lit and middle."""
    dark = s.color("leaves")
    tints = (dark, scale_color(dark, 1.35), scale_color(dark, 1.15))
    s.put(kind, place, size=(wide, s.span(0.75, 1.25), 1), tints=tints, rank=rank)


def place_ground(s: Street) -> None:
    """From the outside in: fields, grass, sidewalks, the carriageway and what is painted on it."""
    s.strip("terrain" if s.chance(0.5) else "ground", -WIDE, WIDE, 0.0, 0)
    for side in (-1, 1):
        kerb, line = s.kerb(side), s.line(side)
        s.strip("sidewalk", kerb, line + 0.5 * side, KERB, 1)
        if s.verges[side]:
            s.strip("terrain", kerb + side * 0.2, kerb + side * s.verges[side], KERB, 2)
    s.strip("road", s.left, s.right, 0.0, 3)
    if s.right > LANE / 2 + PARKING and s.chance(s.look.rates["parking"]):
        s.strip("parking", s.right - PARKING, s.right, 0.0, 4)
    if s.crossing < s.end:
        _place_crossing(s)
    for _ in range(s.count("patch")):
        x, z = s.span(s.left, s.right - 1.5), s.ahead(4, 40)
        s.tile("patch", (x, x + s.span(0.6, 2.0)), (z, z + s.span(1, 6)), 4)
    if not np.isnan(s.tracks):
        s.strip("rail track", s.tracks - 1.3, s.tracks + 1.3, 0.0, 5)
        for rail in (-0.75, 0.68):
            s.strip("rail", s.tracks + rail, s.tracks + rail + 0.09, 0.0, 6)
    _place_markings(s)


def _place_crossing(s: Street) -> None:
    """The other street, and the zebra crossing or stop line before it."""
    s.tile("crossing road", (-WIDE, WIDE), (s.crossing, s.crossing + 8.0), 3)
    if s.chance(0.6):
        for x in np.arange(s.left + 0.3, s.right - 0.4, 1.0).tolist():
            s.tile("stripe", (x, x + 0.5), (s.crossing - 4.2, s.crossing - 1.2), 6)
    else:
        s.tile("stripe", (-LANE / 2, LANE / 2), (s.crossing - 1.5, s.crossing - 1.0), 6)


def _place_markings(s: Street) -> None:
    """Lines between the lanes and at the edge."""
    x = -LANE / 2
    if s.chance(0.75):
        s.strip("line" if s.chance(0.3) else "dashes", x - 0.07, x + 0.07, 0.0, 6)
    while x - LANE > s.left + 1.0:
        x -= LANE
        s.strip("dashes", x - 0.07, x + 0.07, 0.0, 6)
    if s.chance(0.4):
        s.strip("line", LANE / 2 - 0.06, LANE / 2 + 0.08, 0.0, 6)


def place_side(s: Street, side: int) -> None:
    """Runs of houses, park, wall or fence along a side, with a gap where a street crosses."""
    kinds, weights = list(SECTIONS.values()), [s.look.rates[kind] for kind in SECTIONS]
    z, left_of_run, place_section = -BEHIND, 0.0, kinds[0]
    while z < s.end:
        if left_of_run <= 0:
            place_section, left_of_run = kinds[s.choice(weights)], s.span(12, 50)
        length = s.span(8, 17)
        if z < s.crossing + 8 and z + length > s.crossing - 1:
            length = s.crossing - 1 - z
            if length < 4:
                z, left_of_run = s.crossing + 9.5, 0.0
                continue
        place_section(s, side, z, length)
        z, left_of_run = z + length, left_of_run - length


def _house(s: Street, side: int, z: float, length: float, kind: str = "house", back: float | None = None) -> None:
    """A house at the building line, or so far behind it; painted before all that stands before its far end."""
    tall = s.look.rates["tall"] * s.span(0.6, 1.4) * (1.7 if kind == "tower" else 1.0)
    deep = s.span(9, 14)
    near = s.line(side) + side * (s.span(0, 0.8) if back is None else back)
    place = (near if side > 0 else near - deep, 0, z)
    s.put(kind, place, size=(deep, tall, length), tints=_house_tints(s, kind), rank=z + length + (0.1 if back else 0.0))


def _house_tints(s: Street, kind: str) -> tuple[Color, ...]:
    return s.color(kind), s.color("house"), s.color("awning")


def _meadow(s: Street, side: int, z: float, length: float, kind: str = "lawn") -> None:
    s.tile(kind, (s.line(side), s.line(side) + side * 50), (z, z + length), 2, KERB)


def _park(s: Street, side: int, z: float, length: float) -> None:
    _meadow(s, side, z, length)
    kinds = ["thicket"] * 2 + ["tree" if s.chance(0.6) else "bush" for _ in range(int(s.span(0, 3)))]
    for kind in kinds:
        off = s.span(6, 11) if kind == "thicket" else s.span(1, 4)
        plant(s, kind, (s.line(side) + side * off, 0, z + s.span(0, length)))


def _background(s: Street, side: int, z: float, length: float) -> None:
    """What is seen over a wall or through a fence."""
    if s.chance(0.5):
        _house(s, side, z, length, back=s.span(4, 9))
    else:
        plant(s, "thicket", (s.line(side) + side * 7, 0, z + length / 2), wide=1.1, rank=z + length + 0.1)


def _wall(s: Street, side: int, z: float, length: float) -> None:
    _background(s, side, z, length)
    body, coping = s.color("wall"), s.color("wall")
    place = (s.line(side) if side > 0 else s.line(side) - 0.4, 0, z)
    size = (0.4, s.span(1.1, 2.2), length)
    s.put("wall", place, size=size, tints=(body, coping, scale_color(body, 0.8)), rank=z + length)


def _fence(s: Street, side: int, z: float, length: float) -> None:
    _meadow(s, side, z, length)
    _background(s, side, z, length)
    tints = (s.color("fence"), s.color("fence gap"))
    s.put("fence", (s.line(side), 0, z), size=(1, s.span(1.3, 2.3), length), tints=tints, rank=z + length)


def _guard_rail(s: Street, side: int, z: float, length: float) -> None:
    _meadow(s, side, z, length)
    if s.chance(0.6):
        _background(s, side, z, length)
    s.put("guard rail", (s.line(side), 0, z), size=(1, 1, length), tints=(s.color("rail"),), rank=z + length)


def _gap(s: Street, side: int, z: float, length: float) -> None:
    _meadow(s, side, z, length, "lawn" if s.chance(0.5) else "yard")
    if s.chance(0.4):
        plant(s, "bush", (s.line(side) + side * s.span(1, 6), 0, z + length / 2))
    if s.chance(0.5):
        _house(s, side, z, length, back=s.span(12, 25))


SECTIONS: dict[str, Callable[[Street, int, float, float], None]] = {  # each drawn as often as the look's rate says
    "house": _house,
    "tower": partial(_house, kind="tower"),
    "park": _park,
    "wall": _wall,
    "fence": _fence,
    "guard rail": _guard_rail,
    "gap": _gap,
}


def place_end(s: Street) -> None:
    """What stands across the far end, and the rare bridge before it."""
    for x in np.arange(-60.0, 60.0, 14.0).tolist():
        if s.chance(0.6):
            tall = s.look.rates["tall"] * s.span(0.7, 1.4)
            s.put("house", (x, 0, s.end + 6), size=(14, tall, 12), tints=_house_tints(s, "house"))
        elif s.chance(0.7):
            plant(s, "thicket", (x, 0, s.end + 5), wide=1.3)
    if s.chance(s.look.rates["bridge"]):
        concrete = s.color("wall")
        s.put("bridge", (s.span(-4, 4), 0, s.span(28, 60)), tints=(concrete, scale_color(concrete, 1.15)))
