"""The painter: far to near, one buffer of part numbers. Colour and label are tables over the part number, so that the
picture and its label agree by construction."""

from typing import NamedTuple

import cv2
import numpy as np

from dacs.world.camera import Camera
from dacs.world.models import SLOT, SLOTS
from dacs.world.street import STANDING, Thing

OWN = 3  # the first three slots are the thing's own colours
FAR = 9000.0  # pixels; outlines beyond it are cut, which only moves what is far off the frame


class Light(NamedTuple):
    """The light of one frame."""

    sun: np.ndarray  # (3,) unit vector towards the sun
    direct: float  # light of the sun on a face that looks at it
    tint: np.ndarray  # (3,) colour of all light
    haze: float  # 1 / metres
    veil: np.ndarray  # (3,) colour of the haze


class Parts(NamedTuple):
    """The buffer and the tables over it; part 0 is the sky."""

    number: np.ndarray  # (height, width) uint16
    colors: np.ndarray  # (parts, 3) float32, 0..255
    labels: np.ndarray  # (parts,) uint8
    instances: np.ndarray  # (parts,) uint16, 0 for what is not counted
    grounds: int  # parts below this number lie on the ground


def order(things: list[Thing], camera: Camera) -> list[Thing]:
    """Ground by layer, then what stands from far to near."""
    reach = [_reach(thing, camera) for thing in things]
    keys = [(thing.layer, -reach[k] if thing.layer >= STANDING else 0.0) for k, thing in enumerate(things)]
    return [things[k] for k in sorted(range(len(things)), key=keys.__getitem__)]


def _reach(thing: Thing, camera: Camera) -> float:
    """How far ahead the middle of a thing is."""
    x, _, z = thing.place
    if thing.model.unit:
        x, z = x + thing.size[0] / 2, z + thing.size[2] / 2
    return float(z * np.cos(camera.yaw) + x * np.sin(camera.yaw))


def paint(things: list[Thing], camera: Camera, materials: np.ndarray, light: Light, sky: int) -> Parts:
    """Every face of every thing, seen by the camera; `materials` holds a colour for each slot."""
    things = order(things, camera)
    counts = np.array([len(thing.model.slots) for thing in things])
    owner = np.repeat(np.arange(len(things)), counts)
    corners, normals = _placed(things, owner)
    pixels, depth = camera.see(corners)
    slots = np.concatenate([thing.model.slots for thing in things])
    tints = np.array([thing.tints for thing in things], dtype=np.float32)
    own = tints[owner, np.minimum(slots, OWN - 1)]
    colors = np.where((slots < OWN)[:, None], own, materials[slots])
    far = depth.mean(axis=1)
    colors = _lit(colors, normals, far, light)
    labels = np.concatenate([thing.model.labels for thing in things])
    flat = np.concatenate([thing.model.flat for thing in things])
    seen = _seen(pixels, depth, flat, np.array([np.prod(thing.size) for thing in things])[owner], camera)
    layers = np.array([thing.layer for thing in things])[owner][seen]
    number = _fill(pixels[seen], camera)
    sky_color = np.zeros((1, 3), dtype=np.float32)
    return Parts(
        number=number,
        colors=np.concatenate([sky_color, colors[seen]]),
        labels=np.concatenate([np.array([sky], dtype=np.uint8), labels[seen]]),
        instances=np.concatenate([np.zeros(1, dtype=np.uint16), (owner[seen] + 1).astype(np.uint16)]),
        grounds=1 + int(np.count_nonzero(layers < STANDING)),
    )


def _placed(things: list[Thing], owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners and normals in world metres."""
    size = np.array([thing.size for thing in things], dtype=np.float32)[owner]
    place = np.array([thing.place for thing in things], dtype=np.float32)[owner]
    turn = np.array([thing.heading for thing in things], dtype=np.float32)
    cosine, sine = np.cos(turn)[owner], np.sin(turn)[owner]
    corners = np.concatenate([thing.model.corners for thing in things]) * size[:, None]
    normals = np.concatenate([thing.model.normals for thing in things]) * np.copysign(np.float32(1), size)
    return _turned(corners, cosine[:, None], sine[:, None]) + place[:, None], _turned(normals, cosine, sine)


def _turned(points: np.ndarray, cosine: np.ndarray, sine: np.ndarray) -> np.ndarray:
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    return np.stack([x * cosine + z * sine, y, z * cosine - x * sine], axis=-1)


def _lit(colors: np.ndarray, normals: np.ndarray, far: np.ndarray, light: Light) -> np.ndarray:
    """Shade by the angle to the sun, then fade into the haze."""
    shade = 1.0 + light.direct * np.clip(normals @ light.sun, 0, 1) - 0.12 * np.abs(normals[:, 2]) - 0.05 * np.abs(normals[:, 0])
    through = np.exp(-light.haze * far)[:, None]
    return (colors * shade[:, None] * light.tint * through + light.veil * (1 - through)).astype(np.float32)


def _seen(pixels: np.ndarray, depth: np.ndarray, flat: np.ndarray, mirrored: np.ndarray, camera: Camera) -> np.ndarray:
    """Which faces look at the camera, are within the frame and are more than a speck."""
    x, y = pixels[..., 0], pixels[..., 1]
    area = (x * np.roll(y, -1, axis=1) - np.roll(x, -1, axis=1) * y).sum(axis=1) * np.where(mirrored < 0, -1, 1)
    low, high = pixels.min(axis=1), pixels.max(axis=1)
    inside = (high[:, 0] >= 0) & (high[:, 1] >= 0) & (low[:, 0] < camera.width) & (low[:, 1] < camera.height)
    speck = (high - low).max(axis=1) < 1.5
    ahead = depth.max(axis=1) > 0.6
    return inside & ~speck & ahead & (flat | (area > 0))


def _fill(pixels: np.ndarray, camera: Camera) -> np.ndarray:
    number = np.zeros((camera.height, camera.width), dtype=np.uint16)
    outlines = np.clip(np.rint(pixels), -FAR, FAR).astype(np.int32)
    for part, outline in enumerate(outlines, start=1):
        cv2.fillConvexPoly(number, outline, part)
    return number


def frame_materials(colors: dict[str, np.ndarray]) -> np.ndarray:
    """A colour for each slot, (slots, 3); the thing's own slots stay black here."""
    table = np.zeros((len(SLOTS), 3), dtype=np.float32)
    for name, color in colors.items():
        table[SLOT[name]] = color
    return table
