"""Remap: exact pixels, exact counts, whole or absent results, and the same bytes by every way."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trees
from dacs.data import remap as module
from PIL import Image

from dacs import labels
from dacs.datasets.formats import FORMATS, find
from dacs.errors import BadRequest, DacsError, RunFailed
from dacs.locks import working_alone
from dacs.prepare.pixels import train_ids
from dacs.prepare.remap import remap

DOMAINS = tuple(FORMATS)
SIZE = (20, 30)


def prepare(domain: str, raw: Path, out: Path, workers: int = 1, resample: str = "bicubic") -> None:
    remap(find(domain, raw), out, size=SIZE, resample=resample, images="png", workers=workers)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def indices(out: Path) -> list[Path]:
    return [*out.glob("*/index.csv"), *out.glob("*/card.json")]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def by_masks(label: np.ndarray, table: dict[int, int]) -> np.ndarray:
    """The slow obvious remap: one mask per id."""
    mapped = np.full_like(label, 255)
    for raw, train in table.items():
        mapped[label == raw] = train
    return mapped


# ---- laws of the table


@pytest.mark.parametrize("domain", DOMAINS)
def test_remap_after_its_inverse_is_the_identity_on_the_classes(domain: str) -> None:
    table = FORMATS[domain].train_ids
    inverse = {train: raw for raw, train in table.items() if train != 255}
    assert sorted(inverse) == list(range(19))
    classes = np.arange(19, dtype=np.uint8).reshape(1, 19)
    raw = np.vectorize(inverse.get)(classes).astype(np.uint8)
    assert np.array_equal(train_ids(raw, table), classes)


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_id_is_either_in_the_table_or_a_fault(domain: str) -> None:
    table = FORMATS[domain].train_ids
    for raw in range(256):
        label = np.full((2, 3), raw, np.uint8)
        if raw in table:
            assert (train_ids(label, table) == table[raw]).all()
        else:
            with pytest.raises(ValueError, match=f": {raw}$"):
                train_ids(label, table)


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_look_up_agrees_with_one_mask_per_id(domain: str) -> None:
    table = FORMATS[domain].train_ids
    label = np.random.default_rng(0).integers(0, len(table), (50, 60), dtype=np.uint8)
    assert np.array_equal(train_ids(label, table), by_masks(label, table))


# ---- pixels


@pytest.mark.parametrize("domain", DOMAINS)
def test_prepared_labels_agree_with_the_slow_way(domain: str, tmp_path: Path) -> None:
    written = trees.write_tree(domain, tmp_path / "raw")
    prepare(domain, tmp_path / "raw", tmp_path / "out")
    found = [*(tmp_path / "out").glob("*/labels/*.png")]
    assert len(found) == len(written)
    for name, raw in written.items():
        (path,) = (path for path in found if name.startswith(path.stem))
        slow = Image.fromarray(by_masks(raw, FORMATS[domain].train_ids)).resize(SIZE[::-1], Image.Resampling.NEAREST)
        assert np.array_equal(pixels(path), np.asarray(slow))


@pytest.mark.parametrize("resample", ["bicubic", "bilinear"])
def test_prepared_images_agree_with_pillow(resample: str, tmp_path: Path) -> None:
    trees.write_tree("gta5", tmp_path / "raw")
    prepare("gta5", tmp_path / "raw", tmp_path / "out", resample=resample)
    for path in (tmp_path / "raw/images").iterdir():
        with Image.open(path) as image:
            slow = image.resize(SIZE[::-1], Image.Resampling[resample.upper()])
        assert np.array_equal(pixels(tmp_path / "out/train/images" / path.name), np.asarray(slow))


def test_frames_of_the_right_size_keep_every_pixel(tmp_path: Path) -> None:
    written = trees.write_tree("synthia", tmp_path / "raw", size=SIZE)
    prepare("synthia", tmp_path / "raw", tmp_path / "out")
    for name, raw in written.items():
        rgb = tmp_path / "raw/RAND_CITYSCAPES/RGB" / name
        assert np.array_equal(pixels(tmp_path / "out/train/images" / name), pixels(rgb))
        expected = train_ids(raw, FORMATS["synthia"].train_ids)
        assert np.array_equal(pixels(tmp_path / "out/train/labels" / name), expected)


def test_labels_are_palette_files_in_the_official_colours(tmp_path: Path) -> None:
    trees.write_tree("gta5", tmp_path / "raw", frames=1)
    prepare("gta5", tmp_path / "raw", tmp_path / "out")
    with Image.open(tmp_path / "out/train/labels/00001.png") as label:
        assert label.mode == "P"
        coloured = np.array(label.convert("RGB"))
        assert np.array_equal(coloured, labels.palette()[np.array(label)])


def test_the_sixty_gta5_labels_of_another_size_are_mended_by_name(tmp_path: Path) -> None:
    trees.write_tree("gta5", tmp_path / "raw", frames=1)
    image, label = trees.paths("gta5", tmp_path / "raw", "train", 20801)
    trees.write_image(image, np.random.default_rng(0), (32, 48))
    small = trees.ids(np.random.default_rng(1), (24, 30), 34)
    trees.write_palette(label, small)
    prepare("gta5", tmp_path / "raw", tmp_path / "out")
    twice = Image.fromarray(small).resize((48, 32), Image.Resampling.NEAREST)
    expected = train_ids(np.array(twice.resize(SIZE[::-1], Image.Resampling.NEAREST)), FORMATS["gta5"].train_ids)
    assert np.array_equal(pixels(tmp_path / "out/train/labels/20801.png"), expected)


# ---- index and card


@pytest.mark.parametrize(
    ("domain", "columns"),
    [
        ("gta5", {"train": "image,label"}),
        ("synthia", {"train": "image,label"}),
        ("cityscapes", {"train": "image", "val": "image,label,full", "oracle": "image,label"}),
    ],
)
def test_each_index_lists_files_that_are_there(domain: str, columns: dict[str, str], tmp_path: Path) -> None:
    trees.write_tree(domain, tmp_path / "raw")
    out = tmp_path / "out"
    prepare(domain, tmp_path / "raw", out)
    assert sorted(path.parent.name for path in out.glob("*/index.csv")) == sorted(columns)
    for split, header in columns.items():
        first, *rows = (out / split / "index.csv").read_text().splitlines()
        assert first == header
        assert len(rows) == 3
        assert rows == sorted(rows)
        assert all((out / split / file).is_file() for row in rows for file in row.split(","))
    assert not list(out.rglob(".*"))


def test_no_label_of_the_target_lies_where_adaptation_looks(tmp_path: Path) -> None:
    trees.write_tree("cityscapes", tmp_path / "raw")
    prepare("cityscapes", tmp_path / "raw", tmp_path / "out")
    assert not (tmp_path / "out/train/labels").exists()
    assert "pixels" not in json.loads((tmp_path / "out/train/card.json").read_text())
    oracle = (tmp_path / "out/oracle/index.csv").read_text().splitlines()[1]
    assert oracle == "../train/images/aachen_000002_000019.png,labels/aachen_000002_000019.png"


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_statistics_agree_with_a_slow_count(domain: str, tmp_path: Path) -> None:
    trees.write_tree(domain, tmp_path / "raw", frames=4)
    prepare(domain, tmp_path / "raw", tmp_path / "out")
    for path in (tmp_path / "out").glob("*/index.csv"):
        header, *rows = path.read_text().splitlines()
        card = json.loads((path.parent / "card.json").read_text())
        files = [[path.parent / file for file in row.split(",")] for row in rows]
        images = np.stack([pixels(row[0]) for row in files]).astype(np.float64)
        assert (card["domain"], card["split"], card["frames"], card["size"]) == (domain, path.parent.name, 4, [20, 30])
        assert card["image_mean"] == pytest.approx(images.mean(axis=(0, 1, 2)))
        assert card["image_std"] == pytest.approx(images.std(axis=(0, 1, 2)), rel=1e-6)
        if header.startswith("image,label"):
            check_label_statistics(card, np.stack([pixels(row[1]) for row in files]))


def check_label_statistics(card: dict[str, Any], label: np.ndarray) -> None:
    """`label`: train ids of shape (frames, height, width)."""
    height = label.shape[1]
    rows = np.zeros((19, 16))
    for band in range(16):
        part = label[:, [row for row in range(height) if row * 16 // height == band]]
        valid = max((part != 255).sum(), 1)
        rows[:, band] = [(part == index).sum() / valid for index in range(19)]
    assert card["pixels"] == [(label == index).sum() for index in range(19)]
    assert card["ignored"] == (label == 255).sum()
    assert card["presence"] == pytest.approx(
        [(label == index).any(axis=(1, 2)).mean() for index in range(19)], abs=1e-6
    )
    assert np.allclose(card["rows16"], rows, atol=1e-6)


def test_the_digest_of_a_card_follows_the_content(tmp_path: Path) -> None:
    def digest(out: str) -> str:
        prepare("gta5", tmp_path / "raw", tmp_path / out)
        return json.loads((tmp_path / out / "train/card.json").read_text())["sha256"]

    trees.write_tree("gta5", tmp_path / "raw")
    first = digest("a")
    assert digest("b") == first
    trees.write_image(tmp_path / "raw/images/00002.png", np.random.default_rng(9), (32, 48))
    assert digest("c") != first


# ---- the same bytes by every way


@pytest.mark.parametrize("domain", DOMAINS)
def test_any_number_of_workers_writes_the_same_bytes(domain: str, tmp_path: Path) -> None:
    trees.write_tree(domain, tmp_path / "raw", frames=6)
    prepare(domain, tmp_path / "raw", tmp_path / "one", workers=1)
    prepare(domain, tmp_path / "raw", tmp_path / "three", workers=3)
    assert contents(tmp_path / "one") == contents(tmp_path / "three")


class Stopped(Exception):
    """Stands for a kill."""


def stop_after(frames: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let `frames` frames be encoded, then fail; returns the growing list of those that were."""
    encode, encoded = module.ENCODE["png"], []

    def counted(image: Image.Image) -> bytes:
        if len(encoded) == frames:
            raise Stopped
        encoded.append("frame")
        return encode(image)

    monkeypatch.setitem(module.ENCODE, "png", counted)
    return encoded


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trees.write_tree("cityscapes", tmp_path / "raw", frames=4)
    prepare("cityscapes", tmp_path / "raw", tmp_path / "uncut")
    with monkeypatch.context() as patch:
        stop_after(5, patch)
        with pytest.raises(Stopped):
            prepare("cityscapes", tmp_path / "raw", tmp_path / "out")
    assert not indices(tmp_path / "out")
    journal = tmp_path / "out" / module.JOURNAL
    journal.write_text(journal.read_text() + '{"frame":"cut o')  # a kill in the middle of a line
    encoded = stop_after(99, monkeypatch)
    prepare("cityscapes", tmp_path / "raw", tmp_path / "out")
    assert len(encoded) == 3
    assert contents(tmp_path / "out") == contents(tmp_path / "uncut")


@pytest.mark.parametrize("change", ["raw image", "prepared label", "no prepared image", "size"])
def test_an_interrupted_run_redoes_what_is_stale(change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    trees.write_tree("gta5", raw, frames=4)
    with monkeypatch.context() as patch:
        stop_after(3, patch)
        with pytest.raises(Stopped):
            prepare("gta5", raw, out)
    if change == "raw image":
        trees.write_image(raw / "images/00002.png", np.random.default_rng(5), (32, 48))
    elif change == "prepared label":
        (out / "train/labels/00001.png").write_bytes(b"scribbled over")
    elif change == "no prepared image":
        (out / "train/images/00003.png").unlink()
    size = (10, 10) if change == "size" else SIZE
    encoded = stop_after(99, monkeypatch)
    remap(find("gta5", raw), out, size=size, resample="bicubic", images="png", workers=1)
    assert len(encoded) == (4 if change == "size" else 2)
    remap(find("gta5", raw), tmp_path / "fresh", size=size, resample="bicubic", images="png", workers=1)
    assert contents(out) == contents(tmp_path / "fresh")


def test_a_shorter_run_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    out = tmp_path / "out"
    trees.write_tree("gta5", tmp_path / "raw", frames=5)
    prepare("gta5", tmp_path / "raw", out)
    (out / "train/images/.00003.77.partial.png").write_bytes(b"left by a killed run")
    (out / "train/.index.77.partial.csv").write_bytes(b"likewise")
    for number in (4, 5):
        for path in trees.paths("gta5", tmp_path / "raw", "train", number):
            path.unlink()
    prepare("gta5", tmp_path / "raw", out)
    prepare("gta5", tmp_path / "raw", tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")


KILLED = """
import sys, time
from pathlib import Path
from dacs.data import remap as module
from dacs.datasets.formats import find
make = module._make
def slowly(settings, form, decode, job):
    time.sleep(0.05)
    return make(settings, form, decode, job)
module._make = slowly
raw, out = find("gta5", Path(sys.argv[1])), Path(sys.argv[2])
module.remap(raw, out, size=(20, 30), resample="bicubic", images="png", workers=1)
"""


def test_a_killed_run_leaves_no_index_and_the_next_one_ends_it(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    trees.write_tree("gta5", raw, frames=30)
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(raw), str(out)])
    try:
        wait_until(lambda: len([*out.glob("train/labels/0*.png")]) >= 4)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not indices(out)
    prepare("gta5", raw, out)
    prepare("gta5", raw, tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")


def wait_until(happened: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


# ---- bad input: words, the right class, nothing half-written


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def foreign_id(path: Path) -> None:
    label = np.full((32, 48), 7, np.uint8)
    label[31, 47] = 77
    (trees.write_palette if "labels" in path.parts else trees.write_gray)(path, label)


def other_size(path: Path) -> None:
    trees.write_palette(path, np.full((32, 47), 7, np.uint8))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("break_it", "kind", "words"),
    [
        (truncate, 0, "truncated PNG"),
        (truncate, 1, "truncated PNG"),
        (foreign_id, 1, r"outside the table \(0..34\): 77"),
        (other_size, 1, "is 47x32, its image .* 48x32"),
    ],
)
def test_a_bad_frame_is_named_and_no_index_is_written(
    break_it: Callable[[Path], None], kind: int, words: str, workers: int, tmp_path: Path
) -> None:
    trees.write_tree("gta5", tmp_path / "raw")
    bad = trees.paths("gta5", tmp_path / "raw", "train", 2)[kind]
    break_it(bad)
    with pytest.raises(RunFailed, match=words) as caught:
        prepare("gta5", tmp_path / "raw", tmp_path / "out", workers=workers)
    assert str(bad) in str(caught.value)
    assert "1 of 3 frames" in str(caught.value)
    assert caught.value.exit_code == 1
    assert not indices(tmp_path / "out")


def test_all_bad_frames_are_counted_and_a_mended_tree_goes_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees.write_tree("gta5", tmp_path / "raw", frames=14)
    whole = {}
    for path in sorted((tmp_path / "raw/labels").iterdir())[:12]:
        whole[path] = path.read_bytes()
        truncate(path)
    with pytest.raises(RunFailed, match="12 of 14 frames") as caught:
        prepare("gta5", tmp_path / "raw", tmp_path / "out")
    assert str(caught.value).count("truncated") == 10
    assert "12 in all" in str(caught.value)
    for path, content in whole.items():
        path.write_bytes(content)
    encoded = stop_after(99, monkeypatch)
    prepare("gta5", tmp_path / "raw", tmp_path / "out")
    assert len(encoded) == 12  # the two good frames were kept


def test_bad_input_takes_an_earlier_index_away(tmp_path: Path) -> None:
    trees.write_tree("gta5", tmp_path / "raw")
    prepare("gta5", tmp_path / "raw", tmp_path / "out")
    truncate(tmp_path / "raw/images/00001.png")
    with pytest.raises(RunFailed):
        prepare("gta5", tmp_path / "raw", tmp_path / "out")
    assert not indices(tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"resample": "lanczos"}, "lanczos"),
        ({"size": (0, 5)}, "height and a width"),
        ({"out": "raw"}, "in one another"),
        ({"out": "raw/ready"}, "in one another"),
        ({"out": "."}, "in one another"),
        ({"images": "jpeg"}, "jpeg"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_is_made(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    trees.write_tree("gta5", tmp_path / "raw")
    before = contents(tmp_path)
    asked: dict[str, Any] = {"size": SIZE, "resample": "bicubic", "images": "png"} | changes
    raw = find("gta5", tmp_path / "raw")
    with pytest.raises(BadRequest, match=words) as caught:
        remap(raw, tmp_path / asked.pop("out", "out"), **asked, workers=1)
    assert caught.value.exit_code == 2
    assert contents(tmp_path) == before


def test_a_full_disk_is_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    trees.write_tree("gta5", tmp_path / "raw")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RunFailed, match="No space left on device") as caught:
        prepare("gta5", tmp_path / "raw", tmp_path / "out")
    assert "run the same command again" in str(caught.value)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_two_runs_in_one_folder_are_one_too_many(tmp_path: Path) -> None:
    trees.write_tree("gta5", tmp_path / "raw")
    with working_alone(tmp_path / "out", "another"), pytest.raises(DacsError, match="another 'dacs remap'"):
        prepare("gta5", tmp_path / "raw", tmp_path / "out")
    prepare("gta5", tmp_path / "raw", tmp_path / "out")


def test_remap_needs_no_torch() -> None:
    code = "import sys, dacs.prepare.remap; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_worker_is_left_behind(tmp_path: Path) -> None:
    trees.write_tree("gta5", tmp_path / "raw")
    prepare("gta5", tmp_path / "raw", tmp_path / "out", workers=2)
    wait_until(lambda: not multiprocessing.active_children())
