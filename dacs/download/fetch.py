"""Archives from their servers to a folder: resumed after any cut, and under their names only when they are verified.

Beside `<name>` are, hidden, the bytes received so far and a note of what the server said of the whole.
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
from dacs.download.errors import LoginRequired, PermanentError, RestartDownload, Stopped, TransientError
from dacs.download.login import Login
from dacs.download.transfer import (
    Connection,
    Session,
    Show,
    check_room,
    discard,
    host,
    partial_of,
    read_note,
    receive,
    size_of,
)
from dacs.download.verify import check_file, expected_file
from dacs.errors import BadRequest, DacsError, Interrupted, RunFailed
from dacs.locks import working_alone

LONGEST_ASKED_S = 600  # a server that asks to wait longer is left to the person
RESUME = "What has been received is kept: run the same command again later to resume."


class RetryPolicy(NamedTuple):
    """How long to try. Attempts count from the last one that brought bytes."""

    attempts: int = 8
    first_s: float = 1  # the first wait; each next one is twice as long
    longest_s: float = 60  # but not longer than this
    silence_s: float = 30
    connect_s: float = 30


PATIENT = RetryPolicy()


def fetch(
    archives: Sequence[Archive],
    folder: Path,
    *,
    trusted: Path,
    parallel: int = 1,
    unverified_hosts: Sequence[str] = (),
    login: Login | None = None,
    retry: RetryPolicy = PATIENT,
) -> list[Path]:
    """The files of `archives` in `folder`, each verified, in the order given.

    `trusted` is the JSON file of first downloads. Raises BadRequest before anything is asked for, RunFailed naming each
    archive that failed once all others are there, Interrupted on SIGINT or SIGTERM.
    """
    work = _Work(folder, trusted, frozenset(unverified_hosts), login, retry)
    with working_alone(folder, "another download is at work"):
        expected = [expected_file(archive, trusted) for archive in archives]
        missing = [archive for archive in expected if not (folder / archive.name).exists()]
        work.check_request(missing)
        lacking = [(archive.bytes or 0) - size_of(partial_of(folder / archive.name)) for archive in missing]
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


def _summary(folder: Path, errors: list[DacsError], archives: int) -> RunFailed:
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
    session: Session = field(default_factory=Session)

    def check_request(self, missing: list[Archive]) -> None:
        for archive in missing:
            if archive.login and self.login is None:
                raise BadRequest(f"{archive.name}: needs a login at {archive.login}.\nSet its credentials.")
            if host(archive.address) in self.unverified and (archive.login or not archive.checksum):
                reason = "it needs a login" if archive.login else "no checksum of it is known"
                raise BadRequest(
                    f"{archive.name}: {host(archive.address)} may not go unverified for this file, since {reason}.\n"
                    f"Take it out of data.unverified_hosts, or put a copy that you trust into {self.folder}."
                )

    def attempt(self, archive: Archive) -> DacsError | None:
        """Provide one archive; what is wrong with it does not stop the others."""
        try:
            if not self.stop.is_set():
                self.provide(archive)
            return None
        except Stopped:
            return None
        except PermanentError as error:
            failure: DacsError = RunFailed(f"{archive.name}: {error}")
        except DacsError as error:
            failure = error
        except OSError as error:
            failure = RunFailed(
                f"{self.folder / archive.name}: could not be written ({error.strerror or error}).\n"
                f"Free some space or choose another folder. {RESUME}"
            )
        _report(str(failure).splitlines()[0])
        return failure

    def provide(self, archive: Archive) -> None:
        """Verify the file that is there, or download it."""
        path = self.folder / archive.name
        if not path.exists():
            return self.download(archive, path)
        try:
            check_file(archive, path, self.trusted)
        except (RestartDownload, PermanentError) as error:
            raise RunFailed(
                f"{path}: this file is not the archive: {str(error).splitlines()[0]}.\n"
                f"It was left as it is: move it away or delete it, then run the same command again."
            ) from error

    def download(self, archive: Archive, path: Path) -> None:
        """Receive the file, once more from byte 0 if it turned out wrong, and give it its name."""
        partial = partial_of(path)
        for last in (False, True):
            try:
                self.receive_all(archive, partial)
                checksum = check_file(archive, partial, self.trusted)
                break
            except RestartDownload as error:
                discard(partial)
                if last:
                    raise PermanentError(
                        f"{error}; so was a download before it.\nTry later or name a mirror in data.mirrors. If its"
                        f" owners have changed the file, correct its row in dacs/datasets, or where it has no"
                        f" checksum there, delete the entry '{archive.name}' of {self.trusted}."
                    ) from error
                _report(f"{archive.name}: {error}; trying once more from the beginning")
        with partial.open("rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(partial, path)
        discard(partial)  # the note
        _report(f"{archive.name}: {size_of(path):,} bytes, {checksum}")

    def receive_all(self, archive: Archive, partial: Path) -> None:
        """Ask again and again for what is missing."""
        failures, most = 0, size_of(partial)
        with self.progress(archive.name, most) as show:
            while size_of(partial) != (archive.bytes or read_note(partial).get("total")):
                try:
                    self.receive_part(archive, partial, show)
                except TransientError as error:
                    failures = 0 if size_of(partial) > most else failures + 1
                    most = max(most, size_of(partial))
                    self.wait(archive, error, failures)

    def receive_part(self, archive: Archive, partial: Path, show: Show) -> None:
        """One attempt; a login that has expired is renewed once."""
        backed = archive.checksum and not archive.login  # else TLS alone identifies the server
        unverified = self.unverified if backed else frozenset()
        connection = Connection(self.session, self.retry.connect_s, self.retry.silence_s, unverified)
        login = self.login if archive.login else None
        for _ in range(2):
            cookies = login.cookies(connection) if login else None
            try:
                return receive(archive, partial, connection._replace(cookies=cookies), show)
            except LoginRequired:
                if login is None or cookies is None:
                    break
                login.expire(cookies)
        raise PermanentError(
            f"{host(archive.address)} leads to its login page{' even after a login' if login else ''}, expected the"
            f" archive.\nOpen its address in a browser with your account: its rights may have ended, or it has moved."
        )

    def wait(self, archive: Archive, error: TransientError, failures: int) -> None:
        """Wait before the next attempt, or give up."""
        if failures >= self.retry.attempts:
            raise PermanentError(f"{error}; given up after {failures} attempts that brought nothing.\n{RESUME}")
        if error.wait_s > LONGEST_ASKED_S:
            raise PermanentError(f"{error} and asks to wait {error.wait_s:.0f} s.\n{RESUME}")
        seconds = max(error.wait_s, min(self.retry.longest_s, self.retry.first_s * 2 ** max(0, failures - 1)))
        if failures:
            _report(f"{archive.name}: {error}; trying again in {seconds:.0f} s")
        if self.stop.wait(seconds):
            raise Stopped

    @contextmanager
    def progress(self, name: str, received: int) -> Iterator[Show]:
        """A progress bar in bytes, where a person watches; its callback raises Stopped once the run is stopped."""
        with tqdm(desc=name, initial=received, unit="B", unit_scale=True, disable=None, leave=False) as bar:

            def show(received: int, total: int | None) -> None:
                if self.stop.is_set():
                    raise Stopped
                bar.total = total
                bar.update(received - bar.n)

            yield show


def _report(words: str) -> None:
    """Print a line above the progress bars."""
    tqdm.write(words, file=sys.stderr)
