"""From painted parts to an image: sky, shadows, texture, exposure, blur, noise, vignette. Labels do not change."""

from functools import lru_cache

import cv2
import numpy as np

from dacs.demo_world.camera import Camera
from dacs.demo_world.looks import Lens, Weather
from dacs.demo_world.materials import IDS
from dacs.demo_world.paint import SUPERSAMPLING, Parts

TILE = 1024  # pixels, side of the texture tiles
PER_METRE = 40.0  # pixels of the ground's tile; a joint of the paving every 32
REFERENCE_WIDTH = 384  # columns of the image for which texture, blur and noise are given
SURFACES = {  # the labels of each surface with a texture of its own; "plain" has none, "other" is that of all others
    "plain": ("sky",), "other": (), "asphalt": ("road", "lane marking", "parking"), "paving": ("sidewalk",),
    "leaves": ("vegetation",), "grass": ("ground", "terrain", "rail track"), "plaster": ("building", "wall", "bridge"),
}  # fmt: skip
_INDEX = {IDS[name]: index for index, names in enumerate(SURFACES.values()) for name in names}
SURFACE_OF = np.array([_INDEX.get(id, 1) for id in range(256)])  # label id → index of the surface


@lru_cache(maxsize=1)
def tiles() -> dict[str, np.ndarray]:
    """Tiles of texture, float32 about 0 with deviation 1; always the same, a frame takes a random window of them."""
    rng = np.random.default_rng(20260101)
    fine = rng.standard_normal((TILE, TILE)).astype(np.float32)

    def smooth(sigma: float) -> np.ndarray:
        margin = int(4 * sigma) + 1
        field = cv2.GaussianBlur(np.pad(fine, margin, mode="wrap"), (0, 0), sigma)[margin:-margin, margin:-margin]
        return field / field.std()

    joints = np.zeros((TILE, TILE), dtype=np.float32)
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


def _window(tile: np.ndarray, shape: tuple[int, int], rng: np.random.Generator, coarse: float = 1.0) -> np.ndarray:
    """A random piece of a tile, its texture `coarse` times larger."""
    coarse *= max(shape[1] / REFERENCE_WIDTH, 0.5)
    height, width = int(np.ceil(shape[0] / coarse)), int(np.ceil(shape[1] / coarse))
    top, left = int(rng.integers(0, TILE - height)), int(rng.integers(0, TILE - width))
    piece = tile[top : top + height, left : left + width]
    return piece if piece.shape[:2] == shape else cv2.resize(piece, shape[::-1], interpolation=cv2.INTER_LINEAR)


def texture(labels: np.ndarray, camera: Camera, lens: Lens, rng: np.random.Generator) -> np.ndarray:
    """How much lighter or darker each pixel is for its surface: (height, width) float32 about 1."""
    shape = (camera.height, camera.width)
    ground = _ground_texture(camera, rng)
    fine, blotch = (_window(tiles()[name], shape, rng, lens.coarse) for name in ("middle", "blotch"))
    fields = {
        "other": fine, "asphalt": ground[..., 0], "paving": ground[..., 1], "leaves": 0.7 * fine + 0.6 * blotch,
        "grass": 0.6 * fine + 0.5 * blotch, "plaster": 0.5 * fine + 0.6 * blotch,
    }  # fmt: skip
    lightness = np.ones((len(SURFACES), *shape), dtype=np.float32)  # the first, plain, stays as it is
    for plane, name in zip(lightness[1:], list(SURFACES)[1:], strict=True):
        plane += fields[name] * np.float32(lens.texture[name])
    return np.take_along_axis(lightness, SURFACE_OF[labels][None], axis=0)[0]


def _ground_texture(camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Asphalt and paving in perspective, (height, width, 2), fading with distance."""
    height, width, horizon = camera.height, camera.width, camera.horizon
    top = min(max(int(horizon), 0), height - 1)  # the sky needs none
    shift = rng.uniform(0, TILE, 2)
    # pixel (u, v) → metres z = focal above / (v - horizon), x = (u - width / 2) z / focal, then tile pixels
    to_tile = np.array([
        [PER_METRE * camera.above, shift[0], -PER_METRE * camera.above * width / 2 - shift[0] * (horizon - top)],
        [0, shift[1], PER_METRE * camera.focal * camera.above - shift[1] * (horizon - top)],
        [0, 1, top - horizon],
    ])  # fmt: skip
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    fade = np.clip((np.arange(top, height) - horizon) / (0.25 * height), 0, 1).astype(np.float32)
    size = (width, height - top)
    lower = cv2.warpPerspective(tiles()["ground"], to_tile, size, flags=flags, borderMode=cv2.BORDER_WRAP)
    return np.pad(lower * fade[:, None, None], ((top, 0), (0, 0), (0, 0)))


def sky_colors(rows: int, width: int, camera: Camera, weather: Weather, rng: np.random.Generator) -> np.ndarray:
    """The uppermost rows of the sky, lighter towards the horizon, with clouds: (rows, width, 3) float32."""
    up = np.clip(1 - np.arange(rows) / max(camera.horizon, 0.5), 0, 1).astype(np.float32)[:, None]
    cloud = np.clip(_window(tiles()["cloud"], (rows, width), rng, 2.0) - 0.2, 0, 1.5) * (0.6 * weather.clouds)
    cloud = np.clip(cloud * (0.3 + 0.7 * up), 0, 1)[..., None]
    top, low = np.array(weather.top, np.float32), np.array(weather.low, np.float32)
    plain = low + (top - low) * up[..., None]
    return plain + (np.float32(245) - plain) * cloud


def photograph(
    parts: Parts, shadow: np.ndarray, camera: Camera, lens: Lens, weather: Weather, rng: np.random.Generator
) -> np.ndarray:
    """The image of painted parts: uint8 (height, width, 3). `shadow` is 255 where the sun does not reach."""
    number = parts.number[::SUPERSAMPLING, ::SUPERSAMPLING]
    shape = (camera.height, camera.width)
    packed = np.zeros((len(parts.colors), 4), dtype=np.uint8)
    packed[:, :3] = np.clip(parts.colors, 0, 255)
    big = packed.view(np.uint32)[:, 0][parts.number].view(np.uint8).reshape(*parts.number.shape, 4)
    image = cv2.resize(big, shape[::-1], interpolation=cv2.INTER_AREA)[..., :3].astype(np.float32)
    open_sky = cv2.resize((parts.number == 0).view(np.uint8) * 255, shape[::-1], interpolation=cv2.INTER_AREA)
    rows = 1 + int(np.flatnonzero(open_sky.any(axis=1)).max(initial=0))
    image[:rows] += sky_colors(rows, shape[1], camera, weather, rng) * (open_sky[:rows, :, None] * np.float32(1 / 255))
    lightness = texture(parts.labels[number], camera, lens, rng)
    lit = np.where((number > 0) & (number < parts.grounds) & (shadow > 0), np.float32(weather.shadow), np.float32(1))
    lightness *= cv2.blur(lit, (3, 3))
    return _expose(image * lightness[..., None], lens, rng)


def _expose(image: np.ndarray, lens: Lens, rng: np.random.Generator) -> np.ndarray:
    """Colours from 0 to 255 as this lens and its sensor give them."""
    height, width = image.shape[:2]
    exposure = rng.uniform(*lens.exposure)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    image = grey + (image - grey) * np.float32(lens.saturation)
    image = (image * np.float32(exposure) - 110) * np.float32(lens.contrast) + 110
    sigma = rng.uniform(*lens.blur) * width / REFERENCE_WIDTH
    if sigma > 0.25:
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    if lens.vignette:
        y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] ** 2
        x = np.linspace(-1, 1, width, dtype=np.float32)[None] ** 2
        image = image * (1 - np.float32(lens.vignette) * (x + y) / 2)[..., None]
    if lens.noise:
        image = image + _window(tiles()["noise"], (height, width), rng) * np.float32(lens.noise)
    return np.clip(image, 0, 255).astype(np.uint8)
