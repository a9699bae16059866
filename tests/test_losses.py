"""Losses and weights against slow twins, and every point where paper, code and seed disagree with both its values."""

import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from dacs.adaptation.losses import confident_share, mixed_loss, pixel_weights, source_loss
from dacs.labels import IGNORE
from dacs.types import Scene

BATCH, HEIGHT, WIDTH, CLASSES = 3, 4, 5, 19
THRESHOLD = 0.7


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def logits(seed: int = 0) -> Tensor:
    size = (BATCH, CLASSES, HEIGHT, WIDTH)
    return torch.randn(*size, generator=generator(seed), dtype=torch.float64, requires_grad=True)


def labels(seed: int = 1, void: float = 0.3) -> Tensor:
    found = torch.randint(0, CLASSES, (BATCH, HEIGHT, WIDTH), generator=generator(seed))
    return found.masked_fill(torch.rand(found.shape, generator=generator(seed + 1)) < void, IGNORE)


def scene(confidence: Tensor) -> Scene:
    return Scene(torch.zeros(BATCH, 3, HEIGHT, WIDTH), torch.zeros(BATCH, HEIGHT, WIDTH).long(), confidence)


def cross_entropy(row: list[float], label: int) -> float:
    return -row[label] + math.log(sum(math.exp(value) for value in row))


def pixels() -> itertools.product:
    return itertools.product(range(BATCH), range(HEIGHT), range(WIDTH))


# ---- the loss on source frames


def test_the_source_loss_is_the_mean_over_labelled_pixels() -> None:
    z, y = logits(), labels()
    each = [cross_entropy(z[b, :, h, w].tolist(), int(y[b, h, w])) for b, h, w in pixels() if y[b, h, w] != IGNORE]
    assert source_loss(z, y).item() == pytest.approx(sum(each) / len(each), abs=1e-12)


def test_the_source_loss_and_its_gradient_are_those_of_torch() -> None:
    ours, torchs = logits(), logits()
    source_loss(ours, labels()).backward()
    F.cross_entropy(torchs, labels(), ignore_index=IGNORE).backward()
    assert torch.allclose(ours.grad, torchs.grad, atol=1e-15, rtol=0)


def test_a_batch_without_labels_costs_nothing() -> None:
    z = logits()
    loss = source_loss(z, torch.full((BATCH, HEIGHT, WIDTH), IGNORE))
    loss.backward()
    assert loss.item() == 0
    assert not z.grad.any()


# ---- the loss on mixed frames


def test_the_mixed_loss_weighs_each_pixel_and_divides_by_all_of_them() -> None:
    z, y, weight = (
        logits(),
        labels(),
        torch.rand(BATCH, HEIGHT, WIDTH, generator=generator(5), dtype=torch.float64),
    )
    total = sum(
        weight[b, h, w].item() * cross_entropy(z[b, :, h, w].tolist(), int(y[b, h, w]))
        for b, h, w in pixels()
        if y[b, h, w] != IGNORE
    )
    assert mixed_loss(z, y, weight).item() == pytest.approx(total / (BATCH * HEIGHT * WIDTH), abs=1e-12)


def test_ignored_pixels_stay_in_the_denominator() -> None:
    z, ones = logits(), torch.ones(BATCH, HEIGHT, WIDTH, dtype=torch.float64)
    y = labels()
    known = (y != IGNORE).double().mean()
    assert 0 < known < 1
    assert mixed_loss(z, y, ones).item() == pytest.approx((known * source_loss(z, y)).item(), abs=1e-12)


def test_pixels_of_weight_0_have_no_gradient() -> None:
    z, weight = logits(), torch.ones(BATCH, HEIGHT, WIDTH, dtype=torch.float64)
    weight[:, 0] = 0
    mixed_loss(z, labels(void=0.0), weight).backward()
    assert not z.grad[:, :, 0].any()
    assert z.grad[:, :, 1:].any()


# ---- λ and the weights


def test_lambda_is_the_share_of_pixels_that_reach_the_threshold_itself_included() -> None:
    confidence = torch.tensor([[[0.968, 0.967], [1.0, 0.0]]], dtype=torch.float64)
    assert confident_share(confidence, threshold=0.968, scope="image").tolist() == [0.5]


def slow_weights(
    target: Tensor,
    true: Tensor,
    *,
    pixel_weight: str,
    lambda_scope: str,
    lambda_counts: str,
    lambda_applies_to: str,
) -> tuple[Tensor, Tensor]:
    """Weight of each pixel and λ of each image, written as section 2 of the fact sheet counts them.

    Pasted pixels of a labelled source are sure (confidence 1).
    """
    weight, shares = torch.zeros(BATCH, HEIGHT, WIDTH, dtype=torch.float64), []
    confident = [[], [], []]
    for b, h, w in pixels():
        sure = 1.0 if lambda_counts == "mixed" and true[b, h, w] else target[b, h, w].item()
        confident[b].append(sure >= THRESHOLD)
    for b in range(BATCH):
        counted = confident[b] if lambda_scope == "image" else [*confident[0], *confident[1], *confident[2]]
        shares.append(sum(counted) / len(counted))
    for b, h, w in pixels():
        pasted = bool(true[b, h, w])
        if pixel_weight == "none" or (pasted and (lambda_applies_to == "target" or pixel_weight == "threshold")):
            weight[b, h, w] = 1.0
        elif pixel_weight == "threshold":
            weight[b, h, w] = float(target[b, h, w] >= THRESHOLD)
        else:
            weight[b, h, w] = shares[b]
    return weight, torch.tensor(shares, dtype=torch.float64)


CHOICES = {
    "pixel_weight": ("threshold_uniform", "threshold", "none"),
    "lambda_scope": ("image", "batch"),
    "lambda_counts": ("mixed", "target"),
    "lambda_applies_to": ("all", "target"),
}
SETTINGS = [dict(zip(CHOICES, values, strict=True)) for values in itertools.product(*CHOICES.values())]


def weighed(settings: dict[str, str]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The target's confidence, where the truth was pasted, and what our code makes of both by these settings."""
    target = torch.rand(BATCH, HEIGHT, WIDTH, generator=generator(7), dtype=torch.float64)
    true = torch.rand(BATCH, HEIGHT, WIDTH, generator=generator(8)) < torch.tensor([0.2, 0.5, 0.8])[:, None, None]
    mixed = torch.where(true, 1.0, target)
    kinds: dict[str, Any] = settings
    return target, true, *pixel_weights(scene(mixed), scene(target), true, threshold=THRESHOLD, **kinds)


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: "-".join(settings.values()))
def test_weights_agree_with_a_slow_twin_for_every_reading(settings: dict[str, str]) -> None:
    target, true, weight, share = weighed(settings)
    wanted_weight, wanted_share = slow_weights(target, true, **settings)
    assert torch.allclose(weight, wanted_weight, atol=1e-12, rtol=0)
    assert torch.allclose(share, wanted_share, atol=1e-12, rtol=0)


@pytest.mark.parametrize("choice", ["pixel_weight", "lambda_scope", "lambda_counts", "lambda_applies_to"])
def test_every_choice_makes_a_difference(choice: str) -> None:
    seed = {"pixel_weight": "threshold_uniform", "lambda_scope": "image", "lambda_counts": "mixed"}
    seed |= {"lambda_applies_to": "all"}
    found = [weighed(seed | {choice: value})[2] for value in CHOICES[choice]]
    for one, other in itertools.combinations(found, 2):
        assert not torch.allclose(one, other)


def test_the_seeds_reading_is_one_lambda_on_all_pixels_of_each_image() -> None:
    """Seed, section 3.3: λ times the cross-entropy; its λ cannot be 0 where something was pasted."""
    seed = {"pixel_weight": "threshold_uniform", "lambda_scope": "image", "lambda_counts": "mixed"}
    _, true, weight, share = weighed(seed | {"lambda_applies_to": "all"})
    assert torch.equal(weight, share[:, None, None].expand_as(weight))
    assert (share >= true.double().mean((1, 2))).all()


def test_the_authors_reading_is_one_lambda_of_the_batch_on_target_pixels() -> None:
    code = {"pixel_weight": "threshold_uniform", "lambda_scope": "batch", "lambda_counts": "target"}
    target, true, weight, share = weighed(code | {"lambda_applies_to": "target"})
    overall = (target >= THRESHOLD).double().mean()
    assert torch.allclose(share, overall.expand(BATCH))
    assert (weight[true] == 1).all()
    assert torch.allclose(weight[~true], overall)


def test_without_any_truth_pasted_lambda_weighs_every_pixel_by_either_reading() -> None:
    """Naive mixing and plain pseudo-labels: nothing is the truth, so nothing escapes λ."""
    target = torch.rand(BATCH, HEIGHT, WIDTH, generator=generator(7), dtype=torch.float64)
    nowhere = torch.zeros(BATCH, HEIGHT, WIDTH, dtype=torch.bool)
    found = [
        pixel_weights(
            scene(target),
            scene(target),
            nowhere,
            threshold=THRESHOLD,
            pixel_weight="threshold_uniform",
            lambda_scope="image",
            lambda_counts="mixed",
            lambda_applies_to=applies,
        )[0]
        for applies in ("all", "target")
    ]
    assert torch.equal(*found)
