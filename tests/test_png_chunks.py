"""What is read of a PNG beside its pixels: that every chunk is whole, and an orientation wherever its chunk is."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image

from dacs.datasets.decode import PNG, BadFrame
from dacs.datasets.picture import check_label, decode_picture, orientation

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)


def encoded(turned: int | None = None) -> bytes:
    exif, buffer = Image.Exif(), io.BytesIO()
    if turned:
        exif[ExifTags.Base.Orientation] = turned
    Image.fromarray(PIXELS).save(buffer, "PNG", exif=exif if turned else None)
    return buffer.getvalue()


def chunks(content: bytes) -> list[bytes]:
    """Each chunk with its length and its checksum."""
    place, found = len(PNG), list[bytes]()
    while place < len(content):
        (length,) = struct.unpack_from(">I", content, place)
        found.append(content[place : place + length + 12])
        place += length + 12
    return found


def with_text(content: bytes, kind: bytes, text: bytes) -> bytes:
    """With one more chunk, before the last."""
    *first, last = chunks(content)
    added = struct.pack(">I", len(text)) + kind + text + struct.pack(">I", zlib.crc32(kind + text))
    return b"".join([PNG, *first, added, last])


def test_an_orientation_counts_before_and_behind_the_pixels_and_not_as_words_in_a_text() -> None:
    turned = encoded(6)
    head, *others, last = chunks(turned)
    exif = [chunk for chunk in others if chunk[4:8] == b"eXIf"]
    rest = [chunk for chunk in others if chunk[4:8] != b"eXIf"]
    assert len(exif) == 1
    for order in ([*exif, *rest], [*rest, *exif]):
        assert orientation(b"".join([PNG, head, *order, last])) == 6
    assert orientation(with_text(encoded(), b"tEXt", b"Comment\0 eXIf and IDAT")) == 1
    assert decode_picture(turned).shape == (24, 16, 3)


@pytest.mark.parametrize("check", [decode_picture, check_label])
def test_a_changed_bit_of_any_chunk_is_refused(check: object) -> None:
    assert callable(check)
    whole = with_text(encoded(), b"tEXt", b"Comment\0 a text")
    check(whole)
    place = len(PNG)
    for chunk in chunks(whole)[:-1]:
        for byte in (place + 9, place + len(chunk) - 2):  # of its data and of its checksum
            damaged = whole[:byte] + bytes([whole[byte] ^ 1]) + whole[byte + 1 :]
            with pytest.raises(BadFrame, match=r"damaged PNG|pixels are too many"):
                check(damaged)
        place += len(chunk)
    assert place == len(whole) - 12


def test_a_chunk_that_is_longer_than_the_file_is_refused() -> None:
    whole = encoded()
    with pytest.raises(BadFrame, match="damaged PNG"):
        check_label(whole[:33] + b"\xff" + whole[34:])
