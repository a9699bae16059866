"""A street drawn at random: its cross-section and the things placed in it, in metres.

The camera's lane is centred on x = 0, traffic keeps to the right, the view goes along +z. Ground lies in layers;
everything that stands is painted from far to near.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dacs.demo_world.catalog import meshes
from dacs.demo_world.looks import Look
from dacs.demo_world.palettes import Color
from dacs.demo_world.shapes import Mesh, Span

LANE = 3.3  # metres, width of a lane
PARKING = 2.2  # metres, width of a row of parked cars
KERB = 0.12  # metres, height of the sidewalk over the road
STANDING = 9  # the layer of everything that is not ground
GREY: Color = (128, 128, 128)
Triple = tuple[float, float, float]


class Thing(NamedTuple):
    """One mesh placed in the street."""

    mesh: Mesh
    place: Triple  # metres
    heading: float  # radians, turned about the upright axis
    size: Triple  # stretch along its own axes, negative to mirror
    tints: tuple[Color, ...]  # three
    layer: int  # ground is painted by layer
    rank: float  # and the rest by this depth, metres ahead, far to near


class Street:
    """A street with a random cross-section, the things in it, and the random draws for them."""

    def __init__(self, look: Look, rng: np.random.Generator) -> None:
        self.look, self.rng, rates = look, rng, look.rates
        lanes = 1 + int(self.span(0, 2 * rates["lanes left"]))
        # x of the left kerb, which is negative, and of the right one
        self.left = -LANE / 2 - LANE * lanes - PARKING * self.chance(rates["parking left"]) - 0.3
        self.right = LANE / 2 + PARKING * self.chance(rates["parking right"]) + 0.4
        # width of the sidewalk left (-1) and right (1), and of the grass between kerb and sidewalk, metres
        spread = rates["sidewalk spread"]
        self.walks = {side: max(rates["sidewalk"] + self.span(-1, 1) * spread, 1.0) for side in (-1, 1)}
        self.verges = {side: self.span(0.8, 3.0) * self.chance(rates["verge"]) for side in (-1, 1)}
        self.end = rates["end"] + self.span(-1, 1) * rates["end spread"]  # z at which it is closed
        # z at which another street crosses, beyond the end if none; x of the middle of the rails, nan if none
        self.crossing = self.span(14, 50) if self.chance(rates["crossing"]) else self.end + 50
        self.tracks = -LANE * self.span(0.95, 1.05) if self.chance(rates["tracks"]) else float("nan")
        self.things: list[Thing] = []
        self.taken: list[Triple] = []  # x, z, length of each vehicle

    def span(self, low: float, high: float) -> float:
        """A uniform draw."""
        return low + (high - low) * float(self.rng.random())

    def chance(self, share: float) -> bool:
        """True in this share of draws."""
        return bool(self.rng.random() < share)

    def choice(self, weights: Sequence[float]) -> int:
        """An index, drawn by these weights."""
        sums = np.cumsum(weights)
        return int(np.searchsorted(sums, self.rng.random() * sums[-1]))

    def count(self, rate: str) -> int:
        """A Poisson draw whose mean is the look's rate."""
        return int(self.rng.poisson(self.look.rates[rate]))

    def color(self, name: str) -> Color:
        """One of the look's colours of this name, with jitter."""
        colors = self.look.colors[name]
        chosen = colors[int(self.rng.random() * len(colors))]
        light, *shifts = (self.rng.standard_normal(4) * self.look.jitter).tolist()
        red, green, blue = (int(min(max(c + light + 0.4 * s, 0), 255)) for c, s in zip(chosen, shifts, strict=True))
        return red, green, blue

    def ahead(self, low: float, high: float) -> float:
        """A distance ahead, uniform in its logarithm."""
        return float(low * (high / low) ** self.rng.random())

    def kerb(self, side: int) -> float:
        """x of the kerb of a side."""
        return self.left if side < 0 else self.right

    def line(self, side: int) -> float:
        """x of the building line of a side."""
        return self.kerb(side) + side * (self.verges[side] + self.walks[side])

    def reserve(self, x: float, z: float, length: float) -> bool:
        """Reserve a place for a vehicle; False if another one is too near."""
        fits = all(abs(x - tx) > 2.3 or abs(z - tz) > (length + other) / 2 + 0.6 for tx, tz, other in self.taken)
        if fits:
            self.taken.append((x, z, length))
        return fits

    def put(
        self,
        kind: str,
        place: Triple,
        *,
        heading: float = 0.0,
        size: Triple = (1, 1, 1),
        tints: tuple[Color, ...] = (),
        layer: int = STANDING,
        rank: float | None = None,
        variant: int | None = None,
    ) -> None:
        """Add one thing; of several meshes of its kind one is drawn, unless `variant` is its index."""
        choices = meshes()[kind]
        index = int(self.rng.random() * len(choices)) if variant is None else variant
        rank = place[2] if rank is None else rank
        tints = (*tints, GREY, GREY, GREY)[:3]
        self.things.append(Thing(choices[index], place, heading, size, tints, layer, rank))

    def strip(self, kind: str, left: float, right: float, up: float, layer: int) -> None:
        """Add ground between two x, in either order, along the whole street."""
        self.put(kind, (min(left, right), 0, 0), size=(abs(right - left), up, 1), layer=layer)

    def tile(self, kind: str, across: Span, along: Span, layer: int, up: float = 0.0) -> None:
        """Add a rectangle of ground."""
        size = (abs(across[1] - across[0]), 1, along[1] - along[0])
        self.put(kind, (min(across), up, along[0]), size=size, layer=layer)
