"""Colour and blur against slow twins: HSV by the standard library pixel by pixel, and the reference's dense kernel."""

import colorsys
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from dacs.adaptation import photometry
from dacs.adaptation.augment import BLUR_RADIUS, color_jitter, gaussian_blur, strong

SETTINGS = {
    "jitter_probability": 0.8,
    "jitter_strength": 0.25,
    "blur_probability": 0.5,
    "blur_sigma": (0.15, 1.15),
}


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def images(batch: int = 2, size: tuple[int, int] = (11, 14), seed: int = 0) -> Tensor:
    """Colours of all kinds, with black, white, grays and full ones among them."""
    found = torch.rand(batch, 3, *size, generator=generator(seed), dtype=torch.float64)
    found[:, :, 0, :4] = torch.tensor([0.0, 1.0, 0.5, 0.25], dtype=torch.float64)
    for place, full in enumerate(itertools.product((0.0, 1.0), repeat=3)):
        found[:, :, 1, place] = torch.tensor(full, dtype=torch.float64)
    return found


def clamp(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def slow(operation: int, rgb: tuple[float, float, float], amount: float) -> tuple[float, float, float]:
    """One pixel by the old formulas: 0 brightness, 1 contrast, 2 saturation, 3 hue."""
    if operation == 0:
        return tuple(clamp(channel + amount) for channel in rgb)
    if operation == 1:
        return tuple(clamp(channel * (1 + amount)) for channel in rgb)
    hue, saturation, value = colorsys.rgb_to_hsv(*rgb)
    if operation == 2:
        return colorsys.hsv_to_rgb(hue, clamp(saturation * (1 + amount)), value)
    return colorsys.hsv_to_rgb((hue + amount) % 1.0, saturation, value)


def slowly(operation: int, image: Tensor, amount: float) -> Tensor:
    out = torch.empty_like(image)
    for y in range(image.shape[1]):
        for x in range(image.shape[2]):
            found = slow(operation, tuple(image[:, y, x].tolist()), amount)
            out[:, y, x] = torch.tensor(found, dtype=image.dtype)
    return out


@pytest.mark.parametrize("amount", [-0.25, -0.07, 0.0, 0.13, 0.25])
@pytest.mark.parametrize("operation", range(4), ids=["brightness", "contrast", "saturation", "hue"])
def test_each_operation_of_the_jitter_agrees_with_a_slow_twin(operation: int, amount: float) -> None:
    image = images(1)[0]
    found = photometry._OPERATIONS[operation](image, torch.tensor(amount, dtype=image.dtype))
    assert torch.allclose(found, slowly(operation, image, amount), atol=1e-9, rtol=0)


def test_the_jitter_is_its_four_operations_in_an_order_of_each_image(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, float]] = []

    def watched(operation: int):
        def run(image: Tensor, amount: Tensor) -> Tensor:
            calls.append((operation, amount.item()))
            return plain[operation](image, amount)

        return run

    plain = photometry._OPERATIONS
    monkeypatch.setattr(photometry, "_OPERATIONS", tuple(map(watched, range(4))))
    batch = images(6)
    found = color_jitter(batch, generator(), strength=0.25)
    of_images = [calls[first : first + 4] for first in range(0, len(calls), 4)]
    for image, out, steps in zip(batch, found, of_images, strict=True):
        assert sorted(operation for operation, _ in steps) == [0, 1, 2, 3]
        assert all(abs(amount) <= 0.25 for _, amount in steps)
        for operation, amount in steps:
            image = slowly(operation, image, amount)
        assert torch.allclose(out, image, atol=1e-6, rtol=0)
    orders = [tuple(operation for operation, _ in steps) for steps in of_images]
    assert len(set(orders)) > 2
    assert len({amount for _, amount in calls}) == len(calls)


def test_all_orders_and_the_whole_range_of_amounts_occur(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, float]] = []

    def note(operation: int):
        return lambda image, amount: calls.append((operation, amount.item())) or image

    monkeypatch.setattr(photometry, "_OPERATIONS", tuple(map(note, range(4))))
    color_jitter(torch.zeros(600, 3, 1, 1), generator(), strength=0.25)
    orders = {tuple(operation for operation, _ in calls[first : first + 4]) for first in range(0, len(calls), 4)}
    assert len(orders) == 24
    for kind in range(4):
        amounts = torch.tensor([amount for operation, amount in calls if operation == kind])
        assert amounts.min() < -0.24
        assert amounts.max() > 0.24
        assert abs(amounts.mean()) < 0.02


@pytest.mark.parametrize("seed", range(8))
def test_results_stay_between_0_and_1(seed: int) -> None:
    batch = images(8, seed=seed).float()
    jittered = color_jitter(batch, generator(seed), strength=0.9)
    assert jittered.min() >= 0
    assert jittered.max() <= 1
    out = strong(batch, generator(seed), **(SETTINGS | {"jitter_probability": 1.0, "blur_probability": 1.0}))
    assert out.min() >= -1e-6  # a sum of weights may round
    assert out.max() <= 1 + 1e-6


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
    found = gaussian_blur(batch, sigmas, radius=BLUR_RADIUS)
    for image, sigma, out in zip(batch, sigmas.tolist(), found, strict=True):
        assert (out - dense_blur(image, sigma, 51)).abs().max() < 1e-6


def test_each_image_is_blurred_by_its_own_sigma() -> None:
    batch = images(3, size=(16, 16))
    sigmas = torch.tensor([0.3, 0.9, 1.1], dtype=torch.float64)
    together = gaussian_blur(batch, sigmas, radius=5)
    for i in range(3):
        alone = gaussian_blur(batch[i : i + 1], sigmas[i : i + 1], radius=5)[0]
        assert torch.allclose(together[i], alone, atol=1e-12, rtol=0)


def test_blurring_keeps_a_flat_image_and_works_on_images_smaller_than_its_kernel() -> None:
    flat = torch.full((1, 3, 4, 6), 0.3, dtype=torch.float64)
    assert torch.allclose(gaussian_blur(flat, torch.tensor([1.0]), radius=5), flat, atol=1e-12, rtol=0)


def test_wide_sigmas_get_the_taps_they_need() -> None:
    batch = images(1, size=(40, 40))
    settings = SETTINGS | {"jitter_probability": 0.0, "blur_probability": 1.0, "blur_sigma": (3.0, 3.0)}
    assert (strong(batch, generator(), **settings)[0] - dense_blur(batch[0], 3.0, 51)).abs().max() < 1e-3


@pytest.mark.parametrize("seed", range(24))
def test_one_coin_a_batch_decides_for_all_images(seed: int) -> None:
    batch = images(4, size=(16, 16)).float()
    jitter_coin, blur_coin = torch.rand(2, generator=generator(seed)).tolist()
    for switch, coin in (("jitter", jitter_coin), ("blur", blur_coin)):
        probabilities = {"jitter_probability": 0.0, "blur_probability": 0.0, f"{switch}_probability": 0.5}
        out = strong(batch, generator(seed), **(SETTINGS | probabilities | {"blur_sigma": (0.5, 1.15)}))
        changed = [not torch.equal(a, b) for a, b in zip(out, batch, strict=True)]
        assert changed == [coin < 0.5] * 4


def test_coins_fall_as_often_as_they_should() -> None:
    batch = images(1, size=(6, 8)).float()
    often = sum(not torch.equal(strong(batch, generator(seed), **SETTINGS), batch) for seed in range(300)) / 300
    assert abs(often - (1 - 0.2 * 0.5)) < 0.06


def test_without_augmentation_images_are_left_as_they_are() -> None:
    batch = images().float()
    assert strong(batch, generator(), **(SETTINGS | {"jitter_probability": 0.0, "blur_probability": 0.0})) is batch


def test_augmentation_is_a_function_of_its_generator() -> None:
    batch = images().float()
    always = SETTINGS | {"jitter_probability": 1.0, "blur_probability": 1.0}
    once, again, other = (strong(batch, generator(seed), **always) for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
