"""Predictions for images of any size in bounded memory: large ones are predicted in overlapping tiles."""

from collections.abc import Iterator, Sequence
from itertools import product
from math import ceil, isqrt
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dacs.models.segmenter import Segmenter

# Pixels of context that a tile has beyond what is kept of it. The receptive field of the small networks reaches less
# than 100; that of DeepLab's head alone 192, so that seams are visible at half of this.
MARGIN = 256
STRIDE = 32  # pixels from one position of the coarsest features to the next, in any network, or a multiple
LEAST = (3 * MARGIN) ** 2  # pixels of a tile, so that most of it is kept
ENLARGED = 2**26  # values of logits that are enlarged together

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


def likeliest(logits: Tensor, size: tuple[int, int], *, align_corners: bool, confidence: bool) -> tuple[Tensor, Tensor]:
    """The class of each pixel and its probability, 0..255, both uint8 of shape (pictures, *size).

    Logits are enlarged a few classes at a time where all of them would take more than a quarter of a gigabyte.
    """
    most = max(1, ENLARGED // (len(logits) * size[0] * size[1]))
    shape = (len(logits), *size)
    best, ids = logits.new_full(shape, -torch.inf), torch.empty(shape, dtype=torch.uint8, device=logits.device)
    total = torch.zeros_like(best)  # of exp(logit - best) over the classes so far
    for first in range(0, logits.shape[1], most):
        part = logits[:, first : first + most]
        if part.shape[-2:] != size:
            part = F.interpolate(part, size=size, mode="bilinear", align_corners=align_corners)
        highest, found = top(part)
        ids = torch.where(highest > best, found + first, ids)
        before, best = best, torch.maximum(highest, best)
        if confidence:
            total = total * (before - best).exp() + (part - best[:, None]).exp().sum(1)
    return ids, (255 / total).round().byte() if confidence else ids


def top(values: Tensor) -> tuple[Tensor, Tensor]:
    """The highest value over the classes, the second dimension, and its class (uint8); the first of equal ones.

    Class by class on a CPU, which takes a fifth of the time of torch's max, and a twentieth of that of its argmax.
    """
    if values.is_cuda:
        highest, found = values.max(1)
        return highest, found.byte()
    of_classes = np.moveaxis(values.numpy(), 1, 0)
    best, ids = of_classes[0].copy(), np.zeros(of_classes.shape[1:], np.uint8)
    for train_id, each in enumerate(of_classes[1:], 1):
        larger = each > best
        np.maximum(best, each, out=best)
        np.maximum(ids, larger.view(np.uint8) * np.uint8(train_id), out=ids)
    return torch.from_numpy(best), torch.from_numpy(ids)


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
