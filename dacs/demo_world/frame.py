"""One frame of a domain: a pure function of domain, split, index, seed and scale."""

from typing import NamedTuple

import cv2
import numpy as np

from dacs.demo_world.camera import Camera
from dacs.demo_world.lens import photograph
from dacs.demo_world.looks import LOOKS, Look, Weather
from dacs.demo_world.materials import IDS, MATERIALS, SLOT, SLOTS
from dacs.demo_world.paint import SUPERSAMPLING, Light, Parts, paint, place_faces, shadow_mask
from dacs.demo_world.rates import DOMAINS
from dacs.demo_world.roadside import place_end, place_ground, place_side
from dacs.demo_world.street import Street
from dacs.demo_world.traffic import park_cars, place_cycles, place_furniture, place_people, place_vehicles

SPLITS = ("train", "val")
MIN_SUN = 0.1  # direct light below which no shadow is cast


class Frame(NamedTuple):
    """An image and its labels."""

    image: np.ndarray  # (height, width, 3) uint8 RGB
    label: np.ndarray  # (height, width) uint8, ids of the label table, and LANE_MARKING
    instance: np.ndarray  # (height, width) uint16, 0 for what has no instances


def render(domain: str, split: str, index: int, *, seed: int, scale: float) -> Frame:
    """A frame of a split, at `scale` of the real width and height."""
    cv2.setNumThreads(1)  # the workers are processes
    look = LOOKS[domain]
    rng = np.random.default_rng([seed, DOMAINS.index(domain), SPLITS.index(split), index])
    real = look.view.sizes[-1 if index % 5 == 4 else 0]
    street = full_street(look, rng)
    camera = camera_in(street, round(real[0] * scale), round(real[1] * scale))
    weather = look.weathers[street.choice([weather.weight for weather in look.weathers])]
    light = _light(weather, rng)
    materials = _materials(street)
    faces = place_faces(street.things, camera.yaw, materials)
    parts = _paint_bonnet(paint(faces, camera, light), look, materials, rng)
    shadow = np.zeros((camera.height, camera.width), dtype=np.uint8)
    if light.direct >= MIN_SUN:
        shadow = shadow_mask(faces, camera, light.sun)
    image = photograph(parts, shadow, camera, look.lens, weather, rng)
    number = parts.number[::SUPERSAMPLING, ::SUPERSAMPLING]
    label = _add_border(parts.labels[number], round(look.view.border * scale))
    return Frame(image, label, parts.instances[number])


def full_street(look: Look, rng: np.random.Generator) -> Street:
    """A street with everything in it."""
    street = Street(look, rng)
    place_ground(street)
    place_side(street, -1)
    place_side(street, 1)
    for place in (place_end, place_furniture, park_cars, place_vehicles, place_people, place_cycles):
        place(street)
    return street


def camera_in(street: Street, width: int, height: int) -> Camera:
    """A camera of the look's kind, within the street."""
    view = street.look.view
    aside = street.span(*view.aside)
    return Camera(
        width=width,
        height=height,
        focal=width * street.span(*view.focal),
        horizon=height * street.span(*view.horizon),
        aside=min(max(aside, street.line(-1) + view.clear), street.line(1) - view.clear),
        above=street.span(*view.above),
        yaw=street.span(*view.yaw),
        bend=street.span(-1, 1) * street.look.rates["bend"],
    )


def _light(weather: Weather, rng: np.random.Generator) -> Light:
    sun = np.array([rng.uniform(-1, 1), rng.uniform(0.6, 1.4), rng.uniform(-1, 0.6)])
    return Light(
        sun=(sun / np.linalg.norm(sun)).astype(np.float32),
        direct=weather.sun,
        tint=np.array(weather.tint, dtype=np.float32),
        haze=float(-np.log(1 - rng.uniform(*weather.haze)) / 100),
        haze_color=np.array(weather.low, dtype=np.float32),
    )


def _materials(street: Street) -> np.ndarray:
    """This frame's colour for each slot, (slots, 3); black for the tints, which differ from thing to thing."""
    tints = np.zeros((len(SLOTS) - len(MATERIALS), 3))
    return np.concatenate([tints, [street.color(name) for name in MATERIALS]]).astype(np.float32)


def _paint_bonnet(parts: Parts, look: Look, materials: np.ndarray, rng: np.random.Generator) -> Parts:
    """Paint the bonnet of the camera's car along the lower edge, over everything."""
    if rng.random() >= look.view.bonnet:
        return parts
    height, width = parts.number.shape
    across = np.linspace(0, 1, 17)
    bulge = 0.02 * height * (2 * across - 1) ** 4
    row = rng.uniform(*look.view.bonnet_row) * height
    for part, edge in enumerate((row, row + 0.025 * height), start=len(parts.labels)):
        outline = np.stack([across * width, edge + bulge], axis=1)
        outline = np.concatenate([outline, [[width, height + 2], [0, height + 2]]])
        cv2.fillPoly(parts.number, [np.rint(outline).astype(np.int32)], part)
    return parts._replace(
        colors=np.concatenate([parts.colors, materials[[SLOT["gleam"], SLOT["bonnet"]]]]),
        labels=np.concatenate([parts.labels, np.full(2, IDS["ego vehicle"], dtype=np.uint8)]),
        instances=np.concatenate([parts.instances, np.zeros(2, dtype=np.uint16)]),
    )


def _add_border(label: np.ndarray, border: int) -> np.ndarray:
    """Write the border that rectification leaves unlabelled."""
    if border:
        label[:, :border] = label[:, -border:] = label[-border:] = IDS["rectification border"]
        label[:border] = IDS["out of roi"]
    return label
