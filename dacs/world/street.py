"""A street drawn by lot: what stands where. Nothing here knows of pixels.

The camera rides at x = 0 in its lane, right-hand traffic, looking along +z. Things come as a list; the painter sorts
them. Ground lies in layers, all else in depth.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from dacs.world.looks import Color, Look
from dacs.world.models import models
from dacs.world.shapes import Model

LANE = 3.3  # metres
PARKING = 2.2
KERB = 0.12
BEHIND = 4.0  # metres behind the camera at which lining starts, so that no edge shows


class Thing(NamedTuple):
    """One model put into the street."""

    model: Model
    place: tuple[float, float, float]  # metres
    heading: float  # radians, turned about the upright axis
    size: tuple[float, float, float]  # stretch along its own axes
    tints: tuple[Color, Color, Color]
    layer: int  # ground is painted by layer, everything that stands has STANDING and is painted by depth


STANDING = 9
GREY: Color = (128, 128, 128)


@dataclass
class Street:
    """The cross-section, and the things put into it so far."""

    look: Look
    rng: np.random.Generator
    left: float  # x of the left kerb, negative
    right: float  # x of the right kerb
    walk_left: float  # width of the left sidewalk, metres
    walk_right: float
    verge_left: float  # width of the grass between kerb and sidewalk
    verge_right: float
    end: float  # z at which the street is closed
    crossing: float  # z at which another street crosses; beyond the end if none
    tracks: float  # x of the middle of the rails; nan if none
    things: list[Thing] = field(default_factory=list)

    def span(self, low: float, high: float) -> float:
        """An even draw."""
        return low + (high - low) * float(self.rng.random())

    def chance(self, share: float) -> bool:
        """True in this share of draws."""
        return bool(self.rng.random() < share)

    def count(self, rate: str) -> int:
        """How many of something, as rare events fall."""
        return int(self.rng.poisson(self.look.rates[rate]))

    def color(self, name: str) -> Color:
        """One of the colours of this name, a little off."""
        colors = self.look.colors[name]
        chosen = colors[int(self.rng.random() * len(colors))]
        shift = self.rng.standard_normal(4) * self.look.jitter
        red, green, blue = (int(min(max(c + shift[0] + 0.4 * s, 0), 255)) for c, s in zip(chosen, shift[1:], strict=True))
        return red, green, blue

    def depth(self, low: float, high: float) -> float:
        """A distance ahead, nearer ones likelier."""
        u = float(self.rng.random())
        return low * (high / low) ** u

    def put(self, kind: str, place: tuple[float, float, float], *, heading: float = 0.0,
            size: tuple[float, float, float] = (1.0, 1.0, 1.0), tints: tuple[Color, Color, Color] = (GREY, GREY, GREY),
            layer: int = STANDING, variant: int | None = None) -> None:
        """Add one thing; of several models of its kind one is drawn, unless `variant` names it."""
        choices = models()[kind]
        index = int(self.rng.random() * len(choices)) if variant is None else variant
        self.things.append(Thing(choices[index], place, heading, size, tints, layer))

    def line(self, side: int) -> float:
        """x at which the houses of a side begin."""
        if side < 0:
            return self.left - self.verge_left - self.walk_left
        return self.right + self.verge_right + self.walk_right


def plan(look: Look, rng: np.random.Generator) -> Street:
    """The cross-section of a street, still empty."""
    rates = look.rates

    def even(low: float, high: float) -> float:
        return low + (high - low) * float(rng.random())

    lanes = 1 + int(even(0, 2 * rates["lanes left"]))
    tracks = rng.random() < rates["tracks"]
    left = -LANE / 2 - LANE * lanes - PARKING * (rng.random() < rates["parking left"])
    right = LANE / 2 + PARKING * (rng.random() < rates["parking right"])
    end = rates["end"] + even(-1, 1) * rates["end spread"]
    return Street(
        look, rng, left - 0.3, right + 0.5,
        walk_left=rates["sidewalk"] + even(-1, 1) * rates["sidewalk spread"],
        walk_right=rates["sidewalk"] + even(-1, 1) * rates["sidewalk spread"],
        verge_left=even(0.8, 3.0) * (rng.random() < rates["verge"]),
        verge_right=even(0.8, 3.0) * (rng.random() < rates["verge"]),
        end=end,
        crossing=even(14, 50) if rng.random() < rates["crossing"] else end + 50,
        tracks=-LANE * even(0.9, 1.1) if tracks else float("nan"),
    )  # fmt: skip


def strip(street: Street, kind: str, left: float, right: float, up: float, layer: int) -> None:
    """Ground between two x, the whole street along."""
    street.put(kind, (left, 0.0, -BEHIND * 0), size=(right - left, up, 1.0), layer=layer)


def lay_ground(street: Street) -> None:
    """From the outside in: yards, grass, sidewalks, the carriageway and what is painted on it."""
    s = street
    strip(s, "terrain" if s.chance(0.5) else "ground", -120, 120, 0.0, 0)
    for side in (-1, 1):
        kerb = s.left if side < 0 else s.right
        verge = s.verge_left if side < 0 else s.verge_right
        line = s.line(side)
        strip(s, "sidewalk", min(line - 0.5 * (side < 0), kerb), max(line + 0.5 * (side > 0), kerb), KERB, 1)
        if verge:
            strip(s, "terrain", *sorted((kerb + side * 0.15, kerb + side * verge)), KERB, 2)
    strip(s, "road", s.left, s.right, 0.0, 3)
    lay_crossing(s)
    for _ in range(s.count("patch")):
        x, z = s.span(s.left, s.right - 1.5), s.depth(4, 40)
        s.put("patch", (x, 0, z), size=(s.span(0.6, 2.0), 1, s.span(1, 6)), layer=4)
    if not np.isnan(s.tracks):
        lay_tracks(s)
    lay_marks(s)


def lay_tracks(s: Street) -> None:
    strip(s, "rail track", s.tracks - 1.3, s.tracks + 1.3, 0.0, 5)
    for offset in (-0.75, 0.68):
        strip(s, "rail", s.tracks + offset, s.tracks + offset + 0.09, 0.0, 6)


def lay_marks(s: Street) -> None:
    """Edge lines, broken lines between lanes."""
    x = -LANE / 2
    if s.chance(0.75):
        strip(s, "line" if s.chance(0.3) else "dashes", x - 0.07, x + 0.07, 0.0, 6)
    while x - LANE > s.left + 1.0:
        x -= LANE
        strip(s, "dashes", x - 0.07, x + 0.07, 0.0, 6)
    if s.chance(0.4):
        strip(s, "line", LANE / 2 - 0.06, LANE / 2 + 0.08, 0.0, 6)


def lay_crossing(s: Street) -> None:
    """The other street, and the zebra before it."""
    if s.crossing > s.end:
        return
    s.put("crossing road", (-120, 0, s.crossing), size=(240, 1, 8.0), layer=3)
    if s.chance(0.6):
        for x in np.arange(s.left + 0.3, s.right - 0.4, 1.0):
            s.put("stripe", (float(x), 0, s.crossing - 4.2), size=(0.5, 1, 3.0), layer=6)
    else:
        s.put("stripe", (-LANE / 2, 0, s.crossing - 1.5), size=(LANE, 1, 0.5), layer=6)


def line_side(s: Street, side: int) -> None:
    """Houses, parks, walls and fences one after another along a side."""
    kinds = ("house", "tower", "park", "wall", "fence", "gap")
    weights = np.cumsum([s.look.rates[kind] for kind in kinds])
    z, line = -BEHIND, s.line(side)
    run = 0.0
    kind = "house"
    while z < s.end:
        if run <= 0:
            kind = kinds[int(np.searchsorted(weights, s.rng.random() * weights[-1]))]
            run = s.span(12, 50)
        length = s.span(8, 17)
        if z < s.crossing + 8 and z + length > s.crossing - 1:
            if s.crossing - z < 5:
                z, run = s.crossing + 9.5, 0.0
                continue
            length = s.crossing - 1 - z
        LINING[kind](s, side, line, z, length)
        z += length
        run -= length


def _house(s: Street, side: int, line: float, z: float, length: float, kind: str = "house") -> None:
    tall = s.look.rates["tall"] * s.span(0.6, 1.4) * (1.7 if kind == "tower" else 1.0)
    deep = s.span(9, 14)
    back = line + s.span(0, 0.8) * side
    x = back if side > 0 else back - deep
    body, trim, awning = s.color(kind), s.color("house"), s.color("awning")
    s.put(kind, (x, 0, z), size=(deep, tall, length), tints=(body, trim, awning))


def _tower(s: Street, side: int, line: float, z: float, length: float) -> None:
    _house(s, side, line, z, length, "tower")


def _leaves(s: Street) -> tuple[Color, Color, Color]:
    dark = s.color("leaves")
    light: Color = tuple(min(int(c * 1.35), 255) for c in dark)  # type: ignore[assignment]
    mid: Color = tuple(min(int(c * 1.15), 255) for c in dark)  # type: ignore[assignment]
    return dark, light, mid


def _park(s: Street, side: int, line: float, z: float, length: float) -> None:
    s.put("lawn", (line if side > 0 else line - 40, 0, z), size=(40, 1, length), layer=2)
    for _ in range(2):
        x = line + side * s.span(5, 11)
        s.put("thicket", (x, 0, z + s.span(0, length)), size=(1, s.span(0.7, 1.3), 1), tints=_leaves(s))
    for _ in range(int(s.span(0, 3))):
        place = (line + side * s.span(1.0, 4.0), 0.0, z + s.span(0, length))
        s.put("tree" if s.chance(0.6) else "bush", place, size=(1, s.span(0.8, 1.3), 1), tints=_leaves(s))


def _wall(s: Street, side: int, line: float, z: float, length: float) -> None:
    tall = s.span(1.8, 3.6)
    body, cap = s.color("wall"), s.color("wall")
    foot: Color = tuple(int(c * 0.8) for c in body)  # type: ignore[assignment]
    s.put("wall", (line if side > 0 else line - 0.4, 0, z), size=(0.4, tall, length), tints=(body, cap, foot))
    _behind(s, side, line, z, length)


def _fence(s: Street, side: int, line: float, z: float, length: float) -> None:
    s.put("lawn", (line if side > 0 else line - 40, 0, z), size=(40, 1, length), layer=2)
    s.put("fence", (line, 0, z), size=(1, s.span(1.2, 2.2), length), tints=(s.color("fence"), s.color("fence gap"), GREY))
    _behind(s, side, line, z, length)


def _behind(s: Street, side: int, line: float, z: float, length: float) -> None:
    """What looks over a wall or through a fence."""
    if s.chance(0.55):
        _house(s, side, line + side * s.span(4, 9), z, length)
    else:
        s.put("thicket", (line + side * 6, 0, z + length / 2), size=(1.1, s.span(0.7, 1.2), 1), tints=_leaves(s))


def _gap(s: Street, side: int, line: float, z: float, length: float) -> None:
    s.put("lawn", (line if side > 0 else line - 60, 0, z), size=(60, 1, length), layer=2)
    if s.chance(0.5):
        s.put("bush", (line + side * s.span(1, 6), 0, z + length / 2), tints=_leaves(s))


LINING = {"house": _house, "tower": _tower, "park": _park, "wall": _wall, "fence": _fence, "gap": _gap}


def close_end(s: Street) -> None:
    """What stands across the far end."""
    shift = s.look.rates["tall"]
    for x in np.arange(-60, 60, 14.0):
        if s.chance(0.6):
            size = (14.0, shift * s.span(0.6, 1.3), 12.0)
            s.put("house", (float(x), 0, s.end + 6), size=size, tints=(s.color("house"), s.color("house"), s.color("awning")))
        elif s.chance(0.7):
            s.put("thicket", (float(x), 0, s.end + 5), size=(1.3, s.span(0.8, 1.4), 1), tints=_leaves(s))
