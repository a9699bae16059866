"""A folder in which only one process works at a time; the lock ends with its process, however that ends."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from dacs.errors import RunFailed


@contextmanager
def working_alone(folder: Path, other: str, *, wait: bool = False) -> Iterator[None]:
    """Hold a folder, created where it is missing, against other processes; `other` describes what holds it meanwhile.

    What is locked is a hidden file beside the folder, which stays.

    Where another process holds it, `wait` prints so and waits; otherwise RunFailed is raised, as for an OSError while
    the folder is held.
    """
    created, place = not folder.exists(), folder.resolve()
    lock = FileLock(place.parent / f".{place.name}.lock", blocking=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            if not wait:
                raise RunFailed(f"{folder}: {other} there.\nWait for it, or stop it first.") from None
            print(f"{folder}: {other} there; waiting for it.", file=sys.stderr, flush=True)
            lock.acquire(blocking=True)
        except OSError:  # a network file system without locks; files are still whole or absent
            pass
        yield
    except OSError as error:
        advice = "Free some space or choose another folder, then run the same command again."
        words = f"could not be read or written ({error.strerror or error})"
        raise RunFailed(f"{error.filename or folder}: {words}.\n{advice}") from error
    finally:
        lock.release()
        with suppress(OSError):
            if created:
                folder.rmdir()  # only where nothing was written to it
