"""A login at the Cityscapes server. Nothing here is printed, logged or stored, and no error repeats a credential."""

import json
import stat
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pycurl

from dacs.download.reply import MOVED, PASSING, Refused, Trouble
from dacs.download.transfer import Link, connection, fault_of, host, is_login
from dacs.errors import BadRequest, RunFailed

BASE = "https://www.cityscapes-dataset.com"
NAMES = ("CITYSCAPES_USERNAME", "CITYSCAPES_PASSWORD")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
DEADLINE_S = 120  # for a page of the login
REMEDY = (
    f"Set {NAMES[0]} and {NAMES[1]} in the environment, or let the official csDownload store them;"
    f" register at {BASE}/register/."
)


@dataclass(frozen=True)
class Credentials:
    """A user and a password, which repr() and str() keep to themselves."""

    username: str = field(repr=False)
    password: str = field(repr=False)


def credentials(environ: Mapping[str, str]) -> Credentials:
    """From the environment, else from the file of the official tool. Raises BadRequest that tells both ways."""
    found = [environ.get(name, "") for name in NAMES]
    if all(found):
        return Credentials(*found)
    if any(found):
        missing = NAMES[found.index("")]
        raise BadRequest(f"{missing} is not set, though the other of {' and '.join(NAMES)} is.\n{REMEDY}")
    return _stored(official_file(environ))


def official_file(environ: Mapping[str, str], system: str = sys.platform) -> Path:
    """Where csDownload of cityscapesscripts keeps credentials, by the rules of appdirs for Linux and macOS."""
    home = Path(environ.get("HOME") or Path.home())
    data = home / "Library/Application Support" if system == "darwin" else home / ".local/share"
    if system != "darwin" and environ.get("XDG_DATA_HOME"):
        data = Path(environ["XDG_DATA_HOME"])
    return data / "cityscapesscripts" / "credentials.json"


def _stored(path: Path) -> Credentials:
    try:
        content = path.read_text(encoding="utf-8")
        mode = path.stat().st_mode
    except OSError as error:
        raise BadRequest(
            f"Cityscapes needs an account: {' and '.join(NAMES)} are not set, and {path} cannot be read"
            f" ({error.strerror}).\n{REMEDY}"
        ) from None
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        print(f"{path}: others can read this password; run chmod 600 on it.", file=sys.stderr)
    return _parsed(path, content)


def _parsed(path: Path, content: str) -> Credentials:
    """The official tool's JSON; an error must not carry the content, so causes are cut off."""
    try:
        stored = json.loads(content)
        pair = stored["username"], stored["password"]
    except (ValueError, TypeError, KeyError):
        pair = None, None
    if not all(isinstance(word, str) and word for word in pair):
        raise BadRequest(f"{path}: no JSON with a username and a password.\n{REMEDY}")
    return Credentials(*pair)


class Session:
    """Logged in when first needed, once for all threads; cookies live in memory only."""

    def __init__(self, account: Credentials, base: str = BASE) -> None:
        if urlsplit(base).scheme != "https" and host(base) not in LOOPBACK:
            raise BadRequest(f"{base}: a password is sent by https only.\nName an address that starts with https://.")
        self._account, self._base = account, base.rstrip("/")
        self._lock = threading.Lock()
        self._cookies: list[str] = []
        self._fault: RunFailed | None = None

    def cookies(self, link: Link) -> list[str]:
        """Cookies of a login, in curl's form. Raises RunFailed on wrong credentials, Trouble where it may pass."""
        with self._lock:
            if self._fault:  # to try a wrong password again may lock the account
                raise self._fault
            if not self._cookies:
                try:
                    self._cookies = self._log_in(link._replace(unverified=frozenset()))
                except RunFailed as fault:
                    self._fault = fault
                    raise
            return self._cookies

    def expired(self, cookies: list[str]) -> None:
        """Forget these cookies, unless another thread has replaced them already."""
        with self._lock:
            if self._cookies is cookies:
                self._cookies = []

    def _log_in(self, link: Link) -> list[str]:
        page = f"{self._base}/login"
        status, _, cookies = self._request(page, link, [], None)
        self._judge(status)
        form = {"username": self._account.username, "password": self._account.password, "submit": "Login"}
        status, following, cookies = self._request(page, link, cookies, urlencode(form))
        self._judge(status)
        if status not in MOVED or is_login(following):
            raise RunFailed(
                f"{host(page)}: user name and password were not accepted (the login page came again).\n"
                f"Try them in a browser at {page}, then correct {' and '.join(NAMES)} or the file of csDownload."
            )
        return cookies

    def _request(self, address: str, link: Link, cookies: list[str], form: str | None) -> tuple[int, str, list[str]]:
        """Status, where it redirects to, and the cookies after it; the page itself is thrown away."""
        curl = connection(address, link, cookies)
        curl.setopt(pycurl.WRITEFUNCTION, len)
        curl.setopt(pycurl.TIMEOUT, DEADLINE_S)
        if form is not None:
            curl.setopt(pycurl.POSTFIELDS, form)
        try:
            curl.perform()
            following = curl.getinfo(pycurl.REDIRECT_URL) or ""
            return curl.getinfo(pycurl.RESPONSE_CODE), following, curl.getinfo(pycurl.INFO_COOKIELIST)
        except pycurl.error as error:
            raise fault_of(error, "login", address) from None
        finally:
            curl.close()

    def _judge(self, status: int) -> None:
        if status in PASSING or status >= 500:
            raise Trouble(f"the login page answers {status}")
        if status >= 400:
            raise Refused(
                f"{host(self._base)}: the login page answers {status}, expected a form.\n"
                f"Try to log in with a browser; the site may have changed."
            )
