"""Labels and images at training resolution, and the bytes they are kept as. Arrays in, arrays or bytes out."""

import io
from itertools import pairwise

import cv2
import numpy as np
from PIL import Image

from dacs.labels import palette

BANDS = 16  # horizontal bands of the statistics, top to bottom
RESAMPLE = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}  # both antialiased
UNKNOWN = 254  # stands for an id outside the table between look-up and error


def train_ids(label: np.ndarray, table: dict[int, int]) -> np.ndarray:
    """Train ids of raw ids (both uint8, same shape). Raises ValueError naming the ids outside the table."""
    lookup = np.full(256, UNKNOWN, np.uint8)
    lookup[list(table)] = list(table.values())
    mapped: np.ndarray = cv2.LUT(label, lookup)
    if (mapped == UNKNOWN).any():
        outside = sorted(int(value) for value in np.unique(label[mapped == UNKNOWN]))
        raise ValueError(f"ids outside the table ({min(table)}..{max(table)}): {', '.join(map(str, outside))}")
    return mapped


def resize(image: np.ndarray, size: tuple[int, int], resample: str) -> Image.Image:
    """RGB at another size (height, width), antialiased as Pillow does it (authors' code)."""
    return Image.fromarray(image).resize((size[1], size[0]), RESAMPLE[resample])


def nearest(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A label at another size, each pixel taken whole from the nearest one."""
    return np.asarray(Image.fromarray(label).resize((size[1], size[0]), Image.Resampling.NEAREST))


def png_of_image(image: Image.Image) -> bytes:
    """A photograph as PNG: run lengths take half the time of Pillow's search for repeats, and less space."""
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    return bytes(cv2.imencode(".png", cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2BGR), options)[1])


def ppm_of_image(image: Image.Image) -> bytes:
    """A photograph as it is, row by row behind a short header: a reader maps it and touches only the rows of a crop."""
    return b"P6\n%d %d\n255\n" % image.size + np.asarray(image).tobytes()


ENCODE = {"png": png_of_image, "ppm": ppm_of_image}  # by the ending of the file


def png_of_label(label: np.ndarray) -> bytes:
    """Train ids as a palette PNG, so that a viewer shows the official colours."""
    image = Image.fromarray(label)
    image.putpalette(palette().tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def count_values(label: np.ndarray) -> np.ndarray:
    """How many pixels of each value there are: int64 of shape (256,)."""
    # OpenCV counts in float32, exactly up to 2**24 pixels; numpy would take ten times as long.
    if label.size > 2**24 or not label.size:
        return np.bincount(label.ravel(), minlength=256)
    counts = cv2.calcHist([np.ascontiguousarray(label)], [0], None, [256], [0, 256])
    return np.asarray(counts).ravel().astype(np.int64)


def count_bands(label: np.ndarray) -> np.ndarray:
    """How many pixels of each value each horizontal band holds: int64 of shape (16, 256)."""
    edges = [-(-band * len(label) // BANDS) for band in range(BANDS + 1)]  # rows whose number * 16 // height is `band`
    return np.stack([count_values(label[top:bottom]) for top, bottom in pairwise(edges)])


def count_colors(image: Image.Image) -> np.ndarray:
    """How many pixels have each value in each channel: int64 of shape (3, 256)."""
    return np.array(image.histogram(), np.int64).reshape(3, 256)
