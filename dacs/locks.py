"""Folders in which only one process works at a time. A lock ends with its process, however that ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dacs.errors import RunFailed


@contextmanager
def working_alone(out: Path, other: str) -> Iterator[int]:
    """Hold a folder against other processes, yielding the lock; a folder made in vain is taken away again.

    `other` says in words what a second one is told to be at work. Raises RunFailed then, and for a folder or disk that
    cannot be written.
    """
    made, folder = not out.exists(), -1
    try:
        out.mkdir(parents=True, exist_ok=True)
        folder = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
        _lock(folder, out, other)
        yield folder
    except OSError as error:
        raise RunFailed(
            f"{out}: could not be written ({error.strerror or error}).\n"
            f"Free some space or choose another folder, then run the same command again."
        ) from error
    finally:
        if folder >= 0:
            os.close(folder)
        if made:
            with suppress(OSError):
                out.rmdir()


def _lock(folder: int, out: Path, other: str) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RunFailed(f"{out}: {other} there.\nWait for it, or stop it first.") from error
    except OSError:
        pass  # a network file system that locks no folders; every file is still written whole or not at all
