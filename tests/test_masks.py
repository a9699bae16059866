"""Where to paste: half of each image's classes, half a rectangle, about a share of irregular regions."""

import math

import pytest
import tiny
import torch
from torch import Generator, Tensor

from dacs.adaptation.masks import MakeMask, block_mask, class_mask, cow_mask, cut_mask
from dacs.labels import IGNORE
from dacs.settings import Adapt

SEEDS = range(30)
VOID, NO_VOID = tiny.adapt(draw_void=True), tiny.adapt(draw_void=False)


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def labels(seed: int, batch: int = 4, size: tuple[int, int] = (9, 13)) -> Tensor:
    """Labels of few or many classes, with ignored pixels among them."""
    draw = generator(1000 + seed)
    few = torch.randint(1, 19, (batch, 1, 1), generator=draw)
    found = torch.randint(0, 19, (batch, *size), generator=draw) % few
    return found.masked_fill(torch.rand(batch, *size, generator=draw) < 0.2, IGNORE)


@pytest.mark.parametrize("adapt", [VOID, NO_VOID], ids=["void", "no void"])
@pytest.mark.parametrize("seed", SEEDS)
def test_class_masks_take_whole_classes_and_half_of_them_of_each_image(seed: int, adapt: Adapt) -> None:
    batch = labels(seed)
    for label, mask in zip(batch, class_mask(batch, generator(seed), adapt), strict=True):
        pasted, present = set(label[mask].tolist()), set(label.flatten().tolist())
        assert torch.equal(mask, torch.isin(label, torch.tensor(sorted(pasted), dtype=label.dtype)))
        eligible = present if adapt.draw_void else present - {IGNORE}
        assert len(pasted) == math.ceil(len(eligible) / 2)
        assert pasted <= eligible


@pytest.mark.parametrize("seed", SEEDS)
def test_classes_are_drawn_from_each_image_alone(seed: int) -> None:
    """A known mistake: classes drawn from the whole batch would leave some images with none or all of theirs."""
    first, other = labels(seed, batch=1), labels(seed + 100, batch=1)
    alone = class_mask(first, generator(seed), NO_VOID)
    assert torch.equal(class_mask(torch.cat([first, other]), generator(seed), NO_VOID)[:1], alone)


@pytest.mark.parametrize(("classes", "adapt"), [([*range(10)], NO_VOID), ([*range(9), IGNORE], VOID)])
def test_every_class_is_drawn_about_half_of_the_time_and_void_too_where_it_counts(
    classes: list[int], adapt: Adapt
) -> None:
    batch = torch.tensor(classes).reshape(1, 2, 5).expand(400, 2, 5)
    share = class_mask(batch, generator(), adapt).float().mean(0)
    assert share.min() > 0.4
    assert share.max() < 0.6


def test_an_image_of_one_class_is_pasted_whole_and_one_of_void_only_where_it_counts() -> None:
    one, void = torch.full((2, 4, 5), 7), torch.full((1, 4, 5), IGNORE)
    assert all(class_mask(one, generator(), adapt).all() for adapt in (VOID, NO_VOID))
    assert class_mask(void, generator(), VOID).all()
    assert not class_mask(void, generator(), NO_VOID).any()


@pytest.mark.parametrize("size", [(96, 96), (96, 192), (64, 48), (33, 65), (20, 21)])
def test_cut_masks_are_rectangles_of_half_the_area(size: tuple[int, int]) -> None:
    height, width = size
    for mask in cut_mask(torch.zeros(40, *size, dtype=torch.int64), generator(), tiny.adapt()):
        rows, columns = mask.any(1), mask.any(0)
        assert torch.equal(mask, rows[:, None] & columns[None, :])
        for line in (rows, columns):
            first, last = line.nonzero()[[0, -1], 0].tolist()
            assert line[first : last + 1].all()
        # Half, but for the rounding of both sides to pixels.
        assert abs(mask.sum().item() - height * width / 2) <= (rows.sum() + columns.sum()).item() / 2 + 1
        assert columns.sum() >= math.floor(width / 2)


def test_cut_masks_reach_every_corner_and_have_many_shapes() -> None:
    masks = cut_mask(torch.zeros(200, 32, 32, dtype=torch.int64), generator(), tiny.adapt())
    assert masks[:, [0, 0, -1, -1], [0, -1, 0, -1]].any(0).all()
    assert len(masks.any(1).sum(1).unique()) > 10


@pytest.mark.parametrize(("share", "tolerance"), [(0.0, 0), (0.2, 0.04), (0.5, 0.04), (0.8, 0.04), (1.0, 0)])
def test_cow_masks_take_about_their_share_of_each_image(share: float, tolerance: float) -> None:
    adapt = tiny.adapt(cow_sigma=(1.5, 6.0), cow_share=share)
    masks = cow_mask(torch.zeros(20, 64, 96, dtype=torch.int64), generator(1), adapt).float()
    assert (masks.mean((1, 2)) - share).abs().max() <= 4 * tolerance
    assert (masks.mean() - share).abs() <= tolerance


def test_wider_sigmas_make_larger_regions() -> None:
    def edges(sigma: float) -> float:
        masks = cow_mask(torch.zeros(4, 64, 64, dtype=torch.int64), generator(), tiny.adapt(cow_sigma=(sigma, sigma)))
        return (masks[:, :, 1:] != masks[:, :, :-1]).float().mean().item()

    assert edges(1.0) > 2 * edges(3.0) > 4 * edges(8.0)


@pytest.mark.parametrize("make_mask", [class_mask, cut_mask, cow_mask])
def test_masks_are_functions_of_their_generator_and_leave_torchs_own_alone(make_mask: MakeMask) -> None:
    before = torch.get_rng_state()
    batch = labels(5, size=(16, 24))
    once, again, other = (make_mask(batch, generator(seed), tiny.adapt()) for seed in (3, 3, 4))
    assert (once.shape, once.dtype) == (batch.shape, torch.bool)
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_half_of_an_odd_number_of_classes_is_rounded_up_or_down() -> None:
    batch = torch.arange(5).reshape(1, 1, 5).expand(20, 2, 5)
    for half, expected in (("up", 3), ("down", 2)):
        masks = class_mask(batch, generator(), tiny.adapt(draw_half=half))
        assert {len(set(label[mask].tolist())) for label, mask in zip(batch, masks, strict=True)} == {expected}


def test_classes_of_the_whole_batch_are_drawn_for_each_image_and_those_it_has_are_pasted() -> None:
    """6 of the 11 of both: of the 6 of the first 6 * 6 / 11 = 3.27 on average, 3 where it is drawn for by itself."""
    first, second = torch.arange(6), torch.tensor([0, 1, 2, 10, 11, 12])
    second = torch.cat([second, torch.tensor([13, 14])])
    batch = torch.stack([torch.cat([first, first[:2]]), second])[:, None]
    found = {}
    for of in ("image", "batch"):
        adapt, pasted = tiny.adapt(draw_classes_of=of), [0, 0]
        for seed in range(600):
            masks = class_mask(batch, generator(seed), adapt)
            pasted = [n + len(set(label[mask].tolist())) for n, label, mask in zip(pasted, batch, masks, strict=True)]
            assert len(set(batch[0][masks[0]].tolist())) == 3 or of == "batch"
        found[of] = [number / 600 for number in pasted]
    assert found["image"] == [3, 4]
    assert found["batch"] == pytest.approx([36 / 11, 48 / 11], abs=0.15)


# ---- blocks (MIC)


def test_blocks_are_masked_independently_each_with_the_same_probability() -> None:
    """The share of the blocks that are kept has the mean and deviation of 16x16 independent draws."""
    masks = block_mask(torch.zeros(500, 3, 512, 512), generator(), tiny.adapt(mask_block=32, mask_ratio=0.7))
    blocks = masks.reshape(500, 16, 32, 16, 32).permute(0, 1, 3, 2, 4).flatten(3)
    assert torch.equal(blocks.all(-1), blocks.any(-1))
    kept = 1 - blocks[..., 0].double().mean((1, 2))
    assert kept.mean().item() == pytest.approx(0.3, abs=4 * 0.0286 / 500**0.5)
    assert kept.std().item() == pytest.approx((0.21 / 256) ** 0.5, rel=0.15)


def test_the_grid_of_blocks_is_rounded_and_stretched_and_extremes_mask_nothing_or_all() -> None:
    images = torch.zeros(3, 3, 45, 70)
    mask = block_mask(images, generator(), tiny.adapt(mask_block=20, mask_ratio=0.7))
    expected = torch.nn.functional.interpolate(
        (torch.rand(3, 1, 2, 4, generator=generator()) <= 0.7).float(), size=(45, 70), mode="nearest"
    )
    assert torch.equal(mask, expected[:, 0].bool())
    assert not block_mask(images, generator(), tiny.adapt(mask_ratio=0.0)).any()
    assert block_mask(images, generator(), tiny.adapt(mask_ratio=1.0)).all()
    assert block_mask(images, generator(), tiny.adapt(mask_block=500)).shape == (3, 45, 70)
