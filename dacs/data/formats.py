"""How GTA5, SYNTHIA-RAND-CITYSCAPES and Cityscapes lie on a disk: a table of three rows and the readers it names.

Nothing here writes, resizes or knows of train steps. Labels are read as the raw ids of their data set, never through a
colour conversion, and whatever breaks the contract of the data is told by file and cause.
"""

import io
import json
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
from PIL import Image

from dacs.errors import BadRequest, RunFailed
from dacs.labels import cityscapes_to_train, gta5_to_train, synthia_to_train

SIGNATURE = b"\x89PNG\r\n\x1a\n"
Pixels = TypeVar("Pixels")
SHOWN = 10  # faults written out; the rest are counted


class BadFrame(RunFailed):
    """One file that breaks the contract of its data set; the message is a single line."""


class Frame(NamedTuple):
    """An image and its label on the disk, under the name that both keep from here on."""

    name: str
    image: Path
    label: Path


# --------------------------------------------------------------------------------------------------------------------
# Decoders of labels: the bytes of a PNG → raw ids, uint8 of shape (height, width)


def decode_palette(content: bytes) -> np.ndarray:
    """GTA5: the index of the palette is the id; the colours are for the eye (four ids share black)."""
    with Image.open(io.BytesIO(content)) as image:
        if image.mode != "P":
            raise BadFrame(f"a palette PNG was expected, found mode {image.mode}: something has converted it")
        return np.asarray(image)


def decode_red16(content: bytes) -> np.ndarray:
    """SYNTHIA: the class is the red channel of a 16-bit colour PNG.

    Pillow keeps only the high byte of each sample, which is class 0 everywhere and raises nothing; OpenCV keeps all 16
    bits, blue first.
    """
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise BadFrame("the PNG cannot be decoded")
    if pixels.dtype != np.uint16 or pixels.ndim != 3 or pixels.shape[2] != 3:
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        raise BadFrame(
            f"16 bits and 3 channels were expected, found {pixels.dtype} and {channels}: "
            f"take GT/LABELS of SYNTHIA-RAND-CITYSCAPES, not GT/COLOR and not a converted copy"
        )
    red = pixels[..., 2]
    highest = int(red.max())
    if highest > max(synthia_to_train()):
        raise BadFrame(f"id {highest} is outside the table (0..{max(synthia_to_train())})")
    if highest == 0:
        raise BadFrame("every pixel is class 0 (void), as an 8-bit reader leaves it: take the original GT/LABELS")
    return red.astype(np.uint8)


def decode_gray(content: bytes) -> np.ndarray:
    """Cityscapes: labelIds are the gray values of an 8-bit PNG."""
    with Image.open(io.BytesIO(content)) as image:
        if image.mode != "L":
            raise BadFrame(f"an 8-bit gray PNG was expected, found mode {image.mode}: take *_gtFine_labelIds.png")
        return np.asarray(image)


def decode_image(content: bytes) -> Image.Image:
    """A photograph as 8-bit RGB; an alpha channel is dropped."""
    with Image.open(io.BytesIO(content)) as image:
        if image.mode not in ("RGB", "RGBA", "L"):
            raise BadFrame(f"an 8-bit colour image was expected, found mode {image.mode}")
        return image.convert("RGB")


# --------------------------------------------------------------------------------------------------------------------
# The table


class Format(NamedTuple):
    """One data set on the disk."""

    images: str  # folder below the raw one; {split} stands for the split
    labels: str
    image_end: str  # what follows the name of a frame in the names of its files
    label_end: str
    splits: dict[str, str]  # raw split → prepared split that gets its labels
    decode: Callable[[bytes], np.ndarray]
    train_ids: dict[int, int]  # raw id → train id; any other id is a fault
    dropped: frozenset[str] = frozenset()  # known defects that cannot be used, by name
    mended: frozenset[str] = frozenset()  # known defects whose label is brought to the size of its image


FORMATS = {
    "gta5": Format(
        images="images",
        labels="labels",
        image_end=".png",
        label_end=".png",
        splits={"train": "train"},
        decode=decode_palette,
        train_ids=gta5_to_train(),
        dropped=frozenset({"15188", "17705"}),  # all white and all black, half the size
        mended=frozenset(f"{number:05d}" for number in range(20801, 20861)),  # the "60 frames" of the official page
    ),
    "synthia": Format(
        images="RAND_CITYSCAPES/RGB",
        labels="RAND_CITYSCAPES/GT/LABELS",
        image_end=".png",
        label_end=".png",
        splits={"train": "train"},
        decode=decode_red16,
        train_ids=synthia_to_train(),
    ),
    "cityscapes": Format(
        images="leftImg8bit/{split}",
        labels="gtFine/{split}",
        image_end="_leftImg8bit.png",
        label_end="_gtFine_labelIds.png",
        splits={"train": "oracle", "val": "val"},  # adaptation must not see the target's training labels
        decode=decode_gray,
        train_ids=cityscapes_to_train(),
    ),
}


def format_of(domain: str) -> Format:
    """The row of a domain."""
    if domain not in FORMATS:
        raise BadRequest(f"'{domain}' is no domain.\nChoose one of {', '.join(FORMATS)}.")
    return FORMATS[domain]


# --------------------------------------------------------------------------------------------------------------------
# Which frames there are


def frames(domain: str, raw: Path) -> dict[str, list[Frame]]:
    """Every frame of a raw folder by split, in the order of names, without the dropped ones.

    Raises RunFailed where a folder is missing, a split is empty, an image has no label or a label no image, or the
    manifest of the folder promises something else.
    """
    form = format_of(domain)
    pairs = {split: _pairs(form, raw, split) for split in form.splits}
    _keep_the_promise(domain, raw, {split: len(found) for split, found in pairs.items()})
    usable = {split: [frame for frame in found if frame.name not in form.dropped] for split, found in pairs.items()}
    for split in (split for split, found in usable.items() if not found):
        raise RunFailed(
            f"{raw / form.images.format(split=split)}: split '{split}' is empty, no usable *{form.image_end} there.\n"
            f"Make or unpack the data again."
        )
    return usable


def _pairs(form: Format, raw: Path, split: str) -> list[Frame]:
    images = _named(raw / form.images.format(split=split), form.image_end)
    labels = _named(raw / form.labels.format(split=split), form.label_end)
    alone = [f"{path}: image without label" for key, path in images.items() if key not in labels]
    alone += [f"{path}: label without image" for key, path in labels.items() if key not in images]
    if alone:
        raise RunFailed(
            listing(f"{raw}: {len(alone)} files of split '{split}' have no partner", alone)
            + "\nBring the missing files, or remove these; an interrupted unpacking leaves such pairs."
        )
    return sorted(Frame(Path(key).name, images[key], labels[key]) for key in images)


def _named(folder: Path, end: str) -> dict[str, Path]:
    """Files below a folder by their path without `end`; hidden files are not data."""
    if not folder.is_dir():
        raise RunFailed(f"{folder}: no such folder.\nMake it by 'dacs world' or unpack the data set there.")
    found = {path: path.relative_to(folder).as_posix() for path in folder.rglob(f"*{end}")}
    return {key.removesuffix(end): path for path, key in sorted(found.items()) if not path.name.startswith(".")}


def _keep_the_promise(domain: str, raw: Path, found: dict[str, int]) -> None:
    """Compare with manifest.json, which the world and the download write last; a folder of one's own has none."""
    path = raw / "manifest.json"
    if not path.exists():
        return
    try:
        manifest = json.loads(path.read_text())
        promised = (manifest["domain"], manifest["frames"])
    except (ValueError, TypeError, KeyError) as error:
        raise RunFailed(f"{path}: not a manifest ({error!r}).\nMake the raw data again.") from error
    if promised != (domain, found):
        raise RunFailed(
            f"{path}: promises {promised[0]} with frames {promised[1]}, found {domain} with frames {found}.\n"
            f"The folder is not whole, or is another one: make or unpack the data again."
        )


# --------------------------------------------------------------------------------------------------------------------
# Reading one file


def read_label(domain: str, path: Path) -> np.ndarray:
    """Raw ids of a label: uint8 of shape (height, width). Raises BadFrame with the path and the cause."""
    return decoded(path, read_png(path), format_of(domain).decode)


def read_image(path: Path) -> Image.Image:
    """A photograph as 8-bit RGB. Raises BadFrame with the path and the cause."""
    return decoded(path, read_png(path), decode_image)


def read_png(path: Path) -> bytes:
    """The bytes of a whole PNG: signature, every chunk with its checksum, and the end mark.

    Decoders differ in what they let pass of a truncated file (some fill the rest with zeros), so that is not left to
    them.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadFrame(f"{path}: cannot be read ({error.strerror})") from error
    if not content.startswith(SIGNATURE):
        raise BadFrame(f"{path}: not a PNG ({len(content)} bytes)")
    view, start = memoryview(content), len(SIGNATURE)
    while start + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, start)
        end = start + 8 + length
        if end + 4 > len(content):
            break
        if zlib.crc32(view[start + 4 : end]) != struct.unpack_from(">I", content, end)[0]:
            raise BadFrame(f"{path}: damaged PNG, checksum of its {kind.decode('latin-1')} chunk is wrong")
        if kind == b"IEND":
            return content
        start = end + 4
    raise BadFrame(f"{path}: truncated PNG ({len(content)} bytes)")


def decoded(path: Path, content: bytes, decode: Callable[[bytes], Pixels]) -> Pixels:
    """The pixels of a file's content; whatever the decoder stumbles on is told with the path."""
    try:
        return decode(content)
    except BadFrame as error:
        raise BadFrame(f"{path}: {error}") from error
    except (OSError, ValueError, SyntaxError, cv2.error, Image.DecompressionBombError) as error:
        raise BadFrame(f"{path}: unreadable PNG ({error})") from error


def listing(heading: str, faults: Iterable[str]) -> str:
    """A heading, the first ten faults and how many there are beyond."""
    return "\n".join(_lines(heading, list(faults)))


def _lines(heading: str, faults: list[str]) -> Iterator[str]:
    yield f"{heading}:"
    yield from (f"  {fault}" for fault in faults[:SHOWN])
    if len(faults) > SHOWN:
        yield f"  … and {len(faults) - SHOWN} more, {len(faults)} in all"
