"""Where the files of a data set are: below a folder, or in zip archives that are not unpacked. Nothing is written."""

import zipfile
from functools import lru_cache
from glob import glob
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
            return {name: File(below / name) for name in glob("**", root_dir=below, recursive=True)}
        found: dict[str, File] = {}
        for archive in (self.root / name for name in self.archives):
            members = (name for name in _archive(archive).namelist() if not name.endswith("/") and "/." not in name)
            for member in (name for name in members if name.startswith(f"{folder}/")):
                first = found.setdefault(member.removeprefix(f"{folder}/"), File(archive, member))
                if first.path != archive:  # a frame that two archives hold belongs to neither
                    raise RunFailed(f"{archive}: holds {member}, as {first.path} does.\nRemove one of the two.")
        return found


@lru_cache(maxsize=64)
def _archive(path: Path) -> zipfile.ZipFile:
    """An archive, kept open for the life of the process: its directory is read once."""
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise RunFailed(f"{path}: cannot be read as a zip archive ({error}).\nUse a whole copy.") from error
