"""People and two-wheelers as flat figures, seen along the street or from its side; feet and wheels at y = 0, metres."""

from dacs.demo_world.materials import model
from dacs.demo_world.shapes import Face, Model, Outline, bar, disc, flat, plate


def _flat(outline: Outline, slot: str, label: str) -> Face:
    return Face(outline, slot, label, flat=True)


def person(stride: float, arms: float, *, skirt: bool = False, bag: bool = False) -> Model:
    """A standing figure 1.75 m tall: coat (own0), legs (own1), bag (own2)."""
    faces = []
    for side in (-1, 1):
        foot = side * stride
        faces.append(_flat(bar((side * 0.09, 0.9), (foot, 0.06), 0.17), "own1", "person"))
        faces.append(_flat(bar((foot - 0.04, 0.05), (foot + 0.12, 0.05), 0.1), "dark", "person"))
        faces.append(_flat(bar((side * 0.22, 1.4), (side * (0.26 + arms), 0.82), 0.11), "own0", "person"))
    if skirt:
        faces.append(_flat(flat((-0.28, 0.5), (-0.18, 1.0), (0.18, 1.0), (0.28, 0.5)), "own0", "person"))
    torso = flat((-0.2, 0.8), (-0.24, 1.42), (-0.1, 1.5), (0.1, 1.5), (0.24, 1.42), (0.2, 0.8))
    faces.append(_flat(torso, "own0", "person"))
    if bag:
        faces.append(_flat(plate((-0.17, 0.17), (0.95, 1.4)), "own2", "person"))
    faces.append(_flat(disc(0, 1.62, 0.14, 0.85), "skin", "person"))
    faces.append(_flat(flat((-0.13, 1.64), (-0.1, 1.76), (0.1, 1.76), (0.13, 1.64)), "hair", "person"))
    return model(faces)


def _rider_side(seat: float, foot: float, head: str) -> list[Face]:
    """A rider seen from the side, looking along +x."""
    hip, knee, shoulder = (-0.15, seat), (0.2, seat - 0.28), (0.24, seat + 0.52)
    return [
        _flat(bar(hip, knee, 0.2), "own1", "rider"),
        _flat(bar(knee, (0.08, foot), 0.16), "own1", "rider"),
        _flat(bar((0.02, foot), (0.22, foot), 0.1), "dark", "rider"),
        _flat(bar(hip, shoulder, 0.36), "own0", "rider"),
        _flat(bar((0.24, seat + 0.46), (0.47, seat + 0.12), 0.13), "own0", "rider"),
        _flat(disc(0.31, seat + 0.72, 0.15), "skin", "rider"),
        _flat(disc(0.28, seat + 0.79, 0.14), head, "rider"),
    ]


def _rider_back(seat: float, foot: float, head: str) -> list[Face]:
    """A rider seen along the street."""
    faces = []
    for side in (-1, 1):
        faces.append(_flat(bar((side * 0.1, seat + 0.05), (side * 0.18, foot + 0.15), 0.17), "own1", "rider"))
        faces.append(_flat(bar((side * 0.18, foot), (side * 0.18, foot + 0.16), 0.12), "dark", "rider"))
        faces.append(_flat(bar((side * 0.2, seat + 0.52), (side * 0.34, seat + 0.1), 0.12), "own0", "rider"))
    torso = flat((-0.17, seat - 0.05), (-0.25, seat + 0.5), (-0.1, seat + 0.62), (0.1, seat + 0.62),
                 (0.25, seat + 0.5), (0.17, seat - 0.05))  # fmt: skip
    faces.append(_flat(torso, "own0", "rider"))
    faces.append(_flat(disc(0, seat + 0.76, 0.15, 0.9), head, "rider"))
    return faces


def _wheel(x: float, radius: float, tyre: float, label: str) -> list[Face]:
    return [_flat(disc(x, radius, radius), "tyre", label), _flat(disc(x, radius, radius - tyre), "hub", label)]


_FRAME = (
    ((-0.52, 0.34), (-0.05, 0.34)), ((-0.52, 0.34), (-0.2, 0.82)), ((-0.05, 0.34), (-0.25, 0.95)),
    ((-0.05, 0.34), (0.36, 0.84)), ((-0.2, 0.8), (0.38, 0.82)), ((0.52, 0.34), (0.36, 1.0)), ((0.28, 1.02), (0.5, 1.0)),
)  # fmt: skip


def bicycle_side(*, ridden: bool) -> Model:
    """Two thin wheels and a frame (own2) of tubes."""
    faces = _wheel(-0.52, 0.34, 0.075, "bicycle") + _wheel(0.52, 0.34, 0.075, "bicycle")
    faces += [_flat(bar(start, end, 0.07), "own2", "bicycle") for start, end in _FRAME]
    faces.append(_flat(bar((-0.38, 0.97), (-0.12, 0.97), 0.08), "dark", "bicycle"))
    return model(faces + (_rider_side(0.98, 0.3, "hair") if ridden else []))


def bicycle_along(*, ridden: bool) -> Model:
    """A thin upright wheel, a handlebar, and the rider's back."""
    faces = [
        _flat(plate((-0.055, 0.055), (0.0, 0.68)), "tyre", "bicycle"),
        _flat(bar((0, 0.5), (0, 1.0), 0.08), "own2", "bicycle"),
        _flat(bar((-0.3, 1.02), (0.3, 1.02), 0.07), "dark", "bicycle"),
        _flat(bar((-0.11, 0.92), (0.11, 0.92), 0.1), "dark", "bicycle"),
        _flat(bar((-0.06, 0.6), (0.06, 0.6), 0.1), "red lamp", "bicycle"),
    ]
    return model(faces + (_rider_back(0.95, 0.3, "hair") if ridden else []))


def motorcycle_side(*, ridden: bool) -> Model:
    """Two thick wheels under a heavy body (own2)."""
    faces = _wheel(-0.68, 0.33, 0.15, "motorcycle") + _wheel(0.68, 0.33, 0.15, "motorcycle")
    faces += [_flat(outline, slot, "motorcycle") for outline, slot in (
        (flat((-0.55, 0.3), (-0.45, 0.62), (0.4, 0.7), (0.35, 0.25)), "dark"),
        (bar((-0.6, 0.28), (0.0, 0.26), 0.1), "hub"),
        (flat((-0.95, 0.78), (-0.9, 0.9), (-0.1, 0.86), (-0.1, 0.66)), "dark"),
        (flat((-0.9, 0.6), (-0.95, 0.8), (-0.3, 0.75), (-0.3, 0.5)), "own2"),
        (flat((-0.15, 0.62), (-0.1, 0.92), (0.25, 1.02), (0.5, 0.95), (0.45, 0.55)), "own2"),
        (bar((0.68, 0.33), (0.42, 1.1), 0.1), "hub"),
        (bar((0.25, 1.1), (0.5, 1.12), 0.08), "dark"),
        (disc(0.56, 0.92, 0.11), "white lamp"),
    )]  # fmt: skip
    return model(faces + (_rider_side(0.92, 0.3, "own2") if ridden else []))


def motorcycle_along(*, ridden: bool) -> Model:
    """A wide tyre, panniers, a lamp, and the rider's back."""
    faces = [
        _flat(plate((-0.12, 0.12), (0.0, 0.62)), "tyre", "motorcycle"),
        _flat(plate((-0.34, 0.34), (0.4, 0.8)), "own2", "motorcycle"),
        _flat(plate((-0.18, 0.18), (0.6, 0.95)), "dark", "motorcycle"),
        _flat(plate((-0.12, 0.12), (0.62, 0.74)), "red lamp", "motorcycle"),
        _flat(bar((-0.42, 1.05), (0.42, 1.05), 0.09), "dark", "motorcycle"),
    ]
    return model(faces + (_rider_back(0.85, 0.25, "own2") if ridden else []))
