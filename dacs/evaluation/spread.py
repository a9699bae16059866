"""Which frames are kept as pictures, and how their labels are written."""

from pathlib import Path

import numpy as np
from PIL import Image

from dacs.files import atomic
from dacs.labels import palette


def spread(wanted: int, available: int) -> list[int]:
    """The numbers of `wanted` frames, or of all there are, evenly spread from the first on.

    >>> spread(2, 5), spread(9, 3)
    ([0, 2], [0, 1, 2])
    """
    number = min(wanted, available)
    return [i * available // number for i in range(number)]


def save_labels(labels: np.ndarray, path: Path) -> None:
    """Write train ids as a palette PNG in the official colours."""
    image = Image.fromarray(labels)
    image.putpalette(palette().tobytes())
    with atomic(path) as partial:
        image.save(partial)
