"""Images and labels as people have them: the same rules for frames that are prepared and images that are predicted."""

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import trees
from PIL import Image

from dacs.datasets.decode import BadFrame, decode_label
from dacs.datasets.picture import check_label, decode_picture
from dacs.errors import RunFailed
from dacs.evaluation.pictures import read
from dacs.files import read_json
from dacs.prepare.remap import remap
from dacs.settings import CustomDomain, RemapJob

RED = (250, 20, 20)
ORIENTATION = 0x0112  # of EXIF


def scene(height: int = 16, width: int = 24) -> np.ndarray:
    """A gray photograph whose upper left quarter is red."""
    pixels = np.full((height, width, 3), 90, np.uint8)
    pixels[: height // 2, : width // 2] = RED
    return pixels


def encoded(pixels: np.ndarray, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def png(rows: np.ndarray, bits: int, kind: int) -> bytes:
    """A PNG put together by hand: rows of packed samples, uint8 of shape (height, bytes)."""
    width = rows.shape[1] * 8 // bits // (3 if kind == 2 else 1)
    header = struct.pack(">IIBBBBB", width, len(rows), bits, kind, 0, 0, 0)
    content = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    chunks = (b"IHDR", header), (b"IDAT", content), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(trees.chunk(name, each) for name, each in chunks)


def prepare(folder: Path, size: tuple[int, int] = (16, 24), **changes: Any) -> Path:
    """Prepare the images and labels below a folder; returns the folder of what was prepared."""
    labels = {"labels": f"{folder}/labels/*"} if (folder / "labels").exists() else {}
    content = {"train": {"images": f"{folder}/images/*", **labels}, "classes": {"0": "road", "13": "car"}, "size": size}
    custom = CustomDomain.model_validate({**content, **changes})
    job = RemapJob(domain="fleet", size=size, resample="bicubic", images="png", custom=custom)
    remap(job, folder / "unused", folder / "out", workers=1)
    return folder / "out"


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


# --------------------------------------------------------------------------------------------------------------------
# Images


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize(("turned", "quarters"), [(3, 2), (6, 1), (8, 3)])
def test_a_turned_image_is_prepared_and_predicted_as_viewers_show_it(
    form: str, turned: int, quarters: int, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = turned
    stored = np.ascontiguousarray(np.rot90(scene(), quarters))
    options = {"quality": 95} if form in ("JPEG", "WEBP") else {}
    path = write(tmp_path / "images/0001.tif", encoded(stored, form, exif=exif, **options))
    for found in (read(path), pixels_of(prepare(tmp_path) / "train/images/0001.png")):
        assert found.shape == (16, 24, 3)
        assert np.abs(found.astype(int) - scene())[2:6, 2:9].max() < 40  # away from the edge of the red
        assert np.abs(found.astype(int) - scene())[10:, 14:].max() < 40


def test_a_turned_label_is_turned_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    ids = np.where(scene()[..., 0] == RED[0], 13, 0).astype(np.uint8)
    write(tmp_path / "images/0001.png", encoded(scene(), "PNG"))
    write(tmp_path / "labels/0001.png", encoded(np.ascontiguousarray(np.rot90(ids)), "PNG", exif=exif))
    assert np.array_equal(pixels_of(prepare(tmp_path) / "oracle/labels/0001.png"), ids)


def test_a_label_of_the_stored_pixels_of_a_turned_image_is_refused(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    stored = np.ascontiguousarray(np.rot90(scene()))
    write(tmp_path / "images/0001.jpg", encoded(stored, "JPEG", exif=exif))
    write(tmp_path / "labels/0001.png", encoded(stored[..., 1] * 0, "PNG"))
    with pytest.raises(RunFailed, match=r"is 16x24, its image .* 24x16; was it drawn .* without its EXIF orientation"):
        prepare(tmp_path)


def test_a_jpeg_with_bytes_after_its_end_is_read_and_one_without_its_end_is_refused() -> None:
    whole = encoded(scene(), "JPEG", exif=thumbnail())
    assert np.array_equal(decode_picture(whole + b"\0 appended by a camera" * 20), decode_picture(whole))
    for cut in (1, 2, 30, 200):
        with pytest.raises(BadFrame, match="truncated"):
            decode_picture(whole[:-cut])


def thumbnail() -> bytes:
    """EXIF data that hold a JPEG of their own, with an end mark."""
    return b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + encoded(scene(8, 8), "JPEG")


@pytest.mark.parametrize("form", ["BMP", "TIFF", "PNG", "WEBP"])
def test_formats_without_losses_are_prepared_and_predicted_as_they_are(form: str, tmp_path: Path) -> None:
    path = write(tmp_path / "images/0001.tif", encoded(scene(), form, **{"lossless": True} if form == "WEBP" else {}))
    assert np.array_equal(read(path), scene())
    assert np.array_equal(pixels_of(prepare(tmp_path) / "train/images/0001.png"), scene())


def animation(form: str) -> bytes:
    return encoded(scene(), form, save_all=True, append_images=[Image.fromarray(scene()[::-1])])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda: encoded(scene(), "GIF"), "a GIF"),
        (lambda: encoded(scene(), "PPM"), "a PNM"),
        (lambda: animation("WEBP"), "an animation of 2 frames"),
        (lambda: animation("PNG"), "an animation of 2 frames"),
        (lambda: b"\0\0\0\x18ftypheic" + bytes(40), "a HEIF"),
        (lambda: b"\0\0\0\x18ftypisom" + bytes(40), "a video"),
        (lambda: b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        (lambda: b"", "an empty file"),
        (lambda: b"text", "not an image"),
    ],
)
def test_what_is_not_read_is_refused_by_name_everywhere(content: Any, words: str, tmp_path: Path) -> None:
    path = write(tmp_path / "images/0001.png", content())
    with pytest.raises(BadFrame, match=words):
        read(path)
    with pytest.raises(RunFailed, match=f"0001.png: .*{words}"):
        prepare(tmp_path)


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("shape", [(16, 24), (16, 24, 3)])
def test_of_16_bits_the_upper_are_used_and_12_bits_are_refused_not_black(
    ending: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    samples = np.linspace(0, 65535, int(np.prod(shape))).astype(np.uint16).reshape(shape)
    (tmp_path / "images").mkdir()
    path = tmp_path / f"images/0001{ending}"
    cv2.imwrite(str(path), samples)
    high = (samples >> 8).astype(np.uint8)
    assert np.array_equal(read(path), high[..., ::-1] if len(shape) == 3 else np.dstack([high] * 3))
    report = read_json(prepare(tmp_path) / "data_report.json")
    assert report["summary"] == "read whole, 1 images of 16 bits, whose upper 8 are used"
    cv2.imwrite(str(path), samples >> 4)
    with pytest.raises(BadFrame, match="largest is 4095"):
        read(path)
    with pytest.raises(RunFailed, match="largest is 4095"):
        prepare(tmp_path)


def test_an_image_or_label_of_30000_by_30000_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    bomb = png(np.zeros((1, 30000), np.uint8), 8, 0)
    bomb = bomb.replace(bomb[8:33], trees.chunk(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 8, 0, 0, 0, 0)))
    for check in (decode_picture, check_label):
        with pytest.raises(BadFrame, match="30000x30000 pixels are too many"):
            check(bomb)
    write(tmp_path / "images/0001.png", bomb)
    with pytest.raises(RunFailed, match=r"0001\.png: 30000x30000 pixels are too many"):
        prepare(tmp_path)


def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(BadFrame, match="not a regular file"):
        read(tmp_path / "pipe.png")


def test_frames_of_another_shape_than_the_prepared_size_are_reported(tmp_path: Path) -> None:
    write(tmp_path / "images/wide.png", encoded(scene(), "PNG"))
    write(tmp_path / "images/high.png", encoded(scene(24, 16), "PNG"))
    report = read_json(prepare(tmp_path) / "data_report.json")
    assert report["summary"] == "read whole, 1 frames stretched from another shape to 24x16, such as 16x24"


# --------------------------------------------------------------------------------------------------------------------
# Labels


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", [0, 3])
def test_ids_of_few_bits_are_as_they_were_written(bits: int, kind: int) -> None:
    ids = (np.arange(16) % 2**bits).astype(np.uint8).reshape(2, 8)
    flags = np.unpackbits(ids[..., None], axis=2)[..., 8 - bits :]
    content = png(np.packbits(flags.reshape(2, -1), axis=1), bits, kind)
    if kind == 3:  # a palette of one gray, which only viewers see
        content = content[:33] + trees.chunk(b"PLTE", bytes(3 * 2**bits)) + content[33:]
    assert np.array_equal(decode_label(content), ids)


@pytest.mark.parametrize("highest", [255, 256, 40000, 65535])
def test_ids_of_16_bits_are_as_they_were_written(highest: int, tmp_path: Path) -> None:
    ids = np.array([[0, 7, highest]], ">u2")
    assert decode_label(png(ids.view(np.uint8), 16, 0)).tolist() == [[0, 7, highest]]
    trees.write_red16(tmp_path / "0.png", ids)
    assert decode_label((tmp_path / "0.png").read_bytes()).tolist() == [[0, 7, highest]]
    with pytest.raises(BadFrame, match="ids were expected in red, found one channel"):
        decode_label(png(ids.view(np.uint8), 16, 0), "red")


def test_ids_are_in_the_channel_that_is_named_and_in_red_where_colours_have_16_bits(tmp_path: Path) -> None:
    ids = np.dstack([np.full((2, 3), value, np.uint8) for value in (1, 2, 3)])
    content = encoded(ids, "PNG")
    assert [int(decode_label(content, name).max()) for name in ("red", "green", "blue")] == [1, 2, 3]
    with pytest.raises(BadFrame, match="channel: red"):
        decode_label(content)
    trees.write_red16(tmp_path / "0.png", np.arange(6).reshape(2, 3))
    assert decode_label((tmp_path / "0.png").read_bytes()).tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(BadFrame, match="one channel"):
        decode_label(encoded(ids[..., 0], "PNG"), "red")


@pytest.mark.parametrize(("form", "words"), [("JPEG", "a label as JPEG"), ("BMP", "has to be a PNG, found BMP")])
def test_a_label_that_is_no_png_is_refused_whatever_its_ending(form: str, words: str, tmp_path: Path) -> None:
    write(tmp_path / "images/0001.png", encoded(scene(), "PNG"))
    write(tmp_path / "labels/0001.png", encoded(scene()[..., 0], form))
    with pytest.raises(RunFailed, match=rf"labels/0001\.png: .*{words}"):
        prepare(tmp_path)


def test_16_bit_colours_are_not_looked_up_as_colours_of_8_bits(tmp_path: Path) -> None:
    write(tmp_path / "images/0001.png", encoded(scene(), "PNG"))
    (tmp_path / "labels").mkdir()
    trees.write_red16(tmp_path / "labels/0001.png", np.full((16, 24), 3))
    with pytest.raises(RunFailed, match="8-bit colours were expected, found 16 bits"):
        prepare(tmp_path, classes={"3,0,0": "road", "0,0,0": "ignore"})
