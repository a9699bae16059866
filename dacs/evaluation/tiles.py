"""Predictions for images of any size in bounded memory: large ones are predicted in overlapping tiles."""

from collections.abc import Iterator, Sequence
from itertools import product
from math import ceil, isqrt
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

# Pixels of context that a tile has beyond what is kept of it. The receptive field of the small networks reaches less
# than 100; that of DeepLab's head alone 192, so that seams are visible at half of this.
MARGIN = 256
STRIDE = 32  # pixels from one position of the coarsest features to the next, in any network, or a multiple
LEAST = (3 * MARGIN) ** 2  # pixels of a tile, so that most of it is kept


class Span(NamedTuple):
    """A part of an axis, in pixels: what a tile sees of it, and what is kept of the prediction."""

    start: int  # of what is seen
    stop: int
    first: int  # of what is kept
    end: int


@torch.inference_mode()
def predict(network: nn.Module, images: Sequence[np.ndarray], limit: int) -> np.ndarray:
    """Train ids of pictures of one size: uint8 of shape (pictures, height, width).

    `images`: RGB, uint8 of shape (height, width, 3). Those of more than `limit` pixels are predicted in tiles.
    """
    height, width = images[0].shape[:2]
    ids, device = np.empty((len(images), height, width), np.uint8), next(network.parameters()).device
    for rows, columns in tiles(height, width, limit):
        pixels = np.stack([image[rows.start : rows.stop, columns.start : columns.stop] for image in images])
        logits = network(torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 255)
        found = logits.max(1).indices.byte().cpu().numpy()  # equal to argmax, which takes three times as long on a CPU
        inner = (slice(span.first - span.start, span.end - span.start) for span in (rows, columns))
        ids[:, rows.first : rows.end, columns.first : columns.end] = found[:, *inner]
    return ids


def tiles(height: int, width: int, limit: int) -> Iterator[tuple[Span, Span]]:
    """Rows and columns of tiles of at most `limit` pixels, the kept parts of which cover a picture once.

    Along a narrow picture they are long. One tile is all there is to a picture of no more than `limit` pixels.
    """
    tall = min(height, isqrt(limit))
    wide = min(width, limit // tall)
    tall = min(height, limit // wide)
    return product(spans(height, tall), spans(width, wide))


def spans(length: int, most: int) -> list[Span]:
    """Stretches of at most `most` pixels that cover 0..length; each is cut MARGIN within its overlap with the next.

    They start at multiples of the stride and, but for the last, hold one pixel more than a multiple, as then features
    lie where they lie in the whole picture, and corners that are aligned stretch nothing.
    """
    if most >= length:
        return [Span(0, length, 0, length)]
    overlap = 2 * MARGIN + 1
    number = ceil((length - overlap) / (_aligned(most) - overlap))
    size = _aligned(ceil((length + (number - 1) * overlap) / number) + STRIDE - 1)  # so that none is a mere rest
    starts = range(0, number * (size - overlap), size - overlap)
    cuts = [0, *(start + MARGIN for start in starts[1:]), length]
    parts = zip(starts, cuts, cuts[1:], strict=False)
    return [Span(start, min(start + size, length), first, end) for start, first, end in parts]


def _aligned(length: int) -> int:
    """The largest number that is no larger, and one more than a multiple of the stride."""
    return (length - 1) // STRIDE * STRIDE + 1
