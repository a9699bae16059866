"""Unpack an archive that nobody vouches for: everything is checked before the first byte, counted while it flows.

Every file is written under a temporary name, or by a tool in a folder apart, and renamed when size and checksum fit;
so a killed run leaves whole files only, and the next one makes what is missing.
"""

import hashlib
import os
import re
import shutil
import stat
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from dacs.download import rar, zips
from dacs.download.members import STAGING, Entry, Member, Opened, checked, chunks, crc32, damaged, in_words
from dacs.errors import RunFailed
from dacs.files import atomic
from dacs.locks import working_alone
from dacs.provenance import canonical

BLOCK = 4096  # bytes of disk that a file may take beyond its size
LEFTOVER = re.compile(r"\..+\.\d+\.partial(\..*)?")  # temporary names of dacs.files, of a killed run
FORMATS: tuple[tuple[bytes, Callable[[Path], AbstractContextManager[Opened]]], ...] = (
    *((signature, zips.opened) for signature in zips.SIGNATURES),
    (rar.SIGNATURE, rar.opened),
)


def everything(_: str) -> bool:
    """Want every member."""
    return True


def listing(archive: Path) -> list[Member]:
    """The files of a .zip or .rar without unpacking it. Raises RunFailed where `unpack` would, by names and kinds."""
    with _opened(archive) as opened:
        return list(checked(archive, opened.entries))


def unpack(archive: Path, out: Path, *, limit: int, wanted: Callable[[str], bool] = everything) -> dict[str, Any]:
    """Unpack the wanted members of a .zip or .rar below `out`; returns what was unpacked, for a receipt.

    `wanted` is asked by repaired names; `limit` holds for all members, in bytes. Files that are there with the right
    size and checksum are kept as they are. Raises RunFailed for whatever is wrong with archive, folder, disk or tools.
    """
    with _opened(archive) as opened:
        found = checked(archive, opened.entries)
        _check_total(archive, found, limit)
        chosen = {member: entry for member, entry in found.items() if wanted(member.name)}
        if not chosen:
            raise damaged(archive, f"holds none of the wanted files among its {len(found)}, is it the right archive")
        with working_alone(out, "another run is unpacking") as lock:
            _check_places(archive, out, chosen)
            missing = {member: chosen[member] for member in _missing(archive, out, chosen)}
            _unpack(archive, opened, out.resolve(), missing, total=_total(found), lock=lock)
    return _receipt(archive, chosen)


def _total(members: Collection[Member]) -> int:
    return sum(member.bytes for member in members)


def _receipt(archive: Path, members: Collection[Member]) -> dict[str, Any]:
    """What was unpacked; the digest is one over names, sizes and checksums as the archive lists them."""
    return {
        "archive": archive.name,
        "bytes": archive.stat().st_size,
        "members": len(members),
        "unpacked": _total(members),
        "sha256": hashlib.sha256(canonical(sorted(members)).encode()).hexdigest(),
    }


# --------------------------------------------------------------------------------------------------------------------
# Before the first byte


@contextmanager
def _opened(archive: Path) -> Iterator[Opened]:
    """An archive by what its first bytes are, whatever it is called."""
    try:
        with archive.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise RunFailed(
            f"{archive}: cannot be read ({error.strerror}).\nDownload it, or name the right file."
        ) from error
    opener = next((opener for signature, opener in FORMATS if head.startswith(signature)), None)
    if opener is None:
        raise damaged(archive, f"is no zip and no RAR archive: {_look(head)}")
    with opener(archive) as opened:
        yield opened


def _look(head: bytes) -> str:
    """What a file that should have been an archive seems to be."""
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "it is an HTML page, as a login or an error page saved under its name would be"
    return f"it begins with {head[:16]!r}" if head else "it is empty"


def _check_total(archive: Path, members: Collection[Member], limit: int) -> None:
    if (total := _total(members)) > limit:
        raise RunFailed(
            f"{archive}: would unpack to {in_words(total)}, expected at most {in_words(limit)}; nothing was unpacked.\n"
            f"Get the archive from its official address; raise the limit of its row only if you know why it is larger."
        )


def _check_places(archive: Path, out: Path, members: Collection[Member]) -> None:
    """Links and the like that somebody has put where a folder or a file must go are neither followed nor replaced."""
    names = {PurePosixPath(member.name) for member in members}
    folders = {parent for name in names for parent in name.parents if parent.name} | {PurePosixPath(STAGING)}
    places = [*((name, stat.S_IFDIR) for name in folders), *((name, stat.S_IFREG) for name in names)]
    for name, kind in sorted(places):
        mode = _mode(out / name)
        if mode and stat.S_IFMT(mode) != kind:
            there = "a link" if stat.S_ISLNK(mode) else "something else"
            place = "folder" if kind == stat.S_IFDIR else "file"
            raise RunFailed(
                f"{out / name}: {there} stands where {archive.name} needs a {place}; nothing was unpacked.\n"
                f"Remove it, or choose another folder."
            )


def _mode(path: Path) -> int:
    """Kind and rights of what has this name, links not followed; 0 where nothing has."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return path.lstat().st_mode
    return 0


def _missing(archive: Path, out: Path, members: Collection[Member]) -> list[Member]:
    """The members that are not there as they should be."""
    missing = []
    with _bar(archive, "already there", _total(members)) as bar:
        for member in members:
            if not _fits(out / member.name, member):
                missing.append(member)
            bar.update(member.bytes)
    return missing


def _fits(path: Path, member: Member) -> bool:
    """Whether a file has the size and the checksum of a member."""
    if not stat.S_ISREG(_mode(path)) or path.stat().st_size != member.bytes or not os.access(path, os.R_OK):
        return False
    with path.open("rb") as file:
        return member.crc32 in (None, crc32(chunks(file)))


def _check_space(archive: Path, out: Path, needed: int) -> None:
    free = shutil.disk_usage(out).free
    if needed > free:
        raise RunFailed(
            f"{out}: {archive.name} needs {in_words(needed)} there, {in_words(free)} are free; nothing was unpacked.\n"
            f"Free some space or choose another folder, then run the same command again."
        )


# --------------------------------------------------------------------------------------------------------------------
# Writing


def _unpack(
    archive: Path, opened: Opened, out: Path, missing: Mapping[Member, Entry], *, total: int, lock: int
) -> None:
    """Write what is missing: what can be read here first, then the rest by tools, which unpack all `total` bytes."""
    direct = {member: entry for member, entry in missing.items() if entry.readable}
    packed = [member for member in missing if member not in direct]
    if packed:
        rar.tools(archive)
    _sweep(out, missing)  # before room is asked for: a killed run may have left half an archive
    _check_space(archive, out, _total(direct) + (total if packed else 0) + BLOCK * len(missing))
    with _bar(archive, "unpack", _total(direct)) as bar:
        for member, entry in direct.items():
            _write(out / member.name, _content(archive, opened, entry, member, bar))
    if packed:
        rar.by_tools(archive, out / STAGING, packed, lambda path, member: _take(path, out, member), total, lock)


def _sweep(out: Path, members: Collection[Member]) -> None:
    """Remove what a killed run has left under temporary names."""
    rar.sweep(out / STAGING)
    for folder in {(out / member.name).parent for member in members}:
        for path in folder.glob(".*.partial*"):
            if LEFTOVER.fullmatch(path.name):
                path.unlink()


def _write(path: Path, content: Iterator[bytes]) -> None:
    """Write a file whole or not at all, readable by everybody whatever the archive says."""
    with atomic(path) as partial:
        with partial.open("xb") as file:  # x: a link of this name is not followed
            file.writelines(content)
        partial.chmod(0o644)


def _content(archive: Path, opened: Opened, entry: Entry, member: Member, bar: Any) -> Iterator[bytes]:
    """The bytes of a member, as many as it declares. Raises RunFailed as soon as it is seen to be otherwise."""
    count = checksum = 0
    try:
        with opened.read(entry) as stream:
            for chunk in chunks(stream):
                count, checksum = count + len(chunk), zlib.crc32(chunk, checksum)
                if count > member.bytes:
                    raise damaged(
                        archive, f"member {member.name!r} yields more than the {member.bytes} bytes it declares"
                    )
                bar.update(len(chunk))
                yield chunk
    except opened.errors as error:
        raise damaged(archive, f"member {member.name!r} is damaged ({error or 'cut'})") from error
    if count < member.bytes or member.crc32 not in (None, checksum):
        raise damaged(
            archive, f"member {member.name!r} is damaged, {count} bytes of {member.bytes} or a wrong checksum"
        )


def _take(path: Path, out: Path, member: Member) -> bool:
    """Move a file that a tool has left to its place, if it is what the listing says."""
    path.chmod(0o644)  # first: the archive may have asked for a file that nobody may read
    if not _fits(path, member):
        return False
    os.utime(path)
    (out / member.name).parent.mkdir(parents=True, exist_ok=True)
    path.replace(out / member.name)
    return True


def _bar(archive: Path, doing: str, total: int) -> Any:
    """A progress bar in bytes where a person watches."""
    return tqdm(total=total, desc=f"{archive.name}: {doing}", unit="B", unit_scale=True, leave=False, disable=None)
