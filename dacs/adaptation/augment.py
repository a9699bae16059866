"""Colour jitter and blur of mixed images, on whole batches on their device. No pixel is moved.

The jitter has the formulas of kornia's `ColorJiggle`, as the authors' code: additive brightness, contrast without a
mean, saturation and hue in HSV. One draw for the batch switches it on; each image draws its own factors and order.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor

from dacs.group import ALONE, Group
from dacs.settings import Adapt
from dacs.types import Images

BLUR_RADIUS = 5  # pixels: 11 taps, all that a sigma of 1.15 leaves of the reference's 51


def strong_augment(images: Images, generator: Generator, adapt: Adapt, group: Group = ALONE) -> Images:
    """Augment mixed images: colour jitter, then Gaussian blur, each with one random decision a batch."""
    jitter_coin, blur_coin = torch.rand(2, generator=generator).tolist()
    if jitter_coin < adapt.jitter_probability:
        images = color_jitter(images, generator, strength=adapt.jitter_strength, group=group)
    if blur_coin < adapt.blur_probability:
        low, high = adapt.blur_sigma
        draws = to_device_async(group.rand(generator, len(images)), images.device)
        images = gaussian_blur(images, low + draws * (high - low), radius=max(BLUR_RADIUS, math.ceil(4 * high)))
    return images


def color_jitter(images: Images, generator: Generator, *, strength: float, group: Group = ALONE) -> Images:
    """Brightness, contrast, saturation and hue in an order and by amounts that each image draws for itself.

    With strength s: brightness adds U(-s, s), contrast and saturation multiply by U(1 - s, 1 + s), hue turns by
    U(-s, s) of a full circle; every result is clamped to [0, 1].
    """
    draws = group.rand(generator, len(images), 4)
    amounts = to_device_async(((2 * draws - 1) * strength).to(images.dtype), images.device)
    orders = group.rand(generator, len(images), 4).argsort(1).tolist()
    jittered = []
    for image, amount, order in zip(images, amounts, orders, strict=True):
        for operation in order:
            image = _OPERATIONS[operation](image, amount[operation])
        jittered.append(image)
    return torch.stack(jittered)


def to_device_async(draws: Tensor, device: torch.device) -> Tensor:
    """Copy random draws from the CPU to a device; through pinned memory to a GPU, so that the host does not wait."""
    return (draws.pin_memory() if device.type == "cuda" else draws).to(device, non_blocking=True)


def _brightness(image: Tensor, amount: Tensor) -> Tensor:
    return (image + amount).clamp(0, 1)


def _contrast(image: Tensor, amount: Tensor) -> Tensor:
    return (image * (1 + amount)).clamp(0, 1)


def _saturation(image: Tensor, amount: Tensor) -> Tensor:
    """Scale HSV's saturation: every channel moves away from, or towards, the largest one."""
    value = image.amax(0)
    saturation = (value - image.amin(0)) / value.clamp_min(1e-6)
    scaled = (saturation * (1 + amount)).clamp(0, 1)
    # v - (v - x) * s'/s keeps hue and value, and needs no conversion to HSV and back.
    factor = torch.where(saturation > 0, scaled / saturation.clamp_min(1e-6), torch.ones_like(saturation))
    return (value - (value - image) * factor).clamp_min(0)


def _hue(image: Tensor, amount: Tensor) -> Tensor:
    """Turn HSV's hue by `amount` of a full circle, at constant saturation and value."""
    value, low = image.amax(0), image.amin(0)
    chroma = value - low
    red, green, blue = image
    safe = chroma.clamp_min(1e-6)
    sixth = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sixth = sixth + 6 * amount
    # Channel n of HSV's inverse: v - chroma * clamp(min(k, 4 - k), 0, 1) with k = (n + sixth) mod 6.
    offsets = torch.arange(5, 0, -2, device=image.device, dtype=image.dtype)[:, None, None]  # 5, 3, 1
    k = torch.remainder(offsets + sixth, 6)
    return value - chroma * torch.minimum(k, 4 - k).clamp(0, 1)


_OPERATIONS = (_brightness, _contrast, _saturation, _hue)


def gaussian_blur(images: Tensor, sigma: Float[Tensor, " batch"], *, radius: int) -> Tensor:
    """Blur each image by its own `sigma` (pixels), as two passes of 2 * radius + 1 taps; borders are mirrored."""
    batch, channels, height, width = images.shape
    radius = min(radius, height - 1, width - 1)  # what can be mirrored
    taps = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernels = torch.exp(-(taps**2) / (2 * sigma.to(images.dtype)[:, None] ** 2))
    kernels = (kernels / kernels.sum(1, keepdim=True)).repeat_interleave(channels, 0)  # batch*channels taps
    planes = images.reshape(1, batch * channels, height, width)
    planes = F.pad(planes, (radius, radius, radius, radius), mode="reflect")
    planes = F.conv2d(planes, kernels[:, None, None, :], groups=batch * channels)
    planes = F.conv2d(planes, kernels[:, None, :, None], groups=batch * channels)
    return planes.reshape(batch, channels, height, width)
