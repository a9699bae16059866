"""One frame of a domain: a pure function of (domain, seed, split, index, size)."""

from typing import NamedTuple

import cv2
import numpy as np

from dacs.world.camera import Camera
from dacs.world.lens import OVER, develop
from dacs.world.looks import LOOKS, Look, Weather
from dacs.world.models import IDS
from dacs.world.paint import Light, Parts, frame_materials, paint
from dacs.world.street import STANDING, Street, close_end, lay_ground, line_side, plan
from dacs.world.traffic import drive, furnish, park_cars, people, ride

DOMAINS = tuple(LOOKS)
SPLITS = ("train", "val")


class Frame(NamedTuple):
    """A picture and what is in it."""

    image: np.ndarray  # (height, width, 3) uint8 RGB
    label: np.ndarray  # (height, width) uint8, ids of the label table, and LANE_MARKING
    instance: np.ndarray  # (height, width) uint16, 0 for what is not counted


def render(domain: str, split: str, index: int, *, seed: int, scale: float) -> Frame:
    """The frame of this number; the same numbers give the same bytes."""
    cv2.setNumThreads(1)  # the workers are processes
    look = LOOKS[domain]
    rng = np.random.default_rng([seed, DOMAINS.index(domain), SPLITS.index(split), index])
    real = look.view.sizes[-1 if index % 5 == 4 else 0]
    width, height = round(real[0] * scale), round(real[1] * scale)
    camera = _camera(look, width * OVER, height * OVER, rng)
    street = fill_street(look, rng)
    weather = _weather(look, rng)
    light = _light(look, weather, rng)
    materials = frame_materials({name: np.array(street.color(name), np.float32) for name in MATERIALS})
    parts = paint(street.things, camera, materials, light, IDS["sky"])
    parts = _own_car(parts, camera, look, materials, rng)
    label = parts.labels[parts.number[::OVER, ::OVER]]
    instance = parts.instances[parts.number[::OVER, ::OVER]]
    image = develop(parts, label, None, camera, look.lens, weather, rng)
    return Frame(image, _framed(label, look, real[0] * scale / real[0]), instance)


MATERIALS = (
    "glass", "tyre", "hub", "trim", "red lamp", "white lamp", "plate", "skin", "hair", "dark", "window", "shop", "roof",
    "pole", "casing", "red light", "amber light", "green light", "trunk", "road", "patch", "paint", "contact", "kerb",
    "sidewalk", "terrain", "ground", "rail", "ballast", "parking", "bonnet", "gleam",
)  # fmt: skip


def fill_street(look: Look, rng: np.random.Generator) -> Street:
    """A street with everything in it."""
    street = plan(look, rng)
    lay_ground(street)
    for side in (-1, 1):
        line_side(street, side)
    close_end(street)
    for stage in (furnish, park_cars, drive, people, ride):
        stage(street)
    return street


def _camera(look: Look, width: int, height: int, rng: np.random.Generator) -> Camera:
    view = look.view
    return Camera(
        width=width,
        height=height,
        focal=width * rng.uniform(*view.focal),
        horizon=height * rng.uniform(*view.horizon),
        above=rng.uniform(*view.above),
        yaw=rng.uniform(*view.yaw),
        bend=rng.uniform(-1, 1) * look.rates["bend"],
    )


def _weather(look: Look, rng: np.random.Generator) -> Weather:
    weights = np.cumsum([weather.weight for weather in look.weathers])
    return look.weathers[int(np.searchsorted(weights, rng.random() * weights[-1]))]


def _light(look: Look, weather: Weather, rng: np.random.Generator) -> Light:
    sun = np.array([rng.uniform(-1, 1), rng.uniform(0.5, 1.2), rng.uniform(-1, 0.6)])
    return Light(
        sun=(sun / np.linalg.norm(sun)).astype(np.float32),
        direct=weather.sun,
        tint=np.array(weather.tint, dtype=np.float32),
        haze=-np.log(1 - rng.uniform(*weather.haze)) / 100,
        veil=np.array(weather.low, dtype=np.float32),
    )


def _own_car(parts: Parts, camera: Camera, look: Look, materials: np.ndarray, rng: np.random.Generator) -> Parts:
    """The bonnet along the lower edge, painted over everything."""
    if rng.random() >= look.view.bonnet:
        return parts
    row = rng.uniform(*look.view.bonnet_row) * camera.height
    across = np.linspace(0, 1, 17)
    rise = (1 - (2 * across - 1) ** 4) * 0.02 * camera.height
    number = len(parts.labels)
    for step, sink in enumerate((0.0, 0.025 * camera.height)):
        edge = np.stack([across * camera.width, row + 0.02 * camera.height - rise + sink], axis=1)
        outline = np.concatenate([edge, [[camera.width, camera.height + 2], [0, camera.height + 2]]])
        cv2.fillPoly(parts.number, [np.rint(outline).astype(np.int32)], number + step)
    from dacs.world.models import SLOT

    colors = materials[[SLOT["gleam"], SLOT["bonnet"]]]
    return parts._replace(
        colors=np.concatenate([parts.colors, colors]).astype(np.float32),
        labels=np.concatenate([parts.labels, np.full(2, IDS["ego vehicle"], np.uint8)]),
        instances=np.concatenate([parts.instances, np.zeros(2, np.uint16)]),
    )


def _framed(label: np.ndarray, look: Look, scale: float) -> np.ndarray:
    """The border that rectifying leaves unlabelled."""
    border = round(look.view.border * scale)
    if border:
        label[:, :border] = label[:, -border:] = label[-border:] = IDS["rectification border"]
        label[:border] = IDS["out of roi"]
    return label
