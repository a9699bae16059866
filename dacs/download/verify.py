"""Whether a file is the archive that was asked for: its size, first bytes and checksum.

Where none is published, the checksum of the first download is noted and must stay the same (trust on first use).
"""

import hashlib
from pathlib import Path
from typing import Any

from dacs.datasets.base import Archive
from dacs.download.errors import RestartDownload, WebPage
from dacs.errors import RunFailed
from dacs.files import read_json, write_json
from dacs.locks import working_alone

MAGIC = {".zip": b"PK", ".rar": b"Rar!"}
PAGES = (b"<!doctype", b"<html", b"<head", b"<?xml")  # how web pages start


def expected_file(archive: Archive, trusted: Path) -> Archive:
    """The archive with the size and checksum of its first download, where none are published."""
    known = read_trusted(trusted).get(archive.name)
    if archive.checksum or not known:
        return archive
    return archive._replace(bytes=known["bytes"], checksum=f"sha256:{known['sha256']}")


def check_start(name: str, head: bytes) -> None:
    """Raise PermanentError where a file starts like a web page, RestartDownload where it is no archive of its kind."""
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(PAGES):
        raise WebPage
    magic = MAGIC[Path(name).suffix]
    if head[: len(magic)] != magic[: len(head)]:
        raise RestartDownload(f"the file starts with {head[:8]!r}, expected {magic!r}")


def check_file(archive: Archive, path: Path, trusted: Path) -> str:
    """The checksum of a file, noted in `trusted` where none was known. Raises RestartDownload on any difference."""
    size = path.stat().st_size
    if archive.bytes not in (None, size):
        raise RestartDownload(f"{size} bytes, expected {archive.bytes}")
    kind = archive.checksum.partition(":")[0] or "sha256"
    with path.open("rb") as stream:
        check_start(archive.name, stream.read(64))
        stream.seek(0)
        digest = hashlib.file_digest(stream, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
    if not archive.checksum:
        trust(trusted, archive, size, digest)
    elif archive.checksum != f"{kind}:{digest}":
        raise RestartDownload(f"{kind}:{digest}, expected {archive.checksum}")
    return f"{kind}:{digest}"


def trust(trusted: Path, archive: Archive, size: int, sha256: str) -> None:
    """Note a first download; what another run has noted meanwhile is kept, and must be the same."""
    with working_alone(trusted.parent, "another download notes a checksum", wait=True):
        entries = read_trusted(trusted)
        noted = entries.setdefault(archive.name, {"sha256": sha256, "bytes": size, "address": archive.address})
        if noted["sha256"] != sha256:
            raise RunFailed(
                f"{archive.name}: sha256 {sha256}, but {trusted} has noted {noted['sha256']} meanwhile.\n"
                f"Find out which is right, then delete the entry or the file."
            )
        write_json(trusted, dict(sorted(entries.items())))


def read_trusted(trusted: Path) -> dict[str, dict[str, Any]]:
    """Size and sha256 of first downloads by the name of the archive. Raises RunFailed where the file is broken."""
    entries = read_json(trusted) if trusted.exists() else {}
    try:
        whole = all(isinstance(each["bytes"], int) and isinstance(each["sha256"], str) for each in entries.values())
    except (AttributeError, KeyError, TypeError):
        whole = False
    if not whole:
        raise RunFailed(f"{trusted}: not bytes and sha256 of each archive.\nRestore it from version control.")
    return dict(entries)
