"""Batches of crops, without end: a sample depends on (seed, number of the sample) alone.

Nothing needs saving: an interrupted run resumes at its sample, several processes share the samples by arithmetic, and
any number of loader workers gives the same ones.
"""

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dacs.adaptation.sampling import Order, seed_of
from dacs.labels import IGNORE
from dacs.loading.split import Split

TRIES = 10  # times that a crop is drawn anew (DAFormer's code)
GRACE = 300  # seconds that a worker has after SIGTERM: longer than any step takes


class Batch(NamedTuple):
    """Crops of several frames."""

    images: Float32[Tensor, "batch 3 height width"]  # RGB in [0, 1]
    labels: Int64[Tensor, "batch height width"] | None  # train ids, 255 = ignore; None: the split has no labels


class Pixels(NamedTuple):
    """The same in bytes, as arrays: a process sends them through a pipe, but tensors through /dev/shm.

    That is 64 MB in a container, and a process for whose tensors it is too small sends nothing.
    """

    images: UInt8[np.ndarray, "batch 3 height width"]
    labels: UInt8[np.ndarray, "batch height width"] | None

    def batch(self) -> Batch:
        """As a network takes them."""
        images = torch.from_numpy(self.images).to(torch.float32) / 255
        return Batch(images, None if self.labels is None else torch.from_numpy(self.labels).to(torch.int64))


class View(NamedTuple):
    """The part of a frame that a sample shows."""

    frame: int
    top: int  # pixels
    left: int
    flip: bool


def view_of(
    seed: int,
    sample: int,
    frame: int,
    *,
    size: tuple[int, int],
    crop: tuple[int, int],
    flip: bool = False,
    tries: int = 0,
) -> View:
    """The position of a sample's crop of (height, width) in its frame, and whether it is mirrored.

    The mirror is always drawn, so that switching it on moves no crop. `tries` counts the crops drawn before this one.
    """
    generator = torch.Generator().manual_seed(seed_of(seed, "crop", sample, *[tries] * (tries > 0)))
    room = size[0] - crop[0] + 1, size[1] - crop[1] + 1
    top, left, mirrored = (int(torch.randint(high, (), generator=generator)) for high in (*room, 2))
    return View(frame, top, left, flip and bool(mirrored))


@dataclass(frozen=True)
class Crops(Dataset[Batch]):
    """Batch `step` of the stream, for every step; each rank holds its share. Raises BadRequest for too small frames."""

    split: Split
    order: Order
    seed: int
    batch: int  # crops of this process
    crop: tuple[int, int]  # height, width
    flip: bool = False
    largest_class: float = 1  # a labelled crop of which one class has this share or more is drawn anew; 1: none is
    rank: int = 0  # of this process
    world: int = 1  # processes

    def __post_init__(self) -> None:
        self.split.check_crop(self.crop)

    def __getitem__(self, step: int) -> Batch:
        return self.pixels(step).batch()

    def pixels(self, step: int) -> Pixels:
        """The crops of a step as their frames hold them."""
        first = step * self.batch * self.world + self.rank
        views = [self._view(first + place * self.world) for place in range(self.batch)]
        images = torch.stack([self._cut(self.split.image(view.frame), view) for view in views])
        labels = [self._cut(label, view) for view in views if (label := self.split.label(view.frame)) is not None]
        return Pixels(images.numpy(), torch.stack(labels).numpy() if labels else None)

    def _view(self, sample: int) -> View:
        pick = self.order(sample)
        for outer in range(TRIES + 1):
            view = self._varied_view(sample, pick.frame, outer * (TRIES + 1))
            if pick.wanted is None or self._pixels(view)[pick.wanted] > pick.more_than:
                break
        return view

    def _varied_view(self, sample: int, frame: int, tries: int) -> View:
        """A crop that is not nearly all of one class, if one is found: the rule of DAFormer's source crops."""
        draw = partial(view_of, self.seed, sample, frame, size=self.split.size, crop=self.crop, flip=self.flip)
        for inner in range(TRIES + 1):
            view = draw(tries=tries + inner)
            if self.largest_class == 1:
                break
            pixels = self._pixels(view)
            if pixels.max() < self.largest_class * pixels.sum():
                break
        return view

    def _pixels(self, view: View) -> Int64[Tensor, " values"]:
        """Pixels of each class in a labelled crop."""
        label = self.split.label(view.frame)
        assert label is not None
        return torch.bincount(self._cut(label, view).flatten(), minlength=IGNORE)[:IGNORE]

    def _cut(self, pixels: UInt8[Tensor, "*channels height width"], view: View) -> UInt8[Tensor, "*channels h w"]:
        cut = pixels[..., view.top : view.top + self.crop[0], view.left : view.left + self.crop[1]]
        return cut.flip(-1) if view.flip else cut


def batches(crops: Crops, start_step: int, workers: int = 0) -> Iterator[Batch]:
    """Batches from `start_step` on, without end; any number of workers gives the same ones."""
    if workers == 0:
        return map(crops.__getitem__, count(start_step))
    crops.split.load()  # before the workers are forked, so that they share what is kept
    loader = DataLoader(
        _Sender(crops),
        batch_size=None,
        sampler=count(start_step),
        num_workers=workers,
        collate_fn=_as_it_is,
        worker_init_fn=_outlast_stop_signals,
        persistent_workers=True,
    )
    return map(_received, loader)


@dataclass(frozen=True)
class _Sender(Dataset[Pixels]):
    """The stream as processes send it."""

    crops: Crops

    def __getitem__(self, step: int) -> Pixels:
        return self.crops.pixels(step)


def _as_it_is(pixels: Any) -> Any:
    return pixels


def _received(pixels: Pixels) -> Batch:
    images, labels = pixels.batch()
    if not torch.cuda.is_available():
        return Batch(images, labels)
    # So that copies to a GPU wait for nothing.
    return Batch(images.pin_memory(), None if labels is None else labels.pin_memory())


def _outlast_stop_signals(worker: int) -> None:
    """Let a worker outlast the signals that stop all processes of a job: the run ends its step, then its workers."""
    for ignored in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(ignored, signal.SIG_IGN)
    # Python also ends the workers of a crashed run by SIGTERM, so it must not be ignored for ever.
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(GRACE))
