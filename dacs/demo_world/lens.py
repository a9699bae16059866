"""From painted parts to a photograph: sky, shadows, grain, bonnet, blur, noise, vignette. The label is not touched."""

from functools import lru_cache

import cv2
import numpy as np

from dacs.demo_world.camera import Camera
from dacs.demo_world.looks import Lens, Weather
from dacs.demo_world.materials import IDS
from dacs.demo_world.paint import Parts

OVER = 2  # the painter's buffer is this many times finer than the picture, so that edges are smooth
BANK = 1024  # pixels, side of the grain tiles
PER_METRE = 40.0  # pixels of the ground's tile; a joint of the paving every 32
REFERENCE = 384  # columns at which grain, blur and noise are told
SURFACES = ("plain", "other", "asphalt", "paving", "leaves", "grass", "plaster")
_SURFACE_OF = {
    "road": "asphalt", "lane marking": "asphalt", "parking": "asphalt", "sidewalk": "paving", "ground": "grass",
    "vegetation": "leaves", "terrain": "grass", "building": "plaster", "wall": "plaster", "bridge": "plaster",
    "rail track": "grass", "sky": "plain",
}  # fmt: skip


@lru_cache(maxsize=1)
def bank() -> dict[str, np.ndarray]:
    """Tiles of grain, float32 about 0 with deviation 1; always the same, a frame takes its own window of them."""
    rng = np.random.default_rng(20260101)
    fine = rng.standard_normal((BANK, BANK)).astype(np.float32)

    def smooth(sigma: float) -> np.ndarray:
        rim = int(4 * sigma) + 1
        field = cv2.GaussianBlur(np.pad(fine, rim, mode="wrap"), (0, 0), sigma)[rim:-rim, rim:-rim]
        return field / field.std()

    joints = np.zeros((BANK, BANK), dtype=np.float32)
    joints[::32, :] = joints[1::32, :] = -3.0
    joints[:, ::32] = joints[:, 1::32] = -3.0
    asphalt = 0.6 * smooth(1.0) + 0.5 * smooth(14.0)
    paving = joints + 0.6 * smooth(6.0) + 0.4 * smooth(1.0)
    return {
        "noise": np.stack([smooth(0.7), np.roll(smooth(0.7), 300, 0), np.roll(smooth(0.7), 500, 1)], axis=-1),
        "middle": smooth(1.6),
        "blotch": smooth(4.0),
        "cloud": smooth(24.0) + 0.25 * smooth(8.0),
        "ground": np.stack([asphalt, paving], axis=-1),
    }


@lru_cache(maxsize=1)
def surfaces() -> np.ndarray:
    """Index into SURFACES of each label id."""
    table = np.full(256, SURFACES.index("other"), dtype=np.uint8)
    for name, surface in _SURFACE_OF.items():
        table[IDS[name]] = SURFACES.index(surface)
    return table


def _window(tile: np.ndarray, shape: tuple[int, int], rng: np.random.Generator, coarse: float = 1.0) -> np.ndarray:
    """A random piece of a tile, grain `coarse` times larger."""
    coarse *= max(shape[1] / REFERENCE, 0.5)
    height, width = int(np.ceil(shape[0] / coarse)), int(np.ceil(shape[1] / coarse))
    top, left = int(rng.integers(0, BANK - height)), int(rng.integers(0, BANK - width))
    piece = tile[top : top + height, left : left + width]
    return piece if piece.shape[:2] == shape else cv2.resize(piece, shape[::-1], interpolation=cv2.INTER_LINEAR)


def grain(labels: np.ndarray, camera: Camera, lens: Lens, rng: np.random.Generator) -> np.ndarray:
    """How much lighter or darker each pixel is for its surface: (height, width) float32 about 1."""
    shape = (labels.shape[0], labels.shape[1])
    tiles = bank()
    ground = _ground_grain(shape, camera, rng)
    fine = _window(tiles["middle"], shape, rng, lens.coarse)
    blotch = _window(tiles["blotch"], shape, rng, lens.coarse)
    fields = {
        "other": fine, "asphalt": ground[..., 0], "paving": ground[..., 1], "leaves": 0.7 * fine + 0.6 * blotch,
        "grass": 0.6 * fine + 0.5 * blotch, "plaster": 0.5 * fine + 0.6 * blotch,
    }  # fmt: skip
    lightness = np.ones((len(SURFACES), *shape), dtype=np.float32)  # the first, plain, stays as it is
    for field, name in zip(lightness[1:], SURFACES[1:], strict=True):
        field += fields[name] * np.float32(lens.texture[name])
    return np.take_along_axis(lightness, surfaces()[labels][None].astype(np.intp), axis=0)[0]


def _ground_grain(shape: tuple[int, int], camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Asphalt and paving in perspective, (height, width, 2): their tiles as the camera sees them, fading far off."""
    height, width = shape
    focal, horizon = camera.focal / OVER, camera.horizon / OVER
    top = min(max(int(horizon), 0), height - 1)  # the sky needs none
    shift = rng.uniform(0, BANK, 2)
    # pixel (u, v) → metres z = focal above / (v - horizon), x = (u - width / 2) z / focal, then tile pixels
    to_tile = np.array([
        [PER_METRE * camera.above, shift[0], -PER_METRE * camera.above * width / 2 - shift[0] * (horizon - top)],
        [0, shift[1], PER_METRE * focal * camera.above - shift[1] * (horizon - top)],
        [0, 1, top - horizon],
    ])  # fmt: skip
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    fade = np.clip((np.arange(top, height) - horizon) / (0.25 * height), 0, 1).astype(np.float32)
    grain = np.zeros((height, width, 2), dtype=np.float32)
    lower = (width, height - top)
    seen = cv2.warpPerspective(bank()["ground"], to_tile, lower, flags=flags, borderMode=cv2.BORDER_WRAP)
    grain[top:] = seen * fade[:, None, None]
    return grain


def sky_colors(rows: int, width: int, camera: Camera, weather: Weather, rng: np.random.Generator) -> np.ndarray:
    """The uppermost rows of the sky, lighter towards the horizon, with clouds: (rows, width, 3) float32."""
    up = np.clip(1 - np.arange(rows) * OVER / max(camera.horizon, 1.0), 0, 1).astype(np.float32)[:, None]
    cloud = np.clip(_window(bank()["cloud"], (rows, width), rng, 2.0) - 0.2, 0, 1.5) * (0.6 * weather.clouds)
    cloud = np.clip(cloud * (0.3 + 0.7 * up), 0, 1)[..., None]
    top, low = np.array(weather.top, np.float32), np.array(weather.low, np.float32)
    plain = low + (top - low) * up[..., None]
    return plain + (np.float32(245) - plain) * cloud


def develop(
    parts: Parts,
    labels: np.ndarray,
    shadow: np.ndarray,
    camera: Camera,
    lens: Lens,
    weather: Weather,
    rng: np.random.Generator,
) -> np.ndarray:
    """The photograph of painted parts: uint8 (height, width, 3). `shadow` is 255 where the sun does not reach."""
    shape = (labels.shape[0], labels.shape[1])
    packed = np.zeros((len(parts.colors), 4), dtype=np.uint8)
    packed[:, :3] = np.clip(parts.colors, 0, 255)
    big = packed.view(np.uint32)[:, 0][parts.number].view(np.uint8).reshape(*parts.number.shape, 4)
    image = cv2.resize(big, shape[::-1], interpolation=cv2.INTER_AREA)[..., :3].astype(np.float32)
    open_sky = cv2.resize((parts.number == 0).view(np.uint8) * 255, shape[::-1], interpolation=cv2.INTER_AREA)
    rows = 1 + int(np.flatnonzero(open_sky.any(axis=1)).max(initial=0))
    image[:rows] += sky_colors(rows, shape[1], camera, weather, rng) * (open_sky[:rows, :, None] * np.float32(1 / 255))
    lightness = grain(labels, camera, lens, rng)
    number = parts.number[::OVER, ::OVER]
    lit = np.where((number > 0) & (number < parts.grounds) & (shadow > 0), np.float32(weather.shadow), np.float32(1))
    lightness *= cv2.blur(lit, (3, 3))
    return _expose(image * lightness[..., None], lens, rng)


def _expose(image: np.ndarray, lens: Lens, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    exposure = rng.uniform(*lens.exposure)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    image = grey + (image - grey) * np.float32(lens.saturation)
    image = (image * np.float32(exposure) - 110) * np.float32(lens.contrast) + 110
    sigma = rng.uniform(*lens.blur) * width / REFERENCE
    if sigma > 0.25:
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    if lens.vignette:
        y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] ** 2
        x = np.linspace(-1, 1, width, dtype=np.float32)[None] ** 2
        image = image * (1 - np.float32(lens.vignette) * (x + y) / 2)[..., None]
    if lens.noise:
        image = image + _window(bank()["noise"], (height, width), rng) * np.float32(lens.noise)
    return np.clip(image, 0, 255).astype(np.uint8)
