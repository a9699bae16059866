"""Trust on first use: an archive without published checksum must stay what its first download was."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from dacs.download.archives import Archive
from dacs.errors import RunFailed
from dacs.files import read_json, write_json


class Expected(NamedTuple):
    """What an archive must be."""

    bytes: int | None  # None: not known
    checksum: str  # "" where the first download is to be trusted
    remedy: str  # what to do when it is something else


def expected_of(archive: Archive, trusted: Path) -> Expected:
    """From the table, else from what was trusted before."""
    if archive.checksum:
        remedy = (
            "Try later or name a mirror in data.mirrors; if its owners have changed the file, correct archives.csv."
        )
        return Expected(archive.bytes, archive.checksum, remedy)
    known = read_trusted(trusted).get(archive.name)
    if known is None:
        return Expected(archive.bytes, "", "Try later or name a mirror in data.mirrors.")
    remedy = f"If you know why it has changed, delete the entry '{archive.name}' of {trusted} and run this again."
    return Expected(known["bytes"], f"sha256:{known['sha256']}", remedy)


def read_trusted(path: Path) -> dict[str, dict[str, Any]]:
    """Entries by the name of the archive. Raises RunFailed where an entry is not what `trust` writes."""
    entries = read_json(path) if path.exists() else {}
    for name, entry in entries.items() if isinstance(entries, dict) else [("file", None)]:
        whole = isinstance(entry, dict) and isinstance(entry.get("bytes"), int) and isinstance(entry.get("sha256"), str)
        if not whole:
            raise RunFailed(
                f"{path}: entry '{name}' is not an object with bytes and sha256.\nRestore it from version control."
            )
    return entries


def trust(path: Path, archive: Archive, size: int, sha256: str) -> None:
    """Note what was downloaded; what another run has noted meanwhile is kept, and must be the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(f".{path.name}.lock"), wait=True):
        entries = read_trusted(path)
        entry = {"sha256": sha256, "bytes": size, "address": archive.address}
        noted = entries.setdefault(archive.name, entry)
        if noted["sha256"] != sha256:
            raise RunFailed(
                f"{archive.name}: sha256 {sha256}, but {path} has noted {noted['sha256']} meanwhile.\n"
                f"Find out which is right, then delete the entry or the file."
            )
        write_json(path, dict(sorted(entries.items())))


@contextmanager
def locked(path: Path, wait: bool) -> Iterator[None]:
    """Hold a lock file; it ends with its process, however that ends. Raises BlockingIOError unless `wait`."""
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise
        except OSError:
            pass  # a network file system without locks; files are still whole or absent
        yield
