"""Losses and weights against slow implementations, for all values of every choice where paper and code disagree."""

import itertools
import math

import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from dacs.adaptation.losses import confident_share, mixed_loss, pixel_weights, pseudo_weights, source_loss
from dacs.config import load
from dacs.labels import IGNORE
from dacs.types import LabelledImages

BATCH, HEIGHT, WIDTH, CLASSES = 3, 4, 5, 19
PIXELS = list(itertools.product(range(BATCH), range(HEIGHT), range(WIDTH)))
THRESHOLD = 0.7


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def logits() -> Tensor:
    size = (BATCH, CLASSES, HEIGHT, WIDTH)
    return torch.randn(*size, generator=generator(), dtype=torch.float64, requires_grad=True)


LABELS = torch.randint(0, CLASSES, (BATCH, HEIGHT, WIDTH), generator=generator(1))
LABELS = LABELS.masked_fill(torch.rand(LABELS.shape, generator=generator(2)) < 0.3, IGNORE)


def labelled(confidence: Tensor) -> LabelledImages:
    return LabelledImages(torch.zeros(BATCH, 3, HEIGHT, WIDTH), torch.zeros(BATCH, HEIGHT, WIDTH).long(), confidence)


def test_the_source_loss_and_its_gradient_are_those_of_torch() -> None:
    ours, torchs = logits(), logits()
    found, expected = source_loss(ours, LABELS), F.cross_entropy(torchs, LABELS, ignore_index=IGNORE)
    found.backward()
    expected.backward()
    assert found.item() == pytest.approx(expected.item(), abs=1e-12)
    assert torch.allclose(ours.grad, torchs.grad, atol=1e-15, rtol=0)


def test_a_batch_without_labels_has_loss_0_and_no_gradient() -> None:
    z = logits()
    loss = source_loss(z, torch.full((BATCH, HEIGHT, WIDTH), IGNORE))
    loss.backward()
    assert loss.item() == 0
    assert not z.grad.any()


def test_the_mixed_loss_weighs_each_pixel_and_divides_by_all_of_them_the_ignored_ones_too() -> None:
    z, weights, total = logits(), torch.rand(LABELS.shape, generator=generator(5), dtype=torch.float64), 0.0
    for b, h, w in PIXELS:
        if LABELS[b, h, w] != IGNORE:
            row = z[b, :, h, w].tolist()
            cross_entropy = math.log(sum(map(math.exp, row))) - row[int(LABELS[b, h, w])]
            total += weights[b, h, w].item() * cross_entropy
    assert mixed_loss(z, LABELS, weights).item() == pytest.approx(total / len(PIXELS), abs=1e-12)


def test_lambda_is_the_share_of_pixels_that_reach_the_threshold_which_is_included() -> None:
    confidence = torch.tensor([[[0.968, 0.967], [1.0, 0.0]]], dtype=torch.float64)
    assert confident_share(confidence, threshold=0.968, scope="image").tolist() == [0.5]


CHOICES = {  # the first of each is the reading of the review
    "pixel_weight": ("threshold_uniform", "threshold", "none"),
    "lambda_scope": ("image", "batch"),
    "lambda_counts": ("mixed", "target"),
    "lambda_applies_to": ("all", "target"),
}
READINGS = [dict(zip(CHOICES, values, strict=True)) for values in itertools.product(*CHOICES.values())]
TARGET = torch.rand(BATCH, HEIGHT, WIDTH, generator=generator(7), dtype=torch.float64)  # confidence
PASTED = torch.rand(BATCH, HEIGHT, WIDTH, generator=generator(8)) < torch.tensor([0.2, 0.5, 0.8])[:, None, None]
NOWHERE = torch.zeros_like(PASTED)


def weigh(reading: dict[str, str], pasted: Tensor) -> tuple[Tensor, Tensor]:
    """Weights and λ where pixels of a labelled source were pasted."""
    mixed = labelled(torch.where(pasted, 1.0, TARGET))
    return pixel_weights(mixed, labelled(TARGET), pasted, tiny.adapt(threshold=THRESHOLD, **reading))


def weigh_slowly(reading: dict[str, str], pasted: Tensor) -> tuple[Tensor, Tensor]:
    """The same, pixel by pixel; pasted pixels of a labelled source are certain (confidence 1)."""
    confident: list[list[bool]] = [[] for _ in range(BATCH)]
    for b, h, w in PIXELS:
        certain = reading["lambda_counts"] == "mixed" and pasted[b, h, w]
        confident[b].append(bool(certain or TARGET[b, h, w] >= THRESHOLD))
    groups = confident if reading["lambda_scope"] == "image" else [list(itertools.chain(*confident))] * BATCH
    shares = [sum(group) / len(group) for group in groups]
    weights = torch.zeros(BATCH, HEIGHT, WIDTH, dtype=torch.float64)
    for b, h, w in PIXELS:
        by_threshold = reading["pixel_weight"] == "threshold"
        exempt = pasted[b, h, w] and (reading["lambda_applies_to"] == "target" or by_threshold)
        if reading["pixel_weight"] == "none" or exempt:
            weights[b, h, w] = 1.0
        else:
            weights[b, h, w] = float(TARGET[b, h, w] >= THRESHOLD) if by_threshold else shares[b]
    return weights, torch.tensor(shares, dtype=torch.float64)


@pytest.mark.parametrize("pasted", [PASTED, NOWHERE], ids=["pasted", "nowhere"])
@pytest.mark.parametrize("reading", READINGS, ids=lambda reading: "-".join(reading.values()))
def test_weights_agree_with_a_slow_implementation_for_every_reading(reading: dict[str, str], pasted: Tensor) -> None:
    for found, expected in zip(weigh(reading, pasted), weigh_slowly(reading, pasted), strict=True):
        assert torch.allclose(found, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_makes_a_difference(choice: str) -> None:
    found = [weigh(READINGS[0] | {choice: value}, PASTED)[0] for value in CHOICES[choice]]
    for one, other in itertools.combinations(found, 2):
        assert not torch.allclose(one, other)


def test_the_source_loss_over_all_pixels_counts_the_ignored_ones() -> None:
    counted = (LABELS != IGNORE).double().mean().item()
    assert source_loss(logits(), LABELS, "all").item() == pytest.approx(counted * source_loss(logits(), LABELS).item())


@pytest.mark.parametrize("applies", CHOICES["lambda_applies_to"])
def test_pseudo_labels_in_the_margins_weigh_nothing_and_pasted_pixels_what_they_did(applies: str) -> None:
    """Of 4 rows, the first and the last two."""
    reading = {"lambda_applies_to": applies, "lambda_counts": "target"}
    plain, share = weigh(reading, PASTED)
    mixed = labelled(torch.where(PASTED, 1.0, TARGET))
    adapt = tiny.adapt(threshold=THRESHOLD, margins=[0.25, 0.5], **reading)
    found, found_share = pixel_weights(mixed, labelled(TARGET), PASTED, adapt)
    inside = torch.tensor([False, True, False, False])[:, None]
    assert torch.equal(found, torch.where(PASTED | inside, plain, 0.0))
    assert torch.equal(found_share, share)
    alone, _ = pseudo_weights(TARGET, TARGET, adapt)
    assert torch.equal(alone, torch.where(inside, share[:, None, None].expand_as(TARGET), 0.0))


def test_margins_of_daformer_are_15_and_120_of_512_rows() -> None:
    margins = load(tiny.changed("scale", "paper")).methods["daformer"]["margins"]
    confidence = torch.ones(1, 512, 2)
    weights, _ = pseudo_weights(confidence, confidence, tiny.adapt(margins=margins))
    rows = weights[0, :, 0].nonzero().flatten()
    assert (rows[0].item(), rows[-1].item(), len(rows)) == (15, 391, 377)
