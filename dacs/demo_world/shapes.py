"""Solids and flat figures, and the meshes that are built from them.

A face is a convex outline of up to 8 corners in local metres (x right, y up, z ahead), wound so that it is seen from
outside. Flat figures stand in the plane z = 0 and are seen from both sides.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from dacs.demo_world.materials import IDS, SLOT

CORNERS = 8  # of every outline; shorter ones repeat their last corner
Outline = list[tuple[float, float, float]]
Span = tuple[float, float]
Rectangle = tuple[float, float, float, float]


class Face(NamedTuple):
    """One outline of a mesh."""

    corners: Outline
    slot: str  # the colour it takes: "tint0".."tint2" of the object, or a material of the frame
    label: str  # name in the label table
    two_sided: bool = False


class Mesh(NamedTuple):
    """The faces of an object as arrays, in painting order."""

    corners: np.ndarray  # (faces, CORNERS, 3) float32, local metres
    normals: np.ndarray  # (faces, 3) float32, unit length
    slots: np.ndarray  # (faces,) intp, index of the slot
    labels: np.ndarray  # (faces,) uint8, id
    two_sided: np.ndarray  # (faces,) bool


def mesh(faces: list[Face]) -> Mesh:
    """Faces as arrays. Raises KeyError for an unknown slot or label."""
    corners = np.array([(face.corners + [face.corners[-1]] * CORNERS)[:CORNERS] for face in faces], dtype=np.float32)
    # Newell's sum is right for any planar outline, with repeated corners too.
    normals = np.cross(corners, np.roll(corners, -1, axis=1)).sum(axis=1)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    return Mesh(
        corners=corners,
        normals=normals.astype(np.float32),
        slots=np.array([SLOT[face.slot] for face in faces]),
        labels=np.array([IDS[face.label] for face in faces], dtype=np.uint8),
        two_sided=np.array([face.two_sided for face in faces]),
    )


class Block(NamedTuple):
    """The five visible sides of a solid."""

    front: Outline
    left: Outline
    right: Outline
    rear: Outline
    top: Outline

    @property
    def around(self) -> tuple[Outline, ...]:
        """All sides but the top."""
        return self[:-1]


def frustum(lower: Rectangle, upper: Rectangle, up: Span) -> Block:
    """A block whose floor and roof are the rectangles (left, right, rear, front)."""
    (l0, r0, b0, f0), (l1, r1, b1, f1), (bottom, top) = lower, upper, up
    return Block(
        front=[(r0, bottom, f0), (r1, top, f1), (l1, top, f1), (l0, bottom, f0)],
        left=[(l0, bottom, f0), (l1, top, f1), (l1, top, b1), (l0, bottom, b0)],
        right=[(r0, bottom, b0), (r1, top, b1), (r1, top, f1), (r0, bottom, f0)],
        rear=[(l0, bottom, b0), (l1, top, b1), (r1, top, b1), (r0, bottom, b0)],
        top=[(l1, top, b1), (l1, top, f1), (r1, top, f1), (r1, top, b1)],
    )


def box(across: Span, up: Span, along: Span) -> Block:
    """An upright block."""
    return frustum((*across, *along), (*across, *along), up)


def solid(block: Block, label: str, slot: str = "tint0", **others: str) -> list[Face]:
    """The sides of a block as faces of one slot, but for the sides named in `others`."""
    return [Face(outline, others.get(side, slot), label) for side, outline in block._asdict().items()]


def panel(quad: Outline, across: Span, up: Span) -> Outline:
    """A piece of a quad: `across` from its first upright edge to its last, `up` from its lower edge, both as shares."""
    foot0, head0, head1, foot1 = (np.array(corner) for corner in quad)

    def at(u: float, v: float) -> tuple[float, float, float]:
        x, y, z = (1 - u) * ((1 - v) * foot0 + v * head0) + u * ((1 - v) * foot1 + v * head1)
        return float(x), float(y), float(z)

    return [at(across[0], up[0]), at(across[0], up[1]), at(across[1], up[1]), at(across[1], up[0])]


def panels(quad: Outline, slot: str, label: str, across: Iterable[Span], up: Span) -> list[Face]:
    """Several pieces of a quad side by side."""
    return [Face(panel(quad, span, up), slot, label) for span in across]


def flats(label: str, *parts: tuple[Outline, str]) -> list[Face]:
    """Flat outlines, each with its slot, as faces that are seen from both sides."""
    return [Face(outline, slot, label, two_sided=True) for outline, slot in parts]


def flat(*points: Span) -> Outline:
    """A flat outline through points (x, y) of the plane z = 0."""
    return [(x, y, 0.0) for x, y in points]


def plate(across: Span, up: Span) -> Outline:
    """A flat upright rectangle."""
    return flat((across[0], up[0]), (across[0], up[1]), (across[1], up[1]), (across[1], up[0]))


def disc(x: float, y: float, radius: float, squeeze: float = 1.0) -> Outline:
    """A flat octagon; `squeeze` is its width over its height."""
    angles = np.pi / 8 + np.arange(8) * np.pi / 4
    return [(x - squeeze * radius * float(np.cos(a)), y + radius * float(np.sin(a)), 0.0) for a in angles]


def bar(start: Span, end: Span, thick: float) -> Outline:
    """A flat stroke between two points."""
    along = np.array(end) - np.array(start)
    dx, dy = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-9) * thick / 2
    (x0, y0), (x1, y1) = start, end
    return flat((x0 + dx, y0 + dy), (x1 + dx, y1 + dy), (x1 - dx, y1 - dy), (x0 - dx, y0 - dy))


def side_disc(x: float, y: float, z: float, radius: float) -> Outline:
    """An octagon in the plane of a constant x, facing outwards from x = 0."""
    angles = np.pi / 8 + np.arange(8) * np.pi / 4 * (1 if x < 0 else -1)
    return [(x, y + radius * float(np.sin(a)), z + radius * float(np.cos(a))) for a in angles]
