"""One request for the rest of a file, whose headers are checked before a byte is kept. Nothing here tries again.

Redirects are followed by hand, so that each address is checked before anything is sent to it. No error repeats an
address beyond its host, or the message of the HTTP library, since both may hold secrets.
"""

import os
import shutil
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError

from dacs.datasets.base import Archive
from dacs.download.verify import RestartDownload
from dacs.errors import RunFailed
from dacs.files import read_json, write_json

REDIRECTS = 5
CHUNK = 2**18  # bytes
GIB = 2**30
BUSY = (408, 425, 429)  # and 5xx: the same request may succeed later
OPEN_IT = (
    "Open its address in a browser: it may want a login or an accepted licence. Where it has moved, put the new address"
    " into data.mirrors."
)


class TransientError(Exception):
    """The same request may succeed later."""


class LoginRequired(Exception):
    """The server redirects to its login page."""


class Partial:
    """The bytes received of an archive, and beside them a note of the version and the length of the whole."""

    def __init__(self, archive: Path) -> None:
        self.path = archive.with_name(f".{archive.name}.partial")
        self._note = archive.with_name(f".{archive.name}.partial.json")

    @property
    def size(self) -> int:
        """Bytes received."""
        return self.path.stat().st_size if self.path.exists() else 0

    def note(self) -> dict[str, Any]:
        """Version and length of the whole; empty where unknown, then it is not resumed."""
        with suppress(RunFailed, TypeError, KeyError):
            note = read_json(self._note)
            return {"version": note["version"], "total": note["total"]}
        return {}

    def restart(self, version: str, total: int | None) -> None:
        """Note a whole, of which nothing has been received; total None: its end will tell."""
        self.discard()
        write_json(self._note, {"version": version, "total": total})

    def end(self) -> None:
        """Note that what has been received is the whole."""
        write_json(self._note, {**self.note(), "total": self.size})

    def discard(self) -> None:
        """Delete bytes and note."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


class Session(requests.Session):
    """A session that takes proxies from the environment, but no password from ~/.netrc, and leaves redirects to us."""

    def __init__(self, silence_s: float, unverified: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self.headers.update({"User-Agent": "dacs", "Accept-Encoding": "identity"})
        self.auth = lambda request: request
        self.silence_s = silence_s  # after which a connection counts as dead
        self.unverified = unverified  # hosts whose certificate is not checked

    def get_redirect_target(self, resp: requests.Response) -> None:
        """No address: nothing is followed."""

    def ask(self, verb: str, address: str, **more: Any) -> requests.Response:
        """The answer of a server, its body still to be read. Raises TransientError, RestartDownload or RunFailed."""
        verify = False if host(address) in self.unverified else os.environ.get("SSL_CERT_FILE") or True
        try:
            response = self.request(verb, address, stream=True, timeout=self.silence_s, verify=verify, **more)
        except OSError as error:  # as all errors of requests are
            raise _error_of(error, address) from None
        code, answer = response.status_code, f"{host(address)} answers {response.status_code}"
        if code in BUSY or code >= 500:
            raise TransientError(answer)
        if code == 416:
            raise RestartDownload(f"{answer}: no bytes beyond those received")
        if code >= 400:
            raise RunFailed(f"{answer}: {'no right to this file' if code in (401, 403) else 'not there'}.\n{OPEN_IT}")
        return response


def receive(archive: Archive, partial: Partial, session: Session) -> Iterator[tuple[int, int | None]]:
    """Append to `partial` what it lacks; yields the bytes received so far, and of how many, where that is known.

    Raises TransientError, LoginRequired or RunFailed, after which the bytes received can be added to; or
    RestartDownload, after which they are of no use.
    """
    note = partial.note()
    received = partial.size if note.get("total") else 0
    headers = {"Range": f"bytes={received}-", "If-Range": note["version"] or None} if received else {}
    with _open(archive.address, headers, session) as response:
        if response.headers.get("Content-Type", "").lower().startswith("text/html"):
            raise RunFailed(f"{host(response.url)} sends a web page (HTML), expected an archive.\n{OPEN_IT}")
        total: int | None
        if response.status_code == 206:
            total = _check_range(response, received, note)
        else:
            received, total = 0, _size(archive, response)
            partial.restart(_version(response), total)
        most = archive.unpacked_limit if total is None else total
        check_room(partial.path.parent, (total or 0) - received)
        try:
            with partial.path.open("ab", buffering=0) as file:
                while chunk := response.raw.read1(CHUNK, decode_content=False):  # what is there: no cut loses it
                    received += len(chunk)
                    if received > most:
                        raise RestartDownload(f"the server sends more than {most} bytes")
                    while chunk:
                        chunk = chunk[file.write(chunk) :]
                    yield received, total
        except HTTPError as error:
            raise _error_of(error, response.url) from None
    if total is None:
        partial.end()
    elif received < total:
        raise TransientError(f"the server closed after {received} of {total} bytes")


def is_login(address: str) -> bool:
    """Whether an address is that of the login page of Cityscapes; other login pages are refused as web pages."""
    return urlsplit(address).path.startswith("/login")


def host(address: str) -> str:
    """The host of an address."""
    return urlsplit(address).hostname or ""


def check_room(folder: Path, needed: int) -> None:
    """Raise RunFailed where a disk has fewer than `needed` bytes left."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise RunFailed(
            f"{folder}: {free / GIB:.2f} GiB are free, {needed / GIB:.2f} GiB are needed.\n"
            f"Free some space or choose another folder, then run the same command again."
        )


def _open(address: str, headers: dict[str, str | None], session: Session) -> requests.Response:
    """The answer after redirects."""
    for _ in range(REDIRECTS + 1):
        response = session.ask("GET", address, headers=headers)
        if not response.is_redirect:
            return response
        response.close()
        address = _next_address(address, response.headers["Location"])
    raise RunFailed(f"{host(address)} redirects more than {REDIRECTS} times.\n{OPEN_IT}")


def _next_address(address: str, location: str) -> str:
    """Where a redirect leads. Raises LoginRequired, and RunFailed where it may not be followed."""
    schemes = ("https",) if urlsplit(address).scheme == "https" else ("http", "https")
    with suppress(ValueError):  # of an address that is not well formed
        following = urljoin(address, location)
        if is_login(following):
            raise LoginRequired
        if urlsplit(following).scheme in schemes:
            return following
    raise RunFailed(f"{host(address)} does not redirect to {' or '.join(schemes)}.\n{OPEN_IT}")


def _check_range(response: requests.Response, start: int, note: dict[str, Any]) -> int:
    """Bytes of the whole file. Raises RestartDownload where this part does not continue what was received."""
    total = note.get("total", 0)
    found, expected = response.headers.get("Content-Range"), f"bytes {start}-{total - 1}/{total}"
    if found != expected:
        raise RestartDownload(f"the server sends the range '{found}', expected '{expected}'")
    if _version(response) not in ("", note["version"]):
        raise RestartDownload("the file has changed on the server")
    return int(total)


def _size(archive: Archive, response: requests.Response) -> int | None:
    """Bytes of the whole file; None where only its end tells, which is marked where it is sent in chunks.

    Raises RestartDownload or RunFailed where they are not what is expected, or a cut would go unnoticed.
    """
    length = response.headers.get("Content-Length", "")
    total = int(length) if length.isdecimal() else archive.bytes
    if total is None and response.headers.get("Transfer-Encoding", "").lower() == "chunked":
        return None
    if total is None:
        raise RunFailed(f"{host(response.url)} announces no length, so a cut goes unnoticed.\n{OPEN_IT}")
    if archive.bytes not in (None, total):
        raise RestartDownload(f"the server announces {total} bytes, expected {archive.bytes}")
    if archive.bytes is None and total > archive.unpacked_limit:
        raise RunFailed(f"{total} bytes are announced, expected at most {archive.unpacked_limit}.\n{OPEN_IT}")
    return total


def _version(response: requests.Response) -> str:
    """What names this version of the file to the server: a strong ETag, or the date of change."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _error_of(error: Exception, address: str) -> Exception:
    """RunFailed for bad certificates or addresses, TransientError for all that may pass."""
    cause: BaseException = error
    while inner := cause.__cause__ or cause.__context__:
        cause = inner
    words = f"{host(address)} ({getattr(cause, 'strerror', None) or type(cause).__name__})"  # never its arguments
    if isinstance(cause, ssl.SSLCertVerificationError) or type(error) is OSError:  # no file of trusted certificates
        return RunFailed(
            f"cannot verify the certificate of {words}.\nCheck the clock, the proxy, and SSL_CERT_FILE,"
            " REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE where set. If the fault is the server's and the checksum of the file"
            " is known, name exactly this host in data.unverified_hosts: then the checksum alone decides."
        )
    if isinstance(error, ValueError):
        return RunFailed(f"no well-formed address of {words}.\n{OPEN_IT}")
    return TransientError(f"no connection to {words}")
