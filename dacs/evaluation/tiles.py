"""Predictions for images of any size in bounded memory: large ones are predicted in overlapping tiles."""

from collections.abc import Iterator, Sequence
from itertools import product
from math import ceil, isqrt
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dacs.evaluation.likeliest import likeliest
from dacs.models.segmenter import Segmenter

# Pixels of context that a tile has beyond what is kept of it. The receptive field of the small networks reaches less
# than 100; that of DeepLab's head alone 192, so that seams are visible at half of this.
MARGIN = 256
STRIDE = 32  # pixels from one position of the coarsest features to the next, in any network, or a multiple
LEAST = (3 * MARGIN) ** 2  # pixels of a tile, so that most of it is kept

Place = tuple[slice, slice, slice]  # pictures, rows, columns


class Span(NamedTuple):
    """A part of an axis, in pixels: what a tile sees of it, and what is kept of the prediction."""

    start: int  # of what is seen
    stop: int
    first: int  # of what is kept
    end: int


class Predictions(NamedTuple):
    """Classes of pictures of one size: arrays of shape (pictures, height, width)."""

    ids: np.ndarray  # train ids, uint8
    confidence: np.ndarray | None  # the probability of that class, 0..255, uint8; None: it was not asked for


@torch.inference_mode()
def predict(
    network: Segmenter,
    images: Sequence[np.ndarray],
    limit: int,
    size: tuple[int, int] | None = None,
    *,
    confidence: bool = False,
) -> Predictions:
    """Predict pictures of one size; logits are enlarged to another `size` (height, width), if one is given.

    `images`: RGB, uint8 of shape (height, width, 3). Those of more than `limit` pixels are predicted in tiles.
    """
    enlarges = size is not None and size != images[0].shape[:2]
    shape = (len(images), *(size or images[0].shape[:2]))
    found = Predictions(np.empty(shape, np.uint8), np.empty(shape, np.uint8) if confidence else None)
    for place, logits in (_whole if enlarges else _logits)(network, images, limit):
        at = size if size is not None and enlarges else (logits.shape[-2], logits.shape[-1])
        ids, likely = likeliest(logits, at, align_corners=network.align_corners, confidence=confidence)
        found.ids[place] = ids.cpu().numpy()
        if found.confidence is not None:
            found.confidence[place] = likely.cpu().numpy()
    return found


def _logits(network: Segmenter, images: Sequence[np.ndarray], limit: int) -> Iterator[tuple[Place, Tensor]]:
    """The logits of each tile, of shape (pictures, classes, height, width), and where they lie."""
    device = next(network.parameters()).device
    height, width = images[0].shape[:2]
    for rows, columns in tiles(height, width, limit):
        pixels = np.stack([image[rows.start : rows.stop, columns.start : columns.stop] for image in images])
        logits = network(torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 255)
        inner = (slice(span.first - span.start, span.end - span.start) for span in (rows, columns))
        yield (slice(None), slice(rows.first, rows.end), slice(columns.first, columns.end)), logits[:, :, *inner]


def _whole(network: Segmenter, images: Sequence[np.ndarray], limit: int) -> Iterator[tuple[Place, Tensor]]:
    """The logits of each picture, of shape (1, classes, height, width), and its place among the pictures."""
    whole = None
    for (_, rows, columns), logits in _logits(network, images, limit):
        if whole is None:
            whole = logits.new_empty((*logits.shape[:2], *images[0].shape[:2]))
        whole[:, :, rows, columns] = logits
    assert whole is not None
    for number, logits in enumerate(whole.split(1)):
        yield (slice(number, number + 1), slice(None), slice(None)), logits


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
