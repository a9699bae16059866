"""From the bytes of one file to pixels, never through a colour conversion, and never from a part of a file.

Whatever breaks the contract of the data is reported with file and cause.
"""

import io
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from dacs.datasets.storage import File
from dacs.errors import RunFailed

PNG, PNG_END = b"\x89PNG\r\n\x1a\n", b"\0\0\0\0IEND\xaeB`\x82"  # signature; the last chunk
JPEG, JPEG_END = b"\xff\xd8", b"\xff\xd9"
LISTED = 10  # faults written out; the rest are counted
UNREADABLE = (OSError, ValueError, SyntaxError, cv2.error, Image.DecompressionBombError)  # what decoders raise
Decode = Callable[[bytes], np.ndarray]  # bytes of a label file → raw ids: uint8 of shape (height, width)


class BadFrame(RunFailed):
    """One file that breaks the contract of its data set; the message is a single line."""


def read_whole(file: File) -> bytes:
    """The bytes of a whole PNG or JPEG. Raises BadFrame for one that is truncated or damaged, as far as it can tell.

    Decoders differ in what they accept of a truncated file (some fill the rest with gray), so that is not left to
    them: of a PNG every chunk is checked, of a JPEG the end mark.
    """
    try:
        content = file.read()
        if content.startswith(PNG):
            whole = content.rfind(PNG_END) > 0  # which Pillow does not look at
            if whole:
                with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
                    image.verify()
        elif content.startswith(JPEG):
            whole = JPEG_END in content[-64:]
        else:
            raise BadFrame(f"{file}: neither a PNG nor a JPEG ({len(content)} bytes)")
    except (*UNREADABLE, zipfile.BadZipFile, zlib.error, KeyError) as error:
        raise BadFrame(f"{file}: cannot be read, or is damaged ({error})") from error
    if not whole:
        raise BadFrame(f"{file}: truncated image ({len(content)} bytes)")
    return content


def decode_file(file: File | Path, content: bytes, decode: Decode) -> np.ndarray:
    """The pixels of a file's content; whatever the decoder raises is reported with the path."""
    try:
        return decode(content)
    except BadFrame as error:
        raise BadFrame(f"{file}: {error}") from error
    except UNREADABLE as error:
        raise BadFrame(f"{file}: unreadable image ({error})") from error


def decode_image(content: bytes) -> np.ndarray:
    """A photograph as RGB: uint8 of shape (height, width, 3); an alpha channel is dropped, gray is tripled."""
    pixels = decode_unchanged(content)
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if pixels.dtype != np.uint8:
        raise BadFrame(f"an 8-bit colour image was expected, found {pixels.dtype} and {channels} channels")
    conversion = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}[channels]
    return np.asarray(cv2.cvtColor(pixels, conversion))


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
            raise BadFrame(
                f"ids were expected, in mode {' or '.join(modes)}, found mode {image.mode}: a converted copy?"
            )
        return np.asarray(image)


def decode_palette(content: bytes) -> np.ndarray:
    """Ids that are indices of a palette."""
    return decode_ids(content, ("P",))


def decode_colors(content: bytes, colors: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """Labels that are painted: the id of a pixel is the index of its colour in `colors`."""
    with Image.open(io.BytesIO(content)) as image:
        if image.mode not in ("RGB", "RGBA", "P"):
            raise BadFrame(f"a colour image was expected, found mode {image.mode}: or are these ids?")
        found = _packed(np.asarray(image.convert("RGB"), np.int32))
    known = _packed(np.array(colors, np.int32))
    order = np.argsort(known)
    index = order[np.searchsorted(known, found, sorter=order).clip(max=len(known) - 1)]
    unknown = known[index] != found
    if unknown.any():
        color = int(found[unknown][0])
        raise BadFrame(f"colour {color >> 16},{color >> 8 & 255},{color & 255} is not in the table of classes")
    return index.astype(np.uint8)


def listing(heading: str, faults: Iterable[str]) -> str:
    """A heading, the first ten faults and how many there are in all."""
    faults = list(faults)
    rest = [f"… and {len(faults) - LISTED} more, {len(faults)} in all"] if len(faults) > LISTED else []
    return "\n  ".join([f"{heading}:", *faults[:LISTED], *rest])


def _packed(colors: np.ndarray) -> np.ndarray:
    """Each colour as one number."""
    return np.asarray(colors[..., 0] << 16 | colors[..., 1] << 8 | colors[..., 2])


read_png = read_whole  # old name, until dacs.loading.split has moved; to be deleted
