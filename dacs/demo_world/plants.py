"""Trees, bushes and woods as flat figures; metres."""

import numpy as np

from dacs.demo_world.shapes import Face, Mesh, bar, flat, flats, mesh, plate

_PLANTS = {  # what is below the crown, and the crown: number of discs, width, lowest and highest point
    "tree": ([(flat((-0.2, 0), (-0.13, 3.6), (0.13, 3.6), (0.2, 0)), "trunk"),
              (bar((0, 2.4), (0.9, 4.2), 0.15), "trunk")], (24, 3.0, 2.3, 8.0)),
    "poplar": ([(plate((-0.15, 0.15), (0.0, 2.0)), "trunk")], (22, 1.6, 1.0, 9.0)),
    "bush": ([(plate((-1.1, 1.1), (0.0, 0.8)), "tint0")], (12, 1.6, 0.0, 1.7)),
}  # fmt: skip


def plant(kind: str, seed: int) -> Mesh:
    """A broad tree, a slim poplar, or a bush as tall as a person."""
    stem, crown = _PLANTS[kind]
    return mesh(flats("vegetation", *stem) + _crown(*crown, seed))


def thicket(seed: int) -> Mesh:
    """The edge of a wood, 12 m wide and 9 m tall."""
    rng = np.random.default_rng(seed)
    faces = flats("vegetation", (plate((-6.0, 6.0), (0.0, 5.5)), "tint0"))
    for k, x in enumerate(np.linspace(-4.6, 4.6, 5)):
        faces += _crown(9, 2.4, rng.uniform(0, 1.5), rng.uniform(6.5, 9.5), seed * 7 + k, middle=float(x))
    return mesh(faces)


def _crown(count: int, wide: float, low: float, high: float, seed: int, middle: float = 0.0) -> list[Face]:
    """Foliage: overlapping rough discs within an ellipse, dark ones (tint0) first, lit ones (tint1) high and last."""
    rng = np.random.default_rng(seed)
    discs = []
    for k in range(count):
        lit = k / count
        angle, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 1))
        x = wide * 0.62 * reach * np.cos(angle) - 0.12 * wide * lit
        y = (low + high) / 2 + (high - low) * 0.32 * (reach * np.sin(angle) + 0.35 * (2 * lit - 1))
        radii = (0.36 - 0.2 * lit) * np.sqrt(wide * (high - low) / 2) * rng.uniform(0.85, 1.1, 8)
        angles = np.arange(8) * np.pi / 4 + rng.uniform(0, np.pi / 4)
        points = [
            (middle + float(x - r * np.cos(a)), float(y + r * np.sin(a))) for a, r in zip(angles, radii, strict=True)
        ]
        discs.append((flat(*points), "tint0" if lit < 0.4 else "tint2" if lit < 0.7 else "tint1"))
    return flats("vegetation", *discs)
