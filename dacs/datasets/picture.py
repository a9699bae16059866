"""Images and labels as people have them: which formats are read, upright, and at which size they are refused.

`remap` and `predict` both read images here. What `remap` writes is read by `decode_image` and `decode_palette`.
"""

import io
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import cv2
import numpy as np
from PIL import ExifTags, Image

from dacs.datasets.decode import JPEG, PNG, PNG_END, TO_RGB, BadFrame, decode_unchanged
from dacs.datasets.storage import File

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")  # that are read, by Pillow's names
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")  # of their names
LARGEST = 2**28  # pixels, 16384x16384: a guard against small files that decode to gigabytes
FULL_RANGE = 2**14  # the least maximum of 16-bit samples: below, they hold 14 bits at most and would be dark
MARKER = re.compile(rb"\xff+([^\x00\xff])")  # of a JPEG; 0xff00 is a sample
PNG_EXIF = (b"eXIf", b"Raw profile type")  # how chunks of a PNG start in which an orientation may be
OTHERS = (  # how files start that are taken for images and are not read here
    (re.compile(rb"GIF8"), "a GIF"),
    (re.compile(rb"....ftyp(heic|heix|mif1|msf1|avif)", re.DOTALL), "a HEIF or AVIF image"),
    (re.compile(rb"....ftyp|\x1aE\xdf\xa3|RIFF....AVI ", re.DOTALL), "a video"),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), "a JPEG 2000"),
    (re.compile(rb"P[1-7]\s"), "a PNM image"),
    (re.compile(rb"%PDF"), "a PDF"),
    (re.compile(rb"version https://git-lfs"), "a pointer of Git LFS (run 'git lfs pull')"),
)


@contextmanager
def any_size() -> Iterator[None]:
    """Let `LARGEST` decide, not Pillow's own limit, and keep Pillow's remarks on odd files to itself."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def read_file(file: File) -> bytes:
    """The content of a regular file or of a member of an archive. Raises BadFrame; a named pipe would wait for ever."""
    if not file.member and file.path.exists() and not file.path.is_file():
        raise BadFrame(f"{file}: not a regular file")
    try:
        return file.read()
    except Exception as error:  # of the system, or of zip archives
        raise BadFrame(f"{file}: cannot be read, or is damaged ({error})") from error


def check_label(content: bytes) -> None:
    """Raise BadFrame unless a label is a whole PNG of a sane size."""
    if content.startswith(JPEG):
        raise BadFrame("a label as JPEG, whose losses invent ids at edges: take the original PNG")
    if not content.startswith(PNG):
        raise BadFrame(f"a label has to be a PNG, found {_format(content)}")
    _check_png(content, LARGEST)


def decode_picture(content: bytes, largest: int = LARGEST) -> np.ndarray:
    """An image as viewers show it, as RGB: uint8 of shape (height, width, 3).

    The EXIF orientation is followed, gray is tripled, transparency is dropped, a palette is looked up. Of 16 bits the
    high byte is taken, if they are used. Of a TIFF it is the first page. Raises BadFrame for whatever is wrong.
    """
    try:
        _check_format(content)
        if content.startswith(PNG):
            _check_png(content, largest)
        if content.startswith(JPEG):
            _check_jpeg(content)
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return _rgb(image, content, largest)
    except BadFrame:
        raise
    except Exception as error:  # a decoder stumbles over damage in as many ways as there are bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadFrame(f"not a readable image, or damaged ({len(content)} bytes; {reason})") from error


def is_deep(content: bytes) -> bool:
    """Whether the samples of an image that can be decoded have more than 8 bits."""
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        return _is_deep(image, content)


def orientation(content: bytes) -> int:
    """The EXIF orientation that is to be applied to decoded pixels, 1..8; 1 (upright) where none is readable.

    Decoders turn a TIFF themselves.
    """
    if content.startswith(PNG) and not _has_exif(content):  # Pillow would decode it to look
        return 1
    with suppress(Exception), Image.open(io.BytesIO(content), formats=FORMATS) as image:
        found = image.getexif().get(ExifTags.Base.Orientation, 1) if image.format != "TIFF" else 1
        return found if found in range(1, 9) else 1
    return 1


def _has_exif(content: bytes) -> bool:
    """Whether a PNG has a chunk in which an orientation may be. Its pixels are not searched, which takes longer."""
    return any(mark in content[start : start + 20] for start, _ in _chunks(content) for mark in PNG_EXIF)


def _chunks(content: bytes) -> Iterator[tuple[int, int]]:
    """Where the kind of each chunk of a PNG starts, and where its data end, before its checksum."""
    place = len(PNG)
    while place < len(content) and content[place + 4 : place + 8] != b"IEND":
        end = place + 8 + int.from_bytes(content[place : place + 4], "big")
        yield place + 4, end
        place = end + 4


def upright(pixels: np.ndarray, turned: int) -> np.ndarray:
    """Pixels as stored → as seen, by their EXIF orientation (EXIF 2.32, table 6)."""
    pixels = pixels.swapaxes(0, 1) if turned >= 5 else pixels
    rows = -1 if turned in (3, 4, 7, 8) else 1
    columns = -1 if turned in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(pixels[::rows, ::columns])


def _check_png(content: bytes, largest: int) -> None:
    """Raise BadFrame for too many pixels, or unless every chunk is whole."""
    width, height = (int.from_bytes(content[start : start + 4], "big") for start in (16, 20))  # of the header
    _check_size(width, height, largest)
    if PNG_END not in content:
        raise BadFrame(f"a truncated PNG ({len(content)} bytes)")
    for start, end in _chunks(content):  # in half the time of Pillow's verify
        if zlib.crc32(memoryview(content)[start:end]) != int.from_bytes(content[end : end + 4], "big"):
            kind = content[start : start + 4].decode("latin-1")
            raise BadFrame(f"a damaged PNG (wrong checksum of its {kind} chunk at byte {start - 4})")


def _check_size(width: int, height: int, largest: int) -> None:
    if width * height > largest:
        raise BadFrame(f"{width}x{height} pixels are too many ({largest} at most)")


def _check_format(content: bytes) -> None:
    found = _format(content)
    if found not in FORMATS:
        raise BadFrame(f"{found}, not a PNG, JPEG, TIFF, BMP or WebP: convert it first")


def _format(content: bytes) -> str:
    """The format of a file by how it starts, in words where it is none of FORMATS."""
    if not content:
        return "an empty file"
    for start, name in ((PNG, "PNG"), (JPEG, "JPEG"), (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"BM", "BMP")):
        if content.startswith(start):
            return name
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    known = (name for pattern, name in OTHERS if pattern.match(content))
    return next(known, f"not an image, or damaged from its start ({len(content)} bytes)")


def _check_jpeg(content: bytes) -> None:
    """Raise BadFrame for a JPEG without its end mark, which decoders fill with gray; what follows the mark is left."""
    place = len(JPEG)
    while found := MARKER.search(content, place):
        kind, place = found[1][0], found.end()
        if kind == 0xD9:  # end of image
            return
        if kind != 1 and not 0xD0 <= kind <= 0xD8:  # a segment: its length, then as many bytes, a thumbnail perhaps
            place += max(2, int.from_bytes(content[place : place + 2], "big"))
    raise BadFrame(f"a truncated JPEG ({len(content)} bytes)")


def _is_deep(image: Image.Image, content: bytes) -> bool:
    if image.format == "TIFF":
        bits = image.tag_v2.get(258, (1,))  # type: ignore[attr-defined]  # BitsPerSample
        return max(bits if isinstance(bits, tuple) else (bits,)) > 8
    return image.format == "PNG" and content[24] == 16


def _rgb(image: Image.Image, content: bytes, largest: int) -> np.ndarray:
    _check_size(image.width, image.height, largest)
    if image.format in ("PNG", "WEBP") and getattr(image, "is_animated", False):
        raise BadFrame(f"an animation of {image.n_frames} frames: write its frames to files of their own")  # type: ignore[attr-defined]
    turned = orientation(content)
    if image.format not in ("PNG", "JPEG", "MPO") and not _is_deep(image, content):
        return upright(np.asarray(image.convert("RGB")), turned)
    pixels = decode_unchanged(content)
    if pixels.dtype not in (np.uint8, np.uint16) or pixels.shape[2:] not in TO_RGB:
        raise BadFrame(
            f"samples of type {pixels.dtype} of shape {pixels.shape}; 8 or 16 bits without a sign, gray or RGB, were"
            " expected"
        )
    if pixels.dtype == np.uint16:
        if pixels.max() < FULL_RANGE:
            raise BadFrame(
                f"16-bit samples of which the largest is {pixels.max()}, not of the whole range: they would be dark;"
                " scale them to 8 bits"
            )
        pixels = (pixels >> 8).astype(np.uint8)
    return upright(np.asarray(cv2.cvtColor(pixels, TO_RGB[pixels.shape[2:]])), turned)
