"""What is pasted on what: each mixed pixel comes whole from one scene, and naive mixing has nothing true in it."""

import pytest
import torch
from torch import Generator, Tensor

from dacs.adaptation.masks import class_mask, cow_mask, cut_mask
from dacs.adaptation.mixing import mix, paste, roll, strategies
from dacs.types import Scene

BATCH, HEIGHT, WIDTH = 3, 12, 17
TABLE = {void: strategies(draw_void=void, cow_sigma=(1.0, 3.0), cow_share=0.5) for void in (False, True)}
METHODS = tuple(TABLE[False])
PASTE_SOURCE = ("cutmix", "cowmix", "dacs")


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def scene(seed: int, *, true: bool) -> Scene:
    draw = generator(seed)
    label = torch.randint(0, 6, (BATCH, HEIGHT, WIDTH), generator=draw)
    if true:
        label[:, :2] = 255
    sure = torch.rand(BATCH, HEIGHT, WIDTH, generator=draw)
    image = torch.rand(BATCH, 3, HEIGHT, WIDTH, generator=draw)
    return Scene(image, label, torch.ones_like(sure) if true else sure)


SOURCE, TARGET = scene(1, true=True), scene(2, true=False)


def mixed(method: str, seed: int = 0, void: bool = False) -> tuple[Scene, Tensor, Tensor]:
    return mix(TABLE[void][method], SOURCE, TARGET, generator(seed))


def pixel(scene: Scene, b: int, y: int, x: int) -> tuple[float, ...]:
    values = (*scene.image[b, :, y, x], scene.label[b, y, x], scene.confidence[b, y, x])
    return tuple(value.item() for value in values)


def foreground(method: str, b: int) -> tuple[Scene, int]:
    """The scene whose pixels are pasted onto target b, and the place of the frame in it."""
    return (SOURCE, b) if method in PASTE_SOURCE else (TARGET, (b + 1) % BATCH)


@pytest.mark.parametrize("method", METHODS)
def test_every_mixed_pixel_comes_whole_from_one_scene(method: str) -> None:
    found, mask, _ = mixed(method)
    for b in range(BATCH):
        over, place = foreground(method, b)
        for y in range(HEIGHT):
            for x in range(WIDTH):
                wanted = pixel(over, place, y, x) if mask[b, y, x] else pixel(TARGET, b, y, x)
                assert pixel(found, b, y, x) == wanted


@pytest.mark.parametrize("method", METHODS)
def test_mixing_is_a_function_of_its_generator(method: str) -> None:
    for once, again in zip(mixed(method, 5), mixed(method, 5), strict=True):
        assert torch.equal(getattr(once, "image", once), getattr(again, "image", again))
    if method != "pseudo":
        assert any(not torch.equal(mixed(method, 5)[1], mixed(method, seed)[1]) for seed in range(6, 12))


@pytest.mark.parametrize("method", METHODS)
def test_labels_are_the_truth_exactly_where_a_labelled_source_was_pasted(method: str) -> None:
    found, mask, true = mixed(method)
    if method in PASTE_SOURCE:
        assert torch.equal(true, mask)
        assert mask.any()
        assert (found.confidence[true] == 1).all()
    else:
        assert not true.any()


def test_pseudo_pastes_nothing() -> None:
    found, mask, _ = mixed("pseudo")
    assert not mask.any()
    assert torch.equal(found.image, TARGET.image)
    assert torch.equal(found.label, TARGET.label)


def test_naive_mixing_pastes_half_of_the_pseudo_classes_of_the_next_target() -> None:
    _, mask, _ = mixed("naive")
    assert torch.equal(mask, class_mask(TARGET.label.roll(-1, 0), generator()))
    assert mask.any()


def test_naive_mixing_never_looks_at_the_source() -> None:
    other = scene(9, true=True)
    one, two = (mix(TABLE[False]["naive"], source, TARGET, generator())[0] for source in (SOURCE, other))
    assert torch.equal(one.image, two.image)
    assert torch.equal(one.label, two.label)


def test_each_method_uses_its_own_mask() -> None:
    assert torch.equal(mixed("dacs")[1], class_mask(SOURCE.label, generator()))
    assert torch.equal(mixed("cutmix")[1], cut_mask(SOURCE.label, generator()))
    assert torch.equal(mixed("cowmix")[1], cow_mask(SOURCE.label, generator(), sigma=(1.0, 3.0), share=0.5))


def test_void_is_pasted_by_class_only_when_it_is_drawn() -> None:
    pasted = {void: [bool(mixed("dacs", seed, void)[1][:, :2].any()) for seed in range(9)] for void in (False, True)}
    assert any(pasted[True])
    assert not any(pasted[False])


def test_pasting_everywhere_or_nowhere_gives_one_of_the_scenes() -> None:
    everywhere = torch.ones(BATCH, HEIGHT, WIDTH, dtype=torch.bool)
    assert torch.equal(paste(SOURCE, TARGET, everywhere).image, SOURCE.image)
    assert torch.equal(paste(SOURCE, TARGET, ~everywhere).image, TARGET.image)


def test_rolling_as_often_as_there_are_frames_changes_nothing() -> None:
    rolled = roll(roll(roll(TARGET)))
    assert torch.equal(rolled.image, TARGET.image)
    assert torch.equal(rolled.label, TARGET.label)
    assert torch.equal(rolled.confidence, TARGET.confidence)


def test_scenes_whose_parts_do_not_fit_are_refused_under_test() -> None:
    with pytest.raises(Exception, match=r"(?i)type|shape"):
        Scene(SOURCE.image, SOURCE.label[:, :-1], SOURCE.confidence)
