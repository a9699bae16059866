"""One request for the rest of a file, whose headers are checked before a byte is kept. Nothing here tries again.

Redirects are followed by hand, so that each address is checked before anything is sent to it. No error repeats an
address beyond its host, or the message of the HTTP library, since both may hold secrets.
"""

import os
import re
import shutil
import ssl
from collections.abc import Callable
from contextlib import suppress
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import requests
from urllib3 import Retry
from urllib3.exceptions import HTTPError, InvalidHeader

from dacs.datasets.base import Archive
from dacs.download.errors import NEW_ADDRESS, LoginRequired, PermanentError, RestartDownload, TransientError, WebPage
from dacs.download.verify import check_start
from dacs.errors import RunFailed
from dacs.files import read_json, write_json

REDIRECTS = 5
CHUNK = 2**18  # bytes
GIB = 2**30
BUSY = (408, 425, 429)  # and 5xx: the same request may succeed later
Show = Callable[[int, int | None], None]  # given the bytes received, and of how many; raises Stopped


class Session(requests.Session):
    """A session that takes proxies from the environment, but no password from ~/.netrc, and leaves redirects to us."""

    def __init__(self) -> None:
        super().__init__()
        self.headers.update({"User-Agent": "dacs", "Accept-Encoding": "identity"})
        self.auth = lambda request: request

    def get_redirect_target(self, resp: requests.Response) -> None:
        """No address: nothing is followed."""


class Connection(NamedTuple):
    """How to ask servers."""

    session: Session
    connect_s: float
    silence_s: float  # after which a connection counts as dead
    unverified: frozenset[str] = frozenset()  # hosts whose certificate is not checked
    cookies: CookieJar | None = None  # of a login; sent to its host only


def receive(archive: Archive, partial: Path, connection: Connection, show: Show) -> None:
    """Append to `partial` what it lacks.

    Raises TransientError, LoginRequired, Stopped or PermanentError, after which the bytes received can be added to; or
    RestartDownload, after which they are of no use.
    """
    note = read_note(partial)
    start = size_of(partial) if note else 0
    headers = {"Range": f"bytes={start}-", "If-Range": note["version"] or None} if start else {}
    with _open(archive.address, headers, connection) as response:
        start, total = _check_headers(archive, response, start, note)
        check_room(partial.parent, (total or 0) - start)
        if not start:
            discard(partial)
            _write_note(partial, response, total)
        received = _store(archive, response, partial, total, show)
        if total is not None and received < total:
            raise TransientError(f"the server closed after {received} of {total} bytes")
        _write_note(partial, response, received)


def ask(verb: str, address: str, connection: Connection, **more: Any) -> requests.Response:
    """The answer of a server, its body still to be read."""
    verify = os.environ.get("SSL_CERT_FILE") or True
    try:
        return connection.session.request(
            verb,
            address,
            stream=True,
            timeout=(connection.connect_s, connection.silence_s),
            verify=False if host(address) in connection.unverified else verify,
            cookies=connection.cookies,
            **more,
        )
    except requests.RequestException as error:
        raise _error_of(error, address) from None
    except OSError:
        raise PermanentError(
            "the trusted certificates cannot be read.\n"
            "Check what SSL_CERT_FILE, REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names, or unset them."
        ) from None


def check_status(response: requests.Response) -> None:
    """Raise what an error status means: TransientError, RestartDownload or PermanentError."""
    code = response.status_code
    answer = f"{host(response.url)} answers {code}"
    if code in BUSY or code >= 500:
        raise TransientError(answer, wait_s=_seconds(response.headers.get("Retry-After", "")))
    if code == 416:
        raise RestartDownload(f"{answer}: no bytes beyond those received")
    if code in (401, 403):
        raise PermanentError(
            f"{answer}: terms not accepted, or no right to this file.\n"
            f"Open the page of the data set in a browser: log in, accept the terms, ask for this file; then try again."
        )
    if code >= 400:
        raise PermanentError(f"{answer}: it may have moved.\n{NEW_ADDRESS}")


def is_login(address: str) -> bool:
    """Whether an address is that of a login page."""
    return any(re.match(r"(log|sign)-?in\b", part) for part in urlsplit(address).path.lower().split("/"))


def host(address: str) -> str:
    """The host of an address."""
    return urlsplit(address).hostname or ""


# --------------------------------------------------------------------------------------------------------------------
# The partial file, and the note beside it of the version and the length of the whole


def partial_of(path: Path) -> Path:
    """Where the bytes of an archive are until they are verified."""
    return path.with_name(f".{path.name}.partial")


def read_note(partial: Path) -> dict[str, Any]:
    """Version and length of the file that `partial` is the start of; empty where unknown, then it is not resumed."""
    with suppress(RunFailed, TypeError, KeyError):
        note = read_json(_note_of(partial))
        return {"version": note["version"], "total": note["total"]}
    return {}


def size_of(path: Path) -> int:
    """Bytes of a file, 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def discard(partial: Path) -> None:
    """Delete what has been received."""
    partial.unlink(missing_ok=True)
    _note_of(partial).unlink(missing_ok=True)


def check_room(folder: Path, needed: int) -> None:
    """Raise PermanentError where a disk has fewer than `needed` bytes left."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise PermanentError(
            f"{folder}: {free / GIB:.2f} GiB are free, {needed / GIB:.2f} GiB are needed.\n"
            f"Free some space or choose another folder, then run the same command again."
        )


def _note_of(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _write_note(partial: Path, response: requests.Response, total: int | None) -> None:
    write_json(_note_of(partial), {"version": _version(response), "total": total})


def _version(response: requests.Response) -> str:
    """What names this version of the file to the server: a strong ETag, or the date of change."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


# --------------------------------------------------------------------------------------------------------------------
# Request and answer


def _seconds(retry_after: str) -> float:
    """Seconds to wait by a Retry-After header, a number or a date; 0 where it is neither."""
    with suppress(InvalidHeader):
        return Retry().parse_retry_after(retry_after)
    return 0.0


def _open(address: str, headers: dict[str, str | None], connection: Connection) -> requests.Response:
    """The answer after redirects."""
    for _ in range(REDIRECTS + 1):
        response = ask("GET", address, connection, headers=headers)
        if not response.is_redirect:
            return response
        response.close()
        address = _next_address(address, response.headers["Location"])
    raise PermanentError(f"{host(address)} redirects more than {REDIRECTS} times.\n{NEW_ADDRESS}")


def _next_address(address: str, location: str) -> str:
    """Where a redirect leads, if it may be followed."""
    following, scheme = "", ""
    with suppress(ValueError):
        following = urljoin(address, location)
        scheme = urlsplit(following).scheme
    if scheme not in ("http", "https"):
        raise PermanentError(f"{host(address)} redirects to neither http nor https.\n{NEW_ADDRESS}")
    if is_login(following):
        raise LoginRequired
    if (urlsplit(address).scheme, scheme) == ("https", "http"):
        raise PermanentError(f"{host(address)} redirects from https to http, which is not followed.\n{NEW_ADDRESS}")
    return following


def _check_headers(
    archive: Archive, response: requests.Response, start: int, note: dict[str, Any]
) -> tuple[int, int | None]:
    """The position of the first byte in the file, and the bytes of the whole file where they are known."""
    headers = response.headers
    check_status(response)
    if headers.get("Content-Type", "").lower().startswith("text/html"):
        raise WebPage
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise PermanentError(f"{host(response.url)} compresses the archive once more.\n{NEW_ADDRESS}")
    if response.status_code == 206:
        total: int | None = _check_range(response, start, note)
    else:
        length = headers.get("Content-Length", "")
        start, total = 0, int(length) if length.isdecimal() else None
    if archive.bytes and total not in (None, archive.bytes):
        raise RestartDownload(f"the server announces {total} bytes, expected {archive.bytes}")
    total = total or archive.bytes
    if total is None and "chunked" not in headers.get("Transfer-Encoding", ""):
        raise PermanentError(f"{host(response.url)} announces no length, so a cut goes unnoticed.\n{NEW_ADDRESS}")
    if total and not archive.bytes and total > archive.unpacked_limit:
        raise PermanentError(
            f"{host(response.url)} announces {total} bytes, expected at most {archive.unpacked_limit}.\n{NEW_ADDRESS}"
        )
    return start, total


def _check_range(response: requests.Response, start: int, note: dict[str, Any]) -> int:
    """Bytes of the whole file. Raises RestartDownload where this part does not continue what was received."""
    found = response.headers.get("Content-Range", "none")
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", found)
    if not span or not start or int(span[1]) != start:
        raise RestartDownload(f"bytes from {start} on were asked for, the server sends range '{found}'")
    total = int(span[2])
    if note["total"] not in (None, total) or (note["version"] and _version(response) not in ("", note["version"])):
        raise RestartDownload("the file has changed on the server")
    return total


def _store(archive: Archive, response: requests.Response, partial: Path, total: int | None, show: Show) -> int:
    """Append the body; returns how many bytes there are then."""
    received, most = size_of(partial), archive.unpacked_limit if total is None else total
    try:
        with partial.open("ab", buffering=0) as file:
            while chunk := response.raw.read1(CHUNK, decode_content=False):  # what is there, so that no cut loses it
                if received + len(chunk) > most:
                    raise RestartDownload(f"the server sends more than {most} bytes")
                if not received:
                    check_start(archive.name, chunk)
                received += len(chunk)
                while chunk:
                    chunk = chunk[file.write(chunk) :]
                show(received, total)
    except HTTPError as error:
        raise _error_of(error, response.url) from None
    return received


def _error_of(error: Exception, address: str) -> Exception:
    """PermanentError for a bad certificate or address, TransientError for all that may pass."""
    cause: BaseException = error
    while inner := cause.__cause__ or cause.__context__:
        cause = inner
    words = getattr(cause, "strerror", None) or type(cause).__name__  # never its arguments
    if isinstance(cause, ssl.SSLCertVerificationError):
        return PermanentError(
            f"the certificate of {host(address)} cannot be verified ({words}).\n"
            "Check the clock, the proxy and SSL_CERT_FILE. If the fault is the server's and the checksum of the file is"
            " known, name exactly this host in data.unverified_hosts: then the checksum alone decides."
        )
    if isinstance(error, ValueError):  # an address or a header that is not well formed
        return PermanentError(f"the address of {host(address)} is not well formed ({words}).\n{NEW_ADDRESS}")
    return TransientError(f"the connection to {host(address)} failed ({words})")
