"""Whether a file is the archive that was asked for: its size, first bytes and checksum.

Where none is published, the checksum of the first download is noted and must stay the same (trust on first use).
"""

import hashlib
import re
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

from dacs.datasets.base import Archive
from dacs.errors import RunFailed
from dacs.files import read_json, write_json
from dacs.locks import working_alone

MAGIC = {".zip": b"PK", ".rar": b"Rar!"}
FILES = "files"  # the kind of a checksum of files in an archive


class RestartDownload(Exception):
    """The bytes received do not belong to the file that was asked for; a request from byte 0 may help."""


def expected_file(archive: Archive, trusted: Path) -> Archive:
    """The archive with the size and checksum of its first download, where none are published."""
    known = _read_trusted(trusted).get(archive.name)
    if archive.checksum or not known:
        return archive
    return archive._replace(bytes=known["bytes"], checksum=f"sha256:{known['sha256']}")


def check_file(archive: Archive, path: Path, trusted: Path) -> str:
    """The checksum of a file, noted in `trusted` where none was known. Raises RestartDownload on any difference."""
    size, magic = path.stat().st_size, MAGIC[Path(archive.name).suffix]
    if archive.bytes not in (None, size):
        raise RestartDownload(f"{size} bytes, expected {archive.bytes}")
    kind = archive.checksum.partition(":")[0] or "sha256"
    with path.open("rb") as stream:
        if (head := stream.read(8))[: len(magic)] != magic:
            raise RestartDownload(f"the file starts with {head!r}, expected {magic!r}")
        stream.seek(0)
        if kind == FILES:
            return _check_files(archive, stream)
        digest = hashlib.file_digest(stream, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
    if not archive.checksum:
        _trust(trusted, archive, size, digest)
    elif archive.checksum != f"{kind}:{digest}":
        raise RestartDownload(f"{kind}:{digest}, expected {archive.checksum}")
    return f"{kind}:{digest}"


def _check_files(archive: Archive, stream: IO[bytes]) -> str:
    """The checksum of a zip archive by its needed files, whatever its own bytes are.

    It is the sha256 of what sha256sum prints of them, in the order of their names. Raises RestartDownload.
    """
    lines = list[str]()
    try:
        with zipfile.ZipFile(stream) as opened:
            matches = ((re.match(archive.files, info.filename), info) for info in opened.infolist())
            members = {match[1]: info for match, info in matches if match}
            if sum(info.file_size for info in members.values()) > archive.unpacked_limit:
                raise RestartDownload(f"its files have more than {archive.unpacked_limit:,} bytes")
            for name, info in sorted(members.items()):
                lines.append(f"{hashlib.sha256(opened.read(info)).hexdigest()}  {name}\n")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise RestartDownload(f"a damaged zip archive ({error})") from error
    checksum = f"{FILES}:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"
    if checksum != archive.checksum:
        raise RestartDownload(f"{checksum} of {len(lines):,} files, expected {archive.checksum}")
    return checksum


def _trust(trusted: Path, archive: Archive, size: int, sha256: str) -> None:
    """Note a first download; what other runs have noted is kept."""
    with working_alone(trusted.parent, "another download notes a checksum", wait=True):
        entries = {archive.name: {"sha256": sha256, "bytes": size, "address": archive.address}}
        write_json(trusted, dict(sorted((entries | _read_trusted(trusted)).items())))


def _read_trusted(trusted: Path) -> dict[str, dict[str, Any]]:
    """Size, sha256 and address of first downloads by the name of the archive."""
    entries = read_json(trusted) if trusted.exists() else {}
    try:
        return {name: {key: each[key] for key in ("sha256", "bytes", "address")} for name, each in entries.items()}
    except (AttributeError, KeyError, TypeError):
        raise RunFailed(f"{trusted}: not a table of first downloads.\nRestore it from version control.") from None
