"""Files that are either whole or absent: everything is written to a temporary name, then renamed."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from dacs.errors import RunFailed


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; it becomes `path` when the block ends well.

    The suffix is kept, since encoders choose their format by it. A failed block leaves nothing behind. Raises RunFailed
    where the disk refuses, as a full one does.
    """
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise RunFailed(
            f"{path}: could not be written ({error.strerror or error}).\n"
            "Nothing of it was kept. Free some space or choose another folder, then run the same command again."
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write `content` to `path`, whole or not at all."""
    with atomic(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with Unix line ends, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, its keys in the order given."""
    write_text(path, json.dumps(value, indent=2) + "\n")


class MissingKey(RunFailed, KeyError):
    """A file lacks what is asked for."""

    __str__ = Exception.__str__  # that of KeyError quotes


class _Object(dict[str, Any]):
    """An object of a JSON file, which names the file where a key is missing."""

    _file: Path

    @classmethod
    def of(cls, file: Path, pairs: list[tuple[str, Any]]) -> "_Object":
        found = cls(pairs)
        found._file = file
        return found

    def __missing__(self, key: str) -> Any:
        raise MissingKey(f"{self._file}: has no '{key}'.\nDelete it and run the step that makes it again.")


def read_json(path: Path) -> Any:
    """The content of a JSON file, an object. Where it lacks what is asked for, RunFailed is raised, as by `reading`."""
    with reading(path, "JSON"):
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=partial(_Object.of, path))
        if not isinstance(content, dict):
            raise ValueError(f"an object was expected, {type(content).__name__} was found")
        return content


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Raise RunFailed where there is no such file, or where what is read in the block is not of this kind."""
    try:
        check_regular(path)
        yield
    except FileNotFoundError as error:
        raise RunFailed(
            f"{path}: not found.\nRun the step that makes it; 'snakemake --cores all all' runs every missing one."
        ) from error
    except (OSError, SyntaxError, ValueError, RecursionError) as error:  # Pillow raises a SyntaxError for a broken PNG
        raise RunFailed(f"{path}: not {kind} ({error}).\nDelete it and run the step that makes it again.") from error


def check_regular(path: Path) -> None:
    """Raise OSError for a folder, a pipe or a device."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file")


def digest(path: Path) -> str:
    """The sha256 of a file's bytes, in hex. Raises OSError, also for what is no file: a pipe would be waited for."""
    check_regular(path)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def break_links(folder: Path) -> None:
    """Replace hard and symbolic links to files below `folder` by copies, so that writing to one changes no other."""
    for path in folder.rglob("*"):
        if path.is_file() and (path.is_symlink() or path.stat().st_nlink > 1):
            copy = path.with_name(".copy")  # short, as a record's name may be as long as names can be
            shutil.copyfile(path, copy)
            os.replace(copy, path)
