"""A street drawn by lot: its cross-section and the things put into it. Nothing here knows of pixels.

The camera's lane is centred on x = 0, traffic keeps to the right, the view goes along +z. Ground lies in layers; all
that stands is painted from far to near.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from dacs.demo_world.looks import Look, Span
from dacs.demo_world.models import models
from dacs.demo_world.palettes import Color
from dacs.demo_world.shapes import Model

LANE = 3.3  # metres, width of a lane
PARKING = 2.2  # metres, width of a row of parked cars
KERB = 0.12  # metres, height of the sidewalk over the road
BEHIND = 4.0  # metres behind the camera at which the lining starts, so that no edge shows
STANDING = 9  # the layer of all that is no ground
GREY: Color = (128, 128, 128)
Tints = tuple[Color, Color, Color]
Triple = tuple[float, float, float]


class Thing(NamedTuple):
    """One model put into the street."""

    model: Model
    place: Triple  # metres
    heading: float  # radians, turned about the upright axis
    size: Triple  # stretch along its own axes, negative to mirror
    tints: Tints
    layer: int  # ground is painted by layer
    rank: float  # and the rest by this depth, metres ahead, far to near


@dataclass
class Street:
    """The cross-section of a street, what it holds so far, and the lots that are drawn for it."""

    look: Look
    rng: np.random.Generator
    left: float  # x of the left kerb, negative
    right: float  # x of the right kerb
    walks: dict[int, float]  # width of the sidewalk left (-1) and right (1), metres
    verges: dict[int, float]  # width of the grass between kerb and sidewalk
    end: float  # z at which the street is closed
    crossing: float  # z at which another street crosses; beyond the end if none
    tracks: float  # x of the middle of the rails; nan if none
    things: list[Thing] = field(default_factory=list)
    taken: list[tuple[float, float, float]] = field(default_factory=list)  # x, z, length of each vehicle

    def span(self, low: float, high: float) -> float:
        """An even draw."""
        return low + (high - low) * float(self.rng.random())

    def chance(self, share: float) -> bool:
        """True in this share of draws."""
        return bool(self.rng.random() < share)

    def side(self) -> int:
        """Left (-1) or right (1)."""
        return 1 if self.rng.random() < 0.5 else -1

    def count(self, rate: str) -> int:
        """How many of something stand here, where the look's rate is the mean."""
        return int(self.rng.poisson(self.look.rates[rate]))

    def color(self, name: str) -> Color:
        """One of the look's colours of this name, a little off."""
        colors = self.look.colors[name]
        chosen = colors[int(self.rng.random() * len(colors))]
        light, *shifts = (self.rng.standard_normal(4) * self.look.jitter).tolist()
        red, green, blue = (int(min(max(c + light + 0.4 * s, 0), 255)) for c, s in zip(chosen, shifts, strict=True))
        return red, green, blue

    def ahead(self, low: float, high: float) -> float:
        """A distance ahead, as many per doubling near as far."""
        return float(low * (high / low) ** self.rng.random())

    def kerb(self, side: int) -> float:
        """x of the kerb of a side."""
        return self.left if side < 0 else self.right

    def line(self, side: int) -> float:
        """x at which the houses of a side begin."""
        return self.kerb(side) + side * (self.verges[side] + self.walks[side])

    def free(self, x: float, z: float, length: float) -> bool:
        """Whether a vehicle fits here; if so the place is taken."""
        fits = all(abs(x - tx) > 2.3 or abs(z - tz) > (length + other) / 2 + 0.6 for tx, tz, other in self.taken)
        if fits:
            self.taken.append((x, z, length))
        return fits

    def put(
        self,
        kind: str,
        x: float,
        y: float,
        z: float,
        *,
        heading: float = 0.0,
        size: Triple = (1, 1, 1),
        tints: Tints = (GREY, GREY, GREY),
        layer: int = STANDING,
        rank: float | None = None,
        variant: int | None = None,
    ) -> None:
        """Add one thing; of several models of its kind one is drawn, unless `variant` numbers it."""
        choices = models()[kind]
        index = int(self.rng.random() * len(choices)) if variant is None else variant
        self.things.append(Thing(choices[index], (x, y, z), heading, size, tints, layer, z if rank is None else rank))

    def strip(self, kind: str, left: float, right: float, up: float, layer: int) -> None:
        """Lay ground between two x, in either order, the whole street along."""
        self.put(kind, min(left, right), 0, 0, size=(abs(right - left), up, 1), layer=layer)

    def tile(self, kind: str, across: Span, along: Span, layer: int, up: float = 0.0) -> None:
        """Lay a rectangle of ground."""
        size = (abs(across[1] - across[0]), 1, along[1] - along[0])
        self.put(kind, min(across), up, along[0], size=size, layer=layer)


def plan(look: Look, rng: np.random.Generator) -> Street:
    """Draw the cross-section of a street, still empty."""
    rates = look.rates

    def even(low: float, high: float) -> float:
        return low + (high - low) * float(rng.random())

    lanes = 1 + int(even(0, 2 * rates["lanes left"]))
    left = -LANE / 2 - LANE * lanes - PARKING * (rng.random() < rates["parking left"]) - 0.3
    right = LANE / 2 + PARKING * (rng.random() < rates["parking right"]) + 0.4
    walks = {side: max(rates["sidewalk"] + even(-1, 1) * rates["sidewalk spread"], 1.0) for side in (-1, 1)}
    verges = {side: even(0.8, 3.0) * (rng.random() < rates["verge"]) for side in (-1, 1)}
    end = rates["end"] + even(-1, 1) * rates["end spread"]
    crossing = even(14, 50) if rng.random() < rates["crossing"] else end + 50
    tracks = -LANE * even(0.95, 1.05) if rng.random() < rates["tracks"] else float("nan")
    return Street(look, rng, left, right, walks, verges, end, crossing, tracks)
