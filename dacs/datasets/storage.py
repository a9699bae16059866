"""Where the files of a data set are: below a folder, or in zip archives that are not unpacked. Nothing is written."""

import os
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from dacs.errors import RunFailed


class File(NamedTuple):
    """A file on the disk, or a member of a zip archive there."""

    path: Path
    member: str = ""  # empty: the file itself

    def __str__(self) -> str:
        return f"{self.path}/{self.member}" if self.member else str(self.path)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.member.rsplit("/", 1)[-1] if self.member else self.path.name

    def read(self) -> bytes:
        """Its content. Raises OSError or zipfile.BadZipFile; the checksum of a member is checked."""
        return _archive(self.path).read(self.member) if self.member else self.path.read_bytes()


class Tree(NamedTuple):
    """A folder, or several zip archives in it that together make one."""

    root: Path
    archives: tuple[str, ...] = ()

    def has(self, folder: str) -> bool:
        """Whether there is such a folder."""
        if self.archives:
            return any(name.startswith(f"{folder}/") for name in self._members())
        return (self.root / folder).is_dir()

    def files(self, folder: str) -> dict[str, File]:
        """Files below a folder by their path from there, in its order, but for hidden ones. Links are followed."""
        found = self._packed(folder) if self.archives else _unpacked(self.root / folder)
        return {name: file for name, file in sorted(found) if not name.rsplit("/", 1)[-1].startswith(".")}

    def _packed(self, folder: str) -> Iterator[tuple[str, File]]:
        for member, archive in self._members().items():
            if member.startswith(f"{folder}/") and not member.endswith("/"):
                yield member.removeprefix(f"{folder}/"), File(archive, member)

    def _members(self) -> dict[str, Path]:
        return _members(tuple(self.root / name for name in self.archives))


def _unpacked(folder: Path) -> Iterator[tuple[str, File]]:
    for where, _, names in os.walk(folder, followlinks=True):
        for path in (Path(where, name) for name in names):
            yield path.relative_to(folder).as_posix(), File(path)


@lru_cache(maxsize=8)
def _members(archives: tuple[Path, ...]) -> dict[str, Path]:
    """The archive of each member. A frame that two archives hold belongs to neither, so that is refused."""
    found: dict[str, Path] = {}
    for archive in archives:
        for name in _archive(archive).namelist():
            if not name.endswith("/") and found.setdefault(name, archive) != archive and "/" in name:
                raise RunFailed(
                    f"{archive}: holds {name}, as {found[name].name} does.\nKeep the archives of one data set together."
                )
    return found


@lru_cache(maxsize=64)
def _archive(path: Path) -> zipfile.ZipFile:
    """An archive, kept open for the life of the process: its directory is read once."""
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise RunFailed(
            f"{path}: cannot be read as a zip archive ({error}).\nDownload it again, or use a whole copy."
        ) from error
