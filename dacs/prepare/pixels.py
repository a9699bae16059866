"""Labels and images at training resolution, and the bytes they are kept as. Arrays in, arrays or bytes out."""

import io
from collections.abc import Iterable, Sequence
from itertools import pairwise

import cv2
import numpy as np
from PIL import Image

from dacs.fields import HIGHEST_ID, Resample
from dacs.labels import CITYSCAPES, LabelSet
from dacs.prepare.resample import Kernel, resized

BY_TORCH: dict[str, Kernel] = {"bicubic_torch": "bicubic", "bilinear_torch": "bilinear"}
BANDS = 16  # horizontal bands of the statistics, top to bottom


def train_ids(label: np.ndarray, table: dict[int, int], counts: np.ndarray | None = None) -> np.ndarray:
    """Train ids (uint8) of raw ids (uint8 or uint16), of which `counts` may be known.

    Raises ValueError naming the ids that are not in the table.
    """
    outside = sorted(set(np.flatnonzero(count_values(label) if counts is None else counts).tolist()) - table.keys())
    if outside:
        raise ValueError(f"ids that are not in the table: {', '.join(map(str, outside))}")
    lookup = np.zeros(HIGHEST_ID + 1, np.uint8)
    lookup[list(table)] = list(table.values())
    return np.asarray(cv2.LUT(label, lookup[:256])) if label.dtype == np.uint8 else lookup[label]


def resize(image: np.ndarray, size: tuple[int, int], resample: Resample) -> np.ndarray:
    """RGB at another size (height, width).

    bicubic, bilinear: antialiased by Pillow, as in DACS's code; bicubic_torch, bilinear_torch: the same mostly by
    torch, at most 1 level off; opencv: bilinear, not antialiased, as in DAFormer's.
    """
    if image.shape[:2] == tuple(size):
        return image
    if resample in BY_TORCH:
        return resized(image, size, BY_TORCH[resample])
    if resample == "opencv":
        return np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR))
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling[resample.upper()]))


def resize_label(label: np.ndarray, size: tuple[int, int], resample: Resample) -> np.ndarray:
    """A label at another size, each pixel taken whole from one of the label.

    From the nearest one; or, with opencv, from that at its upper left corner, up to half a pixel off its image.
    """
    if resample == "opencv":
        return np.asarray(cv2.resize(label, size[::-1], interpolation=cv2.INTER_NEAREST))
    return nearest(label, size)


def nearest(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A label at another size, each pixel taken whole from the nearest one."""
    return np.asarray(Image.fromarray(label).resize(size[::-1], Image.Resampling.NEAREST))


def png_of_image(image: np.ndarray) -> bytes:
    """A photograph as PNG: run lengths take half the time of Pillow's search for repeats, and less space."""
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    return bytes(cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1])


def ppm_of_image(image: np.ndarray) -> bytes:
    """A photograph as it is, row by row behind a short header: a reader maps it and touches only the rows of a crop."""
    return b"P6\n%d %d\n255\n" % image.shape[1::-1] + image.tobytes()


ENCODE = {"png": png_of_image, "ppm": ppm_of_image}  # by the ending of the file


def png_of_label(label: np.ndarray, labels: LabelSet = CITYSCAPES) -> bytes:
    """Train ids as a palette PNG, so that a viewer shows the colours of the classes."""
    image = Image.fromarray(label)
    image.putpalette(labels.palette().tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def count_values(label: np.ndarray) -> np.ndarray:
    """How many pixels of each value there are: int64 of shape (256,), of 16 bits (65536,)."""
    if label.dtype == np.uint16:
        return np.bincount(label.ravel(), minlength=HIGHEST_ID + 1)
    return np.array(Image.fromarray(label).histogram(), np.int64)


def count_colors(image: np.ndarray) -> np.ndarray:
    """How many pixels of each value each channel has: int64 of shape (3, 256)."""
    rows = max(2**24 // image.shape[1], 1)  # at a time, as OpenCV counts in float32
    blocks = (image[top : top + rows] for top in range(0, len(image), rows))
    counts = [[cv2.calcHist([block], [channel], None, [256], [0, 256]) for channel in range(3)] for block in blocks]
    return np.array(counts).sum(axis=0, dtype=np.int64).reshape(3, 256)


def count_bands(label: np.ndarray) -> np.ndarray:
    """How many pixels of each value each horizontal band holds: int64 of shape (16, 256)."""
    edges = [-(-band * len(label) // BANDS) for band in range(BANDS + 1)]  # rows whose number * 16 // height is `band`
    return np.stack([count_values(label[top:bottom]) for top, bottom in pairwise(edges)])


def size_text(size: Sequence[int]) -> str:
    """A size (height, width) as people write it, 1914x1052."""
    return f"{size[1]}x{size[0]}"


def proportion(height: int, width: int) -> float:
    """Width by height, to two decimals."""
    return round(width / height, 2)


def proportions(sizes: Iterable[str]) -> list[float]:
    """Those of sizes such as 1914x1052, each once, in rising order."""
    pairs = {tuple(map(int, size.split("x"))) for size in sizes}
    return sorted({proportion(height, width) for width, height in pairs})
