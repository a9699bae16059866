"""Where to paste: one boolean mask per image. Nothing here knows of domains, networks or losses.

Random numbers are drawn on the CPU and copied to the device of the labels: the same run on any device.
"""

import math
from collections.abc import Callable
from statistics import NormalDist

import torch
from jaxtyping import Bool
from torch import Generator, Tensor

from dacs.adaptation.augment import gaussian_blur, to_device_async
from dacs.labels import IGNORE
from dacs.settings import Adapt
from dacs.types import Images, Labels

Mask = Bool[Tensor, "batch height width"]  # True: pasted
MakeMask = Callable[[Labels, Generator, Adapt], Mask]  # from the labels of the image that is pasted


def empty_mask(labels: Labels, generator: Generator, adapt: Adapt) -> Mask:
    """Paste nothing."""
    return torch.zeros_like(labels, dtype=torch.bool)


def class_mask(labels: Labels, generator: Generator, adapt: Adapt) -> Mask:
    """All pixels of half of the classes of each image (ClassMix, as DACS draws it).

    The classes are drawn for each image, from its own or, as in DAFormer's code, from those of the whole batch. Half
    of an odd number is rounded up, or down as ClassMix does. With `adapt.draw_void`, ignored pixels (255) count as one
    more class, as in the authors' code; without, they are never pasted. Rounded up, an image of one class is pasted
    whole.
    """
    drawn_from = labels if adapt.draw_classes_of == "image" else labels.flatten().expand(len(labels), -1)
    return torch.stack(
        [_half_of(classes, generator, adapt)[label] for label, classes in zip(labels, drawn_from, strict=True)]
    )


def _half_of(label: Tensor, generator: Generator, adapt: Adapt) -> Tensor:
    """Which of the 256 values are drawn: half of those of a label."""
    # All on fixed shapes, so that the host never waits for a GPU.
    present = torch.zeros(256, dtype=torch.bool, device=label.device).index_fill_(0, label.flatten(), True)
    if not adapt.draw_void:
        present[IGNORE] = False
    keys = to_device_async(torch.rand(256, generator=generator), label.device).masked_fill(~present, 2.0)
    rank = keys.argsort().argsort()  # a random order in which present classes come first
    return rank < (present.sum() + (adapt.draw_half == "up")) // 2


def cut_mask(labels: Labels, generator: Generator, adapt: Adapt) -> Mask:
    """A rectangle of half of each image's area, its width between half and all of the image's (CutMix in ClassMix)."""
    batch, height, width = labels.shape
    draws = to_device_async(torch.rand(batch, 3, generator=generator), labels.device)
    box_width = torch.round(width * (0.5 + 0.5 * draws[:, 0]))
    box_height = torch.round(height * width / 2 / box_width)
    left = torch.floor(draws[:, 1] * (width - box_width + 1))
    top = torch.floor(draws[:, 2] * (height - box_height + 1))
    x, y = (torch.arange(length, device=labels.device) for length in (width, height))
    columns = (x >= left[:, None]) & (x < (left + box_width)[:, None])  # batch width
    rows = (y >= top[:, None]) & (y < (top + box_height)[:, None])  # batch height
    return rows[:, :, None] & columns[:, None, :]


def cow_mask(labels: Labels, generator: Generator, adapt: Adapt) -> Mask:
    """Irregular regions: blurred noise above the level that leaves about `adapt.cow_share` of each image (CowMix).

    `adapt.cow_sigma`: lowest and highest width of the blur in pixels; its logarithm is uniform for each image.
    """
    return torch.stack([_regions(label, generator, adapt.cow_sigma, adapt.cow_share) for label in labels])


def block_mask(images: Images, generator: Generator, adapt: Adapt) -> Mask:
    """The pixels of blocks of `adapt.mask_block`, each chosen with probability `adapt.mask_ratio` (MIC, equation 3).

    The grid has round(length / block) blocks along an axis, stretched to the image by nearest neighbour.
    """
    batch, _, height, width = images.shape
    grid = [max(1, round(length / adapt.mask_block)) for length in (height, width)]
    chosen = torch.rand(batch, *grid, generator=generator) <= adapt.mask_ratio
    down, across = (torch.arange(have) * want // have for have, want in zip((height, width), grid, strict=True))
    return to_device_async(chosen[:, down][:, :, across], images.device)


def _regions(label: Tensor, generator: Generator, sigma: tuple[float, float], share: float) -> Tensor:
    height, width = label.shape
    low, high = (math.log(value) for value in sigma)
    draw = to_device_async(torch.rand((), generator=generator), label.device)
    noise = to_device_async(torch.randn(1, 1, height, width, generator=generator), label.device)
    smooth = gaussian_blur(noise, torch.exp(low + draw * (high - low))[None], radius=int(3 * sigma[1]) + 1)[0, 0]
    level = NormalDist().inv_cdf(1 - share) if 0 < share < 1 else math.copysign(math.inf, 0.5 - share)
    return smooth > smooth.mean() + level * smooth.std()
