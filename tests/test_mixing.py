"""What is pasted on what: each mixed pixel is taken whole from one image; naive mixing has no ground truth."""

import pytest
import tiny
import torch
from torch import Generator

from dacs.adaptation.masks import class_mask, cow_mask, cut_mask, empty_mask
from dacs.adaptation.mixing import Mix, mix
from dacs.methods import method
from dacs.types import LabelledImages

BATCH, HEIGHT, WIDTH = 3, 12, 17
MASKS = {"pseudo": empty_mask, "naive": class_mask, "cutmix": cut_mask, "cowmix": cow_mask, "dacs": class_mask}
FROM_SOURCE = ("cutmix", "cowmix", "dacs")


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def labelled(seed: int, *, ground_truth: bool) -> LabelledImages:
    draw = generator(seed)
    labels = torch.randint(0, 6, (BATCH, HEIGHT, WIDTH), generator=draw)
    if ground_truth:
        labels[:, :2] = 255
    confidence = torch.rand(BATCH, HEIGHT, WIDTH, generator=draw)
    images = torch.rand(BATCH, 3, HEIGHT, WIDTH, generator=draw)
    return LabelledImages(images, labels, torch.ones_like(confidence) if ground_truth else confidence)


SOURCE, TARGET = labelled(1, ground_truth=True), labelled(2, ground_truth=False)


def mixed(name: str, seed: int = 0, void: bool = False) -> Mix:
    return mix(method(name), SOURCE, TARGET, generator(seed), tiny.adapt(cow_sigma=(1.0, 3.0), draw_void=void))


def pixel(batch: LabelledImages, b: int, y: int, x: int) -> tuple[float, ...]:
    values = (*batch.images[b, :, y, x], batch.labels[b, y, x], batch.confidence[b, y, x])
    return tuple(value.item() for value in values)


@pytest.mark.parametrize("name", MASKS)
def test_every_mixed_pixel_is_taken_whole_from_one_image(name: str) -> None:
    found, mask, _ = mixed(name)
    for b in range(BATCH):
        foreground, index = (SOURCE, b) if name in FROM_SOURCE else (TARGET, (b + 1) % BATCH)
        for y in range(HEIGHT):
            for x in range(WIDTH):
                expected = pixel(foreground, index, y, x) if mask[b, y, x] else pixel(TARGET, b, y, x)
                assert pixel(found, b, y, x) == expected


@pytest.mark.parametrize("void", [False, True])
@pytest.mark.parametrize("name", MASKS)
def test_each_method_pastes_by_its_own_mask_of_the_image_that_is_pasted(name: str, void: bool) -> None:
    labels = SOURCE.labels if name in FROM_SOURCE else TARGET.labels.roll(-1, 0)
    for seed in range(9):
        expected = MASKS[name](labels, generator(seed), tiny.adapt(cow_sigma=(1.0, 3.0), draw_void=void))
        assert torch.equal(mixed(name, seed, void).mask, expected)


@pytest.mark.parametrize("name", MASKS)
def test_labels_are_ground_truth_exactly_where_a_labelled_source_was_pasted(name: str) -> None:
    found, mask, ground_truth = mixed(name)
    assert mask.any() == (name != "pseudo")
    assert torch.equal(ground_truth, mask if name in FROM_SOURCE else torch.zeros_like(mask))
    assert (found.confidence[ground_truth] == 1).all()


def test_labels_that_do_not_fit_their_images_are_refused_under_test() -> None:
    with pytest.raises(Exception, match=r"(?i)type|shape"):
        LabelledImages(SOURCE.images, SOURCE.labels[:, :-1], SOURCE.confidence)
