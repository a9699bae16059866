"""Remap: exact pixels, exact counts, whole or absent results, and the same bytes whatever the way."""

import csv
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trees
from PIL import Image

from dacs.datasets.base import DataSet, Defect, Layout
from dacs.datasets.decode import decode_ids
from dacs.datasets.registry import DATASETS
from dacs.errors import BadRequest, RunFailed
from dacs.files import read_json
from dacs.labels import CITYSCAPES
from dacs.locks import working_alone
from dacs.prepare.pixels import ENCODE, resize, train_ids
from dacs.prepare.remap import JOURNAL, remap
from dacs.settings import RemapJob

DOMAINS = tuple(trees.RAW_IDS)
SIZE = (20, 30)


def prepare(domain: str, raw: Path, out: Path, workers: int = 1, **changes: Any) -> None:
    settings: dict[str, Any] = {"size": SIZE, "resample": "bicubic", "images": "png"} | changes
    remap(RemapJob(domain=domain, **settings), raw, out, workers)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def markers(out: Path) -> list[Path]:
    names = ("*/index.csv", "*/stats.json", "*/class_counts.csv", "data_report.json")
    return [path for name in names for path in out.glob(name)]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def rows_of(table: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(table.read_text().splitlines()))


# ---- pixels


def test_every_id_outside_of_the_table_is_a_fault() -> None:
    for domain in DOMAINS:
        table = DATASETS[domain].train_ids(CITYSCAPES)
        for raw in set(range(256)) - table.keys():
            with pytest.raises(ValueError, match=f": {raw}$"):
                train_ids(np.full((2, 3), raw, np.uint8), table)


@pytest.mark.parametrize("domain", DOMAINS)
def test_prepared_labels_agree_with_the_slow_way_and_show_the_official_colours(domain: str, tmp_path: Path) -> None:
    written = trees.write_tree(domain, tmp_path / "raw")
    prepare(domain, tmp_path / "raw", tmp_path / "out")
    found = [*(tmp_path / "out").glob("*/labels/*.png")]
    assert len(found) == len(written)
    for name, raw in written.items():
        (path,) = (path for path in found if name.startswith(path.stem))
        mapped = np.vectorize(DATASETS[domain].train_ids(CITYSCAPES).get)(raw).astype(np.uint8)
        slow = Image.fromarray(mapped).resize(SIZE[::-1], Image.Resampling.NEAREST)
        with Image.open(path) as label:
            assert np.array_equal(np.array(label), np.array(slow))
            assert np.array_equal(np.array(label.convert("RGB")), CITYSCAPES.palette()[np.array(slow)])


@pytest.mark.parametrize("images", ["png", "ppm"])
@pytest.mark.parametrize("resample", ["bicubic", "bilinear"])
def test_prepared_images_agree_with_pillow(resample: str, images: str, tmp_path: Path) -> None:
    trees.write_tree("gta5", tmp_path / "raw")
    prepare("gta5", tmp_path / "raw", tmp_path / "out", resample=resample, images=images)
    written = sorted((tmp_path / "raw/images").iterdir())
    assert len(written) == 3
    for path in written:
        with Image.open(path) as image:
            slow = image.resize(SIZE[::-1], Image.Resampling[resample.upper()])
        assert np.array_equal(pixels(tmp_path / f"out/train/images/{path.stem}.{images}"), np.asarray(slow))


@pytest.mark.parametrize("size", [(20, 30), (16, 24), (40, 70)])
def test_opencv_resizes_images_bilinearly_without_antialiasing(size: tuple[int, int]) -> None:
    """Each pixel is at most four of the frame, weighted by their distance from its centre, to a rounding error."""
    noise = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    slow = noise.astype(np.float64)
    for axis, length in enumerate(size):
        have = slow.shape[axis]
        place = ((np.arange(length) + 0.5) * have / length - 0.5).clip(0, have - 1)
        near, far = (np.take(slow, index.astype(int), axis) for index in (np.floor(place), np.ceil(place)))
        share = np.expand_dims(place % 1, [other for other in range(3) if other != axis])
        slow = near * (1 - share) + far * share
    assert np.abs(resize(noise, size, "opencv") - slow).max() <= 1


def test_opencv_takes_labels_from_the_upper_left_corner_of_each_pixel(tmp_path: Path) -> None:
    written = trees.write_tree("gta5", tmp_path / "raw")
    prepare("gta5", tmp_path / "raw", tmp_path / "out", resample="opencv")
    found = sorted((tmp_path / "out/train/labels").iterdir())
    assert len(found) == len(written) == 3
    for path in found:
        (raw,) = (raw for name, raw in written.items() if name.startswith(path.stem))
        rows, columns = (np.arange(want) * have // want for have, want in zip(raw.shape, SIZE, strict=True))
        mapped = np.vectorize(DATASETS["gta5"].train_ids(CITYSCAPES).get)(raw[rows][:, columns])
        assert np.array_equal(pixels(path), mapped)


# ---- tables


def test_each_index_lists_files_that_are_there_and_none_that_adaptation_reads_is_a_label(tmp_path: Path) -> None:
    trees.write_tree("cityscapes", tmp_path / "raw")
    out = tmp_path / "out"
    prepare("cityscapes", tmp_path / "raw", out)
    tables = {path.parent: path.read_text().splitlines() for path in out.glob("*/index.csv")}
    headers = {folder.name: header for folder, (header, *_) in tables.items()}
    assert headers == {"train": "image", "val": "image,label,full", "oracle": "image,label"}
    for folder, (_, *rows) in tables.items():
        assert (len(rows), rows) == (3, sorted(rows))
        assert all((folder / file).is_file() for row in rows for file in row.split(","))
    assert tables[out / "oracle"][1] == "../train/images/aachen_000002_000019.png,labels/aachen_000002_000019.png"
    assert sorted(path.name for path in (out / "train").iterdir()) == ["images", "index.csv", "stats.json"]
    assert "pixels" not in read_json(out / "train/stats.json")
    assert not list(out.rglob(".*"))


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_statistics_agree_with_a_slow_count(domain: str, tmp_path: Path) -> None:
    trees.write_tree(domain, tmp_path / "raw", frames=4)
    prepare(domain, tmp_path / "raw", tmp_path / "out")
    tables = [*(tmp_path / "out").glob("*/index.csv")]
    assert tables
    for path in tables:
        stats, rows = read_json(path.parent / "stats.json"), rows_of(path)
        images = np.stack([pixels(path.parent / row["image"]) for row in rows]).astype(np.float64)
        assert [stats[key] for key in ("domain", "split", "frames", "size")] == [domain, path.parent.name, 4, [20, 30]]
        assert stats["image_mean"] == pytest.approx(images.mean(axis=(0, 1, 2)))
        assert stats["image_std"] == pytest.approx(images.std(axis=(0, 1, 2)), rel=1e-6)
        counts = path.with_name("class_counts.csv")
        assert counts.exists() == ("label" in rows[0])
        if "label" in rows[0]:
            label = np.stack([pixels(path.parent / row["label"]) for row in rows])
            check_label_statistics(stats, label)
            expected = [[(one == index).sum() for index in range(19)] for one in label]
            assert [list(map(int, [*row.values()][1:])) for row in rows_of(counts)] == expected
            assert [row["image"] for row in rows_of(counts)] == [row["image"] for row in rows]
            assert tuple(rows_of(counts)[0]) == ("image", *CITYSCAPES.names)


def check_label_statistics(stats: dict[str, Any], label: np.ndarray) -> None:
    """`label`: train ids of shape (frames, height, width)."""
    rows, height = np.zeros((19, 16)), label.shape[1]
    for band in range(16):
        part = label[:, [row for row in range(height) if row * 16 // height == band]]
        valid = max((part != 255).sum(), 1)
        rows[:, band] = [(part == index).sum() / valid for index in range(19)]
    presence = [(label == index).any(axis=(1, 2)).mean() for index in range(19)]
    assert stats["pixels"] == [(label == index).sum() for index in range(19)]
    assert stats["ignored"] == (label == 255).sum()
    assert stats["presence"] == pytest.approx(presence, abs=1e-6)
    assert np.allclose(stats["rows16"], rows, atol=1e-6)


def test_the_digest_of_a_split_depends_on_its_pixels(tmp_path: Path) -> None:
    trees.write_tree("gta5", tmp_path / "raw")
    prepare("gta5", tmp_path / "raw", tmp_path / "a")
    trees.write_image(tmp_path / "raw/images/00002.png", np.random.default_rng(9), (32, 48))
    prepare("gta5", tmp_path / "raw", tmp_path / "b")
    first, second = (read_json(tmp_path / out / "train/stats.json")["sha256"] for out in "ab")
    assert first != second


# ---- a data set from outside


def decode_tenths(content: bytes) -> np.ndarray:
    """Ids that are stored as tens."""
    return decode_ids(content) // 10


TOWN = DataSet(
    name="town",
    title="Town",
    homes=("town-1.0",),
    layouts=(Layout("{split}/photos", "{split}/ids"),),
    frame=r"\d+",
    label_end="_ids.png",
    splits={"train": "oracle", "val": "val"},
    decode=decode_tenths,
    classes={0: ("void",), 1: ("road",), 2: ("car",)},
    published={"train": 3, "val": 2},
    defects=(Defect(2, 2, "dropped", "a thumb over the lens"), Defect(3, 3, "mended", "label of half the size")),
)


def test_a_data_set_from_outside_is_prepared_as_its_row_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, "town", TOWN)
    label = np.repeat([[0, 1, 2]], 8, axis=0).repeat(4, axis=1).astype(np.uint8)  # 8 x 12
    for split, numbers in (("train", (1, 2, 3)), ("val", (4, 5))):
        for number in numbers:
            folder = tmp_path / f"raw/town-1.0/{split}"
            trees.write_image(folder / f"photos/{number}.png", np.random.default_rng(number), (8, 12))
            (folder / "ids").mkdir(exist_ok=True)
            Image.fromarray(10 * (label[::2, ::2] if number == 3 else label)).save(folder / f"ids/{number}_ids.png")
    out = tmp_path / "out"
    prepare("town", tmp_path / "raw", out, size=(4, 6))
    report = read_json(out / "data_report.json")
    assert (report["title"], report["labelled_split"], report["measured_split"]) == ("Town", "oracle", "val")
    assert (report["frames"], report["dropped"], report["mended"]) == ({"train": 2, "val": 2}, ["2"], ["3"])
    assert (report["ids"], report["id_names"]["2"]) == ({"0": 128, "1": 128, "2": 128}, "car")
    remarks = ("as published", "1 frames dropped", "1 frames mended", "no id for sidewalk, building and 15 more")
    assert report["summary"] == ", ".join(remarks)
    assert [row["image"] for row in rows_of(out / "oracle/index.csv")] == [f"../train/images/{n}.png" for n in (1, 3)]
    counts = rows_of(out / "oracle/class_counts.csv")
    assert [(row["road"], row["car"], row["sky"]) for row in counts] == [("8", "8", "0")] * 2
    assert read_json(out / "val/stats.json")["ignored"] == 16


# ---- the same bytes whatever the way


def test_any_number_of_workers_writes_the_same_bytes(tmp_path: Path) -> None:
    trees.write_tree("cityscapes", tmp_path / "raw", frames=6)
    prepare("cityscapes", tmp_path / "raw", tmp_path / "one", workers=1)
    prepare("cityscapes", tmp_path / "raw", tmp_path / "three", workers=3)
    assert contents(tmp_path / "one") == contents(tmp_path / "three")
    wait_until(lambda: not multiprocessing.active_children())


def stop_after(frames: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let `frames` frames be encoded, then fail; returns the growing list of those that were."""
    encode, encoded = ENCODE["png"], list[str]()

    def count(image: np.ndarray) -> bytes:
        if len(encoded) == frames:
            raise KeyboardInterrupt
        encoded.append("frame")
        return encode(image)

    monkeypatch.setitem(ENCODE, "png", count)
    return encoded


@pytest.mark.parametrize("change", ["raw image", "prepared label", "no prepared image", "size"])
def test_an_interrupted_run_redoes_what_is_stale(change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    trees.write_tree("gta5", raw, frames=4)
    with monkeypatch.context() as patch:
        stop_after(3, patch)
        with pytest.raises(KeyboardInterrupt):
            prepare("gta5", raw, out)
    if change == "raw image":
        trees.write_image(raw / "images/00002.png", np.random.default_rng(5), (32, 48))
    elif change == "prepared label":
        (out / "train/labels/00001.png").write_bytes(b"scribbled over")
    elif change == "no prepared image":
        (out / "train/images/00003.png").unlink()
    size = (10, 10) if change == "size" else SIZE
    encoded = stop_after(99, monkeypatch)
    prepare("gta5", raw, out, size=size)
    assert len(encoded) == (4 if change == "size" else 2)
    prepare("gta5", raw, tmp_path / "fresh", size=size)
    assert contents(out) == contents(tmp_path / "fresh")


def test_a_shorter_run_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    trees.write_tree("gta5", raw, frames=5)
    prepare("gta5", raw, out)
    (out / "train/images/.00003.77.partial.png").write_bytes(b"left by a killed run")
    (out / "train/.index.77.partial.csv").write_bytes(b"likewise")
    for number in (4, 5):
        for path in trees.paths("gta5", raw, "train", number):
            path.unlink()
    prepare("gta5", raw, out)
    prepare("gta5", raw, tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")


SLOW = """
import sys, time
from pathlib import Path
from dacs.prepare.pixels import ENCODE, png_of_image
from dacs.prepare.remap import remap
from dacs.prepare.shards import Shard, remap_shard
from dacs.settings import RemapJob
ENCODE["png"] = lambda image: time.sleep(0.05) or png_of_image(image)
job, raw, out = RemapJob(domain="gta5", size=(20, 30), resample="bicubic", images="png"), *map(Path, sys.argv[1:])
"""


@contextmanager
def preparing(statement: str, raw: Path, out: Path, frames: int) -> Iterator[subprocess.Popen[bytes]]:
    """Write 30 raw frames and execute a statement on them in a process, which has prepared some when it is yielded."""
    trees.write_tree("gta5", raw, frames=30)
    with subprocess.Popen([sys.executable, "-c", SLOW + statement, str(raw), str(out)]) as process:
        try:
            wait_until(lambda: len([*out.glob("train/labels/0*.png")]) >= frames)
            yield process
        finally:
            process.kill()


def kill_midway(statement: str, raw: Path, out: Path) -> None:
    """Kill the process of a statement after five frames."""
    with preparing(statement, raw, out, frames=5):
        pass


def test_a_killed_run_leaves_no_index_and_the_next_one_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    kill_midway("remap(job, raw, out, 1)", raw, out)
    assert not markers(out)
    with (out / JOURNAL).open("a") as journal:
        journal.write('{"frame":"cut off","ids":{}')
    encoded = stop_after(99, monkeypatch)
    prepare("gta5", raw, out)
    assert len(encoded) <= 26  # four were kept
    prepare("gta5", raw, tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")


def wait_until(happened: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


# ---- bad input: a message, the right class, nothing half-written


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def unknown_id(path: Path) -> None:
    label = np.full((32, 48), 7, np.uint8)
    label[31, 47] = 77
    trees.write_palette(path, label)


def other_size(path: Path) -> None:
    trees.write_palette(path, np.full((32, 47), 7, np.uint8))


@pytest.mark.parametrize(
    ("damage", "kind", "words", "workers"),
    [
        (truncate, 0, "truncated", 1),
        (truncate, 1, "truncated", 2),
        (unknown_id, 1, "not in the table: 77", 1),
        (other_size, 1, "is 47x32, its image .* 48x32", 2),
    ],
)
def test_a_bad_frame_is_named_and_takes_an_earlier_index_away(
    damage: Callable[[Path], None], kind: int, words: str, workers: int, tmp_path: Path
) -> None:
    trees.write_tree("gta5", tmp_path / "raw")
    prepare("gta5", tmp_path / "raw", tmp_path / "out")
    assert len(markers(tmp_path / "out")) == 4
    bad = trees.paths("gta5", tmp_path / "raw", "train", 2)[kind]
    damage(bad)
    with pytest.raises(RunFailed, match=words) as caught:
        prepare("gta5", tmp_path / "raw", tmp_path / "out", workers=workers)
    assert str(bad) in str(caught.value)
    assert "1 of 3 frames" in str(caught.value)
    assert not markers(tmp_path / "out")


def test_all_bad_frames_are_counted_and_a_corrected_tree_goes_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees.write_tree("gta5", tmp_path / "raw", frames=14)
    bad = sorted((tmp_path / "raw/labels").iterdir())[:12]
    whole = {path: path.read_bytes() for path in bad}
    for path in bad:
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


@pytest.mark.parametrize("out", ["raw", "raw/ready", "."])
def test_raw_data_are_never_written_to(out: str, tmp_path: Path) -> None:
    trees.write_tree("gta5", tmp_path / "raw")
    before = contents(tmp_path)
    with pytest.raises(BadRequest, match="one is in the other"):
        prepare("gta5", tmp_path / "raw", tmp_path / out)
    assert contents(tmp_path) == before


def test_of_two_runs_in_one_folder_one_waits_for_the_other(tmp_path: Path) -> None:
    trees.write_tree("gta5", tmp_path / "raw")
    with ThreadPoolExecutor() as pool:
        with working_alone(tmp_path / "out", "another"):
            waiting = pool.submit(prepare, "gta5", tmp_path / "raw", tmp_path / "out")
            with pytest.raises(TimeoutError):
                waiting.result(timeout=1)
            assert not (tmp_path / "out/data_report.json").exists()
        waiting.result(timeout=60)
    assert (tmp_path / "out/data_report.json").exists()
