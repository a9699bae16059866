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

    def read(self) -> bytes:
        """Its content. Raises OSError or zipfile.BadZipFile; the checksum of a member is checked."""
        return _archive(self.path).read(self.member) if self.member else self.path.read_bytes()


class Tree(NamedTuple):
    """A folder, or several zip archives in it that together make one."""

    root: Path
    archives: tuple[str, ...] = ()

    def files(self, folder: str) -> dict[str, File]:
        """What is below a folder by its path from there, but for hidden files. Links are followed."""
        if not self.archives:
            below = self.root / folder
            paths = (path for each in folders_below(str(below)) for path in files_in(each))
            return {os.path.relpath(path, below): File(Path(path)) for path in paths}
        found: dict[str, File] = {}
        for archive in (self.root / name for name in self.archives):
            members = (name for name in _archive(archive).namelist() if not name.endswith("/") and "/." not in name)
            for member in (name for name in members if name.startswith(f"{folder}/")):
                first = found.setdefault(member.removeprefix(f"{folder}/"), File(archive, member))
                if first.path != archive:  # a frame that two archives hold belongs to neither
                    raise RunFailed(f"{archive}: holds {member}, as {first.path} does.\nRemove one of the two.")
        return found


def folders_below(folder: str, above: tuple[str, ...] = ()) -> Iterator[str]:
    """A folder and those below it, but for hidden ones. Links are followed, but not back to a folder above them."""
    here = os.path.realpath(folder)
    if not os.path.isdir(here) or any(Path(each).is_relative_to(here) for each in above):
        return
    yield folder
    for name in names_in(folder):
        yield from folders_below(os.path.join(folder, name), (*above, here))


def files_in(folder: str) -> Iterator[str]:
    """The paths of the regular files of a folder, but for hidden ones."""
    paths = (os.path.join(folder, name) for name in names_in(folder))
    return (path for path in paths if os.path.isfile(path))


def names_in(folder: str) -> list[str]:
    """The names in a folder in their order, but for hidden ones. Raises RunFailed where it cannot be read."""
    try:
        return sorted(name for name in os.listdir(folder or ".") if not name.startswith("."))
    except OSError as error:
        raise RunFailed(f"{folder}: cannot be read ({error.strerror}).\nMake it readable, or leave it out.") from error


@lru_cache(maxsize=64)
def _archive(path: Path) -> zipfile.ZipFile:
    """An archive, kept open for the life of the process: its directory is read once."""
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise RunFailed(f"{path}: cannot be read as a zip archive ({error}).\nUse a whole copy.") from error
