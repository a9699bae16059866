"""The stream: the k-th sample is a function of (seed, k), whichever way it is read."""

import itertools
import pickle
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dacs.adaptation.sampling import Order, Pick, epoch_order, seed_of, shuffled
from dacs.errors import BadRequest
from dacs.layout import PreparedSplit
from dacs.loading.split import Split
from dacs.loading.stream import Batch, Crops, batches, view_of
from dacs.provenance import ROOT

FRAMES, SIZE, CROP = 7, (12, 20), (5, 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames whose pixels hold their position: red = column, green = row, blue = frame; label = both."""
    folder = tmp_path_factory.mktemp("split")
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.uint8)
    for frame in range(FRAMES):
        Image.fromarray(np.dstack([columns, rows, np.full_like(rows, frame)])).save(folder / f"{frame}.png")
        label = Image.fromarray(rows * np.uint8(SIZE[1]) + columns)
        label.putpalette(list(range(256)) * 3)
        label.save(folder / f"{frame}_label.png")
    lines = [f"{frame}.png,{frame}_label.png" for frame in range(FRAMES)]
    (folder / "index.csv").write_text("\n".join(["image,label", *lines]) + "\n")
    return folder


@pytest.fixture(scope="module")
def split(folder: Path) -> Split:
    return Split(PreparedSplit(folder))


def stream(
    split: Split, order: Order | None = None, *, seed: int = 3, start_step: int = 0, workers: int = 0, **changes: Any
) -> Iterator[Batch]:
    options = {"batch": 4, "crop": CROP, "flip": True} | changes
    return batches(Crops(split, order or shuffled(split, seed), seed, **options), start_step, workers)


def take(number: int, found: Iterator[Batch]) -> list[Batch]:
    return list(itertools.islice(found, number))


def equal(first: list[Batch], second: list[Batch]) -> bool:
    pairs = zip(first, second, strict=True)
    return all(torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) for a, b in pairs)


def frames_of(found: list[Batch]) -> list[int]:
    return [round(255 * blue) for batch in found for blue in batch.images[:, 2, 0, 0].tolist()]


# ---- what a sample is


@pytest.mark.parametrize(("crop", "flip"), [(CROP, True), (CROP, False), (SIZE, True)])
def test_samples_are_crops_of_the_files_of_their_frames(
    crop: tuple[int, int], flip: bool, split: Split, folder: Path
) -> None:
    found, order = take(6, stream(split, crop=crop, flip=flip)), shuffled(split, 3)
    assert {(batch.images.dtype, batch.labels.dtype) for batch in found} == {(torch.float32, torch.int64)}
    samples = [sample for batch in found for sample in zip(*batch, strict=True)]
    for k, (image, label) in enumerate(samples):
        view = view_of(3, k, order(k).frame, size=SIZE, crop=crop, flip=flip)
        box = (view.left, view.top, view.left + crop[1], view.top + crop[0])
        files = [Image.open(folder / f"{view.frame}{end}.png").crop(box) for end in ("", "_label")]
        if view.flip:
            files = [file.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for file in files]
        assert np.array_equal(image, np.float32(files[0]).transpose(2, 0, 1) / np.float32(255))
        assert np.array_equal(label, np.asarray(files[1]))


def test_every_position_of_a_crop_and_both_mirrors_occur_and_switching_mirrors_on_moves_no_crop() -> None:
    mirrored, plain = (
        [view_of(0, k, 0, size=SIZE, crop=CROP, flip=flip) for k in range(2000)] for flip in (True, False)
    )
    assert {view.top for view in mirrored} == set(range(SIZE[0] - CROP[0] + 1))
    assert {view.left for view in mirrored} == set(range(SIZE[1] - CROP[1] + 1))
    assert 900 < sum(view.flip for view in mirrored) < 1100
    assert plain == [view._replace(flip=False) for view in mirrored]


def test_what_processes_send_takes_no_shared_memory(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("No space left on device")

    monkeypatch.setattr(torch.UntypedStorage, "_share_fd_cpu_", full)
    crops = Crops(split, shuffled(split, 3), 3, 4, CROP)
    with pytest.raises(RuntimeError, match="No space"):
        ForkingPickler.dumps(crops[0])
    ForkingPickler.dumps(crops.pixels(0))
    assert equal(take(3, stream(split, workers=1)), take(3, stream(split)))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_split_without_labels_gives_none(workers: int, split: Split, folder: Path, tmp_path: Path) -> None:
    lines = [str(folder / f"{frame}.png") for frame in range(FRAMES)]
    (tmp_path / "index.csv").write_text("\n".join(["image", *lines]) + "\n")
    images, labels = next(stream(Split(PreparedSplit(tmp_path)), workers=workers))
    assert labels is None
    assert torch.equal(images, next(stream(split)).images)


# ---- which samples are read


def test_every_frame_is_shown_once_in_each_epoch(split: Split) -> None:
    shown = frames_of(take(FRAMES, stream(split)))  # four epochs
    for epoch in range(4):
        assert sorted(shown[epoch * FRAMES : (epoch + 1) * FRAMES]) == list(range(FRAMES))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    assert len({epoch_order(seed, epoch, 50) for seed in range(5) for epoch in range(5)}) == 25


def backwards(sample: int) -> Pick:
    return Pick(FRAMES - 1 - sample % FRAMES)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_order_from_outside_decides_which_frames_are_shown(workers: int, split: Split) -> None:
    shown = frames_of(take(FRAMES, stream(split, backwards, workers=workers)))
    assert shown == list(range(FRAMES))[::-1] * 4


def test_the_shuffled_order_can_be_sent_to_another_process(split: Split) -> None:
    order = shuffled(split, 3)
    assert list(map(pickle.loads(pickle.dumps(order)), range(20))) == list(map(order, range(20)))


def test_the_stream_depends_on_its_seed_and_not_on_torchs_own_generator(split: Split) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    found = take(5, stream(split))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert equal(found, take(5, stream(split)))
    assert not equal(found, take(5, stream(split, seed=4)))


def test_a_resumed_stream_is_the_tail_of_the_whole_one(split: Split) -> None:
    whole = take(9, stream(split))
    for start in range(9):
        assert equal(take(9 - start, stream(split, start_step=start)), whole[start:])


def test_the_size_of_a_batch_changes_no_sample(split: Split) -> None:
    small, large = take(6, stream(split, batch=2)), take(2, stream(split, batch=6))
    assert torch.equal(torch.cat([batch.images for batch in small]), torch.cat([batch.images for batch in large]))


@pytest.mark.parametrize("world", [2, 3])
def test_the_ranks_together_read_the_stream_of_one_process(world: int, split: Split) -> None:
    alone = take(4, stream(split, batch=2 * world))
    for rank in range(world):
        expected = [Batch(batch.images[rank::world], batch.labels[rank::world]) for batch in alone]
        assert equal(take(4, stream(split, batch=2, rank=rank, world=world)), expected)


@pytest.mark.parametrize("memory", [0, 2**30])
def test_two_workers_read_what_none_does(memory: int, folder: Path, split: Split) -> None:
    found = take(7, stream(Split(PreparedSplit(folder), memory=memory), workers=2, start_step=5))
    assert equal(found, take(7, stream(split, start_step=5)))


CRASH = """
import pathlib, sys
from dacs.layout import PreparedSplit
from dacs.adaptation import sampling
from dacs.loading import stream
stream.GRACE, split = 1, stream.Split(PreparedSplit(pathlib.Path(sys.argv[1])))
crops = stream.Crops(split, lambda sample: sampling.Pick(0), seed=0, batch=2, crop=(5, 8))
batches = stream.batches(crops, 0, workers=1)
next(batches)
raise ValueError("a bug")
"""


def test_a_process_that_crashes_ends_with_its_workers(folder: Path) -> None:
    command = [sys.executable, "-c", CRASH, folder]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1
    assert "ValueError: a bug" in ended.stderr


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
