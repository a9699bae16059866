"""The stream: the k-th sample is a function of (seed, k), by every way of reading it."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dacs.errors import BadRequest
from dacs.loading.split import Split
from dacs.loading.stream import Batch, batches, frame_order, seed_of, view_of

FRAMES, SIZE, CROP = 7, (12, 20), (5, 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames in which every pixel tells where it is: red = column, green = row, blue = frame; label = both."""
    folder = tmp_path_factory.mktemp("split")
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.uint8)
    for frame in range(FRAMES):
        image = np.dstack([columns, rows, np.full_like(rows, frame)])
        Image.fromarray(image).save(folder / f"{frame}.png")
        label = Image.fromarray(rows * np.uint8(SIZE[1]) + columns)
        label.putpalette(list(range(256)) * 3)
        label.save(folder / f"{frame}_label.png")
    lines = [f"{frame}.png,{frame}_label.png" for frame in range(FRAMES)]
    (folder / "index.csv").write_text("\n".join(["image,label", *lines]) + "\n")
    return folder


@pytest.fixture(scope="module")
def split(folder: Path) -> Split:
    return Split(folder)


def stream(split: Split, **changes: Any) -> Iterator[Batch]:
    return batches(split, **({"seed": 3, "batch": 4, "crop": CROP, "start_step": 0, "flip": True} | changes))


def take(number: int, found: Iterator[Batch]) -> list[Batch]:
    return list(itertools.islice(found, number))


def same(first: list[Batch], second: list[Batch]) -> bool:
    pairs = zip(first, second, strict=True)
    return all(torch.equal(a.image, b.image) and torch.equal(a.label, b.label) for a, b in pairs)


def where(batch: Batch) -> torch.Tensor:
    """Columns, rows and frames that the pixels come from: integers of shape (batch, 3, height, width)."""
    return (batch.image * 255).round().long()


# ---- what a sample is


def test_a_batch_is_images_between_0_and_1_and_whole_labels(split: Split) -> None:
    batch = next(stream(split))
    assert batch.image.shape == (4, 3, *CROP)
    assert batch.image.dtype == torch.float32
    assert batch.label.shape == (4, *CROP)
    assert batch.label.dtype == torch.int64
    assert 0 <= batch.image.min() <= batch.image.max() <= 1


def test_image_and_label_move_together(split: Split) -> None:
    for batch in take(20, stream(split)):
        columns, rows, _ = where(batch).unbind(1)
        assert torch.equal(rows * SIZE[1] + columns, batch.label)


def test_a_crop_is_a_window_of_one_frame_mirrored_or_not(split: Split) -> None:
    directions = set()
    for batch in take(20, stream(split)):
        for columns, rows, frames in where(batch):
            assert len(frames.unique()) == 1
            assert (rows.diff(dim=0) == 1).all()
            assert (rows.diff(dim=1) == 0).all()
            (step,) = columns.diff(dim=1).unique().tolist()
            directions.add(step)
    assert directions == {-1, 1}


def test_samples_agree_with_the_slow_way(split: Split, folder: Path) -> None:
    flat = [(image, label) for batch in take(6, stream(split)) for image, label in zip(*batch, strict=True)]
    for k, (image, label) in enumerate(flat):
        view = view_of(3, k, frames=FRAMES, size=SIZE, crop=CROP, flip=True)
        box = (view.left, view.top, view.left + CROP[1], view.top + CROP[0])
        turn = Image.Transpose.FLIP_LEFT_RIGHT
        slow = [Image.open(folder / f"{view.frame}{end}.png").crop(box) for end in ("", "_label")]
        slow = [np.array(part.transpose(turn) if view.flip else part) for part in slow]
        assert np.array_equal(image, np.float32(slow[0].transpose(2, 0, 1)) / np.float32(255))
        assert np.array_equal(label, slow[1])


def test_without_flip_the_same_windows_come_unmirrored(split: Split) -> None:
    for mirrored, plain in zip(take(10, stream(split)), take(10, stream(split, flip=False)), strict=True):
        assert torch.equal(where(mirrored)[:, 0].amin(-1), where(plain)[:, 0].amin(-1))
        assert (where(plain)[:, 0].diff(dim=-1) == 1).all()


def test_every_place_of_a_crop_and_both_mirrors_come_up() -> None:
    views = [view_of(0, k, frames=FRAMES, size=SIZE, crop=CROP, flip=True) for k in range(2000)]
    assert {view.top for view in views} == set(range(SIZE[0] - CROP[0] + 1))
    assert {view.left for view in views} == set(range(SIZE[1] - CROP[1] + 1))
    assert 900 < sum(view.flip for view in views) < 1100


def test_a_crop_as_large_as_the_frame_is_the_frame(split: Split) -> None:
    batch = next(stream(split, crop=SIZE, flip=False))
    assert torch.equal(batch.label[0], split.label(0).long())  # every label is the same here


def test_a_split_without_labels_gives_none(folder: Path, tmp_path: Path) -> None:
    lines = [str(folder / f"{frame}.png") for frame in range(FRAMES)]
    (tmp_path / "index.csv").write_text("\n".join(["image", *lines]) + "\n")
    for workers in (0, 1):
        image, label = next(stream(Split(tmp_path), workers=workers))
        assert label is None
        assert torch.equal(image, next(stream(Split(folder))).image)


# ---- which samples come


def test_every_frame_comes_once_in_each_epoch(split: Split) -> None:
    frames = torch.cat([where(batch)[:, 2, 0, 0] for batch in take(FRAMES, stream(split))])  # four epochs
    for epoch in frames.reshape(4, FRAMES):
        assert sorted(epoch.tolist()) == list(range(FRAMES))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {frame_order(seed, epoch, 50) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_the_same_seed_gives_the_same_stream_and_another_one_does_not(split: Split) -> None:
    assert same(take(5, stream(split)), take(5, stream(split)))
    assert not same(take(5, stream(split)), take(5, stream(split, seed=4)))


def test_nothing_global_is_read_or_moved(split: Split) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = take(3, stream(split))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert same(first, take(3, stream(split)))


def test_a_resumed_stream_is_the_tail_of_the_uncut_one(split: Split) -> None:
    uncut = take(9, stream(split))
    for start in range(9):
        assert same(take(9 - start, stream(split, start_step=start)), uncut[start:])


def test_the_size_of_a_batch_only_cuts_the_stream_elsewhere(split: Split) -> None:
    small, large = take(6, stream(split, batch=2)), take(2, stream(split, batch=6))
    assert torch.equal(torch.cat([batch.image for batch in small]), torch.cat([batch.image for batch in large]))


@pytest.mark.parametrize("world", [2, 3])
def test_the_ranks_of_a_world_together_read_the_stream_of_one(world: int, split: Split) -> None:
    ranks = [take(4, stream(split, batch=2, rank=rank, world=world)) for rank in range(world)]
    alone = take(4, stream(split, batch=2 * world))
    for step, batch in enumerate(alone):
        for rank in range(world):
            assert torch.equal(ranks[rank][step].image, batch.image[rank::world])
            assert torch.equal(ranks[rank][step].label, batch.label[rank::world])


@pytest.mark.parametrize("memory", [0, 2**30])
def test_two_workers_serve_what_none_does(memory: int, folder: Path) -> None:
    served = take(7, stream(Split(folder, memory=memory), workers=2, start_step=5))
    assert same(served, take(7, stream(Split(folder), start_step=5)))


def test_a_crop_that_does_not_fit_is_refused_before_the_first_batch(split: Split) -> None:
    with pytest.raises(BadRequest, match=r"loop\.crop"):
        stream(split, crop=(13, 8))


# ---- seeds


def test_a_seed_depends_on_every_part_and_their_order() -> None:
    parts = [(0,), (1,), (0, 0), (0, 1), (1, 0), ("a",), ("a", 0), (0, "a"), ("0",), (-1,), (10, 1), (1, 1), ()]
    seeds = {seed_of(*part) for part in parts}
    assert len(seeds) == len(parts)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seeds_are_the_same_on_every_machine_and_day() -> None:
    assert seed_of(0, "crop", 7) == 896205514936014209


def test_a_seed_of_something_else_is_refused() -> None:
    with pytest.raises(TypeError):
        seed_of(np.int64(3))  # type: ignore[arg-type]
