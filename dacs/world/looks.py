"""How each domain looks and what it holds: one row per domain. Tables only; nothing here draws.

The three share shapes and the order of a street, so that a network can carry over what it learned; they differ in
colour, texture, light, haze, lens, in how often things occur and in where the camera stands. Frequencies follow
shared/reference/class_frequency.csv; the rarest classes are lifted to two or three times their published share, or a
demo of some hundred frames would neither teach nor measure them.
"""

from dataclasses import dataclass

Color = tuple[int, int, int]  # RGB, 0..255
Span = tuple[float, float]  # drawn evenly between


@dataclass(frozen=True)
class View:
    """Where the camera stands and how it looks."""

    sizes: tuple[tuple[int, int], ...]  # width, height of the real frames; every fifth frame takes the last
    focal: Span  # share of the width
    horizon: Span  # share of the height, from the top
    above: Span  # metres above the ground
    aside: Span  # metres right of the middle of its lane
    yaw: Span  # radians
    bonnet: float  # share of frames that show the own car
    bonnet_row: Span  # its upper edge, share of the height
    border: int  # columns and rows of rectification border at the real size


@dataclass(frozen=True)
class Weather:
    """One state of the sky."""

    weight: float
    top: Color  # sky overhead
    low: Color  # sky at the horizon; haze takes this colour
    haze: Span  # share of light lost over 100 m
    sun: float  # light on faces turned to the sun, beside the ambient 1
    shadow: float  # light left in cast shadows
    clouds: float  # contrast of clouds, 0..1
    tint: tuple[float, float, float]  # colour of the light


@dataclass(frozen=True)
class Lens:
    """What happens between light and file."""

    exposure: Span
    contrast: float
    saturation: float
    blur: Span  # pixels at 384 columns
    noise: float  # standard deviation, 0..255
    vignette: float  # light lost in the corners
    texture: dict[str, float]  # strength of each surface's grain
    coarse: float  # size of the grain, 1 = fine


@dataclass(frozen=True)
class Look:
    """One domain."""

    view: View
    weathers: tuple[Weather, ...]
    lens: Lens
    colors: dict[str, tuple[Color, ...]]  # material or thing → colours to draw from
    jitter: float  # spread of drawn colours, 0..255
    rates: dict[str, float]  # how often, how many, how wide: read by street.py


_COLORS: dict[str, tuple[Color, ...]] = {
    "car": ((30, 32, 36), (150, 152, 155), (205, 206, 206), (60, 66, 78), (110, 30, 30), (35, 50, 90), (90, 95, 98)),
    "truck": ((190, 190, 186), (120, 125, 130), (60, 80, 120), (170, 150, 110)),
    "truck trim": ((180, 60, 50), (220, 220, 215), (50, 80, 130)),
    "bus": ((190, 160, 50), (170, 50, 45), (60, 110, 150)),
    "bus trim": ((230, 230, 225), (60, 60, 65)),
    "train": ((200, 195, 180), (190, 60, 50), (60, 110, 80)),
    "train trim": ((40, 50, 70), (170, 40, 40)),
    "coat": ((40, 42, 50), (70, 60, 55), (110, 40, 45), (60, 80, 110), (150, 145, 135), (80, 90, 70)),
    "legs": ((35, 38, 50), (60, 62, 70), (50, 45, 40), (90, 85, 75)),
    "cycle": ((40, 40, 45), (120, 40, 40), (50, 90, 120), (150, 150, 150)),
    "motorcycle": ((150, 30, 30), (30, 60, 130), (40, 40, 45), (190, 110, 40)),
    "leaves": ((58, 78, 46), (66, 84, 50), (50, 70, 44)),
    "house": ((150, 140, 126), (132, 124, 118), (160, 150, 140), (118, 96, 84), (140, 132, 110), (108, 108, 108)),
    "tower": ((120, 126, 130), (150, 150, 148)),
    "awning": ((110, 50, 45), (50, 70, 60), (60, 60, 70), (150, 140, 120)),
    "wall": ((128, 124, 118), (112, 104, 96), (120, 90, 74)),
    "fence": ((92, 96, 96), (104, 92, 78)),
    "fence gap": ((70, 78, 66),),
    "sign": ((40, 70, 150), (225, 225, 225), (210, 50, 45), (220, 180, 60)),
    "sign rim": ((235, 235, 235), (200, 40, 40)),
    "board": ((40, 70, 150), (205, 180, 60), (40, 110, 70)),
    "static": ((70, 76, 70), (90, 92, 96), (110, 90, 60)),
    "dynamic": ((200, 60, 50), (215, 120, 40), (90, 90, 110)),
    "glass": ((46, 54, 60),), "tyre": ((24, 24, 26),), "hub": ((120, 120, 122),), "trim": ((34, 34, 36),),
    "red lamp": ((170, 30, 28),), "white lamp": ((225, 225, 215),), "plate": ((215, 215, 205),),
    "skin": ((190, 150, 125), (150, 110, 85)), "hair": ((45, 36, 30), (90, 70, 50)), "dark": ((28, 28, 30),),
    "window": ((66, 76, 84), (54, 60, 66), (90, 100, 108)), "shop": ((60, 62, 66), (84, 80, 70)),
    "roof": ((110, 72, 60), (84, 80, 80)), "pole": ((112, 114, 114), (86, 90, 90)), "casing": ((32, 36, 34),),
    "red light": ((235, 50, 40),), "amber light": ((240, 180, 50),), "green light": ((60, 220, 130),),
    "trunk": ((78, 66, 54),), "road": ((96, 96, 97), (88, 89, 91)), "patch": ((76, 77, 79),),
    "paint": ((188, 188, 184),), "contact": ((40, 41, 42),), "shaded": ((60, 59, 58),), "kerb": ((138, 137, 134),),
    "sidewalk": ((118, 114, 112), (108, 106, 104)), "terrain": ((92, 102, 62), (110, 106, 74)),
    "ground": ((104, 100, 94),), "rail": ((150, 150, 150),), "ballast": ((98, 90, 84),), "parking": ((100, 98, 98),),
    "bonnet": ((36, 38, 42),), "gleam": ((120, 126, 130),),
}  # fmt: skip

_SUNNY: dict[str, tuple[Color, ...]] = {
    "car": ((200, 30, 30), (240, 240, 240), (20, 20, 24), (240, 190, 40), (40, 90, 180), (190, 195, 200), (60, 120, 70)),
    "coat": ((200, 60, 50), (240, 235, 225), (50, 90, 160), (60, 60, 60), (230, 190, 90)),
    "leaves": ((84, 104, 40), (100, 116, 48), (72, 96, 42)),
    "house": ((200, 170, 130), (206, 190, 164), (180, 126, 98), (164, 150, 136), (214, 204, 188), (150, 112, 88)),
    "tower": ((150, 170, 190), (206, 196, 180)),
    "wall": ((184, 170, 146), (156, 136, 116), (166, 112, 88)),
    "fence": ((150, 140, 130), (110, 90, 70)),
    "fence gap": ((120, 124, 80),),
    "window": ((58, 84, 110), (40, 56, 74), (110, 140, 160)),
    "roof": ((170, 90, 60), (120, 110, 104)),
    "road": ((112, 108, 104), (100, 98, 95)), "patch": ((86, 83, 80),), "paint": ((240, 230, 190), (240, 196, 90)),
    "kerb": ((206, 198, 184),), "sidewalk": ((172, 164, 150), (160, 154, 142), (146, 138, 130)),
    "terrain": ((150, 142, 84), (116, 130, 64)), "ground": ((176, 156, 124),), "trunk": ((104, 78, 56),),
    "contact": ((46, 42, 38),), "shaded": ((90, 84, 74),), "pole": ((120, 112, 104), (70, 66, 62)), "bonnet": ((70, 24, 22), (30, 36, 60)),
}  # fmt: skip

_RENDERED: dict[str, tuple[Color, ...]] = {
    "car": ((0, 60, 160), (190, 0, 20), (230, 230, 230), (40, 40, 40), (0, 120, 60), (230, 160, 0)),
    "bus": ((230, 120, 20), (30, 90, 190), (200, 30, 40)),
    "coat": ((30, 60, 140), (160, 30, 50), (40, 120, 70), (200, 200, 60), (120, 60, 130), (220, 220, 220)),
    "legs": ((20, 30, 80), (70, 60, 50), (40, 40, 40), (130, 120, 100)),
    "leaves": ((30, 110, 40), (50, 130, 50), (90, 120, 30), (150, 110, 40)),
    "house": ((170, 90, 70), (200, 170, 120), (150, 150, 160), (120, 110, 150), (180, 180, 140), (100, 130, 150)),
    "tower": ((90, 110, 140), (170, 180, 190)),
    "wall": ((160, 150, 140), (130, 110, 100)),
    "fence": ((60, 90, 60), (140, 140, 150)),
    "fence gap": ((120, 140, 120),),
    "window": ((70, 110, 150), (40, 60, 90), (150, 180, 200)),
    "road": ((78, 80, 88), (90, 90, 96)), "patch": ((66, 68, 76),), "paint": ((230, 230, 230),),
    "kerb": ((180, 180, 184),), "sidewalk": ((168, 140, 126), (150, 150, 156), (176, 166, 140)),
    "ground": ((140, 130, 110),), "terrain": ((60, 120, 50),), "parking": ((100, 104, 116),),
    "contact": ((50, 52, 60),), "shaded": ((84, 78, 76),), "pole": ((90, 96, 110), (60, 70, 60)), "trunk": ((90, 60, 40),),
}  # fmt: skip

_RATES = {
    # how wide and long: metres, or shares of frames
    "lanes left": 1.4, "parking right": 0.4, "parking left": 0.6, "parking": 0.25, "sidewalk": 4.2, "sidewalk spread": 1.6,
    "verge": 0.45, "crossing": 0.35, "tracks": 0.09, "end": 68.0, "end spread": 35.0, "bend": 0.0016,
    # what lines the street: weights; height of houses in metres
    "house": 1.0, "tower": 0.12, "park": 0.4, "wall": 0.26, "fence": 0.5, "guard rail": 0.04, "gap": 0.06, "tall": 19.0,
    # how many a frame
    "parked": 0.4, "car": 2.2, "truck": 0.2, "bus": 0.16, "bridge": 0.04, "person": 6.0, "bicycle ridden": 0.22,
    "motorcycle ridden": 0.1, "bicycle": 1.7, "motorcycle": 0.16, "tree": 5.5, "bush": 1.2, "lamp": 2.6, "bollard": 0.8,
    "traffic light": 0.85, "traffic sign": 2.2, "gantry": 0.1, "static": 1.4, "dynamic": 0.4, "patch": 2.5,
}  # fmt: skip

LOOKS: dict[str, Look] = {
    "cityscapes": Look(
        view=View(((2048, 1024),), (1.05, 1.15), (0.4, 0.46), (1.15, 1.35), (-0.4, 0.6), (-0.05, 0.05), 1.0, (0.88, 0.93), 10),
        weathers=(
            Weather(0.55, (190, 200, 204), (206, 210, 208), (0.15, 0.35), 0.08, 0.85, 0.05, (0.97, 1.0, 0.96)),
            Weather(0.35, (170, 188, 202), (204, 208, 206), (0.1, 0.3), 0.22, 0.68, 0.2, (1.0, 1.0, 0.95)),
            Weather(0.1, (150, 158, 160), (168, 172, 170), (0.35, 0.6), 0.02, 0.95, 0.02, (0.93, 0.98, 0.97)),
        ),
        lens=Lens((0.82, 1.1), 0.98, 0.85, (0.5, 0.9), 4.0, 0.16,
                  {"asphalt": 0.07, "paving": 0.06, "leaves": 0.22, "grass": 0.12, "plaster": 0.06, "other": 0.02}, 1.0),
        colors=_COLORS,
        jitter=8.0,
        rates=_RATES,
    ),
    "gta5": Look(
        view=View(((1914, 1052), (1914, 1046)), (0.8, 1.05), (0.38, 0.5), (1.2, 1.9), (-0.8, 1.0), (-0.09, 0.09), 0.35, (0.86, 0.93), 0),
        weathers=(
            Weather(0.45, (84, 136, 206), (196, 212, 224), (0.05, 0.14), 0.5, 0.5, 0.5, (1.05, 1.0, 0.92)),
            Weather(0.2, (120, 134, 166), (236, 200, 156), (0.1, 0.25), 0.4, 0.55, 0.6, (1.1, 0.98, 0.84)),
            Weather(0.35, (150, 160, 172), (190, 194, 198), (0.1, 0.3), 0.1, 0.85, 0.4, (0.98, 0.98, 0.96)),
        ),
        lens=Lens((0.66, 0.98), 1.1, 1.05, (0.0, 0.4), 1.0, 0.05,
                  {"asphalt": 0.1, "paving": 0.12, "leaves": 0.26, "grass": 0.2, "plaster": 0.06, "other": 0.03}, 1.2),
        colors=_COLORS | _SUNNY,
        jitter=12.0,
        rates=_RATES | {
            "lanes left": 2.2, "parking right": 0.3, "sidewalk": 5.8, "verge": 0.5, "end": 130.0, "end spread": 80.0,
            "tracks": 0.05, "tower": 0.3, "park": 0.2, "wall": 0.5, "fence": 0.45, "gap": 0.2, "tall": 10.0, "parked": 0.16,
            "car": 2.2, "truck": 0.55, "bus": 0.2, "person": 2.5, "bicycle ridden": 0.02, "motorcycle ridden": 0.16,
            "bicycle": 0.04, "motorcycle": 0.04, "tree": 3.0, "traffic light": 0.6, "traffic sign": 0.65, "gantry": 0.02,
            "lamp": 3.0, "dynamic": 0.9,
        },  # fmt: skip
    ),
    "synthia": Look(
        view=View(((1280, 760),), (0.6, 0.9), (0.2, 0.45), (1.4, 5.5), (-2.0, 7.0), (-0.3, 0.3), 0.0, (1.0, 1.0), 0),
        weathers=(
            Weather(0.4, (110, 170, 230), (180, 205, 235), (0.0, 0.08), 0.3, 0.6, 0.8, (1.0, 1.0, 1.02)),
            Weather(0.3, (150, 160, 180), (190, 195, 205), (0.05, 0.2), 0.05, 0.9, 0.3, (0.94, 0.96, 1.06)),
            Weather(0.3, (230, 190, 150), (240, 215, 190), (0.0, 0.15), 0.35, 0.6, 0.5, (1.1, 0.98, 0.9)),
        ),
        lens=Lens((0.8, 1.1), 1.05, 1.05, (0.0, 0.2), 0.0, 0.0,
                  {"asphalt": 0.14, "paving": 0.2, "leaves": 0.34, "grass": 0.25, "plaster": 0.08, "other": 0.0}, 2.0),
        colors=_COLORS | _RENDERED,
        jitter=10.0,
        rates=_RATES | {
            "lanes left": 1.0, "parking right": 0.3, "parking left": 0.3, "parking": 0.5, "sidewalk": 8.0, "sidewalk spread": 3.5,
            "verge": 0.0, "tracks": 0.0, "end": 90.0, "end spread": 40.0, "tower": 0.4, "park": 0.2, "wall": 0.06, "fence": 0.12,
            "guard rail": 0.0, "tall": 15.0, "parked": 0.5, "car": 3.0, "truck": 0.0, "bus": 1.2, "person": 30.0,
            "bicycle ridden": 1.1, "motorcycle ridden": 0.4, "bicycle": 0.6, "motorcycle": 0.4, "tree": 5.0, "lamp": 4.0,
            "traffic light": 0.18, "traffic sign": 1.0, "gantry": 0.03, "dynamic": 1.0,
        },  # fmt: skip
    ),
}  # fmt: skip
