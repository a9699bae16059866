"""Archives made byte by byte, so that they can say anything: a zip, a RAR 4 and a RAR 5, and stand-ins for tools."""

import struct
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

FOLDER, FILE, LINK, FIFO, DEVICE = 0o040755, 0o100600, 0o120777, 0o010644, 0o020644
DEFLATED = 8  # method of a zip
STORED, PACKED = 0x30, 0x33  # methods of a RAR


class Item(NamedTuple):
    """A member, honest unless told otherwise."""

    name: bytes
    content: bytes = b""
    mode: int = FILE
    method: int | None = None  # deflated in a zip, stored in a RAR
    flags: int = 0
    declared: int | None = None  # bytes that the listing promises
    crc: int | None = None
    redirected: tuple[int, bytes] | None = None  # RAR 5: kind of link, and its target


def crc_of(item: Item) -> int:
    return zlib.crc32(item.content) if item.crc is None else item.crc


def size_of(item: Item) -> int:
    return len(item.content) if item.declared is None else item.declared


# ---- zip


def zipped(items: Sequence[Item]) -> bytes:
    body, directory = b"", b""
    for item in items:
        method = DEFLATED if item.method is None else item.method
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        data = packer.compress(item.content) + packer.flush() if method == DEFLATED else item.content
        common = struct.pack("<HHHHHLLL", 45, item.flags, method, 0, 0x21, crc_of(item), len(data), size_of(item))
        position = struct.pack("<HHHHHLL", len(item.name), 0, 0, 0, 0, item.mode << 16, len(body))
        directory += b"PK\x01\x02\x2d\x03" + common + position + item.name
        body += b"PK\x03\x04" + common + struct.pack("<HH", len(item.name), 0) + item.name + data
    end = struct.pack("<HHHHLLH", 0, 0, len(items), len(items), len(directory), len(body), 0)
    return body + directory + b"PK\x05\x06" + end


# ---- RAR 4

RAR4_END = b"\xc4\x3d\x7b\x00\x40\x07\x00"


def rar4(items: Sequence[Item], main_flags: int = 0) -> bytes:
    """A RAR as versions 2.9 to 4 write it, by Unix."""
    main = _block4(struct.pack("<BHH6x", 0x73, main_flags, 13))
    return b"Rar!\x1a\x07\x00" + main + b"".join(map(_file4, items)) + RAR4_END


def _file4(item: Item) -> bytes:
    sizes = struct.pack("<LLBLLBB", len(item.content), size_of(item), 3, crc_of(item), 0x21 << 16, 29, _method(item))
    numbers = sizes + struct.pack("<HL", len(item.name), item.mode)
    flags = 0x8000 | item.flags | (0xE0 if item.mode == FOLDER else 0)
    header = struct.pack("<BHH", 0x74, flags, 7 + len(numbers) + len(item.name)) + numbers + item.name
    return _block4(header) + item.content


def _method(item: Item) -> int:
    return item.method or STORED


def _block4(header: bytes) -> bytes:
    return struct.pack("<H", zlib.crc32(header) & 0xFFFF) + header


# ---- RAR 5

UNIX_LINK, WINDOWS_LINK, JUNCTION, HARD_LINK, COPY = 1, 2, 3, 4, 5


def rar5(items: Sequence[Item], main_flags: int = 0) -> bytes:
    """A RAR as versions 5 and later write it, by Unix."""
    blocks = [_block5(b"\x01\x00" + bytes([main_flags])), *map(_file5, items), _block5(b"\x05\x00\x00")]
    return b"Rar!\x1a\x07\x01\x00" + b"".join(blocks)


def _file5(item: Item) -> bytes:
    extra = b"" if item.redirected is None else _redirection(*item.redirected)
    head = b"\x02" + vint(2 | bool(extra)) + (vint(len(extra)) if extra else b"") + vint(len(item.content))
    sizes = vint(4 | (item.mode == FOLDER)) + vint(size_of(item)) + vint(item.mode) + struct.pack("<L", crc_of(item))
    name = b"\x01" + vint(len(item.name)) + item.name
    return _block5(head + sizes + vint((_method(item) - STORED) << 7) + name + extra) + item.content


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


def stand_in(tool: str, folder: Path, files: dict[str, bytes]) -> None:
    """A program in `folder` that is called as the tool is, and prints `files` as its members of these names."""
    script = folder / tool
    script.write_text(
        f"#!{sys.executable} -ISB\nimport sys\n"
        "if sys.argv[-1] in ('-?', '-version', '--version'):\n    sys.exit()\n"
        "if sys.argv[0].endswith('bsdtar') and '--' in sys.argv:\n    sys.exit('it takes -- for the archive')\n"
        "with open(sys.argv[-1], 'rb') as file:\n    packed = file.read()\n"
        f"for name, content in {files!r}.items():\n"
        "    if name.encode() in packed:\n        sys.stdout.buffer.write(content)\n"
    )
    script.chmod(0o755)
