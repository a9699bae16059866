"""Reading the images given to `predict`, by the rules of those that are prepared."""

from functools import partial
from pathlib import Path

import numpy as np

from dacs.datasets import picture
from dacs.datasets.decode import decode_file
from dacs.datasets.storage import File

ENDINGS = picture.ENDINGS
LARGEST = picture.LARGEST  # pixels of an image
any_size = picture.any_size


def read(path: Path) -> np.ndarray:
    """An image as viewers show it, as RGB: uint8 of shape (height, width, 3). Raises BadFrame saying what is wrong."""
    return decode_file(path, picture.read_file(File(path)), partial(picture.decode_picture, largest=LARGEST))
