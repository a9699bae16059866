"""One frame of a domain: a pure function of domain, split, number, seed and scale."""

from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from dacs.demo_world.camera import Camera
from dacs.demo_world.lens import OVER, develop
from dacs.demo_world.lining import close_end, lay_ground, line_side
from dacs.demo_world.looks import LOOKS, Look, Weather
from dacs.demo_world.materials import IDS, MATERIALS, SLOT, SLOTS
from dacs.demo_world.paint import Faces, Light, Parts, cast, order, paint, pose
from dacs.demo_world.rates import DOMAINS
from dacs.demo_world.street import Street, plan
from dacs.demo_world.traffic import drive, furnish, park_cars, people, ride

SPLITS = ("train", "val")
FAINT = 0.1  # sunlight below which no shadow is cast


class Frame(NamedTuple):
    """A picture and what is in it."""

    image: np.ndarray  # (height, width, 3) uint8 RGB
    label: np.ndarray  # (height, width) uint8, ids of the label table, and LANE_MARKING
    instance: np.ndarray  # (height, width) uint16, 0 for what is not counted


def render(domain: str, split: str, number: int, *, seed: int, scale: float) -> Frame:
    """The frame of this number, at `scale` of the real width and height."""
    cv2.setNumThreads(1)  # the workers are processes
    look = LOOKS[domain]
    rng = np.random.default_rng([seed, DOMAINS.index(domain), SPLITS.index(split), number])
    real = look.view.sizes[-1 if number % 5 == 4 else 0]
    width, height = round(real[0] * scale), round(real[1] * scale)
    street = fill_street(look, rng)
    camera = place_camera(street, width * OVER, height * OVER)
    weather = _weather(look, rng)
    light = _light(weather, rng)
    materials = _materials(street)
    faces = pose(order(street.things, camera.yaw), materials)
    parts = _own_car(paint(faces, camera, light), look, materials, rng)
    shadow = _shadow(faces, camera, light, (height, width))
    label = parts.labels[parts.number[::OVER, ::OVER]]
    instance = parts.instances[parts.number[::OVER, ::OVER]]
    image = develop(parts, label, shadow, camera, look.lens, weather, rng)
    return Frame(image, _bordered(label, round(look.view.border * scale)), instance)


def fill_street(look: Look, rng: np.random.Generator) -> Street:
    """A street with everything in it."""
    street = plan(look, rng)
    lay_ground(street)
    line_side(street, -1)
    line_side(street, 1)
    for stage in (close_end, furnish, park_cars, drive, people, ride):
        stage(street)
    return street


def place_camera(street: Street, width: int, height: int) -> Camera:
    """A camera of the look's kind, within the street."""
    view, rates = street.look.view, street.look.rates
    aside = street.span(*view.aside)
    return Camera(
        width=width,
        height=height,
        focal=width * street.span(*view.focal),
        horizon=height * street.span(*view.horizon),
        aside=min(max(aside, street.line(-1) + 1.5), street.line(1) - 1.5),
        above=street.span(*view.above),
        yaw=street.span(*view.yaw),
        bend=street.span(-1, 1) * rates["bend"],
    )


def _weather(look: Look, rng: np.random.Generator) -> Weather:
    weights = np.cumsum([weather.weight for weather in look.weathers])
    return look.weathers[int(np.searchsorted(weights, rng.random() * weights[-1]))]


def _light(weather: Weather, rng: np.random.Generator) -> Light:
    sun = np.array([rng.uniform(-1, 1), rng.uniform(0.6, 1.4), rng.uniform(-1, 0.6)])
    return Light(
        sun=(sun / np.linalg.norm(sun)).astype(np.float32),
        direct=weather.sun,
        tint=np.array(weather.tint, dtype=np.float32),
        haze=float(-np.log(1 - rng.uniform(*weather.haze)) / 100),
        veil=np.array(weather.low, dtype=np.float32),
    )


def _materials(street: Street) -> np.ndarray:
    """This frame's colour for each slot, (slots, 3); the things' own slots stay black here."""
    table = np.zeros((len(SLOTS), 3), dtype=np.float32)
    for name in MATERIALS:
        table[SLOT[name]] = street.color(name)
    return table


def _shadow(faces: Faces, camera: Camera, light: Light, shape: tuple[int, int]) -> np.ndarray:
    """Cast shadows at the size of the picture; none under a clouded sky."""
    if light.direct < FAINT:
        return np.zeros(shape, dtype=np.uint8)
    coarse = replace(camera, width=shape[1], height=shape[0], focal=camera.focal / OVER, horizon=camera.horizon / OVER)
    return cast(faces, coarse, light.sun)


def _own_car(parts: Parts, look: Look, materials: np.ndarray, rng: np.random.Generator) -> Parts:
    """The own bonnet along the lower edge, painted over everything."""
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


def _bordered(label: np.ndarray, border: int) -> np.ndarray:
    """The label with the rim that rectifying leaves without one."""
    if border:
        label[:, :border] = label[:, -border:] = label[-border:] = IDS["rectification border"]
        label[:border] = IDS["out of roi"]
    return label
