"""Rare class sampling: which class, which frame, which crop; numbers of DAFormer's code and of Cityscapes."""

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

from dacs.adaptation.sampling import Pick, RareClasses, class_probability, rare_classes, shuffled
from dacs.errors import RunFailed
from dacs.labels import IGNORE
from dacs.loading.stream import TRIES, Batch, Crops, view_of
from dacs.settings import RunSettings

CITYSCAPES = """2036416525 336090793 1260636120 36199498 48454166 67789506 11477088 30448193 879783988 63949536
221979646 67326424 7463162 386328286 14772328 12990290 12863955 5449152 22861233"""
PUBLISHED = """0 .000283 0 .064611 .051754 .036468 .101087 .071701 0 .039094
.002236 .036775 .108707 .000114 .095232 .098355 .098580 .112744 .082259"""


def settings(**changes: Any) -> RunSettings:
    return tiny.settings("daformer", **changes)


@dataclass
class Counted:
    """Frames of 10x10 pixels, of which only the class counts are known."""

    counts: Tensor
    size: tuple[int, int] = (10, 10)

    def __len__(self) -> int:
        return len(self.counts)

    def class_counts(self) -> Tensor:
        return self.counts


def counted(*frames: dict[int, int]) -> Counted:
    """Frames by the pixels of their classes."""
    counts = torch.zeros(len(frames), 19, dtype=torch.int64)
    for row, frame in zip(counts, frames, strict=True):
        for number, pixels in frame.items():
            row[number] = pixels
    return Counted(counts)


# ---- which class


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [
        (0.01, [0, 0, 0.119203, 0.880797]),
        (0.05, [0.000001, 0.023822, 0.391752, 0.584425]),
        (0.1, [0.000673, 0.099851, 0.404914, 0.494563]),
        (1e9, [0.25] * 4),
    ],
)
def test_a_class_is_drawn_by_its_rarity(temperature: float, expected: list[float]) -> None:
    for scale in (1, 1000):
        found = class_probability(scale * torch.tensor([70, 20, 6, 4]), temperature)
        assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_the_probabilities_of_cityscapes_are_those_of_its_published_counts() -> None:
    found = class_probability(torch.tensor(list(map(int, CITYSCAPES.split()))), 0.01)
    assert found.tolist() == pytest.approx(list(map(float, PUBLISHED.split())), abs=1e-6)
    assert found.sum().item() == pytest.approx(1)


def test_a_class_that_does_not_occur_is_never_drawn() -> None:
    found = class_probability(torch.tensor([70, 0, 30]), 1.0)
    assert found[1] == 0
    assert found.sum().item() == pytest.approx(1)


# ---- which frame


def test_frames_are_drawn_evenly_among_those_that_hold_enough_of_the_class() -> None:
    frames = counted({0: 80, 11: 20}, {0: 90, 11: 10}, {0: 95, 11: 5}, {0: 70, 18: 30})
    order = rare_classes(frames, 3, settings(rare_class_temperature=0.5, rare_class_frame=0.05, crop=[4, 5]))
    expected = class_probability(frames.counts.sum(0), 0.5)
    draws, number = [order(sample) for sample in range(20_000)], 20_000
    assert draws == [order(sample) for sample in range(20_000)]
    shares = {0: [0, 1, 2, 3], 11: [0, 1], 18: [3]}  # 5 % of a frame is not more than 5 %
    found = Counter(draws)
    for wanted, listed in shares.items():
        for frame in range(4):
            p = expected[wanted].item() / len(listed) if frame in listed else 0.0
            deviation = (number * p * (1 - p)) ** 0.5
            pixels = settings().adapt.rare_class_crop * 20
            assert abs(found[Pick(frame, wanted, pixels)] - number * p) <= 4 * deviation


def test_a_class_without_a_frame_that_shows_enough_of_it_is_refused_by_name() -> None:
    frames = counted({0: 80, 11: 20}, {0: 99, 12: 1})
    with pytest.raises(RunFailed, match=r"no frame has more than 1.500% of rider.\nLower adapt.rare_class_frame"):
        rare_classes(frames, 0, settings(rare_class_frame=0.015))


def test_without_the_part_the_frames_are_shuffled() -> None:
    frames, off = counted(*[{0: 100}] * 7), settings(rare_class_sampling=False)
    one, other = rare_classes(frames, 5, off), shuffled(frames, 5)
    assert [one(sample) for sample in range(30)] == [other(sample) for sample in range(30)]


# ---- which crop


class Drawn:
    """One frame of 40x40 pixels: class 7 in a corner, void on the right, class 1 elsewhere."""

    size, labelled = (40, 40), True

    def __init__(self) -> None:
        self.pixels = torch.ones(40, 40, dtype=torch.uint8)
        self.pixels[:, 30:] = IGNORE
        self.pixels[:8, :8] = 7

    def label(self, frame: int) -> Tensor:
        return self.pixels

    def image(self, frame: int) -> Tensor:
        return self.pixels.expand(3, 40, 40)

    def check_crop(self, crop: tuple[int, int]) -> None:
        pass


def crops(pick: Pick, **changes: Any) -> list[Batch]:
    """Batches of one crop of 10x10 pixels each."""
    stream = Crops(Drawn(), lambda sample: pick, 0, 1, (10, 10), **changes)
    return [stream[sample] for sample in range(400)]


def pixels(batch: Batch, number: int) -> int:
    return int((batch.labels == number).sum())


def positions(tries: int) -> list[tuple[int, int]]:
    """Top and left of the crop of each sample, after some that were drawn before it."""
    views = [view_of(0, sample, 0, size=(40, 40), crop=(10, 10), tries=tries) for sample in range(400)]
    return [(view.top, view.left) for view in views]


def seen(place: tuple[int, int], number: int) -> int:
    top, left = place
    return int((Drawn().pixels[top : top + 10, left : left + 10] == number).sum())


def test_a_crop_is_drawn_anew_until_it_holds_more_of_the_class_ten_times_at_most() -> None:
    found = crops(Pick(0, 7, 12.0))
    outer = [positions(number * (TRIES + 1)) for number in range(TRIES + 1)]
    for sample, batch in enumerate(found):
        tried = [places[sample] for places in outer]
        fitting = [place for place in tried if seen(place, 7) > 12]
        assert pixels(batch, 7) == seen((fitting or tried[-1:])[0], 7)
    share = sum(pixels(batch, 7) > 12 for batch in found) / 400
    once = sum(seen(place, 7) > 12 for place in positions(0)) / 400
    assert once < 0.15
    assert 0.3 < share < 1  # some have none after the last attempt


def test_exactly_as_many_pixels_as_asked_for_are_too_few() -> None:
    adapt = settings(crop=[512, 512]).adapt
    assert adapt.rare_class_crop * 512 * 512 == 1500
    counts = Counter(pixels(batch, 7) for batch in crops(Pick(0, 7, 20.0)))
    first = Counter(seen(place, 7) for place in positions(0))
    assert counts[21] + counts[24] > first[21] + first[24]
    assert counts[20] < first[20] + 40


def test_crops_nearly_all_of_one_class_are_drawn_anew() -> None:
    """The share is one of the labelled pixels; a crop of void alone is drawn anew as well."""
    found = crops(Pick(0), largest_class=0.75)
    views = [positions(number) for number in range(TRIES + 1)]

    def largest(place: tuple[int, int]) -> float:
        counts = [seen(place, number) for number in (1, 7)]
        return max(counts) / sum(counts) if sum(counts) else 1.0

    for sample, batch in enumerate(found):
        tried = [places[sample] for places in views]
        expected = next((place for place in tried if largest(place) < 0.75), tried[-1])
        assert [pixels(batch, number) for number in (1, 7)] == [seen(expected, number) for number in (1, 7)]
    assert any(largest(place) < 0.75 for places in views for place in places)


def test_without_the_rules_crops_are_the_first_that_are_drawn() -> None:
    plain = crops(Pick(0), largest_class=1)
    assert [pixels(batch, 1) for batch in plain] == [seen(place, 1) for place in positions(0)]
    assert len({tuple(positions(tries)) for tries in range(4)}) == 4


def test_an_order_can_be_sent_to_a_loader_worker() -> None:
    order = RareClasses(1, (0.0, 0.5, 1.0), ((), (2, 3), (4,)), 0.0)
    assert {order(sample).frame for sample in range(50)} == {2, 3, 4}
    pairs = itertools.pairwise(order(sample) for sample in range(50))
    assert any(one != other for one, other in pairs)
