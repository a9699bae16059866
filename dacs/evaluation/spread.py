"""Which frames are shown, and how their labels are kept. Training uses this too; it must not know of verdicts."""

from pathlib import Path

import numpy as np
from PIL import Image

from dacs.files import atomic
from dacs.labels import palette


def spread(wanted: int, there: int) -> list[int]:
    """The numbers of `wanted` frames, or of all that are there, evenly spread from the first on.

    >>> spread(2, 5), spread(9, 3)
    ([0, 2], [0, 1, 2])
    """
    number = min(wanted, there)
    return [i * there // number for i in range(number)]


def save_labels(labels: np.ndarray, path: Path) -> None:
    """Write train ids as a palette PNG in the official colours."""
    image = Image.fromarray(labels)
    image.putpalette(palette().tobytes())
    with atomic(path) as partial:
        image.save(partial)
