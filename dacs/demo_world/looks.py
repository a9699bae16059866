"""The appearance of each domain: one row per domain. Tables only.

The three share shapes and the structure of a street, so that what a network learns can transfer; they differ in colour,
texture, light, haze, optics, how often things occur, and the position of the camera.
"""

from typing import NamedTuple

from dacs.demo_world.palettes import AUTUMN, PLAIN, RENDERED, SUNNY, Color, Palette, between
from dacs.demo_world.rates import rates
from dacs.demo_world.shapes import Span  # here: of uniform draws


class View(NamedTuple):
    """Frame sizes, and position and direction of the camera."""

    sizes: tuple[tuple[int, int], ...]  # width, height of the real frames; every fifth frame takes the last
    focal: Span  # share of the width
    horizon: Span  # share of the height, from the top
    above: Span  # metres above the ground
    aside: Span  # metres right of the middle of its lane
    clear: float  # metres that it keeps from the building lines at least
    yaw: Span  # radians
    bonnet: float  # share of frames that show the camera's car
    bonnet_row: Span  # its upper edge, share of the height
    border: int  # columns and rows of rectification border at the real size


class Weather(NamedTuple):
    """One kind of weather."""

    weight: float
    top: Color  # sky overhead
    low: Color  # sky at the horizon; haze takes this colour
    haze: Span  # share of light lost over 100 m
    sun: float  # light on faces turned to the sun, beside the ambient 1
    shadow: float  # light left in cast shadows
    clouds: float  # contrast of clouds, 0..1
    tint: tuple[float, float, float]  # colour of the light


class Lens(NamedTuple):
    """Optics and sensor."""

    exposure: Span
    contrast: float
    saturation: float
    blur: Span  # pixels at 384 columns
    noise: float  # standard deviation, 0..255
    vignette: float  # light lost in the corners
    texture: dict[str, float]  # strength of each surface's texture
    coarse: float  # size of the texture, 1 = fine


class Look(NamedTuple):
    """One domain."""

    view: View
    weathers: tuple[Weather, ...]
    lens: Lens
    colors: Palette
    jitter: float  # spread of drawn colours, 0..255
    rates: dict[str, float]  # of rates.py


# fmt: off
LOOKS: dict[str, Look] = {
    # A northern city in autumn: dull light, haze or dusk, a soft and noisy lens that darkens its corners. The camera is
    # higher and nearer to the kerb than GTA5's, as of a van or a bus, and turned more.
    "cityscapes": Look(
        View(sizes=((2048, 1024),), focal=(0.9, 1.1), horizon=(0.28, 0.42), above=(1.3, 4.0), aside=(1.0, 4.5),
             clear=3.5, yaw=(-0.25, 0.25), bonnet=0.0, bonnet_row=(1.0, 1.0), border=10),
        (
            Weather(0.30, (190, 200, 204), (206, 210, 208), (0.15, 0.35), 0.08, 0.85, 0.05, (0.97, 1.0, 0.96)),
            Weather(0.20, (110, 140, 180), (196, 206, 214), (0.08, 0.20), 0.35, 0.60, 0.40, (1.03, 1.0, 0.95)),
            Weather(0.20, (120, 124, 130), (150, 148, 146), (0.15, 0.35), 0.04, 0.92, 0.90, (0.94, 0.98, 1.0)),
            Weather(0.15, (92, 84, 110), (214, 160, 120), (0.10, 0.30), 0.15, 0.80, 0.80, (1.06, 0.92, 0.82)),
            Weather(0.15, (150, 158, 160), (168, 172, 170), (0.35, 0.60), 0.02, 0.95, 0.02, (0.93, 0.98, 0.97)),
        ),
        Lens(exposure=(0.82, 1.1), contrast=0.88, saturation=0.7, blur=(0.4, 0.8), noise=4.0, vignette=0.16,
             texture={"asphalt": 0.07, "paving": 0.048, "leaves": 0.22, "grass": 0.12, "plaster": 0.06, "other": 0.02},
             coarse=1.0),
        AUTUMN, 8.0, rates("cityscapes"),
    ),
    # A southern city: sun and shadows, blue or golden sky, sharp and contrasty; nearly the same camera.
    "gta5": Look(
        View(sizes=((1914, 1052), (1914, 1046)), focal=(0.8, 1.05), horizon=(0.38, 0.5), above=(1.2, 1.9),
             aside=(-0.8, 1.0), clear=1.5, yaw=(-0.09, 0.09), bonnet=0.35, bonnet_row=(0.86, 0.93), border=0),
        (
            Weather(0.45, (84, 136, 206), (196, 212, 224), (0.05, 0.14), 0.50, 0.50, 0.50, (1.05, 1.0, 0.92)),
            Weather(0.20, (120, 134, 166), (236, 200, 156), (0.10, 0.25), 0.40, 0.55, 0.60, (1.10, 0.98, 0.84)),
            Weather(0.35, (150, 160, 172), (190, 194, 198), (0.10, 0.30), 0.10, 0.85, 0.40, (0.98, 0.98, 0.96)),
        ),
        Lens(exposure=(0.66, 0.98), contrast=1.1, saturation=1.05, blur=(0.0, 0.4), noise=1.0, vignette=0.05,
             texture={"asphalt": 0.1, "paving": 0.12, "leaves": 0.26, "grass": 0.2, "plaster": 0.06, "other": 0.03},
             coarse=1.2),
        SUNNY, 12.0, rates("gta5"),
    ),
    # A rendered city: clear colours, coarse textures, little noise; the camera stands anywhere, often high and turned.
    "synthia": Look(
        View(sizes=((1280, 760),), focal=(0.7, 1.0), horizon=(0.28, 0.46), above=(1.3, 4.5), aside=(-2.0, 7.0),
             clear=1.5, yaw=(-0.3, 0.3), bonnet=0.0, bonnet_row=(1.0, 1.0), border=0),
        (
            Weather(0.30, (120, 168, 222), (180, 205, 235), (0.00, 0.08), 0.30, 0.60, 0.80, (1.00, 1.0, 1.02)),
            Weather(0.30, (186, 194, 206), (200, 205, 212), (0.10, 0.30), 0.05, 0.90, 0.20, (0.97, 0.98, 1.03)),
            Weather(0.20, (222, 196, 166), (232, 214, 194), (0.00, 0.15), 0.35, 0.60, 0.50, (1.10, 0.98, 0.90)),
            Weather(0.20, (112, 118, 132), (146, 150, 158), (0.10, 0.30), 0.03, 0.95, 0.80, (0.92, 0.96, 1.04)),
        ),
        Lens(exposure=(0.66, 1.06), contrast=0.96, saturation=0.85, blur=(0.2, 0.6), noise=2.0, vignette=0.0,
             texture={"asphalt": 0.1, "paving": 0.13, "leaves": 0.3, "grass": 0.2, "plaster": 0.06, "other": 0.0},
             coarse=1.6),
        between(PLAIN, RENDERED, 0.6), 10.0, rates("synthia"),
    ),
}
# fmt: on
