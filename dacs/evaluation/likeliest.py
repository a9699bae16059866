"""The likeliest class of each pixel, of logits at their own size or at another one."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

ENLARGED = 2**26  # values of logits that are enlarged together
BLOCK = 2**15  # pixels that are interpolated together

OfPicture = Float[Tensor, "classes h w"]
Ids = UInt8[Tensor, "height width"]


def likeliest(
    logits: Tensor, size: tuple[int, ...], *, align_corners: bool, confidence: bool, own: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The class of each pixel and its probability, 0..255, both uint8 of shape (pictures, *size).

    Logits are enlarged bilinearly. `own`: the classes at the size of the logits, if they are known. Where `confidence`
    is not asked for, the classes are returned twice.
    """
    same = logits.shape[-2:] == size
    if confidence or (logits.is_cuda and not same):
        return _by_parts(logits, size, align_corners=align_corners, confidence=confidence)
    ids = top(logits)[1] if own is None else own
    if not same:
        each = zip(logits, ids, strict=True)
        ids = torch.stack([_enlarged(*picture, size, align_corners=align_corners) for picture in each])
    return ids, ids


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


def _by_parts(logits: Tensor, size: tuple[int, ...], *, align_corners: bool, confidence: bool) -> tuple[Tensor, Tensor]:
    """As `likeliest`, a few classes at a time where all of them would take more than a quarter of a gigabyte."""
    most = max(1, ENLARGED // (len(logits) * size[0] * size[1]))
    shape = (len(logits), *size)
    best, ids = logits.new_full(shape, -torch.inf), torch.zeros(shape, dtype=torch.uint8, device=logits.device)
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


class _Axis(NamedTuple):
    """Pixels along an axis, and the positions of the logits that each lies between."""

    before: np.ndarray  # of each pixel the last position that is not after it
    near: np.ndarray  # of each pixel the weight of that position, float32
    far: np.ndarray  # and that of the next one
    first: np.ndarray  # of each position the first pixel that lies between it and the next one
    number: np.ndarray  # and how many do

    def pixels(self, positions: np.ndarray) -> np.ndarray:
        """The pixels after each position, of shape (most, positions); the last one again where there are fewer."""
        each = np.arange(self.number.max())[:, None]
        return self.first[positions] + np.minimum(each, self.number[positions] - 1)

    def between(self, first: Tensor, second: Tensor, pixels: np.ndarray) -> Tensor:
        """The values of pixels, from those of the positions before and after them."""
        near, far = torch.from_numpy(self.near[pixels]), torch.from_numpy(self.far[pixels])
        return (second * far).addcmul_(first, near)


@lru_cache(maxsize=64)
def _axis(have: int, want: int, align_corners: bool) -> _Axis:
    """The axis of `want` pixels and `have` positions; places are rounded as in torch's interpolate."""
    pixel = torch.arange(want, dtype=torch.float32)
    if align_corners:
        place = pixel * (torch.tensor(float(have - 1)) / max(want - 1, 1))
    else:
        place = torch.addcmul(torch.tensor(-0.5), pixel + 0.5, torch.tensor(float(have)) / want).clamp_min(0)
    before = place.long().clamp_max(have - 1)
    far = (place - before).clamp(0, 1)
    number = np.bincount(before, minlength=have)
    return _Axis(before.numpy(), (1 - far).numpy(), far.numpy(), number.cumsum() - number, number)


def _enlarged(logits: OfPicture, own: UInt8[Tensor, "h w"], size: tuple[int, ...], *, align_corners: bool) -> Ids:
    """The class of each pixel of a picture; only cells whose corners have different classes are interpolated.

    A value inside a cell is a mean of those at its corners, weighted in the same way for every class, so the likeliest
    class at all corners is so throughout. Operations are those of torch's interpolate, which round alike: the result is
    that of interpolating all values, but for pixels where rounding makes the two highest equal.
    """
    (down, across), ids = (_axis(*each, align_corners) for each in zip(own.shape, size, strict=True)), own.numpy()
    found = ids.take(across.before, 1).take(down.before, 0)
    cells = np.flatnonzero(_mixed(ids) & (down.number > 0)[:, None] & (across.number > 0))
    step = max(1, BLOCK // int(down.number.max() * across.number.max()))
    for start in range(0, len(cells), step):
        row, column = np.divmod(cells[start : start + step], own.shape[1])
        y, x = down.pixels(row)[:, None], across.pixels(column)
        upper_left, upper_right, lower_left, lower_right = _corners(logits, row, column)
        upper, lower = across.between(upper_left, upper_right, x), across.between(lower_left, lower_right, x)
        values = down.between(upper[:, None], lower[:, None], y)
        found.put(y * size[1] + x, top(values[None])[1].numpy())
    return torch.from_numpy(found)


def _mixed(ids: np.ndarray) -> np.ndarray:
    """Whether a position, the next one, and those below the two have different classes."""
    mixed = np.zeros(ids.shape, bool)
    below, beside = ids[1:] != ids[:-1], ids[:, 1:] != ids[:, :-1]
    mixed[:-1] = below
    mixed[:-1, :-1] |= below[:, 1:]
    mixed[:, :-1] |= beside
    mixed[:-1, :-1] |= beside[1:]
    return mixed


def _corners(logits: OfPicture, row: np.ndarray, column: np.ndarray) -> tuple[Tensor, ...]:
    """The logits at the corners of cells, in reading order: each of shape (classes, 1, cells)."""
    height, width = logits.shape[1:]
    right, down = (column < width - 1).astype(int), width * (row < height - 1)
    places = row * width + column + np.stack([0 * right, right, down, down + right])
    return logits.flatten(1).index_select(1, torch.from_numpy(places.ravel())).view(len(logits), 4, 1, -1).unbind(1)
