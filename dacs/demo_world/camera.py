"""A pinhole camera: world metres to pixels.

World axes: x to the right, y up, z ahead, all in metres. Pitch is given as the row of the horizon (a shifted lens), so
upright things stay upright in the image; the street may bend sideways.
"""

from typing import NamedTuple

import numpy as np

NEAR = 0.5  # metres; smaller depths are raised to it, which for planes along the street is exact clipping


class Camera(NamedTuple):
    """A pinhole at (aside, above, 0)."""

    width: int  # pixels
    height: int  # pixels
    focal: float  # pixels
    horizon: float  # row of the horizon, pixels from the top
    aside: float  # metres right of the middle of the lane
    above: float  # metres above the ground
    yaw: float  # radians, positive looks to the right
    bend: float  # sideways drift of the street in metres per square metre ahead

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixel (column, row) of each world point, and its depth in metres: (..., 3) → (..., 2), (...)."""
        x, y, z = points[..., 0], points[..., 1], points[..., 2]
        x = x + np.float32(self.bend) * z * np.abs(z) - np.float32(self.aside)
        sine, cosine = np.float32(np.sin(self.yaw)), np.float32(np.cos(self.yaw))
        depth = np.maximum(z * cosine + x * sine, np.float32(NEAR))
        scale = np.float32(self.focal) / depth
        pixels = np.empty((*points.shape[:-1], 2), dtype=np.float32)
        pixels[..., 0] = np.float32(self.width / 2) + (x * cosine - z * sine) * scale
        pixels[..., 1] = np.float32(self.horizon) + (np.float32(self.above) - y) * scale
        return pixels, depth
