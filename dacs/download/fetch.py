"""Archives from their servers to a folder: resumed after any cut, and under their names only when they are right.

Beside `<name>` lie, hidden, what has come so far (`.<name>.partial` and what the server said of it), a lock, and a
receipt that spares hashing a file again which nobody has touched since.
"""

import hashlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from dacs.download.archives import Archive
from dacs.download.reply import (
    Anew,
    Goal,
    Refused,
    Show,
    Trouble,
    check_magic,
    check_room,
    discard,
    partial_of,
    read_note,
    size_of,
)
from dacs.download.session import Session
from dacs.download.transfer import Link, LoginWanted, Stopped, host, receive
from dacs.download.trust import Expected, expected_of, locked, trust
from dacs.errors import BadRequest, DacsError, Interrupted, RunFailed
from dacs.files import read_json, write_json

PIECE = 2**20  # bytes hashed at a time
LONGEST_ASKED_S = 600  # a server that asks to wait longer is left to the person
LATER = "What has come is kept: run the same command again later, it goes on from there."


class Patience(NamedTuple):
    """How long to try. Attempts count from the last one that brought bytes."""

    attempts: int = 8
    first_s: float = 1  # the first wait; each next one is twice as long
    longest_s: float = 60  # but not longer than this
    silence_s: int = 30
    connect_s: int = 30


PATIENT = Patience()


class Work(NamedTuple):
    """What the archives of one call share."""

    folder: Path
    trusted: Path
    unverified: frozenset[str]
    session: Session | None
    patience: Patience
    stop: threading.Event


def fetch(
    archives: Sequence[Archive],
    folder: Path,
    *,
    parallel: int,
    trusted: Path,
    unverified_hosts: Sequence[str] = (),
    session: Session | None = None,
    patience: Patience = PATIENT,
) -> list[Path]:
    """The files of `archives` in `folder`, each verified, in the order given.

    `trusted` is the JSON file of first downloads. Raises BadRequest before anything is asked for, RunFailed naming each
    archive that could not be had after all others were, Interrupted on SIGINT or SIGTERM.
    """
    work = Work(folder, trusted, frozenset(unverified_hosts), session, patience, threading.Event())
    with _told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        missing = {
            archive: expected_of(archive, trusted) for archive in archives if not (folder / archive.name).exists()
        }
        _check_request(missing, work, parallel)
        needed = [(want.bytes or 0) - size_of(partial_of(folder / archive.name)) for archive, want in missing.items()]
        check_room(folder, sum(max(0, count) for count in needed))
    faults = _fetch_all(archives, work, parallel)
    if work.stop.is_set():
        raise Interrupted(f"{folder}: stopped; what has come is kept.\nThe same command goes on from there.")
    if faults:
        raise _summary(folder, faults, len(archives))
    return [folder / archive.name for archive in archives]


def _check_request(missing: dict[Archive, Expected], work: Work, parallel: int) -> None:
    if parallel < 1:
        raise BadRequest(f"{parallel} downloads at once are too few.\nAllow at least 1.")
    for archive, expected in missing.items():
        if archive.login and work.session is None:
            raise BadRequest(f"{archive.name}: needs a login at {archive.login}, none was given.\nSet its credentials.")
        if host(archive.address) in work.unverified and (archive.login or not expected.checksum):
            reason = "it needs a login" if archive.login else "no checksum of it is known"
            raise BadRequest(
                f"{archive.name}: {host(archive.address)} may not go unverified for this file, since {reason}.\n"
                f"Take the host out of data.unverified_hosts, or put a copy that you trust into {work.folder}."
            )


def _fetch_all(archives: Sequence[Archive], work: Work, parallel: int) -> list[DacsError]:
    """What went wrong; one archive's fault does not stop the others."""
    with _stop_signals(work.stop), ThreadPoolExecutor(parallel) as pool:
        tries = [pool.submit(_tried, archive, work) for archive in archives]
        return [fault for fault in (each.result() for each in tries) if fault is not None]


def _tried(archive: Archive, work: Work) -> DacsError | None:
    try:
        if not work.stop.is_set():
            _bring(archive, work)
    except Stopped:
        work.stop.set()
    except DacsError as fault:
        tqdm.write(str(fault).splitlines()[0], file=sys.stderr)
        return fault
    return None


def _summary(folder: Path, faults: list[DacsError], archives: int) -> DacsError:
    """One error for all: the first lines of each, then every remedy once."""
    if len(faults) == 1:
        return faults[0]
    parts = [str(fault).split("\n", 1) for fault in faults]
    remedies = dict.fromkeys(rest for _, *more in parts for rest in more)
    told = [
        f"{folder}: {len(faults)} of {archives} archives could not be had",
        *(first for first, *_ in parts),
        *remedies,
    ]
    return RunFailed("\n".join(told))


# --------------------------------------------------------------------------------------------------------------------
# One archive


def _bring(archive: Archive, work: Work) -> None:
    """Have the archive under its name, by believing what is there or by downloading it."""
    path = work.folder / archive.name
    with _told(path), _alone(path):
        expected = expected_of(archive, work.trusted)
        if not path.exists():
            _download(archive, expected, path, work)
        elif not _received(path, expected):
            checksum = _check_own(archive, expected, path, work)
            _write_receipt(path, checksum)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    try:
        with locked(path.with_name(f".{path.name}.lock"), wait=False):
            yield
    except BlockingIOError as error:
        raise RunFailed(f"{path}: another download is at work there.\nWait for it, or stop it first.") from error


def _received(path: Path, expected: Expected) -> bool:
    """Whether the receipt says that this very file was verified against what is expected now."""
    try:
        receipt = read_json(_receipt_of(path))
    except RunFailed:
        return False
    return bool(expected.checksum) and receipt == _receipt(path, expected.checksum)


def _receipt_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.verified.json")


def _receipt(path: Path, checksum: str) -> dict[str, Any]:
    status = path.stat()
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "checksum": checksum}


def _write_receipt(path: Path, checksum: str) -> None:
    write_json(_receipt_of(path), _receipt(path, checksum))


def _check_own(archive: Archive, expected: Expected, path: Path, work: Work) -> str:
    """The checksum of a file that is there already; a wrong one is a person's to remove."""
    try:
        return _verified(archive, expected, path, work)
    except (Anew, Refused) as fault:
        words = str(fault).splitlines()[0].removeprefix(f"{archive.name}: ")
        raise RunFailed(
            f"{path}: a file is there that is not this archive: {words}.\n"
            f"It was left as it is: move it away or delete it, then run the same command again."
        ) from fault


def _download(archive: Archive, expected: Expected, path: Path, work: Work) -> None:
    """Bring the file, once more from byte 0 if it turned out wrong, and give it its name."""
    partial, wrong = partial_of(path), ""
    while True:
        try:
            _bring_whole(archive, expected, partial, work)
            checksum = _verified(archive, expected, partial, work)
            break
        except Anew as fault:
            discard(partial)
            if wrong:
                told = f"{archive.name}: {fault}" + (f" (before: {wrong})" if wrong != str(fault) else ", twice")
                raise RunFailed(f"{told}.\n{expected.remedy}") from fault
            wrong = str(fault)
            _tell(f"{archive.name}: {wrong}; trying once more from the beginning")
    _name(partial, path)
    _write_receipt(path, checksum)
    _tell(f"{archive.name}: {size_of(path):,} bytes, {checksum}")


def _name(partial: Path, path: Path) -> None:
    """Rename when the bytes are safely on the disk."""
    with partial.open("rb+") as stream:
        os.fsync(stream.fileno())
    os.replace(partial, path)
    discard(partial)  # the note


# --------------------------------------------------------------------------------------------------------------------
# Until all bytes are there


def _bring_whole(archive: Archive, expected: Expected, partial: Path, work: Work) -> None:
    """Ask again and again for what is missing; attempts count anew whenever there is more than ever before."""
    failures, most = 0, size_of(partial)
    goal = Goal(archive.name, expected.bytes, expected.bytes or archive.unpacked_limit)
    backed = expected.checksum and not archive.login  # else TLS alone says who is speaking
    unverified = work.unverified if backed else frozenset()
    link = Link(work.patience.silence_s, work.patience.connect_s, unverified, work.stop.is_set)
    with _bar(archive.name, most) as show:
        while not _is_whole(partial, goal):
            try:
                _receive(archive, partial, goal, link, work.session, show)
            except Trouble as trouble:
                failures = 0 if size_of(partial) > most else failures + 1
                most = max(most, size_of(partial))
                _wait(archive, trouble, failures, work.patience, work.stop)


def _is_whole(partial: Path, goal: Goal) -> bool:
    total = goal.bytes or read_note(partial).get("total")
    return total is not None and size_of(partial) == total


def _receive(archive: Archive, partial: Path, goal: Goal, link: Link, session: Session | None, show: Show) -> None:
    """One attempt; a session that has expired is renewed once."""
    if session is None or not archive.login:
        return _receive_freely(archive, partial, goal, link, show)
    for _ in range(2):
        cookies = session.cookies(link)
        try:
            return receive(archive.address, partial, goal, link, cookies, show)
        except LoginWanted:
            session.expired(cookies)
    raise Refused(
        f"{archive.name}: the login was accepted, yet the server leads to the login page again.\n"
        f"Open {archive.address} in a browser with the same account; its rights may have ended."
    )


def _receive_freely(archive: Archive, partial: Path, goal: Goal, link: Link, show: Show) -> None:
    try:
        receive(archive.address, partial, goal, link, (), show)
    except LoginWanted as fault:
        raise Refused(
            f"{archive.name}: {host(archive.address)} leads to a login page, expected the archive.\n"
            f"Open the address in a browser: it may have moved (data.mirrors), or the table must name a login."
        ) from fault


def _wait(archive: Archive, trouble: Trouble, failures: int, patience: Patience, stop: threading.Event) -> None:
    """Wait before the next attempt, or give up."""
    if failures >= patience.attempts:
        raise RunFailed(f"{archive.name}: {trouble}; given up after {failures} attempts that brought nothing.\n{LATER}")
    if trouble.wait_s > LONGEST_ASKED_S:
        raise RunFailed(f"{archive.name}: {trouble} and asks to wait {trouble.wait_s:.0f} s.\n{LATER}")
    seconds = max(trouble.wait_s, min(patience.longest_s, patience.first_s * 2 ** max(0, failures - 1)))
    if failures:
        _tell(f"{archive.name}: {trouble}; trying again in {seconds:.0f} s")
    if stop.wait(seconds):
        raise Stopped


# --------------------------------------------------------------------------------------------------------------------
# Whether they are the right ones


def _verified(archive: Archive, expected: Expected, path: Path, work: Work) -> str:
    """The checksum of the file, with its kind; where none was known, it is noted. Raises Anew on any difference."""
    size = size_of(path)
    if expected.bytes not in (None, size):
        raise Anew(f"{size} bytes, expected {expected.bytes}")
    with path.open("rb") as stream:
        check_magic(archive.name, stream.read(64))
    kind = expected.checksum.partition(":")[0] or "sha256"
    found = f"{kind}:{_digest(path, kind, work.stop.is_set)}"
    if not expected.checksum:
        trust(work.trusted, archive, size, found.removeprefix("sha256:"))
    elif found != expected.checksum:
        raise Anew(f"{found}, expected {expected.checksum}")
    return found


def _digest(path: Path, kind: str, stopped: Callable[[], bool]) -> str:
    """Read the file back rather than hash what passed by: what counts is what lies on the disk."""
    state, there = hashlib.new(kind, usedforsecurity=False), 0
    with path.open("rb") as stream, _bar(f"{path.name.lstrip('.').removesuffix('.partial')} (check)") as show:
        while piece := stream.read(PIECE):
            if stopped():
                raise Stopped
            state.update(piece)
            there += len(piece)
            show(there, size_of(path))
    return state.hexdigest()


# --------------------------------------------------------------------------------------------------------------------
# What a person sees, and how a person stops it


@contextmanager
def _bar(name: str, there: int = 0) -> Iterator[Show]:
    """A progress bar in bytes, where a person watches; those `there` before do not count as speed."""
    with tqdm(desc=name, initial=there, unit="B", unit_scale=True, unit_divisor=1024, disable=None, leave=False) as bar:

        def show(there: int, total: int | None) -> None:
            bar.total = total
            bar.update(there - bar.n)

        yield show


def _tell(words: str) -> None:
    """A line above the bars."""
    tqdm.write(words, file=sys.stderr)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """A full disk or a folder without rights, in words."""
    try:
        yield
    except OSError as error:
        raise RunFailed(
            f"{path}: could not be written ({error.strerror or error}).\n"
            f"What has come is kept. Free some space or choose another folder, then run the same command again."
        ) from error


@contextmanager
def _stop_signals(stop: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM set `stop`, which every thread asks for; only the main thread can be told of signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
