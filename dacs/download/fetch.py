"""Archives from their servers to a folder: resumed after any cut, and under their names only when they are verified.

Beside `<name>` are, hidden, the bytes received so far and a note of the version and the length of the whole.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.pool import ThreadPool  # its threads are daemons: none holds up the end of the process
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from dacs.datasets.base import Archive
from dacs.download.login import Login
from dacs.download.transfer import LoginRequired, Partial, Session, TransientError, check_room, host, receive
from dacs.download.verify import RestartDownload, check_file, expected_file
from dacs.errors import BadRequest, DacsError, Interrupted, RunFailed
from dacs.locks import working_alone

RESUME = "What has been received is kept: run the same command again later to resume."


class RetryPolicy(NamedTuple):
    """How long to try. Attempts count from the last one that brought bytes."""

    attempts: int = 8
    first_s: float = 1  # the first wait; each next one is twice as long
    longest_s: float = 60  # but not longer than this
    silence_s: float = 30  # after which a connection counts as dead


PATIENT = RetryPolicy()


def fetch(
    archives: Sequence[Archive],
    folder: Path,
    *,
    trusted: Path,
    parallel: int = 1,
    unverified: Sequence[str] = (),
    login: Login | None = None,
    retry: RetryPolicy = PATIENT,
) -> list[Path]:
    """The files of `archives` in `folder`, each verified, in the order given.

    `trusted` is the JSON file of first downloads, `unverified` are hosts whose certificate is not checked. Raises
    BadRequest before anything is asked for, RunFailed naming each archive that failed once all others are there,
    Interrupted on SIGINT or SIGTERM.
    """
    work = _Work(folder, trusted, frozenset(unverified), login, retry)
    with working_alone(folder, "another download is at work"):
        expected = [expected_file(archive, trusted) for archive in archives]
        missing = [archive for archive in expected if not (folder / archive.name).exists()]
        for archive in missing:
            if host(archive.address) in unverified and (archive.login or not archive.checksum):
                raise BadRequest(
                    f"{archive.name}: its server {host(archive.address)} may not go unverified, since it needs a login"
                    " or has no known checksum.\n"
                    f"Take it out of data.unverified_hosts, or put a copy that you trust into {folder}."
                )
        lacking = [(archive.bytes or 0) - Partial(folder / archive.name).size for archive in missing]
        check_room(folder, sum(max(0, count) for count in lacking))
        with _stop_on_signals(work.stop), ThreadPool(parallel) as pool:
            results = pool.map_async(work.attempt, expected, chunksize=1)
            while not results.ready() and not work.stop.is_set():
                results.wait(0.2)
        if work.stop.is_set():
            raise Interrupted(f"{folder}: stopped; what has been received is kept.\nThe same command resumes.")
    if errors := [error for error in results.get() if error]:
        raise errors[0] if len(errors) == 1 else _summary(folder, errors, len(archives))
    return [folder / archive.name for archive in archives]


def _summary(folder: Path, errors: list[RunFailed], archives: int) -> RunFailed:
    """One error for all: the first line of each, then every remedy once."""
    lines = [str(error).splitlines() for error in errors]
    remedies = dict.fromkeys(remedy for _, *rest in lines for remedy in rest)
    heading = f"{folder}: {len(errors)} of {archives} archives failed"
    return RunFailed("\n".join([heading, *(first for first, *_ in lines), *remedies]))


@contextmanager
def _stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM set `stop`."""
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class _Work:
    """What the archives of one call share."""

    folder: Path
    trusted: Path
    unverified: frozenset[str]
    login: Login | None
    retry: RetryPolicy
    stop: threading.Event = field(default_factory=threading.Event)

    def attempt(self, archive: Archive) -> RunFailed | None:
        """Provide one archive; returns what is wrong with it, which does not stop the others."""
        try:
            self.provide(archive)
            return None
        except OSError as error:
            advice = f"Free some space or choose another folder. {RESUME}"
            failure = RunFailed(f"{archive.name}: could not be written ({error.strerror or error}).\n{advice}")
        except DacsError as error:
            failure = RunFailed(f"{archive.name}: {error}")
        _report(str(failure).splitlines()[0])
        return failure

    def provide(self, archive: Archive) -> None:
        """Verify the file that is there, or download it."""
        path = self.folder / archive.name
        if not path.exists():
            return self.download(archive, path)
        try:
            check_file(archive, path, self.trusted)
        except RestartDownload as error:
            advice = "It was left as it is: move it away or delete it, then run the same command again."
            raise RunFailed(f"{path} is not the archive: {error}.\n{advice}") from error

    def download(self, archive: Archive, path: Path) -> None:
        """Receive the file, once more from byte 0 if it turned out wrong, and give it its name."""
        partial = Partial(path)
        for last in (False, True):
            try:
                self.receive_all(archive, partial)
                checksum = check_file(archive, partial.path, self.trusted)
                break
            except RestartDownload as error:
                partial.discard()
                if last:
                    raise RunFailed(
                        f"{error}; so was a download before it.\nTry later or name a mirror in data.mirrors. If its"
                        f" owners have changed the file, correct its row in dacs/datasets, or where it has no"
                        f" checksum there, delete the entry '{archive.name}' of {self.trusted}."
                    ) from error
                _report(f"{archive.name}: {error}; trying once more from the beginning")
        with partial.path.open("rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(partial.path, path)
        partial.discard()  # the note
        _report(f"{archive.name}: {path.stat().st_size:,} bytes, {checksum}")

    def receive_all(self, archive: Archive, partial: Partial) -> None:
        """Ask again and again for what is missing."""
        failures, most = 0, partial.size
        with tqdm(desc=archive.name, initial=most, unit="B", unit_scale=True, disable=None, leave=False) as bar:
            while partial.size != (archive.bytes or partial.note().get("total")):
                try:
                    for received, total in self.receive_part(archive, partial):
                        if self.stop.is_set():
                            raise Interrupted("stopped")
                        bar.total = total
                        bar.update(received - bar.n)
                except TransientError as error:
                    failures = 0 if partial.size > most else failures + 1
                    most = max(most, partial.size)
                    self.wait(archive, error, failures)

    def receive_part(self, archive: Archive, partial: Partial) -> Iterator[tuple[int, int | None]]:
        """One attempt; a login that has expired is renewed once."""
        backed = archive.checksum and not archive.login  # else TLS alone identifies the server
        login = self.login if archive.login else None
        for _ in range(2):
            with Session(self.retry.silence_s, self.unverified if backed else frozenset()) as session:
                if login:
                    session.cookies = login.cookies(session)
                try:
                    yield from receive(archive, partial, session)
                    return
                except LoginRequired:
                    if not login:
                        break
                    login.expire(session.cookies)
        raise RunFailed(
            f"{host(archive.address)} leads to its login page{' even after a login' if login else ''}, expected the"
            f" archive.\nOpen its address in a browser with your account: its rights may have ended, or it has moved."
        )

    def wait(self, archive: Archive, error: TransientError, failures: int) -> None:
        """Wait before the next attempt, or give up."""
        if failures >= self.retry.attempts:
            raise RunFailed(f"{error}; given up after {failures} attempts that brought nothing.\n{RESUME}")
        seconds = min(self.retry.longest_s, self.retry.first_s * 2**failures)
        if failures:
            _report(f"{archive.name}: {error}; trying again in {seconds:.0f} s")
        if self.stop.wait(seconds):
            raise Interrupted("stopped")


def _report(words: str) -> None:
    """Print a line above the progress bars."""
    tqdm.write(words, file=sys.stderr)
