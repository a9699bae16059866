"""Whether a file is the archive that was asked for: its size, first bytes and checksum.

Where none is published, the checksum of the first download is noted and must stay the same (trust on first use).
"""

import hashlib
from pathlib import Path
from typing import Any

from dacs.datasets.base import Archive
from dacs.errors import RunFailed
from dacs.files import read_json, write_json
from dacs.locks import working_alone

MAGIC = {".zip": b"PK", ".rar": b"Rar!"}


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
        digest = hashlib.file_digest(stream, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
    if not archive.checksum:
        _trust(trusted, archive, size, digest)
    elif archive.checksum != f"{kind}:{digest}":
        raise RestartDownload(f"{kind}:{digest}, expected {archive.checksum}")
    return f"{kind}:{digest}"


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
