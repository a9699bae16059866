"""The likeliest class of each pixel: that of logits enlarged by torch, most of which are not enlarged."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dacs.evaluation import likeliest as module
from dacs.evaluation.likeliest import likeliest, top

SIZES = [
    ((36, 72), (72, 144)),  # twice
    ((30, 41), (77, 59)),
    ((16, 24), (17, 25)),
    ((9, 12), (130, 101)),
    ((20, 30), (8, 60)),  # smaller along one axis
    ((1, 7), (5, 14)),
    ((4, 4), (1, 1)),
]
KINDS = ("random", "smooth", "with ties")


def logits_of(kind: str, size: tuple[int, int], classes: int = 19) -> Tensor:
    """Logits of two pictures."""
    generator = torch.Generator().manual_seed(size[0])
    shape = (max(2, size[0] // 6), max(2, size[1] // 6)) if kind == "smooth" else size
    values = 3 * torch.randn(2, classes, *shape, generator=generator)
    if kind == "smooth":
        return F.interpolate(values, size, mode="bicubic")
    return values.round() if kind == "with ties" else values


def enlarged(logits: Tensor, size: tuple[int, int], *, align_corners: bool) -> Tensor:
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=align_corners)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("have", "want"), SIZES)
def test_each_pixel_has_the_class_of_the_highest_enlarged_logit(
    have: tuple[int, int], want: tuple[int, int], kind: str, align_corners: bool
) -> None:
    logits = logits_of(kind, have)
    every = enlarged(logits, want, align_corners=align_corners)
    ids, _ = likeliest(logits, want, align_corners=align_corners, confidence=False)
    assert ids.shape == (2, *want)
    chosen = every.gather(1, ids[:, None].long())[:, 0]
    assert torch.allclose(chosen, every.amax(1), rtol=0, atol=1e-5)
    if kind != "with ties":
        assert torch.equal(ids, every.argmax(1).byte())


def test_of_equal_logits_the_first_class_is_taken() -> None:
    logits = logits_of("with ties", (24, 32), classes=3)
    every = enlarged(logits, (48, 64), align_corners=False)  # exact: quarters of integers
    first = every.numpy().argmax(1)
    assert (np.sort(every.numpy(), 1)[:, -2] == every.amax(1).numpy()).any()
    assert np.array_equal(likeliest(logits, (48, 64), align_corners=False, confidence=False)[0], first)
    assert np.array_equal(top(logits)[1], logits.numpy().argmax(1))


@pytest.fixture
def interpolated(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many cells are interpolated at a time."""
    seen: list[int] = []
    original = module._corners

    def counted(logits: Tensor, row: np.ndarray, column: np.ndarray) -> tuple[Tensor, ...]:
        seen.append(len(row))
        return original(logits, row, column)

    monkeypatch.setattr(module, "_corners", counted)
    return seen


def test_only_cells_between_classes_are_interpolated(interpolated: list[int]) -> None:
    logits = torch.zeros(1, 4, 10, 20)
    logits[:, 1, :, :7] = logits[:, 2, :, 7:] = 1
    ids, _ = likeliest(logits, (30, 60), align_corners=False, confidence=False)
    assert interpolated == [10]
    assert torch.equal(ids, torch.where(torch.arange(60) < 3 * 7, 1, 2).byte().expand(1, 30, 60))


@pytest.mark.parametrize(("block", "most"), [(1, 1), (50, 5), (2**20, 108)])  # a cell has 3x3 pixels at most
def test_the_number_of_pixels_that_are_interpolated_together_changes_nothing(
    block: int, most: int, interpolated: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    logits, size = logits_of("random", (9, 12)), (20, 25)
    expected, _ = likeliest(logits, size, align_corners=True, confidence=False)
    whole = sum(interpolated)
    interpolated.clear()
    monkeypatch.setattr(module, "BLOCK", block)
    assert torch.equal(likeliest(logits, size, align_corners=True, confidence=False)[0], expected)
    assert max(interpolated) <= most
    assert sum(interpolated) == whole


def test_classes_are_the_same_with_and_without_their_probability() -> None:
    logits = logits_of("smooth", (18, 30))
    for size in ((18, 30), (40, 50)):
        ids, confidence = likeliest(logits, size, align_corners=False, confidence=True)
        assert torch.equal(ids, likeliest(logits, size, align_corners=False, confidence=False)[0])
        highest = enlarged(logits, size, align_corners=False).softmax(1).amax(1)
        assert torch.allclose(confidence / 255, highest, rtol=0, atol=0.5 / 255 + 1e-6)
