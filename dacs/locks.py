"""A folder in which only one process works at a time; the lock ends with its process, however that ends."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from dacs.errors import RunFailed


@contextmanager
def working_alone(folder: Path, other: str, *, wait: bool = False) -> Iterator[None]:
    """Hold a folder, created where it is missing, against other processes; `other` describes what holds it meanwhile.

    What is locked is a hidden file beside the folder, which stays.

    Raises RunFailed where another process holds it, unless `wait`, and for an OSError while it is held.
    """
    created, place = not folder.exists(), folder.resolve()
    lock = FileLock(place.parent / f".{place.name}.lock", blocking=wait)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            raise RunFailed(f"{folder}: {other} there.\nWait for it, or stop it first.") from None
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
