"""Colour jitter and blur against slow implementations: HSV of the standard library, the reference's dense kernel."""

import colorsys
import itertools

import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from dacs.adaptation.augment import BLUR_RADIUS, color_jitter, gaussian_blur, strong_augment

BRIGHTNESS, CONTRAST, SATURATION = range(3)  # then hue: the order of the draws
NEVER = {"jitter_probability": 0.0, "blur_probability": 0.0}
ALWAYS = tiny.adapt(jitter_probability=1.0, blur_probability=1.0)


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def images(batch: int = 2, size: tuple[int, int] = (11, 14), seed: int = 0) -> Tensor:
    """Colours of all kinds, with black, white, grays and saturated ones among them."""
    found = torch.rand(batch, 3, *size, generator=generator(seed), dtype=torch.float64)
    found[:, :, 0, :4] = torch.tensor([0.0, 1.0, 0.5, 0.25], dtype=torch.float64)
    found[:, :, 1, :8] = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)), dtype=torch.float64).T
    return found


def clamp(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def jitter_pixel(operation: int, rgb: tuple[float, ...], amount: float) -> tuple[float, ...]:
    """One pixel by the formulas of the reference."""
    if operation == BRIGHTNESS:
        return tuple(clamp(channel + amount) for channel in rgb)
    if operation == CONTRAST:
        return tuple(clamp(channel * (1 + amount)) for channel in rgb)
    hue, saturation, value = colorsys.rgb_to_hsv(*rgb)
    if operation == SATURATION:
        return colorsys.hsv_to_rgb(hue, clamp(saturation * (1 + amount)), value)
    return colorsys.hsv_to_rgb((hue + amount) % 1.0, saturation, value)


def jitter_slowly(image: Tensor, amounts: list[float], order: list[int]) -> Tensor:
    pixels = [tuple(pixel) for pixel in image.flatten(1).T.tolist()]
    for operation in order:
        pixels = [jitter_pixel(operation, pixel, amounts[operation]) for pixel in pixels]
    return torch.tensor(pixels, dtype=image.dtype).T.reshape(image.shape)


@pytest.mark.parametrize("strength", [0.05, 0.25, 0.9])
def test_the_jitter_is_its_four_operations_in_an_order_and_by_amounts_of_each_image(strength: float) -> None:
    batch, draw = images(24), generator(3)
    amounts = (2 * torch.rand(24, 4, generator=draw) - 1) * strength
    orders = torch.rand(24, 4, generator=draw).argsort(1).tolist()
    assert len({tuple(order) for order in orders}) > 12
    for image, found, amount, order in zip(
        batch, color_jitter(batch, generator(3), strength=strength), amounts, orders, strict=True
    ):
        assert torch.allclose(found, jitter_slowly(image, amount.tolist(), order), atol=1e-6, rtol=0)


@pytest.mark.parametrize("seed", range(8))
def test_results_stay_between_0_and_1(seed: int) -> None:
    batch = images(8, seed=seed).float()
    for found in (color_jitter(batch, generator(seed), strength=0.9), strong_augment(batch, generator(seed), ALWAYS)):
        assert found.min() >= -1e-6  # a sum of weights may round
        assert found.max() <= 1 + 1e-6


def dense_blur(image: Tensor, sigma: float, size: int) -> Tensor:
    """The reference's blur: one square kernel over the mirrored image."""
    along = torch.arange(size, dtype=image.dtype) - size // 2
    line = torch.exp(-(along**2) / (2 * sigma**2))
    kernel = torch.outer(line, line)
    kernel = (kernel / kernel.sum()).expand(3, 1, size, size)
    padded = F.pad(image[None], [size // 2] * 4, mode="reflect")
    return F.conv2d(padded, kernel, groups=3)[0]


def test_the_separable_blur_equals_the_dense_one_of_51_taps() -> None:
    """At the crop of 512 that the reference's 51 taps belong to; here a part of it, for the time."""
    sigmas = torch.tensor([0.15, 0.5, 0.8, 1.0, 1.15], dtype=torch.float64)
    batch = torch.rand(5, 3, 56, 60, generator=generator(), dtype=torch.float64)
    blurred = gaussian_blur(batch, sigmas, radius=BLUR_RADIUS)
    for image, sigma, found in zip(batch, sigmas.tolist(), blurred, strict=True):
        assert (found - dense_blur(image, sigma, 51)).abs().max() < 1e-6


def test_blurring_keeps_a_flat_image_and_works_on_images_smaller_than_its_kernel() -> None:
    flat = torch.full((1, 3, 4, 6), 0.3, dtype=torch.float64)
    assert torch.allclose(gaussian_blur(flat, torch.tensor([1.0]), radius=5), flat, atol=1e-12, rtol=0)


def test_wide_sigmas_get_the_taps_they_need() -> None:
    batch = images(1, size=(40, 40))
    adapt = tiny.adapt(**NEVER | {"blur_probability": 1.0}, blur_sigma=(3.0, 3.0))
    assert (strong_augment(batch, generator(), adapt)[0] - dense_blur(batch[0], 3.0, 51)).abs().max() < 1e-3


@pytest.mark.parametrize("seed", range(24))
def test_one_coin_a_batch_decides_for_all_images(seed: int) -> None:
    batch = images(4, size=(16, 16)).float()
    coins = torch.rand(2, generator=generator(seed)).tolist()
    for name, coin in zip(("jitter_probability", "blur_probability"), coins, strict=True):
        adapt = tiny.adapt(**NEVER | {name: 0.5}, blur_sigma=(0.5, 1.15))
        found = strong_augment(batch, generator(seed), adapt)
        assert [not torch.equal(a, b) for a, b in zip(found, batch, strict=True)] == [coin < 0.5] * 4
    assert strong_augment(batch, generator(seed), tiny.adapt(**NEVER)) is batch


def test_augmentation_is_a_function_of_its_generator() -> None:
    batch = images().float()
    once, again, other = (strong_augment(batch, generator(seed), ALWAYS) for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
