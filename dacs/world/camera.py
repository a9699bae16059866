"""The eye of a street: world metres to pixels. Nothing here knows what stands in the street.

World axes: x to the right, y up, z ahead, all in metres; the camera stands at (0, height, 0). A pitch is told as the
row of the horizon (a shifted lens), so that upright things stay upright; the street may bend sideways.
"""

from dataclasses import dataclass

import numpy as np

NEAR = 0.5  # metres; whatever comes nearer is held there, which for planes along the street is exact clipping


@dataclass(frozen=True)
class Camera:
    """A pinhole above the street."""

    width: int  # pixels
    height: int  # pixels
    focal: float  # pixels
    horizon: float  # row of the horizon, pixels from the top
    above: float  # metres above the ground
    yaw: float  # radians, positive looks to the right
    bend: float  # sideways drift of the street in metres per square metre ahead

    def see(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixel (column, row) of each world point, and its depth in metres: (..., 3) → (..., 2), (...)."""
        x, y, z = points[..., 0], points[..., 1], points[..., 2]
        x = x + self.bend * z * np.abs(z)
        sine, cosine = np.float32(np.sin(self.yaw)), np.float32(np.cos(self.yaw))
        depth = np.maximum(z * cosine + x * sine, np.float32(NEAR))
        pixels = np.empty((*points.shape[:-1], 2), dtype=np.float32)
        pixels[..., 0] = self.width / 2 + self.focal * (x * cosine - z * sine) / depth
        pixels[..., 1] = self.horizon + self.focal * (self.above - y) / depth
        return pixels, depth
