"""Archives made byte by byte, so that they can say anything: a zip and a RAR, and stand-ins for tools."""

import struct
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

FOLDER, FILE, LINK, FIFO, DEVICE = 0o040755, 0o100600, 0o120777, 0o010644, 0o020644
STORED, DEFLATED, PACKED = 0, 8, 3  # methods; the last one of a RAR, where it needs a tool


class Item(NamedTuple):
    """A member, honest unless it is given other values."""

    name: bytes
    content: bytes = b""
    mode: int = FILE
    method: int | None = None  # deflated in a zip, stored in a RAR
    flags: int = 0  # in a zip
    declared: int | None = None  # bytes that the listing promises
    crc: int | None = None
    link: bytes = b""  # in a RAR: its target

    def numbers(self) -> tuple[int, int]:
        """The checksum and the size that are declared."""
        size = len(self.content) if self.declared is None else self.declared
        return zlib.crc32(self.content) if self.crc is None else self.crc, size


def zipped(items: Sequence[Item]) -> bytes:
    body, directory = b"", b""
    for item in items:
        method = DEFLATED if item.method is None else item.method
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        data = packer.compress(item.content) + packer.flush() if method == DEFLATED else item.content
        crc, size = item.numbers()
        common = struct.pack("<HHHHHLLL", 45, item.flags, method, 0, 0x21, crc, len(data), size)
        position = struct.pack("<HHHHHLL", len(item.name), 0, 0, 0, 0, item.mode << 16, len(body))
        directory += b"PK\x01\x02\x2d\x03" + common + position + item.name
        body += b"PK\x03\x04" + common + struct.pack("<HH", len(item.name), 0) + item.name + data
    end = struct.pack("<HHHHLLH", 0, 0, len(items), len(items), len(directory), len(body), 0)
    return body + directory + b"PK\x05\x06" + end


def rar(items: Sequence[Item]) -> bytes:
    """A RAR as versions 5 and later write it, by Unix."""
    blocks = [_block(b"\x01\x00\x00"), *map(_file, items), _block(b"\x05\x00\x00")]
    return b"Rar!\x1a\x07\x01\x00" + b"".join(blocks)


def _file(item: Item) -> bytes:
    record = b"\x05\x01\x00" + _vint(len(item.link)) + item.link
    extra = _vint(len(record)) + record if item.link else b""
    head = b"\x02" + _vint(2 | bool(extra)) + (_vint(len(extra)) if extra else b"") + _vint(len(item.content))
    crc, size = item.numbers()
    sizes = _vint(4 | (item.mode == FOLDER)) + _vint(size) + _vint(item.mode) + struct.pack("<L", crc)
    name = b"\x01" + _vint(len(item.name)) + item.name
    return _block(head + sizes + _vint((item.method or STORED) << 7) + name + extra) + item.content


def _block(header: bytes) -> bytes:
    sized = _vint(len(header)) + header
    return struct.pack("<L", zlib.crc32(sized)) + sized


def _vint(value: int) -> bytes:
    """A number in groups of seven bits, the lowest first."""
    groups = [value >> shift & 0x7F for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes(group | 0x80 for group in groups[:-1]) + bytes(groups[-1:])


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
