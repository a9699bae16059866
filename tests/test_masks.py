"""Where to paste: whole classes and half of them, half a rectangle, about a share of blobs; each image by itself."""

import math

import pytest
import torch
from torch import Generator, Tensor

from dacs.adaptation.masks import class_mask, cow_mask, cut_mask
from dacs.labels import IGNORE

SEEDS = range(30)


def generator(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def labels(seed: int, batch: int = 4, size: tuple[int, int] = (9, 13), void: bool = True) -> Tensor:
    """Labels of few or many classes, with void among them."""
    draw = generator(1000 + seed)
    few = torch.randint(1, 19, (batch, 1, 1), generator=draw)
    found = torch.randint(0, 19, (batch, *size), generator=draw) % few
    return found.masked_fill(torch.rand(batch, *size, generator=draw) < 0.2, IGNORE) if void else found


def drawn(label: Tensor, mask: Tensor) -> tuple[set[int], set[int]]:
    """The classes of one image that are pasted, and those that are there."""
    return set(label[mask].tolist()), set(label.flatten().tolist())


@pytest.mark.parametrize("draw_void", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_class_masks_take_whole_classes_and_half_of_them_of_each_image(seed: int, draw_void: bool) -> None:
    batch = labels(seed)
    for label, mask in zip(batch, class_mask(batch, generator(seed), draw_void=draw_void), strict=True):
        pasted, present = drawn(label, mask)
        assert torch.equal(mask, torch.isin(label, torch.tensor(sorted(pasted), dtype=label.dtype)))
        countable = present if draw_void else present - {IGNORE}
        assert len(pasted) == math.ceil(len(countable) / 2)
        assert pasted <= countable


def test_classes_are_drawn_from_each_image_alone() -> None:
    """The known slip: classes drawn from the whole batch would leave some images with none or all of theirs."""
    batch = torch.stack([torch.arange(8).reshape(2, 4), 8 + torch.arange(8).reshape(2, 4)])
    for seed in SEEDS:
        assert class_mask(batch, generator(seed)).sum((1, 2)).tolist() == [4, 4]


def test_what_else_is_in_the_batch_does_not_change_the_first_image() -> None:
    for seed in SEEDS:
        first, other = labels(seed, batch=1), labels(seed + 100, batch=1)
        alone = class_mask(first, generator(seed))
        assert torch.equal(class_mask(torch.cat([first, other]), generator(seed))[:1], alone)


def test_void_is_drawn_as_one_more_class_only_when_asked_for() -> None:
    batch = labels(0, batch=1)
    with_void = [IGNORE in drawn(batch[0], class_mask(batch, generator(seed), draw_void=True)[0])[0] for seed in SEEDS]
    without = [IGNORE in drawn(batch[0], class_mask(batch, generator(seed))[0])[0] for seed in SEEDS]
    assert any(with_void)
    assert not all(with_void)
    assert not any(without)


def test_every_class_is_drawn_about_half_of_the_time() -> None:
    batch = torch.arange(10).reshape(1, 2, 5).expand(400, 2, 5)
    often = class_mask(batch, generator(0)).float().mean(0)
    assert often.min() > 0.4
    assert often.max() < 0.6


@pytest.mark.parametrize("draw_void", [False, True])
def test_an_image_of_one_class_is_pasted_whole(draw_void: bool) -> None:
    assert class_mask(torch.full((2, 4, 5), 7), generator(0), draw_void=draw_void).all()


def test_an_image_of_void_is_pasted_whole_or_not_at_all() -> None:
    void = torch.full((1, 4, 5), IGNORE)
    assert class_mask(void, generator(0), draw_void=True).all()
    assert not class_mask(void, generator(0), draw_void=False).any()


@pytest.mark.parametrize("size", [(96, 96), (96, 192), (64, 48), (33, 65), (20, 21)])
def test_cut_masks_are_rectangles_of_half_the_area(size: tuple[int, int]) -> None:
    height, width = size
    for mask in cut_mask(torch.zeros(40, *size, dtype=torch.int64), generator(0)):
        rows, columns = mask.any(1), mask.any(0)
        assert torch.equal(mask, rows[:, None] & columns[None, :])
        for line in (rows, columns):
            first, last = line.nonzero()[[0, -1], 0].tolist()
            assert line[first : last + 1].all()
        # Half, but for the rounding of both sides to pixels.
        assert abs(mask.sum().item() - height * width / 2) <= (rows.sum() + columns.sum()).item() / 2 + 1
        assert columns.sum() >= math.floor(width / 2)


def test_cut_masks_lie_in_all_places_and_have_many_shapes() -> None:
    masks = cut_mask(torch.zeros(200, 32, 32, dtype=torch.int64), generator(0))
    assert masks[:, 0, 0].any()
    assert masks[:, -1, -1].any()
    assert masks[:, 0, -1].any()
    assert masks[:, -1, 0].any()
    assert len(masks.any(1).sum(1).unique()) > 10


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_cow_masks_take_about_their_share_of_each_image(share: float) -> None:
    masks = cow_mask(torch.zeros(20, 64, 96, dtype=torch.int64), generator(1), sigma=(1.5, 6.0), share=share)
    assert (masks.float().mean((1, 2)) - share).abs().max() < 0.15
    assert (masks.float().mean() - share).abs() < 0.04


def test_cow_masks_of_share_none_or_all_are_empty_or_full() -> None:
    nothing = torch.zeros(2, 16, 16, dtype=torch.int64)
    assert not cow_mask(nothing, generator(0), sigma=(1.0, 2.0), share=0.0).any()
    assert cow_mask(nothing, generator(0), sigma=(1.0, 2.0), share=1.0).all()


def test_wider_sigmas_make_larger_blobs() -> None:
    def edges(sigma: float) -> float:
        masks = cow_mask(torch.zeros(4, 64, 64, dtype=torch.int64), generator(0), sigma=(sigma, sigma), share=0.5)
        return (masks[:, :, 1:] != masks[:, :, :-1]).float().mean().item()

    assert edges(1.0) > 2 * edges(3.0) > 4 * edges(8.0)


@pytest.mark.parametrize(
    "make",
    [
        class_mask,
        cut_mask,
        lambda label, draw: cow_mask(label, draw, sigma=(1.0, 4.0), share=0.5),
    ],
)
def test_masks_are_functions_of_their_generator(make) -> None:
    batch = labels(5, size=(16, 24))
    once, again, other = (make(batch, generator(seed)) for seed in (3, 3, 4))
    assert once.shape == batch.shape
    assert once.dtype == torch.bool
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_masks_leave_torchs_own_generator_alone() -> None:
    before = torch.get_rng_state()
    batch = labels(5, size=(16, 24))
    class_mask(batch, generator(0))
    cut_mask(batch, generator(0))
    cow_mask(batch, generator(0), sigma=(1.0, 4.0), share=0.5)
    assert torch.equal(torch.get_rng_state(), before)
