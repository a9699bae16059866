"""The reader of an index: the files' own pixels, kept or decoded again, and words for what is missing."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import trees
from PIL import Image

from dacs.datasets.formats import find
from dacs.errors import BadRequest, RunFailed
from dacs.loading.split import Split
from dacs.loading.stream import batches
from dacs.prepare.remap import remap


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ready")
    for domain in ("gta5", "cityscapes"):
        trees.write_tree(domain, folder / "raw" / domain)
        raw = find(domain, folder / "raw" / domain)
        remap(raw, folder / domain, size=(20, 30), resample="bicubic", images="png", workers=1)
    return folder


def own_split(folder: Path, index: str, sizes: dict[str, tuple[int, int]]) -> Path:
    """A folder with an index written by hand, and gray files of the given sizes."""
    for name, size in sizes.items():
        Image.fromarray(np.zeros(size, np.uint8)).convert("P" if "label" in name else "RGB").save(folder / name)
    (folder / "index.csv").write_text(index)
    return folder


@pytest.mark.parametrize("memory", [0, 2**30])
@pytest.mark.parametrize("name", ["gta5/train", "cityscapes/val", "cityscapes/oracle"])
def test_frames_are_what_the_files_hold(name: str, memory: int, ready: Path) -> None:
    split = Split(ready / name, memory=memory)
    rows = (ready / name / "index.csv").read_text().splitlines()[1:]
    assert len(split) == len(rows) == 3
    assert split.labelled
    assert split.size == (20, 30)
    for index, row in enumerate(rows):
        image, label = ready / name / row.split(",")[0], ready / name / row.split(",")[1]
        assert split.names[index] == image.stem
        assert split.image(index).dtype == split.label(index).dtype == torch.uint8
        assert np.array_equal(split.image(index).permute(1, 2, 0), np.asarray(Image.open(image)))
        assert np.array_equal(split.label(index), np.asarray(Image.open(label)))


def test_the_target_has_no_labels_to_look_at(ready: Path) -> None:
    split = Split(ready / "cityscapes/train")
    assert not split.labelled
    assert split.label(0) is None
    assert split.image(0).shape == (3, 20, 30)


def test_frames_that_fit_are_decoded_once(ready: Path) -> None:
    exactly = 3 * 20 * 30 * 4  # frames, height, width, RGB and label
    kept, not_kept = Split(ready / "gta5/train", memory=exactly), Split(ready / "gta5/train", memory=exactly - 1)
    assert kept.image(1) is kept.image(1)
    assert kept.label(1) is kept.label(1)
    assert not_kept.image(1) is not not_kept.image(1)
    assert torch.equal(not_kept.image(1), kept.image(1))


def test_loading_early_changes_nothing(ready: Path) -> None:
    early, late = Split(ready / "gta5/train"), Split(ready / "gta5/train")
    early.load()
    assert all(torch.equal(early.image(index), late.image(index)) for index in range(3))


def test_labels_hold_train_ids(ready: Path) -> None:
    split = Split(ready / "gta5/train")
    found = torch.unique(torch.stack([split.label(index) for index in range(3)]))
    assert set(found.tolist()) <= {*range(19), 255}


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ("image,label\n", "lists no frames"),
        ("", "lists no frames"),
        ("picture\na.png\n", "no column 'image'"),
        ("image\na.png\ngone.png\n", r"1 files .*\n  gone.png"),
        ("image,label\na.png\n", r"1 files .*\n  row 2: no label"),
        ("image\n\n", "lists no frames"),
        ("image\n" + "".join(f"gone{number}.png\n" for number in range(12)), "12 in all"),
    ],
)
def test_a_wrong_index_is_told_by_name(index: str, words: str, tmp_path: Path) -> None:
    folder = own_split(tmp_path, index, {"a.png": (4, 4)})
    with pytest.raises(RunFailed, match=words) as caught:
        Split(folder)
    assert str(folder / "index.csv") in str(caught.value)
    assert "dacs remap" in str(caught.value)


def test_a_missing_index_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="not found") as caught:
        Split(tmp_path)
    assert str(tmp_path / "index.csv") in str(caught.value)


def test_a_damaged_frame_is_told_by_name(tmp_path: Path) -> None:
    folder = own_split(tmp_path, "image\na.png\n", {"a.png": (40, 40)})
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:-7])
    with pytest.raises(RunFailed, match=r"a\.png: truncated PNG"):
        Split(folder).image(0)


def test_frames_of_several_sizes_are_refused(tmp_path: Path) -> None:
    folder = own_split(tmp_path, "image\na.png\nb.png\n", {"a.png": (4, 4), "b.png": (4, 5)})
    split = Split(folder)
    split.image(0)
    with pytest.raises(RunFailed, match=r"b\.png: image of size \(4, 5\), the first frame has \(4, 4\)"):
        split.image(1)


def test_a_label_of_another_size_is_refused(tmp_path: Path) -> None:
    sizes = {"a.png": (4, 4), "label.png": (5, 4)}
    split = Split(own_split(tmp_path, "image,label\na.png,label.png\n", sizes))
    with pytest.raises(RunFailed, match=r"label\.png"):
        split.label(0)


@pytest.mark.parametrize("crop", [(21, 30), (20, 31), (0, 5)])
def test_a_crop_larger_than_the_frames_is_a_bad_request(crop: tuple[int, int], ready: Path) -> None:
    with pytest.raises(BadRequest, match=r"loop\.crop") as caught:
        Split(ready / "gta5/train").check_crop(crop)
    assert "20x30" in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_crop_as_large_as_the_frames_is_fine(ready: Path) -> None:
    Split(ready / "gta5/train").check_crop((20, 30))


# ---- mapped images


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory, ready: Path) -> Path:
    """The same frames as `ready` has, their images kept as PPM."""
    folder = tmp_path_factory.mktemp("mapped")
    for domain in ("gta5", "cityscapes"):
        raw = find(domain, ready / "raw" / domain)
        remap(raw, folder / domain, size=(20, 30), resample="bicubic", images="ppm", workers=1)
    return folder


@pytest.mark.parametrize("name", ["gta5/train", "cityscapes/train", "cityscapes/val", "cityscapes/oracle"])
def test_mapped_frames_are_those_of_the_png_files(name: str, ready: Path, mapped: Path) -> None:
    ours, theirs = Split(mapped / name), Split(ready / name)
    assert ours.names == theirs.names
    assert ours.size == theirs.size
    for index in range(len(theirs)):
        assert torch.equal(ours.image(index), theirs.image(index))
        if theirs.labelled:
            assert torch.equal(ours.label(index), theirs.label(index))


@pytest.mark.parametrize("flip", [False, True])
def test_batches_of_mapped_frames_are_those_of_the_png_files(flip: bool, ready: Path, mapped: Path) -> None:
    settings = {"seed": 3, "batch": 2, "crop": (7, 11), "start_step": 0, "flip": flip}
    streams = [batches(Split(folder / "gta5/train"), **settings) for folder in (mapped, ready)]
    for _ in range(9):
        ours, theirs = (next(stream) for stream in streams)
        assert torch.equal(ours.image, theirs.image)
        assert torch.equal(ours.label, theirs.label)
        assert ours.image.stride() == theirs.image.stride()  # else a convolution may round otherwise


def test_mapped_images_are_not_kept_and_labels_beside_them_are(mapped: Path) -> None:
    exactly = 3 * 20 * 30  # frames, height, width of the labels alone
    split = Split(mapped / "gta5/train", memory=exactly)
    assert split.keeps
    assert split.label(0) is split.label(0)
    assert split.image(0) is not split.image(0)
    assert not Split(mapped / "gta5/train", memory=exactly - 1).keeps


def test_a_crop_of_a_mapped_image_reads_its_own_rows_only(tmp_path: Path) -> None:
    height, width, header = 20_000, 10_000, b"P6\n10000 20000\n255\n"
    with (tmp_path / "a.ppm").open("wb") as stream:
        stream.write(header)
        stream.seek(len(header) + 3 * width * 15_000)
        stream.write(bytes([1, 2, 3]))
        stream.truncate(len(header) + 3 * width * height)
    (tmp_path / "index.csv").write_text("image\na.ppm\n")
    before = resident()
    image = Split(tmp_path).image(0)
    assert image[:, 15_000:15_002, :2].tolist() == [[[1, 0], [0, 0]], [[2, 0], [0, 0]], [[3, 0], [0, 0]]]
    assert resident() - before < 3 * width * height / 10


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"P6\n2 1\n255\n\1\2\3\4\5", r"a\.ppm: 16 bytes, a PPM of 2x1 has 17"),
        (b"P6\n2 1\n255\n\1\2\3\4\5\6\7", "18 bytes, a PPM of 2x1 has 17"),
        (b"P6\n0 1\n255\n", "11 bytes, a PPM of 0x1 has 11"),
        (b"P6\n# a comment\n2 1\n255\n123456", "not a PPM as 'dacs remap' writes it"),
        (b"P6\n2 1\n65535\n123456123456", "not a PPM as"),
        (b"P5\n2 1\n255\n12", "not a PPM as"),
        (b"", r"not a PPM as 'dacs remap' writes it \(0 bytes\)"),
    ],
)
def test_a_cut_or_foreign_ppm_is_told_by_name(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.ppm").write_bytes(content)
    (tmp_path / "index.csv").write_text("image\na.ppm\n")
    with pytest.raises(RunFailed, match=words) as caught:
        Split(tmp_path).image(0)
    assert str(tmp_path / "a.ppm") in str(caught.value).splitlines()[0]
    assert "dacs remap" in str(caught.value).splitlines()[-1]


# ---- labels at full size


def test_full_labels_have_the_size_of_the_raw_ones(ready: Path) -> None:
    split = Split(ready / "cityscapes/val")
    assert split.full(0).shape == (32, 48)
    assert set(split.full(0).unique().tolist()) <= {*range(19), 255}
    row = (ready / "cityscapes/val/index.csv").read_text().splitlines()[1]
    with Image.open(ready / "cityscapes/val" / row.split(",")[2]) as label:
        assert np.array_equal(split.full(0), np.asarray(label))


def test_full_labels_that_were_not_prepared_are_told_of(ready: Path) -> None:
    with pytest.raises(RunFailed, match=r"index\.csv: has no labels at full size"):
        Split(ready / "cityscapes/oracle").full(0)
