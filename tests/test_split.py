"""The reader of an index: the files' own pixels, kept or decoded again; errors name the file and what to do."""

import os
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from dacs.adaptation.sampling import shuffled
from dacs.errors import BadRequest, RunFailed
from dacs.labels import CITYSCAPES
from dacs.layout import PreparedSplit
from dacs.loading.split import Split
from dacs.loading.stream import Crops, batches

HEIGHT, WIDTH = tiny.SIZES["gta5"]
LABELLED = ("gta5/train", "cityscapes/oracle", "cityscapes/val")


def split_of(folder: Path, memory: int = 2**30) -> Split:
    return Split(PreparedSplit(folder), memory)


def write_split(folder: Path, index: str, **sizes: tuple[int, int]) -> Path:
    """Write an index as given, and black PNG files of the given sizes."""
    for name, size in sizes.items():
        mode = "P" if name.startswith("label") else "RGB"
        Image.fromarray(np.zeros(size, np.uint8)).convert(mode).save(folder / f"{name}.png")
    (folder / "index.csv").write_text(index)
    return folder


def check_error(error: RunFailed, path: Path) -> None:
    assert str(path) in str(error).splitlines()[0]
    assert "dacs remap" in str(error).splitlines()[-1]


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same frames as `ready` has, their images kept as PPM."""
    return tiny.prepare(tmp_path_factory.mktemp("mapped"), images="ppm")


# ---- frames


@pytest.mark.parametrize("memory", [0, 2**30])
@pytest.mark.parametrize("name", [*LABELLED, "cityscapes/train"])
def test_frames_are_what_the_files_hold_png_or_ppm(name: str, memory: int, ready: Path, mapped: Path) -> None:
    split, ppm = split_of(ready / name, memory), split_of(mapped / name, memory)
    rows = [row.split(",") for row in (ready / name / "index.csv").read_text().splitlines()[1:]]
    assert len(split) == len(ppm) == len(rows) == tiny.FRAMES
    assert split.labelled == ppm.labelled == (name in LABELLED)
    assert split.size == ppm.size == tiny.SIZES[name.split("/")[0]]
    assert (split.mapped, ppm.mapped) == (False, True)
    for index, row in enumerate(rows):
        assert split.names[index] == ppm.names[index] == Path(row[0]).stem
        assert split.image(index).dtype == torch.uint8
        assert np.array_equal(split.image(index).permute(1, 2, 0), np.asarray(Image.open(ready / name / row[0])))
        assert torch.equal(ppm.image(index), split.image(index))
        if name in LABELLED:
            assert np.array_equal(split.label(index), np.asarray(Image.open(ready / name / row[1])))
            assert torch.equal(ppm.label(index), split.label(index))
        else:
            assert split.label(index) is ppm.label(index) is None


def test_frames_that_fit_are_decoded_once(ready: Path) -> None:
    exactly = tiny.FRAMES * HEIGHT * WIDTH * 4  # RGB and label
    kept, not_kept = (split_of(ready / "gta5/train", memory) for memory in (exactly, exactly - 1))
    kept.load()
    assert kept.image(1) is kept.image(1)
    assert kept.label(1) is kept.label(1)
    assert not_kept.image(1) is not not_kept.image(1)
    assert torch.equal(not_kept.image(1), kept.image(1))


def test_mapped_images_are_not_kept_and_labels_beside_them_are(mapped: Path) -> None:
    exactly = tiny.FRAMES * HEIGHT * WIDTH  # the labels alone
    split = split_of(mapped / "gta5/train", exactly)
    assert split.keeps
    assert split.label(0) is split.label(0)
    assert split.image(0) is not split.image(0)
    assert not split_of(mapped / "gta5/train", exactly - 1).keeps


@pytest.mark.parametrize("flip", [False, True])
def test_batches_of_mapped_frames_are_those_of_the_png_files(flip: bool, ready: Path, mapped: Path) -> None:
    splits = [split_of(folder / "gta5/train") for folder in (mapped, ready)]
    streams = [batches(Crops(split, shuffled(split, 3), 3, 2, (7, 11), flip), start_step=0) for split in splits]
    for _ in range(9):
        ours, theirs = (next(stream) for stream in streams)
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.labels, theirs.labels)
        assert ours.images.stride() == theirs.images.stride()  # else a convolution may round differently


def test_a_crop_of_a_mapped_image_reads_its_own_rows_only(tmp_path: Path) -> None:
    height, width, header = 20_000, 10_000, b"P6\n10000 20000\n255\n"
    with (tmp_path / "a.ppm").open("wb") as stream:
        stream.write(header)
        stream.seek(len(header) + 3 * width * 15_000)
        stream.write(bytes([1, 2, 3]))
        stream.truncate(len(header) + 3 * width * height)
    (tmp_path / "index.csv").write_text("image\na.ppm\n")
    before = resident()
    image = split_of(tmp_path).image(0)
    assert image[:, 15_000:15_002, :2].tolist() == [[[1, 0], [0, 0]], [[2, 0], [0, 0]], [[3, 0], [0, 0]]]
    assert resident() - before < 3 * width * height / 10


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_full_labels_have_the_size_of_the_raw_ones(ready: Path) -> None:
    val = ready / "cityscapes/val"
    for index, row in enumerate((val / "index.csv").read_text().splitlines()[1:]):
        found = split_of(val).full(index)
        assert found.shape == (2 * tiny.SIZES["cityscapes"][0], 2 * tiny.SIZES["cityscapes"][1])
        assert np.array_equal(found, np.asarray(Image.open(val / row.split(",")[2])))
    with pytest.raises(RunFailed, match=r"index\.csv: has no labels at full size"):
        split_of(ready / "cityscapes/oracle").full(0)


# ---- class counts


@pytest.mark.parametrize("name", LABELLED)
def test_class_counts_are_the_pixels_of_each_class_in_each_frame(name: str, ready: Path) -> None:
    split = split_of(ready / name)
    expected = [[int((split.label(i) == train_id).sum()) for train_id in range(19)] for i in range(tiny.FRAMES)]
    assert split.class_counts().tolist() == expected


def test_class_counts_are_read_whatever_the_frames_are_called(tmp_path: Path) -> None:
    (tmp_path / "a #1.png").touch()
    (tmp_path / "class_counts.csv").write_text(f"{','.join(['image', *CITYSCAPES.names])}\na #1.png{',2' * 19}\n")
    assert split_of(write_split(tmp_path, "image\na #1.png\n")).class_counts().tolist() == [[2] * 19]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (None, "not a table of class counts"),
        (f"a.png{',1' * 18}\n", "not a table of class counts"),
        (f"a.png{',x' * 19}\n", "not a table of class counts"),
        (f"a.png{',1' * 19}\n" * 2, "has 2 rows, the index lists 1 frames"),
    ],
    ids=["missing", "short", "text", "other frames"],
)
def test_wrong_class_counts_are_an_error(rows: str | None, words: str, tmp_path: Path) -> None:
    if rows:
        (tmp_path / "class_counts.csv").write_text(",".join(["image", *CITYSCAPES.names]) + "\n" + rows)
    with pytest.raises(RunFailed, match=words) as caught:
        split_of(write_split(tmp_path, "image\na.png\n", a=(4, 4))).class_counts()
    check_error(caught.value, tmp_path / "class_counts.csv")


# ---- what is wrong with a folder


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (None, "not found"),
        ("", "lists no frames"),
        ("image,label\n", "lists no frames"),
        ("image\n\n", "lists no frames"),
        ("picture\na.png\n", "no column 'image'"),
        ("image\na.png\ngone.png\n", r"1 files .*\n  gone.png"),
        ("image,label\na.png\n", r"1 files .*\n  row 2: no label"),
        ("image\n" + "".join(f"gone{number}.png\n" for number in range(12)), "12 in all"),
    ],
)
def test_a_missing_or_wrong_index_is_an_error(index: str | None, words: str, tmp_path: Path) -> None:
    write_split(tmp_path, index or "", a=(4, 4))
    if index is None:
        (tmp_path / "index.csv").unlink()
    with pytest.raises(RunFailed, match=words) as caught:
        split_of(tmp_path)
    check_error(caught.value, tmp_path / "index.csv")


def test_a_damaged_frame_is_an_error(tmp_path: Path) -> None:
    folder = write_split(tmp_path, "image\na.png\n", a=(40, 40))
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:-7])
    with pytest.raises(RunFailed, match=r"a\.png: truncated") as caught:
        split_of(folder).image(0)
    check_error(caught.value, folder / "a.png")


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
def test_another_or_a_truncated_ppm_is_an_error(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.ppm").write_bytes(content)
    with pytest.raises(RunFailed, match=words) as caught:
        split_of(write_split(tmp_path, "image\na.ppm\n")).image(0)
    check_error(caught.value, tmp_path / "a.ppm")


def test_frames_or_labels_of_several_sizes_are_refused(tmp_path: Path) -> None:
    index = "image,label\na.png,label.png\nb.png,label.png\n"
    split = split_of(write_split(tmp_path, index, a=(4, 4), b=(4, 5), label=(5, 4)))
    with pytest.raises(RunFailed, match=r"b\.png: image of size \(4, 5\), the first frame has \(4, 4\)"):
        split.image(1)
    with pytest.raises(RunFailed, match=r"label\.png: label of size \(5, 4\)"):
        split.label(0)


@pytest.mark.parametrize("crop", [(HEIGHT + 1, WIDTH), (HEIGHT, WIDTH + 1), (0, 5)])
def test_a_crop_larger_than_the_frames_is_a_bad_request(crop: tuple[int, int], ready: Path) -> None:
    split = split_of(ready / "gta5/train")
    split.check_crop((HEIGHT, WIDTH))
    with pytest.raises(BadRequest, match=rf"loop\.crop.* which are {HEIGHT}x{WIDTH}"):
        split.check_crop(crop)
