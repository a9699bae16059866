"""What a server answers when the rest of a file is asked for, judged by its headers before a byte is kept.

Nothing here connects or tries again: bytes go to the partial file, or an exception says why they do not.
"""

import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from dacs.errors import RunFailed
from dacs.files import read_json, write_json

GIB = 2**30
MOVED = (301, 302, 303, 307, 308)
PASSING = (408, 425, 429)  # and 5xx: the same request may succeed later
MAGIC = {".zip": b"PK", ".rar": b"Rar!"}
PAGES = (b"<!doctype", b"<html", b"<head", b"<?xml")  # how pages of words start
Show = Callable[[int, int | None], None]  # told how many bytes there are, and of how many


class Trouble(Exception):
    """What may pass: the same request is worth another try, after `wait_s` seconds where the server said so."""

    def __init__(self, words: str, wait_s: float = 0) -> None:
        super().__init__(words)
        self.wait_s = wait_s


class Anew(Exception):
    """What has come is not the beginning of what was asked for; asking from byte 0 may help."""


class Redirected(Exception):
    """The headers name another address."""


class Refused(RunFailed):
    """No use in trying again: a person has to do something."""


class Goal(NamedTuple):
    """What is to come."""

    name: str
    bytes: int | None  # None: as many as the server says
    limit: int  # but not more than these


# --------------------------------------------------------------------------------------------------------------------
# Files beside an archive, as long as it is not whole


def partial_of(path: Path) -> Path:
    """Where the bytes of an archive lie until they are known to be right."""
    return path.with_name(f".{path.name}.partial")


def note_of(partial: Path) -> Path:
    """What the server said of the file whose first bytes lie in `partial`: its version and its length."""
    return partial.with_name(f"{partial.name}.json")


def read_note(partial: Path) -> dict[str, Any]:
    """The note beside a partial file; without one nothing is known of its bytes, and they are not taken up again."""
    with suppress(RunFailed, TypeError, KeyError):
        note = read_json(note_of(partial))
        return {"version": note["version"], "total": note["total"]}
    return {}


def size_of(path: Path) -> int:
    """Bytes of a file, 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def discard(partial: Path) -> None:
    """Forget what has come so far."""
    partial.unlink(missing_ok=True)
    note_of(partial).unlink(missing_ok=True)


def check_room(folder: Path, needed: int) -> None:
    """Raise Refused where a disk has fewer than `needed` bytes left."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise Refused(
            f"{folder}: {free / GIB:.2f} GiB are free, {needed / GIB:.2f} GiB are still to come.\n"
            f"Free some space or choose another folder, then run the same command again."
        )


# --------------------------------------------------------------------------------------------------------------------
# One answer


class Reply:
    """The answer to one request, as curl hands it over: header by header, then piece by piece."""

    def __init__(self, partial: Path, goal: Goal, show: Show) -> None:
        self.partial, self.goal, self.show = partial, goal, show
        self.note = read_note(partial)
        self.start = size_of(partial) if self.note else 0  # bytes there before
        self.came = 0  # bytes since
        self.total = goal.bytes
        self.status, self.headers = 0, dict[str, str]()
        self.stream: BinaryIO | None = None
        self.fault: Exception | None = None

    def asking(self) -> list[str]:
        """Headers that ask for the missing bytes, of the same version of the file."""
        if not self.start:
            return []
        version = self.note["version"]
        return [f"Range: bytes={self.start}-"] + ([f"If-Range: {version}"] if version else [])

    def header(self, line: bytes) -> None:
        """Called by curl with each line."""
        text = line.decode("latin-1").strip()
        if first := re.match(r"(HTTP/\S+) (\d+)", text):
            self.status, self.headers = int(first[2]), {"protocol": first[1]}
        elif ":" in text:
            key, value = text.split(":", 1)
            self.headers[key.strip().lower()] = value.strip()

    def body(self, chunk: bytes) -> int:
        """Called by curl with each piece; what goes wrong is kept, for curl would swallow it."""
        try:
            self.begin()
            self._store(chunk)
        except Exception as fault:
            self.fault = fault
            return 0  # fewer than there are: curl stops
        return len(chunk)

    def begin(self) -> None:
        """Judge the headers and open the file, once."""
        if self.stream is not None:
            return
        self._judge_status()
        if self.headers.get("content-type", "").lower().startswith("text/html"):
            raise Refused(page(self.goal.name))
        if self.status == 200:
            self.start = 0  # the whole file, whatever was asked for
        self.total = self._length()
        if self.status == 206:
            self._judge_range()
        check_room(self.partial.parent, (self.total or 0) - self.start)
        if self.start == 0:
            discard(self.partial)
            self._write_note()
        self.stream = self.partial.open("ab", buffering=0)

    def finish(self) -> None:
        """The body has ended: check that the file has, too."""
        there = self.start + self.came
        if self.total is not None and there < self.total:
            raise Trouble(f"the server closed after {there} of {self.total} bytes")
        self.total = there  # where it was not announced, the end was framed well
        self._write_note()

    def close(self) -> None:
        """Close the file."""
        if self.stream is not None:
            self.stream.close()

    def _judge_status(self) -> None:
        if self.status in (200, 206):
            return
        if self.status in MOVED and "location" in self.headers:
            raise Redirected
        if self.status == 416 and self.start:
            raise Anew(f"the server has no bytes after {self.start}")
        words = f"the server answers {self.status}"
        if self.status in PASSING or self.status >= 500:
            raise Trouble(words, wait_s=seconds_of(self.headers.get("retry-after", "")))
        meaning, remedy = STATUS.get(self.status, ("not expected", MENDING))
        raise Refused(f"{self.goal.name}: {words} ({meaning}).\n{remedy}")

    def _length(self) -> int | None:
        """Bytes of the whole file, where what is known and what is announced agree."""
        announced, known = self._announced(), self.goal.bytes
        if announced is None and known is None and not self._tells_its_end():
            raise Refused(
                f"{self.goal.name}: the server does not say how long it is, so a cut would go unseen.\n{MENDING}"
            )
        if None not in (announced, known) and announced != known:
            raise Anew(f"the server announces {announced} bytes, expected {known}")
        if announced is not None and announced > self.goal.limit:
            raise Refused(
                f"{self.goal.name}: the server announces {announced} bytes, at most {self.goal.limit} were expected.\n"
                f"{MENDING}"
            )
        return announced if known is None else known

    def _announced(self) -> int | None:
        """Bytes of the whole file, as the headers say."""
        if self._packed():
            return None  # what is announced is the length of the packed body
        if self.status == 206:
            whole = re.fullmatch(r"bytes \d+-\d+/(\d+)", self.headers.get("content-range", ""))
            return int(whole[1]) if whole else None
        length = self.headers.get("content-length", "")
        return int(length) if length.isdecimal() else None

    def _packed(self) -> bool:
        return self.headers.get("content-encoding", "identity").lower() != "identity"

    def _tells_its_end(self) -> bool:
        """Whether curl notices when the body is cut."""
        framed = self.headers["protocol"] not in ("HTTP/1.0", "HTTP/1.1")
        return framed or "content-length" in self.headers or "chunked" in self.headers.get("transfer-encoding", "")

    def _judge_range(self) -> None:
        """Refuse to glue what does not belong together."""
        found = self.headers.get("content-range", "none")
        if not self.start or not found.startswith(f"bytes {self.start}-"):
            raise Anew(f"bytes from {self.start} on were asked for, the server sends range '{found}'")
        if self._packed():
            raise Anew("the server sends a packed part of the file")
        before, version = self.note["total"], self.note["version"]
        if None not in (before, self.total) and before != self.total:
            raise Anew(f"the file had {before} bytes before, now {self.total}")
        if version and self._version() and version != self._version():
            raise Anew("the file has changed on the server")
        self.total = before if self.total is None else self.total

    def _version(self) -> str:
        """What names this version of the file to the server: a strong ETag, or the date of change."""
        tag = self.headers.get("etag", "")
        return tag if tag.startswith('"') else self.headers.get("last-modified", "")

    def _write_note(self) -> None:
        write_json(note_of(self.partial), {"version": self._version(), "total": self.total})

    def _store(self, chunk: bytes) -> None:
        assert self.stream is not None  # `begin` has opened it
        there = self.start + self.came
        most = self.goal.limit if self.total is None else self.total
        if there + len(chunk) > most:
            raise Anew(f"the server sends more than {most} bytes")
        if there == 0:
            check_magic(self.goal.name, chunk)
        while chunk:
            written = self.stream.write(chunk)
            self.came += written
            chunk = chunk[written:]
        self.show(self.start + self.came, self.total)


def seconds_of(retry_after: str) -> float:
    """Seconds to wait as a Retry-After header says, by number or by date; 0 where it says nothing."""
    if retry_after.isdecimal():
        return float(retry_after)
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds())
    return 0.0


def check_magic(name: str, head: bytes) -> None:
    """Hold the first bytes of a file against its kind. Raises Refused for a page of words, Anew for anything else."""
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(PAGES):
        raise Refused(page(name))
    magic = MAGIC[Path(name).suffix]
    if head[: len(magic)] != magic[: len(head)]:
        raise Anew(f"the file starts with {head[:8]!r}, expected {magic!r}")


# --------------------------------------------------------------------------------------------------------------------
# Words

MENDING = (
    "Look for the new address on the page of the data set, and write it into data.mirrors or acquire/archives.csv."
)
RIGHTS = "Open the page of the data set in a browser: log in, accept the terms, and ask for this file; then try again."
PROXY = "Check what http_proxy and https_proxy name, or unset them."
STATUS = {  # what it means, and what to do
    401: ("not logged in", RIGHTS),
    403: ("forbidden: terms not accepted, or no right to this file", RIGHTS),
    404: ("not found: the address has moved", MENDING),
    407: ("the proxy wants a login", PROXY),
    410: ("gone: the address has moved", MENDING),
}


def page(name: str) -> str:
    """What is told when a web page came instead of an archive."""
    return (
        f"{name}: a web page (HTML) was found, expected an archive.\n"
        f"Open its address in a browser: it may want a login or an accepted licence, or have moved (data.mirrors)."
    )
