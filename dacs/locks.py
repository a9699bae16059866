"""A folder in which only one process works at a time; the lock ends with its process, however that ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dacs.errors import RunFailed


@contextmanager
def working_alone(folder: Path, other: str, *, wait: bool = False) -> Iterator[None]:
    """Hold a folder, created where it is missing, against other processes; `other` describes what holds it meanwhile.

    Raises RunFailed where another process holds it, unless `wait`, and for an OSError while it is held.
    """
    created, lock = not folder.exists(), -1
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        with suppress(OSError):  # a network file system without locks; files are still whole or absent
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise RunFailed(f"{folder}: {other} there.\nWait for it, or stop it first.") from None
        yield
    except OSError as error:
        advice = "Free some space or choose another folder, then run the same command again."
        words = f"could not be read or written ({error.strerror or error})"
        raise RunFailed(f"{error.filename or folder}: {words}.\n{advice}") from error
    finally:
        if lock >= 0:
            os.close(lock)
        with suppress(OSError):
            if created:
                folder.rmdir()  # only where nothing was written to it
