"""From the bytes of one file to pixels, never through a colour conversion, and never from half a file.

Whatever breaks the contract of the data is told by file and cause. Nothing here knows where files lie.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

import cv2
import numpy as np
from PIL import Image

from dacs.errors import RunFailed
from dacs.labels import synthia_to_train

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SHOWN = 10  # faults written out; the rest are counted
Pixels = TypeVar("Pixels")
Decode = Callable[[bytes], np.ndarray]


class BadFrame(RunFailed):
    """One file that breaks the contract of its data set; the message is a single line."""


class Readable(Protocol):
    """Something with content: a file, or a member of an archive."""

    def read(self) -> bytes:
        """Its content."""


# --------------------------------------------------------------------------------------------------------------------
# Labels: the bytes of a file → raw ids, uint8 of shape (height, width)


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
    pixels = _unchanged(content)
    if pixels.dtype != np.uint16 or pixels.ndim != 3 or pixels.shape[2] != 3:
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        raise BadFrame(
            f"16 bits and 3 channels were expected, found {pixels.dtype} and {channels}: "
            f"take GT/LABELS of SYNTHIA-RAND-CITYSCAPES, not GT/COLOR and not a converted copy"
        )
    return _synthia(pixels[..., 2])


def decode_single(content: bytes) -> np.ndarray:
    """SYNTHIA as third parties hand it on: one channel of raw ids, 8 or 16 bits (synthia_mapped_to_cityscapes)."""
    with Image.open(io.BytesIO(content)) as image:
        if image.mode not in ("L", "P", "I;16", "I"):
            raise BadFrame(f"one channel of ids was expected, found mode {image.mode}: take the original GT/LABELS")
        return _synthia(np.asarray(image))


def decode_gray(content: bytes) -> np.ndarray:
    """Cityscapes: labelIds are the gray values of an 8-bit PNG."""
    with Image.open(io.BytesIO(content)) as image:
        if image.mode != "L":
            raise BadFrame(f"an 8-bit gray PNG was expected, found mode {image.mode}: take *_gtFine_labelIds.png")
        return np.asarray(image)


def decode_ids(content: bytes) -> np.ndarray:
    """A data set of one's own: 8-bit ids, as gray values or as indices of a palette."""
    with Image.open(io.BytesIO(content)) as image:
        if image.mode not in ("L", "P"):
            raise BadFrame(f"8-bit ids, gray or palette, were expected, found mode {image.mode}: or are these colours?")
        return np.asarray(image)


def decode_painted(content: bytes, colors: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """A data set of one's own that paints its classes: the id of a pixel is the place of its colour in `colors`."""
    with Image.open(io.BytesIO(content)) as image:
        if image.mode not in ("RGB", "RGBA", "P"):
            raise BadFrame(f"a colour image was expected, found mode {image.mode}: or are these ids?")
        found = _packed(np.asarray(image.convert("RGB"), np.int32))
    known = _packed(np.array(colors, np.int32))
    order = np.argsort(known)
    place = order[np.searchsorted(known, found, sorter=order).clip(max=len(known) - 1)]
    strange = known[place] != found
    if strange.any():
        color = int(found[strange][0])
        raise BadFrame(f"colour {color >> 16},{color >> 8 & 255},{color & 255} is not in the table of classes")
    return place.astype(np.uint8)


def _packed(colors: np.ndarray) -> np.ndarray:
    """Each colour as one number."""
    return np.asarray(colors[..., 0] << 16 | colors[..., 1] << 8 | colors[..., 2])


def _synthia(ids: np.ndarray) -> np.ndarray:
    highest, allowed = int(ids.max()), max(synthia_to_train())
    if highest > allowed:
        raise BadFrame(f"id {highest} is outside the table (0..{allowed})")
    if highest == 0:
        raise BadFrame("every pixel is class 0 (void), as an 8-bit reader leaves it: take the original GT/LABELS")
    return ids.astype(np.uint8)


def _unchanged(content: bytes) -> np.ndarray:
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise BadFrame("the image cannot be decoded")
    return np.asarray(pixels)


# --------------------------------------------------------------------------------------------------------------------
# Images


def decode_image(content: bytes) -> np.ndarray:
    """A photograph as RGB: uint8 of shape (height, width, 3); an alpha channel is dropped, gray is tripled."""
    pixels = _unchanged(content)
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if pixels.dtype != np.uint8:
        raise BadFrame(f"an 8-bit colour image was expected, found {pixels.dtype} and {channels} channels")
    conversion = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}[channels]
    return np.asarray(cv2.cvtColor(pixels, conversion))


# --------------------------------------------------------------------------------------------------------------------
# One file


def read_whole(file: Readable) -> bytes:
    """The bytes of a whole image file. Raises BadFrame for one that is cut or damaged, as far as its format can tell.

    Decoders differ in what they let pass of a truncated file (some fill the rest with gray), so that is not left to
    them: a PNG has its chunks checked, a JPEG its end mark.
    """
    content = _bytes(file)
    if content.startswith(SIGNATURE):
        return _whole_png(file, content)
    if content.startswith(b"\xff\xd8"):
        if b"\xff\xd9" not in content[-64:]:
            raise BadFrame(f"{file}: truncated JPEG ({len(content)} bytes)")
        return content
    raise BadFrame(f"{file}: neither a PNG nor a JPEG ({len(content)} bytes)")


def read_png(file: Readable) -> bytes:
    """The bytes of a whole PNG: signature, every chunk with its checksum, and the end mark."""
    content = _bytes(file)
    if not content.startswith(SIGNATURE):
        raise BadFrame(f"{file}: not a PNG ({len(content)} bytes)")
    return _whole_png(file, content)


def _bytes(file: Readable) -> bytes:
    try:
        return file.read()
    except OSError as error:
        raise BadFrame(f"{file}: cannot be read ({error.strerror})") from error
    except (zipfile.BadZipFile, zlib.error, KeyError) as error:
        raise BadFrame(f"{file}: damaged in its archive ({error})") from error


def _whole_png(file: Readable, content: bytes) -> bytes:
    view, start = memoryview(content), len(SIGNATURE)
    while start + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, start)
        end = start + 8 + length
        if end + 4 > len(content):
            break
        if zlib.crc32(view[start + 4 : end]) != struct.unpack_from(">I", content, end)[0]:
            raise BadFrame(f"{file}: damaged PNG, checksum of its {kind.decode('latin-1')} chunk is wrong")
        if kind == b"IEND":
            return content
        start = end + 4
    raise BadFrame(f"{file}: truncated PNG ({len(content)} bytes)")


def decoded(file: Readable | Path, content: bytes, decode: Callable[[bytes], Pixels]) -> Pixels:
    """The pixels of a file's content; whatever the decoder stumbles on is told with the path."""
    try:
        return decode(content)
    except BadFrame as error:
        raise BadFrame(f"{file}: {error}") from error
    except (OSError, ValueError, SyntaxError, cv2.error, Image.DecompressionBombError) as error:
        raise BadFrame(f"{file}: unreadable image ({error})") from error


def listing(heading: str, faults: Iterable[str]) -> str:
    """A heading, the first ten faults and how many there are beyond."""
    return "\n".join(_lines(heading, list(faults)))


def _lines(heading: str, faults: list[str]) -> Iterator[str]:
    yield f"{heading}:"
    yield from (f"  {fault}" for fault in faults[:SHOWN])
    if len(faults) > SHOWN:
        yield f"  … and {len(faults) - SHOWN} more, {len(faults)} in all"
