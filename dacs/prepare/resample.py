"""Antialiased resizing in less than half of Pillow's time, no value more than 1 level off.

Where a size is halved, as that of Cityscapes is, torch has Pillow's weights but next to the edges. Pillow makes the
pixels there, torch all others, and none differs from Pillow's.

Otherwise both resize the rows, round, and then the columns. Torch's weights have 16 bits, Pillow's 22, so that torch
rounds some values the other way: it is 1 level off after a pass, and may be 2 off after both. Here Pillow resizes some
of the rows and torch the others. A column then adds at most 1 level times the weight of rows that torch has resized;
`exact_rows` keeps this, with the error of torch's weights in the second pass, below 1. Rounding makes at most 1 level
of it.

Pillow 13 resizes the columns first where an image loses many rows and fewer columns. Such images are resized by Pillow.
"""

from functools import cache
from typing import Literal

import numpy as np
from PIL import Image

Kernel = Literal["bicubic", "bilinear"]
SUPPORT = {"bicubic": 2, "bilinear": 1}  # half width of each kernel, in pixels of the smaller image


def resized(image: np.ndarray, size: tuple[int, int], kernel: Kernel) -> np.ndarray:
    """RGB at another size (height, width), at most 1 level (of 255) off what Pillow makes of it."""
    if columns_first(image.shape[:2], size):
        return _by_pillow(image, size, kernel)
    width, height = (rounded_edge(image.shape[axis], size[axis], kernel) for axis in (1, 0))
    if width is not None and height is not None:
        return _with_edges(_with_edges(image, 1, size[1], width, kernel), 0, size[0], height, kernel)
    rows = exact_rows(len(image), size[0], kernel)
    wide = _by_torch(image, (len(image), size[1]), kernel)
    wide[rows] = _by_pillow(image[rows], (int(rows.sum()), size[1]), kernel)
    return _by_torch(wide, size, kernel)


def columns_first(have: tuple[int, ...], want: tuple[int, int]) -> bool:
    """Whether Pillow 13 resizes the columns of an image (height, width) before its rows."""
    return have[0] - want[0] > 2 * max(have[1] - want[1], 0)


def _by_pillow(image: np.ndarray, size: tuple[int, int], kernel: Kernel) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling[kernel.upper()]))


def _by_torch(image: np.ndarray, size: tuple[int, int], kernel: Kernel) -> np.ndarray:
    import torch  # here, since it takes seconds

    batch = torch.from_numpy(np.require(image, requirements="W"))[None].permute(0, 3, 1, 2)  # channels last
    return torch.nn.functional.interpolate(batch, size, mode=kernel, antialias=True)[0].permute(1, 2, 0).numpy()


def _with_edges(image: np.ndarray, axis: int, want: int, edge: int, kernel: Kernel) -> np.ndarray:
    """Resize the rows (axis 1) or the columns (0) by torch, but so many pixels at both of their ends by Pillow."""
    lines = np.moveaxis(image, axis, 0)  # a view, as are the others
    size = (want, image.shape[1]) if axis == 0 else (len(image), want)
    made = _by_torch(image, size, kernel)
    near = edge + SUPPORT[kernel]  # pixels that lie beyond have no weight in the edge
    for end in (1, -1) if edge else ():
        part = np.moveaxis(lines[::end][: near * len(lines) // want][::end], 0, axis)
        exact = _by_pillow(part, (near, size[1]) if axis == 0 else (size[0], near), kernel)
        np.moveaxis(made, axis, 0)[::end][:edge] = np.moveaxis(exact, axis, 0)[::end][:edge]
    return made


@cache
def rounded_edge(have: int, want: int, kernel: Kernel) -> int | None:
    """How many pixels at each end have weights that torch rounds to others than Pillow; None where more have."""
    if have % want:
        return None
    shares = weights(have, want, kernel)
    scaled = shares * 2.0 ** _torch_bits(shares)
    rounded = np.flatnonzero((np.abs(scaled - scaled.round()) > 1e-6).any(axis=1))
    edge = int(np.minimum(rounded, want - 1 - rounded).max(initial=-1)) + 1
    return edge if 2 * (edge + SUPPORT[kernel]) <= want else None


@cache
def exact_rows(have: int, want: int, kernel: Kernel) -> np.ndarray:
    """Which of `have` rows Pillow has to resize, so that `want` rows are at most 1 level off: bool of shape (have,)."""
    shares = np.abs(weights(have, want, kernel))
    missing = shares.sum(axis=1) - 1 + _torch_error(shares)  # the weight of exact rows that each row still lacks
    chosen = np.zeros(have, bool)
    for row in (*range(0, want, 2), *range(1, want, 2)):  # so that fewer are chosen than from top to bottom
        near = slice(max(row - 3, 0), row + 4)  # rows that may share an exact one
        while missing[row] > 0:
            gain = np.minimum(shares[near], missing[near, None].clip(0)).sum(axis=0) * ~chosen
            best = int(np.where(shares[row] > 0, gain, -1).argmax())
            chosen[best] = True
            missing -= shares[:, best]
    return chosen


def weights(have: int, want: int, kernel: Kernel) -> np.ndarray:
    """The weight of each of `have` pixels in each of `want`, as Pillow and torch compute it: of shape (want, have)."""
    scale = max(have / want, 1)
    centers = (np.arange(want)[:, None] + 0.5) * have / want
    first, last = (np.trunc(centers + sign * SUPPORT[kernel] * scale + 0.5).clip(0, have) for sign in (-1, 1))
    pixels = np.arange(have)
    distance = np.abs(pixels + 0.5 - centers) / scale
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    bicubic = np.where(distance < 1, near, np.where(distance < 2, far, 0))
    values = bicubic if kernel == "bicubic" else (1 - distance).clip(0)
    values = np.where((pixels >= first) & (pixels < last), values, 0)
    return np.asarray(values / values.sum(axis=1, keepdims=True))


def _torch_error(shares: np.ndarray) -> float:
    """The most that a value changes by the rounding of weights: torch's to integers below 2^15, Pillow's to 22 bits."""
    return float((shares > 0).sum(axis=1).max() * 255 * (0.5 ** (_torch_bits(shares) + 1) + 0.5**23))


def _torch_bits(shares: np.ndarray) -> int:
    """The bits of torch's weights behind the binary point."""
    return min(int(np.log2((2**15 - 1) / shares.max())), 22)
