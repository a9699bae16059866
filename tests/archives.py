"""Archives made byte by byte, so that they can say anything: a zip, a RAR 4 and a RAR 5, and stand-ins for tools."""

import os
import struct
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

FOLDER, FILE, LINK, FIFO, CHAR, BLOCK, SOCKET = 0o040755, 0o100600, 0o120777, 0o010644, 0o020644, 0o060644, 0o140755
STORED, PACKED = 0, 8  # methods of a zip
RAR_STORED, RAR_PACKED = 0x30, 0x33  # of a RAR


class Item(NamedTuple):
    """A member, honest unless told otherwise."""

    name: bytes
    content: bytes = b""
    mode: int = FILE
    method: int | None = None  # packed in a zip, stored in a RAR
    flags: int = 0
    declared: int | None = None  # bytes that the listing promises
    crc: int | None = None
    redirected: tuple[int, bytes] | None = None  # RAR 5: kind of link, and where to
    version: int = 29  # RAR 4: of the program that is needed


def crc_of(item: Item) -> int:
    return zlib.crc32(item.content) if item.crc is None else item.crc


def size_of(item: Item) -> int:
    return len(item.content) if item.declared is None else item.declared


def deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


# ---- zip


def zipped(items: Sequence[Item], zip64: bool = False) -> bytes:
    """A zip of `items`; with `zip64`, sizes and places are written in the wide fields."""
    body, directory = b"", b""
    for item in items:
        method = PACKED if item.method is None else item.method
        data = deflated(item.content) if method == PACKED else item.content
        wide = b"" if not zip64 else struct.pack("<HHQQQ", 1, 24, size_of(item), len(data), len(body))
        sizes = (0xFFFFFFFF, 0xFFFFFFFF) if zip64 else (len(data), size_of(item))
        common = struct.pack("<HHHHHLLL", 45, item.flags, method, 0, 0x21, crc_of(item), *sizes)
        place = 0xFFFFFFFF if zip64 else len(body)
        directory += (
            b"PK\x01\x02\x2d\x03"
            + common
            + struct.pack("<HHHHHLL", len(item.name), len(wide), 0, 0, 0, item.mode << 16, place)
        )
        directory += item.name + wide
        local = struct.pack("<HHQQ", 1, 16, size_of(item), len(data)) if zip64 else b""
        body += b"PK\x03\x04" + common + struct.pack("<HH", len(item.name), len(local)) + item.name + local + data
    return body + directory + _zip_end(len(items), len(directory), len(body), zip64)


def _zip_end(count: int, size: int, place: int, zip64: bool) -> bytes:
    if not zip64:
        return b"PK\x05\x06" + struct.pack("<HHHHLLH", 0, 0, count, count, size, place, 0)
    wide = b"PK\x06\x06" + struct.pack("<QHHLLQQQQ", 44, 45, 45, 0, 0, count, count, size, place)
    locator = b"PK\x06\x07" + struct.pack("<LQL", 0, place + size, 1)
    return wide + locator + b"PK\x05\x06" + struct.pack("<HHHHLLH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)


# ---- RAR 4

RAR4_END = b"\xc4\x3d\x7b\x00\x40\x07\x00"


def rar4(items: Sequence[Item], end: bytes = RAR4_END, main_flags: int = 0) -> bytes:
    """A RAR as versions 2.9 to 4 write it, by Unix."""
    main = _block4(struct.pack("<BHH6x", 0x73, main_flags, 13))
    return b"Rar!\x1a\x07\x00" + main + b"".join(map(_file4, items)) + end


def _file4(item: Item) -> bytes:
    method = item.method or RAR_STORED
    numbers = struct.pack(
        "<LLBLLBBHL",
        len(item.content),
        size_of(item),
        3,
        crc_of(item),
        0x21 << 16,
        item.version,
        method,
        len(item.name),
        item.mode,
    )
    flags = 0x8000 | item.flags | (0xE0 if item.mode == FOLDER else 0)
    return (
        _block4(struct.pack("<BHH", 0x74, flags, 7 + len(numbers) + len(item.name)) + numbers + item.name)
        + item.content
    )


def _block4(header: bytes) -> bytes:
    return struct.pack("<H", zlib.crc32(header) & 0xFFFF) + header


# ---- RAR 5

RAR5_LOCKED = b"\x04\x00\x00\x00\x0f" + bytes(16)  # an encryption block: AES, no check value
UNIX_LINK, WINDOWS_LINK, JUNCTION, HARD_LINK, COPY = 1, 2, 3, 4, 5


def rar5(items: Sequence[Item], first: bytes = b"\x01\x00\x00", end: bytes = b"\x05\x00\x00") -> bytes:
    """A RAR as versions 5 and later write it, by Unix."""
    blocks = [_block5(first), *map(_file5, items), _block5(end) if end else b""]
    return b"Rar!\x1a\x07\x01\x00" + b"".join(blocks)


def _file5(item: Item) -> bytes:
    extra = b"" if item.redirected is None else _redirection(*item.redirected)
    head = b"\x02" + vint(2 | bool(extra)) + (vint(len(extra)) if extra else b"") + vint(len(item.content))
    kind = 4 | (item.mode == FOLDER)
    method = (item.method or RAR_STORED) - RAR_STORED
    sizes = vint(kind) + vint(size_of(item)) + vint(item.mode) + struct.pack("<L", crc_of(item))
    return _block5(head + sizes + vint(method << 7) + b"\x01" + vint(len(item.name)) + item.name + extra) + item.content


def _redirection(kind: int, target: bytes) -> bytes:
    record = b"\x05" + vint(kind) + b"\x00" + vint(len(target)) + target
    return vint(len(record)) + record


def _block5(header: bytes) -> bytes:
    sized = vint(len(header)) + header
    return struct.pack("<L", zlib.crc32(sized)) + sized


def vint(value: int) -> bytes:
    """A number in groups of seven bits, the lowest first."""
    groups = [value >> shift & 0x7F for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes(group | 0x80 for group in groups[:-1]) + bytes(groups[-1:])


# ---- stand-ins for tools

CALLED_AS = {"unar": (-2, -1), "bsdtar": (-3, -1), "unrar": (-1, -2)}  # where folder and archive stand


def stand_in(name: str, folder: Path, body: str) -> None:
    """A program called `name` in `folder` that runs `body` with `out` and `archive` as the real one is given them."""
    out, archive = CALLED_AS[name]
    script = folder / name
    script.parent.mkdir(exist_ok=True)
    script.write_text(
        f"#!{sys.executable} -ISB\nimport os, sys\nfrom pathlib import Path\n"
        f"out, archive = Path(sys.argv[{out}]), sys.argv[{archive}]\n{body}\n"
    )
    os.chmod(script, 0o755)


def writes(files: dict[str, bytes]) -> str:
    """The body of a stand-in that leaves `files`."""
    return f"""
for name, content in {files!r}.items():
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).write_bytes(content)
"""
