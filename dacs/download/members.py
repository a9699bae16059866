"""What an archive says it holds, judged before a byte is written: names that stay inside, plain files, each name once.

Nothing here reads or writes. An archive is another person's text: whoever made it chose every name in it.
"""

import re
import stat
import unicodedata
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, NamedTuple

from dacs.errors import RunFailed

STAGING = ".unpacking"  # the folder below the destination in which a tool works
CHUNK = 1 << 18  # bytes read at once; more and less were slower
KINDS = {
    stat.S_IFLNK: "is a link, not a file",
    stat.S_IFCHR: "is a device, not a file",
    stat.S_IFBLK: "is a device, not a file",
    stat.S_IFIFO: "is a pipe, not a file",
    stat.S_IFSOCK: "is a socket, not a file",
}
LONGEST = 200, 1000  # bytes of one part of a name and of a whole one; file systems take 255 and 4096, less our suffixes


class Member(NamedTuple):
    """One file of an archive, under the name that it gets."""

    name: str  # relative, with forward slashes
    bytes: int
    crc32: int | None  # as the listing says it; some RAR archives have another checksum instead


class Entry(NamedTuple):
    """One line of a listing, as the archive writes it."""

    name: str
    bytes: int
    crc32: int | None
    folder: bool
    fault: str  # what its format finds wrong with it, in words that follow the name; "" where nothing is
    readable: bool  # without a tool
    handle: Any  # what its reader knows it by


class Opened(NamedTuple):
    """An archive that is open for reading."""

    entries: list[Entry]
    read: Callable[[Entry], AbstractContextManager[IO[bytes]]]
    errors: tuple[type[Exception], ...]  # what reading raises where the archive is damaged


def repaired(name: str) -> str:
    """A name with folders where it has back-slashes, without empty parts and dots.

    >>> repaired("RGB\\\\0000000.png"), repaired("./images//1.png")
    ('RGB/0000000.png', 'images/1.png')
    """
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))


def checked(archive: Path, entries: Sequence[Entry]) -> dict[Member, Entry]:
    """The files of a listing under repaired names. Raises RunFailed with the first member that cannot be let in."""
    for entry in entries:
        if fault := entry.fault or name_fault(entry.name, entry.folder):
            raise refused(archive, f"member {entry.name!r} {fault}")
    files: dict[str, Entry] = {}
    for entry in (entry for entry in entries if not entry.folder):
        twin = files.setdefault(same(entry.name), entry)
        if twin is not entry:
            raise refused(archive, f"members {twin.name!r} and {entry.name!r} have one name")
    folders = {folder for entry in entries for folder in _folders(same(entry.name), entry.folder)}
    for key, entry in files.items():
        if key in folders:
            raise refused(archive, f"member {entry.name!r} is a file and a folder")
    return {Member(repaired(entry.name), entry.bytes, entry.crc32): entry for entry in files.values()}


def refused(archive: Path, why: str) -> RunFailed:
    """Words for an archive whose listing cannot be trusted."""
    return RunFailed(
        f"{archive}: {why}; nothing was unpacked.\n"
        f"Get it from its official address; if that one is like this too, unpack it by hand and name the folder."
    )


def damaged(archive: Path, why: str) -> RunFailed:
    """Words for an archive that is broken, cut, or no archive."""
    return RunFailed(f"{archive}: {why}.\nDelete the file and download it again.")


# --------------------------------------------------------------------------------------------------------------------
# Names

FAULTS = (
    (re.compile(r"[\x00-\x1f\x7f-\x9f]"), "has a control character in its name"),
    (re.compile(r"^[/\\]"), "is an absolute name"),
    (re.compile(r"^[A-Za-z]:"), "names a drive"),
    (re.compile(r"(^|[/\\])\.\.([/\\]|$)"), "leads out of the folder by '..'"),
    (re.compile(rf"^[/\\.]*{re.escape(STAGING)}([/\\]|$)", re.IGNORECASE), f"takes the name of our own {STAGING}"),
)


def name_fault(raw: str, folder: bool) -> str:
    """What is wrong with a name as the archive writes it, or nothing."""
    for pattern, words in FAULTS:
        if pattern.search(raw):
            return words
    name = repaired(raw)
    if not name and not folder:
        return "has no name"
    if len(name.encode()) > LONGEST[1] or max(len(part.encode()) for part in name.split("/")) > LONGEST[0]:
        return f"has a name longer than {LONGEST[1]} bytes, or a part of it longer than {LONGEST[0]}"
    return ""


def same(name: str) -> str:
    """One text for all names that some file system takes for one."""
    return unicodedata.normalize("NFC", repaired(name)).casefold()


def _folders(key: str, folder: bool) -> Iterator[str]:
    """The folders that a name needs."""
    parts = key.split("/")
    for count in range(1, len(parts) + folder):
        yield "/".join(parts[:count])


# --------------------------------------------------------------------------------------------------------------------
# Content


def chunks(stream: IO[bytes]) -> Iterator[bytes]:
    """What is left of a stream, piece by piece."""
    while chunk := stream.read(CHUNK):
        yield chunk


def kind_fault(mode: int) -> str:
    """What is wrong with a kind of file as Unix writes it into a mode, or nothing."""
    return KINDS.get(stat.S_IFMT(mode), "")


def crc32(pieces: Iterator[bytes]) -> int:
    """The checksum of pieces one after another."""
    value = 0
    for piece in pieces:
        value = zlib.crc32(piece, value)
    return value


def in_words(count: float) -> str:
    """Bytes for people.

    >>> in_words(60 << 30), in_words(1536 << 10), in_words(20)
    ('60.00 GiB', '1.50 MiB', '20 bytes')
    """
    if count < 1 << 20:
        return f"{count:.0f} bytes"
    return f"{count / (1 << 30):.2f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.2f} MiB"
