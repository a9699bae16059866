"""The painter's algorithm: things in world metres to one buffer of part numbers, far to near.

Colour, label and instance are tables over the part number, so image and label agree by construction.
"""

from typing import NamedTuple

import cv2
import numpy as np

from dacs.demo_world.camera import Camera
from dacs.demo_world.materials import IDS, SLOT, TINT_SLOTS
from dacs.demo_world.shapes import Mesh
from dacs.demo_world.street import STANDING, Thing

SUPERSAMPLING = 2  # the buffer is this many times finer than the image, so that edges are smooth
PIXEL_LIMIT = 9000.0  # outlines reach no further, which only moves corners far outside the frame
MIN_DEPTH = 0.6  # metres; a face that reaches no further is beside or behind the camera
INSTANCE_IDS = (IDS["person"], IDS["license plate"])  # first and last id of what has instances
CASTING = np.array([SLOT[name] for name in ("tint0", "tint1", "tint2", "pole", "trunk")])  # slots that cast shadows


class Light(NamedTuple):
    """The light of one frame."""

    sun: np.ndarray  # (3,) unit vector towards the sun
    direct: float  # light of the sun on a face turned to it, beside the ambient 1
    tint: np.ndarray  # (3,) colour of all light
    haze: float  # share of light lost, 1 / metres
    haze_color: np.ndarray  # (3,)


class Faces(NamedTuple):
    """Every face of every thing in painting order, in world metres."""

    mesh: Mesh  # the meshes of all things, in local metres
    corners: np.ndarray  # (faces, 8, 3)
    normals: np.ndarray  # (faces, 3)
    colors: np.ndarray  # (faces, 3) 0..255, before light
    mirrored: np.ndarray  # (faces,) wound the other way
    owners: np.ndarray  # (faces,) number of the thing
    ground: np.ndarray  # (faces,) lies on the ground


class Parts(NamedTuple):
    """The buffer, and the tables over it; part 0 is the sky."""

    number: np.ndarray  # (height, width) uint16
    colors: np.ndarray  # (parts, 3) float32, 0..255
    labels: np.ndarray  # (parts,) uint8
    instances: np.ndarray  # (parts,) uint16, 0 for what has no instances
    grounds: int  # parts below this number, but for the sky, lie on the ground


def place_faces(things: list[Thing], yaw: float, materials: np.ndarray) -> Faces:
    """The faces of all things: ground by layer, then the rest from far to near for a camera of this yaw.

    `materials` holds a colour for each slot of the frame.
    """

    forward, right = np.cos(yaw), np.sin(yaw)

    def key(thing: Thing) -> tuple[int, float]:
        ahead = thing.rank * forward + thing.place[0] * right
        return thing.layer, -ahead if thing.layer >= STANDING else 0.0

    things = sorted(things, key=key)
    mesh = Mesh(*map(np.concatenate, zip(*(thing.mesh for thing in things), strict=True)))
    owners = np.repeat(np.arange(len(things)), [len(thing.mesh.slots) for thing in things])
    size = np.array([thing.size for thing in things], dtype=np.float32)
    place = np.array([thing.place for thing in things], dtype=np.float32)
    turn = np.array([thing.heading for thing in things], dtype=np.float32)
    tints = np.array([thing.tints for thing in things], dtype=np.float32)
    cosine, sine = np.cos(turn)[owners], np.sin(turn)[owners]
    tinted = tints[owners, np.minimum(mesh.slots, TINT_SLOTS - 1)]
    return Faces(
        mesh=mesh,
        corners=_rotate(mesh.corners * size[owners, None], cosine[:, None], sine[:, None]) + place[owners, None],
        normals=_rotate(mesh.normals * np.copysign(np.float32(1), size)[owners], cosine, sine),
        colors=np.where((mesh.slots < TINT_SLOTS)[:, None], tinted, materials[mesh.slots]),
        mirrored=(np.prod(size, axis=1) < 0)[owners],
        owners=owners,
        ground=np.array([thing.layer < STANDING for thing in things])[owners],
    )


def _rotate(points: np.ndarray, cosine: np.ndarray, sine: np.ndarray) -> np.ndarray:
    """Points turned about the upright axis."""
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    return np.stack([x * cosine + z * sine, y, z * cosine - x * sine], axis=-1)


def paint(faces: Faces, camera: Camera, light: Light) -> Parts:
    """What the camera sees of the faces."""
    pixels, depth = camera.project(faces.corners)
    pixels, shape = pixels * SUPERSAMPLING, (camera.height * SUPERSAMPLING, camera.width * SUPERSAMPLING)
    seen = np.flatnonzero(_is_visible(pixels, depth, faces, shape))
    colors = _shade(faces.colors[seen], faces.normals[seen], depth[seen].mean(axis=1), light)
    labels = faces.mesh.labels[seen]
    instances = np.where((labels >= INSTANCE_IDS[0]) & (labels <= INSTANCE_IDS[1]), faces.owners[seen] + 1, 0)
    return Parts(
        number=fill(pixels[seen], np.zeros(shape, dtype=np.uint16), range(1, len(seen) + 1)),
        colors=np.concatenate([np.zeros((1, 3), dtype=np.float32), colors]),
        labels=np.concatenate([np.array([IDS["sky"]], dtype=np.uint8), labels]),
        instances=np.concatenate([[0], instances]).astype(np.uint16),
        grounds=1 + int(np.count_nonzero(faces.ground[seen])),
    )


def _is_visible(pixels: np.ndarray, depth: np.ndarray, faces: Faces, shape: tuple[int, int]) -> np.ndarray:
    """Which faces are turned to the camera, are within the frame and are not tiny."""
    x, y = pixels[..., 0], pixels[..., 1]
    columns, rows, depths = (np.ascontiguousarray(each.T) for each in (x, y, depth))  # reduced four times as fast
    left, right, top, bottom = columns.min(axis=0), columns.max(axis=0), rows.min(axis=0), rows.max(axis=0)
    inside = (right >= 0) & (bottom >= 0) & (left < shape[1]) & (top < shape[0])
    inside &= depths.max(axis=0) > MIN_DEPTH
    tiny = np.maximum(right - left, bottom - top) < 1.5
    area = (x[:, :-1] * y[:, 1:] - x[:, 1:] * y[:, :-1]).sum(axis=1) + x[:, -1] * y[:, 0] - x[:, 0] * y[:, -1]
    return inside & ~tiny & (faces.mesh.two_sided | ((area > 0) ^ faces.mirrored))


def _shade(colors: np.ndarray, normals: np.ndarray, far: np.ndarray, light: Light) -> np.ndarray:
    """Colours by the angle to the sun, faded into the haze."""
    shade = 1 + light.direct * np.clip(normals @ light.sun, 0, 1)
    shade -= 0.12 * np.abs(normals[:, 2]) + 0.05 * np.abs(normals[:, 0])
    through = np.exp(-light.haze * far)[:, None]
    return (colors * shade[:, None] * light.tint * through + light.haze_color * (1 - through)).astype(np.float32)


def fill(pixels: np.ndarray, canvas: np.ndarray, values: range | list[int]) -> np.ndarray:
    """Fill outlines (count, corners, 2) into the canvas one after another, each with its value."""
    outlines = np.clip(np.rint(pixels), -PIXEL_LIMIT, PIXEL_LIMIT).astype(np.int32)
    for outline, value in zip(outlines, values, strict=True):
        cv2.fillConvexPoly(canvas, outline, value)
    return canvas


def shadow_mask(faces: Faces, camera: Camera, sun: np.ndarray) -> np.ndarray:
    """Where the sun does not reach the ground: uint8 (height, width), 255 in shadow."""
    casting = np.flatnonzero(~faces.ground & np.isin(faces.mesh.slots, CASTING) & (faces.corners[:, 0, 2] < 60))
    corners = faces.corners[casting].copy()
    corners -= corners[..., 1:2] / sun[1] * sun
    pixels, depth = camera.project(corners)
    low, high = pixels.min(axis=1), pixels.max(axis=1)
    seen = ((high >= 0) & (low < (camera.width, camera.height)) & (high - low > 2)).all(axis=1)
    seen &= depth.max(axis=1) > MIN_DEPTH
    canvas = np.zeros((camera.height, camera.width), dtype=np.uint8)
    return fill(pixels[seen], canvas, [255] * int(seen.sum()))
