"""From the bytes of one whole file to pixels; whatever breaks the contract of the data is reported with the file."""

import io
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from PIL import Image

from dacs.datasets.storage import File
from dacs.errors import RunFailed

PNG, PNG_END = b"\x89PNG\r\n\x1a\n", b"\0\0\0\0IEND\xaeB`\x82"  # signature; the last chunk
JPEG, JPEG_END = b"\xff\xd8", b"\xff\xd9"
LISTED = 10  # faults written out; the rest are counted
UNREADABLE = (OSError, ValueError, SyntaxError, cv2.error, Image.DecompressionBombError)  # what decoders raise
TO_RGB = {(): cv2.COLOR_GRAY2RGB, (3,): cv2.COLOR_BGR2RGB, (4,): cv2.COLOR_BGRA2RGB}  # by channels
Decode = Callable[[bytes], np.ndarray]  # bytes of a label file → raw ids: uint8 or uint16 of shape (height, width)
CHANNELS = ("red", "green", "blue")
COLORED = (2, 6)  # kinds of PNG: RGB, RGB with alpha; 0 is gray, 3 a palette, 4 gray with alpha
T = TypeVar("T")


class BadFrame(RunFailed):
    """One file that breaks the contract of its data set; the message is a single line."""


def read_whole(file: File) -> bytes:
    """The bytes of a PNG all of whose chunks are whole, or of a JPEG with its end mark. Raises BadFrame otherwise.

    Decoders accept some truncated files, and fill the rest with gray.
    """
    try:
        content = file.read()
        if content.startswith(PNG) and PNG_END in content:
            with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
                image.verify()  # every chunk but the last
            return content
    except (*UNREADABLE, zipfile.BadZipFile, zlib.error, KeyError) as error:
        raise BadFrame(f"{file}: cannot be read, or is damaged ({error})") from error
    if content.startswith(JPEG) and JPEG_END in content[-64:]:
        return content
    raise BadFrame(f"{file}: truncated, or neither a PNG nor a JPEG ({len(content)} bytes)")


def decode_file(file: File | Path, content: bytes, decode: Callable[[bytes], T]) -> T:
    """What `decode` makes of a file's content; whatever it raises is reported with the path."""
    try:
        return decode(content)
    except (BadFrame, *UNREADABLE) as error:
        raise BadFrame(f"{file}: {error}") from error


def decode_image(content: bytes) -> np.ndarray:
    """A photograph as RGB: uint8 of shape (height, width, 3); an alpha channel is dropped, gray is tripled."""
    pixels = decode_unchanged(content)
    if pixels.dtype != np.uint8:
        raise BadFrame(f"an 8-bit image was expected, found {pixels.dtype}")
    return np.asarray(cv2.cvtColor(pixels, TO_RGB[pixels.shape[2:]]))


def decode_unchanged(content: bytes) -> np.ndarray:
    """The samples as they are stored, of any depth; channels in the order blue, green, red."""
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise BadFrame("the image cannot be decoded")
    return np.asarray(pixels)


def decode_ids(content: bytes, modes: tuple[str, ...] = ("L", "P")) -> np.ndarray:
    """8-bit ids: gray values (mode L) or indices of a palette (P), whose colours are for viewers only."""
    with Image.open(io.BytesIO(content)) as image:
        if image.mode not in modes:
            raise BadFrame(f"ids were expected, in mode {' or '.join(modes)}, found {image.mode}: a converted copy?")
        return np.asarray(image)


def decode_label(content: bytes, channel: str | None = None) -> np.ndarray:
    """Ids of a PNG of any depth: gray values as they are written, indices of a palette, or one channel of colours.

    Pillow and OpenCV scale gray of 1, 2 and 4 bits to 0..255; that is undone. Without `channel` a colour PNG of 16 bits
    is read as SYNTHIA's are, by its red.
    """
    bits, kind = content[24], content[25]  # of the header
    if kind in COLORED:
        if not (channel or bits == 16):
            raise BadFrame("ids were expected, found colours: name their channel (channel: red), or list colours")
        ids = decode_unchanged(content)[..., 2 - CHANNELS.index(channel or "red")]
        if not (channel or ids.any()):
            raise BadFrame("ids were expected, found 16-bit colours without red: name their channel (channel: green)")
    elif channel or kind not in (0, 3):
        found = "gray with alpha" if kind == 4 else "one channel"
        raise BadFrame(f"ids were expected in {channel or 'one channel'}, found {found}")
    else:
        with Image.open(io.BytesIO(content)) as image:
            ids = np.asarray(image)
        if kind == 0 and bits in (2, 4):
            ids = ids // np.uint8(255 // (2**bits - 1))
    return ids.astype(np.uint8 if ids.max() < 256 else np.uint16)  # 8 bits are counted and looked up in less time


def decode_palette(content: bytes) -> np.ndarray:
    """Ids that are indices of a palette."""
    return decode_ids(content, ("P",))


def decode_colors(content: bytes, colors: Sequence[tuple[int, ...]]) -> np.ndarray:
    """Labels that are painted: the id of a pixel is the index of its colour in `colors`."""
    if content[24] == 16:
        raise BadFrame("8-bit colours were expected, found 16 bits: are these ids in one channel (channel: red)?")
    with Image.open(io.BytesIO(content)) as image:
        if image.mode not in ("RGB", "RGBA", "P"):
            raise BadFrame(f"a colour image was expected, found mode {image.mode}: or are these ids?")
        pixels = np.array(image.convert("RGB").convert("RGBA"))
    found = pixels.view(np.uint32)[..., 0]  # a colour as one number
    known = np.array([(*color, 255) for color in colors], np.uint8).view(np.uint32)[:, 0]
    order = np.argsort(known)
    index = order[np.searchsorted(known, found, sorter=order).clip(max=len(known) - 1)]
    unknown = pixels[known[index] != found]
    if len(unknown):
        raise BadFrame(f"colour {','.join(map(str, unknown[0, :3]))} is not in the table of classes")
    return index.astype(np.uint8 if len(colors) <= 256 else np.uint16)


def listing(heading: str, faults: Iterable[str]) -> str:
    """A heading, the first ten faults and how many there are in all."""
    faults = list(faults)
    rest = [f"… and {len(faults) - LISTED} more, {len(faults)} in all"] if len(faults) > LISTED else []
    return "\n  ".join([f"{heading}:", *faults[:LISTED], *rest])
