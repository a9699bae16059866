"""What a .zip holds, and how a member is read without believing what it says of its size."""

import copy
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from dacs.download.members import CHUNK, Entry, Opened, damaged, kind_fault

SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")  # of a first member, and of an archive without any
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what every published archive of ours uses
ENCRYPTED = 0x1 | 0x40 | 0x2000  # flags: a member's content, strongly, or the directory
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError)


@contextmanager
def opened(archive: Path) -> Iterator[Opened]:
    """The members of a zip; raises RunFailed where it has no directory at its end, or one that cannot be read."""
    try:
        file = zipfile.ZipFile(archive)
    except Exception as error:  # a hostile directory can trip the parser in any way
        raise damaged(
            archive, f"begins as a zip but has no sound directory at its end, it is cut or damaged ({error})"
        ) from error
    with file:
        yield Opened([_entry(info) for info in file.infolist()], lambda entry: _read(file, entry), BROKEN)


def _entry(info: zipfile.ZipInfo) -> Entry:
    folder = info.orig_filename.endswith(("/", "\\")) or stat.S_ISDIR(_mode(info))
    fault = _fault(info, folder)
    return Entry(info.orig_filename, info.file_size, info.CRC, folder, fault, readable=True, handle=info)


def _mode(info: zipfile.ZipInfo) -> int:
    """Kind and rights as Unix writes them; 0 where the archive was made elsewhere."""
    return info.external_attr >> 16


def _fault(info: zipfile.ZipInfo, folder: bool) -> str:
    if kind := kind_fault(_mode(info)):
        return kind
    if info.flag_bits & ENCRYPTED:
        return "is encrypted"
    if info.compress_type not in METHODS:
        return f"is packed by method {info.compress_type}, expected {' or '.join(map(str, METHODS))}"
    if folder and info.file_size:
        return f"is a folder with {info.file_size} bytes of content"
    return ""


def _read(file: zipfile.ZipFile, entry: Entry) -> IO[bytes]:
    """A stream that goes on beyond the declared size where the member does.

    `zipfile` cuts silently at the size that it knows; told a larger one, it reads to the true end, and compares the
    checksum there. Two pieces more are enough for the reader to see the lie first.
    """
    info = copy.copy(entry.handle)
    info.file_size += 2 * CHUNK
    return file.open(info)
