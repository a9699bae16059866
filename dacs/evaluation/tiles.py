"""Labels for pictures of any size in bounded memory: what is too large is seen in tiles that overlap."""

from collections.abc import Iterator, Sequence
from itertools import product
from math import ceil, isqrt
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

# Pixels that a tile sees beyond what is kept of it. The small nets look less than 100 around themselves; DeepLab's head
# alone looks 192, so that at half of this a seam shows.
MARGIN = 256
STRIDE = 16  # pixels from one position of the coarsest features to the next, in any network, or a multiple
LEAST = (3 * MARGIN) ** 2  # pixels of a tile, so that most of it is kept


class Span(NamedTuple):
    """A stretch of an axis, and the part of it that is kept."""

    start: int  # pixels, of what is seen
    stop: int
    first: int  # of what is kept
    end: int

    @property
    def seen(self) -> slice:
        """From the picture."""
        return slice(self.start, self.stop)

    @property
    def kept(self) -> slice:
        """From the picture."""
        return slice(self.first, self.end)

    @property
    def inner(self) -> slice:
        """What is kept, from what is seen."""
        return slice(self.first - self.start, self.end - self.start)


def label(network: nn.Module, images: Sequence[np.ndarray], limit: int) -> np.ndarray:
    """Train ids of pictures of one size: uint8 of shape (pictures, height, width).

    `images`: RGB, uint8 of shape (height, width, 3). Those of more than `limit` pixels are labelled tile by tile.
    """
    height, width = images[0].shape[:2]
    ids = np.empty((len(images), height, width), np.uint8)
    for rows, columns in tiles(height, width, limit):
        found = _classes(network, np.stack([image[rows.seen, columns.seen] for image in images]))
        ids[:, rows.kept, columns.kept] = found[:, rows.inner, columns.inner]
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
    return [
        Span(start, min(start + size, length), first, end)
        for start, first, end in zip(starts, cuts, cuts[1:], strict=False)
    ]


def _aligned(length: int) -> int:
    """The most that is no more, and one more than a multiple of the stride."""
    return (length - 1) // STRIDE * STRIDE + 1


@torch.inference_mode()
def _classes(network: nn.Module, pixels: np.ndarray) -> np.ndarray:
    """The most likely class of each pixel, of RGB in uint8 of shape (batch, height, width, 3)."""
    device = next(network.parameters()).device
    images = torch.from_numpy(pixels).to(device)
    logits = network(images.permute(0, 3, 1, 2).float() / 255)
    return logits.max(1).indices.byte().cpu().numpy()  # argmax says the same, on a CPU in three times the time
