"""People and two-wheelers as flat figures, seen along the street or from its side; feet and wheels at y = 0, metres."""

from dacs.demo_world.shapes import Face, Mesh, bar, disc, flat, flats, mesh, plate


def person(stride: float, arms: float, *, skirt: bool = False, bag: bool = False) -> Mesh:
    """A standing figure 1.75 m tall: coat (tint0), legs (tint1), bag (tint2)."""
    parts = []
    for side in (-1, 1):
        foot = side * stride
        parts.append((bar((side * 0.09, 0.9), (foot, 0.06), 0.17), "tint1"))
        parts.append((bar((foot - 0.04, 0.05), (foot + 0.12, 0.05), 0.1), "dark"))
        parts.append((bar((side * 0.22, 1.4), (side * (0.26 + arms), 0.82), 0.11), "tint0"))
    if skirt:
        parts.append((flat((-0.28, 0.5), (-0.18, 1.0), (0.18, 1.0), (0.28, 0.5)), "tint0"))
    parts.append((flat((-0.2, 0.8), (-0.24, 1.42), (-0.1, 1.5), (0.1, 1.5), (0.24, 1.42), (0.2, 0.8)), "tint0"))
    if bag:
        parts.append((plate((-0.17, 0.17), (0.95, 1.4)), "tint2"))
    parts.append((disc(0, 1.62, 0.14, 0.85), "skin"))
    parts.append((flat((-0.13, 1.64), (-0.1, 1.76), (0.1, 1.76), (0.13, 1.64)), "hair"))
    return mesh(flats("person", *parts))


def _rider_side(seat: float, foot: float, head: str) -> list[Face]:
    """A rider seen from the side, looking along +x."""
    hip, knee, shoulder = (-0.15, seat), (0.2, seat - 0.28), (0.24, seat + 0.52)
    return flats(
        "rider",
        (bar(hip, knee, 0.2), "tint1"),
        (bar(knee, (0.08, foot), 0.16), "tint1"),
        (bar((0.02, foot), (0.22, foot), 0.1), "dark"),
        (bar(hip, shoulder, 0.36), "tint0"),
        (bar((0.24, seat + 0.46), (0.47, seat + 0.12), 0.13), "tint0"),
        (disc(0.31, seat + 0.72, 0.15), "skin"),
        (disc(0.28, seat + 0.79, 0.14), head),
    )


def _rider_back(seat: float, foot: float, head: str) -> list[Face]:
    """A rider seen along the street."""
    parts = []
    for side in (-1, 1):
        parts.append((bar((side * 0.1, seat + 0.05), (side * 0.18, foot + 0.15), 0.17), "tint1"))
        parts.append((bar((side * 0.18, foot), (side * 0.18, foot + 0.16), 0.12), "dark"))
        parts.append((bar((side * 0.2, seat + 0.52), (side * 0.34, seat + 0.1), 0.12), "tint0"))
    torso = flat((-0.17, seat - 0.05), (-0.25, seat + 0.5), (-0.1, seat + 0.62), (0.1, seat + 0.62),
                 (0.25, seat + 0.5), (0.17, seat - 0.05))  # fmt: skip
    return flats("rider", *parts, (torso, "tint0"), (disc(0, seat + 0.76, 0.15, 0.9), head))


def _wheels(half: float, radius: float, tyre: float, label: str) -> list[Face]:
    """Two wheels seen from the side, so far from the middle."""
    discs = [
        (disc(x, radius, r), slot) for x in (-half, half) for r, slot in ((radius, "tyre"), (radius - tyre, "hub"))
    ]
    return flats(label, *discs)


_TUBES = (
    ((-0.52, 0.34), (-0.05, 0.34)), ((-0.52, 0.34), (-0.2, 0.82)), ((-0.05, 0.34), (-0.25, 0.95)),
    ((-0.05, 0.34), (0.36, 0.84)), ((-0.2, 0.8), (0.38, 0.82)), ((0.52, 0.34), (0.36, 1.0)), ((0.28, 1.02), (0.5, 1.0)),
)  # fmt: skip


def bicycle_side(*, ridden: bool) -> Mesh:
    """Two thin wheels and a frame (tint2) of tubes."""
    tubes = [(bar(start, end, 0.07), "tint2") for start, end in _TUBES]
    saddle = bar((-0.38, 0.97), (-0.12, 0.97), 0.08)
    faces = _wheels(0.52, 0.34, 0.075, "bicycle") + flats("bicycle", *tubes, (saddle, "dark"))
    return mesh(faces + (_rider_side(0.98, 0.3, "hair") if ridden else []))


def bicycle_along(*, ridden: bool) -> Mesh:
    """A thin upright wheel, a handlebar, and the rider's back."""
    faces = flats(
        "bicycle",
        (plate((-0.055, 0.055), (0.0, 0.68)), "tyre"),
        (bar((0, 0.5), (0, 1.0), 0.08), "tint2"),
        (bar((-0.3, 1.02), (0.3, 1.02), 0.07), "dark"),
        (bar((-0.11, 0.92), (0.11, 0.92), 0.1), "dark"),
        (bar((-0.06, 0.6), (0.06, 0.6), 0.1), "red lamp"),
    )
    return mesh(faces + (_rider_back(0.95, 0.3, "hair") if ridden else []))


def motorcycle_side(*, ridden: bool) -> Mesh:
    """Two thick wheels under a heavy body (tint2)."""
    faces = _wheels(0.68, 0.33, 0.15, "motorcycle") + flats(
        "motorcycle",
        (flat((-0.55, 0.3), (-0.45, 0.62), (0.4, 0.7), (0.35, 0.25)), "dark"),
        (bar((-0.6, 0.28), (0.0, 0.26), 0.1), "hub"),
        (flat((-0.95, 0.78), (-0.9, 0.9), (-0.1, 0.86), (-0.1, 0.66)), "dark"),
        (flat((-0.9, 0.6), (-0.95, 0.8), (-0.3, 0.75), (-0.3, 0.5)), "tint2"),
        (flat((-0.15, 0.62), (-0.1, 0.92), (0.25, 1.02), (0.5, 0.95), (0.45, 0.55)), "tint2"),
        (bar((0.68, 0.33), (0.42, 1.1), 0.1), "hub"),
        (bar((0.25, 1.1), (0.5, 1.12), 0.08), "dark"),
        (disc(0.56, 0.92, 0.11), "white lamp"),
    )
    return mesh(faces + (_rider_side(0.92, 0.3, "tint2") if ridden else []))


def motorcycle_along(*, ridden: bool) -> Mesh:
    """A wide tyre, panniers, a lamp, and the rider's back."""
    faces = flats(
        "motorcycle",
        (plate((-0.12, 0.12), (0.0, 0.62)), "tyre"),
        (plate((-0.34, 0.34), (0.4, 0.8)), "tint2"),
        (plate((-0.18, 0.18), (0.6, 0.95)), "dark"),
        (plate((-0.12, 0.12), (0.62, 0.74)), "red lamp"),
        (bar((-0.42, 1.05), (0.42, 1.05), 0.09), "dark"),
    )
    return mesh(faces + (_rider_back(0.85, 0.25, "tint2") if ridden else []))
