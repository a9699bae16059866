"""Unpacking a .zip or .rar of unknown content: all names, kinds and sizes are checked before the first byte.

Each file is written under a temporary name and renamed when its size and checksum are right, so an interrupted run
leaves whole files only, and the next one writes what is missing.
"""

import re
import shutil
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import rarfile
from tqdm import tqdm

from dacs.datasets.decode import listing
from dacs.download.transfer import check_room
from dacs.errors import RunFailed
from dacs.files import atomic
from dacs.locks import working_alone

CHUNK = 2**18  # bytes; more and less were slower
BLOCK = 4096  # bytes of disk that a file may take beyond its size
DAMAGED = (zipfile.BadZipFile, rarfile.Error, zlib.error, EOFError, ValueError, RuntimeError)
TOOLS = ("unrar", "unar", "bsdtar", "sevenzip", "sevenzip2")  # as rarfile calls them
Members = dict[str, Any]  # relative name with forward slashes → what zipfile or rarfile knows of the file
rarfile.SHELL = "sh"  # rarfile 4 passes "--" where bsdtar expects the name of the archive; for sh it is $0
rarfile.BSDTAR_CONFIG["open_cmd"] = ("SHELL", "-c", 'exec bsdtar -xOf "$@"')


def check_archive(archive: Path, limit: int) -> None:
    """Raise RunFailed where `unpack` would refuse it: for what its members are, or for more than `limit` bytes."""
    with _open(archive) as opened:
        _check_members(archive, opened, limit)


def unpack(archive: Path, out: Path, *, limit: int, wanted: Callable[[str], bool] = lambda name: True) -> int:
    """Unpack the wanted members of a .zip or .rar below `out`; returns how many there are.

    `limit` is for all members, in bytes. Files that are there with the right size and checksum are kept. Raises
    RunFailed for whatever is wrong with archive, folder, disk or tools; members that are whole are kept then.
    """
    with _open(archive) as opened, working_alone(out, "another run is unpacking"):
        chosen = {name: info for name, info in _check_members(archive, opened, limit).items() if wanted(name)}
        if not chosen:
            raise _refusal(archive, "holds none of the wanted files, is it the right archive")
        for leftover in out.rglob(".*.partial*"):
            leftover.unlink()
        missing = {name: info for name, info in chosen.items() if not _is_there(out / name, info)}
        check_room(out, sum(info.file_size + BLOCK for info in missing.values()))
        damaged: dict[str, str] = {}
        for _ in _readers(archive, missing.values()):
            damaged = _write(opened, missing, out, archive.name)
            missing = {name: chosen[name] for name in damaged}
            if not missing:
                break
        if damaged:
            heading = f"{len(damaged)} of {len(chosen)} members are damaged; the others are kept"
            raise _refusal(archive, listing(heading, (f"{name}: {reason}" for name, reason in damaged.items())))
        return len(chosen)


def _open(archive: Path) -> Any:
    """A zipfile.ZipFile or rarfile.RarFile, which are used alike."""
    try:
        return rarfile.RarFile(archive, errors="strict") if archive.suffix == ".rar" else zipfile.ZipFile(archive)
    except Exception as error:  # a hostile listing can trip a parser in any way
        raise _refusal(archive, f"cannot be read, it is cut, damaged or no archive ({error})") from error


def _check_members(archive: Path, opened: Any, limit: int) -> Members:
    """The files of an archive. Raises RunFailed for the first member that is not a plain file inside the folder."""
    members: dict[str, tuple[str, Any]] = {}
    for info in opened.infolist():
        raw = info.filename.replace("\\", "/")
        if fault := _name_fault(raw) or _kind_fault(info):
            raise _refusal(archive, f"member {info.filename!r} {fault}; nothing was unpacked")
        if raw.endswith("/") or not PurePosixPath(raw).name:
            continue  # a folder
        name = str(PurePosixPath(raw))
        key = unicodedata.normalize("NFC", name).casefold()  # one for all names that some file system takes for one
        if key in members:
            raise _refusal(archive, f"members {members[key][1].filename!r} and {info.filename!r} have one name")
        members[key] = name, info
    total = sum(info.file_size for _, info in members.values())
    if total > limit:
        raise _refusal(archive, f"would unpack to {total:,} bytes, expected at most {limit:,}")
    return dict(members.values())


def _name_fault(name: str) -> str:
    """What is wrong with the name of a member, or nothing."""
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        return "is an absolute name"
    if ".." in name.split("/"):
        return "leads out of the folder by '..'"
    return "" if name.isprintable() else "has a control character in its name"


def _kind_fault(info: Any) -> str:
    """What is wrong with the kind of a member, or nothing."""
    if isinstance(info, zipfile.ZipInfo):
        mode, encrypted, link = info.external_attr >> 16, info.flag_bits & 1, False
    else:
        mode = info.mode if info.host_os == rarfile.RAR_OS_UNIX else 0
        encrypted, link = info.needs_password(), info.file_redir is not None
    if link or stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device, not a file"
    return "is encrypted" if encrypted else ""


def _is_there(path: Path, info: Any) -> bool:
    """Whether a file has the size and the checksum of a member; some RAR archives have a checksum of another kind."""
    if not path.is_file() or path.stat().st_size != info.file_size:
        return False
    return info.CRC in (None, zlib.crc32(path.read_bytes()))


def _refusal(archive: Path, reason: str) -> RunFailed:
    tools = ", install another of unrar, unar, bsdtar and 7z" if archive.suffix == ".rar" else ""
    advice = f"Delete the file and download it again{tools}, or unpack it by hand and name the folder in data.sources."
    return RunFailed(f"{archive}: {reason}.\n{advice}")


def _readers(archive: Path, missing: Collection[Any]) -> Iterator[None]:
    """One turn for each program that can read the missing members; some fail where another does not."""
    if not any(isinstance(info, rarfile.RarInfo) and info.compress_type != rarfile.RAR_M0 for info in missing):
        yield
        return
    found = False
    for tool in TOOLS:
        with suppress(rarfile.RarCannotExec):
            rarfile.tool_setup(**{name: name == tool for name in TOOLS}, force=True)
            found = True
            yield
    if not found:
        raise RunFailed(
            f"{archive}: is packed, and none of unrar, unar, bsdtar and 7z is installed; nothing was unpacked.\n"
            "Install one, 'apt install unar' or 'apt install libarchive-tools' (Debian, Ubuntu) or"
            " 'conda install -c conda-forge libarchive', then run the same command again."
        )


def _write(opened: Any, members: Members, out: Path, title: str) -> dict[str, str]:
    """Write members below `out`; returns the names of those that are damaged, with the reason."""
    damaged: dict[str, str] = {}
    for name, info in tqdm(members.items(), desc=title, unit=" files", leave=False, disable=None):
        try:
            with atomic(out / name) as partial, partial.open("wb") as file:
                with opened.open(info) as source:  # which compares the checksum at the end
                    shutil.copyfileobj(source, file, CHUNK)
                if file.tell() != info.file_size:
                    raise EOFError(f"{file.tell()} bytes of {info.file_size}")
        except DAMAGED as error:
            damaged[name] = str(error) or type(error).__name__
    return damaged
