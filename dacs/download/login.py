"""A login at the Cityscapes server. Nothing of it is printed, logged or stored, and no error repeats a credential."""

import json
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlsplit

from dacs.download.errors import PermanentError
from dacs.download.transfer import Connection, Session, ask, check_status, host, is_login
from dacs.errors import BadRequest

SITE = "https://www.cityscapes-dataset.com"
NAMES = ("CITYSCAPES_USERNAME", "CITYSCAPES_PASSWORD")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
REMEDY = (
    f"Set {' and '.join(NAMES)} in the environment, or let the official csDownload store them; register at"
    f" {SITE}/register/."
)


@dataclass(frozen=True)
class Credentials:
    """A user and a password, left out of repr() and str()."""

    username: str = field(repr=False)
    password: str = field(repr=False)


def credentials(environ: Mapping[str, str]) -> Credentials:
    """The account in the environment, else in the file of the official tool. Raises BadRequest where there is none."""
    found = [environ.get(name, "") for name in NAMES]
    if all(found):
        return Credentials(*found)
    if any(found):
        raise BadRequest(
            f"{NAMES[found.index('')]} is not set, though the other of {' and '.join(NAMES)} is.\n{REMEDY}"
        )
    path = official_file(environ)
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        pair = stored["username"], stored["password"]
    except OSError as error:
        raise BadRequest(
            f"Cityscapes needs an account: {' and '.join(NAMES)} are not set, and {path} cannot be read"
            f" ({error.strerror}).\n{REMEDY}"
        ) from None
    except (ValueError, TypeError, KeyError):
        pair = None, None
    if not all(isinstance(word, str) and word for word in pair):
        raise BadRequest(f"{path}: no JSON with a username and a password.\n{REMEDY}")
    return Credentials(*pair)


def official_file(environ: Mapping[str, str], system: str = sys.platform) -> Path:
    """Where csDownload of cityscapesscripts keeps credentials, by the rules of appdirs for Linux and macOS."""
    home = Path(environ.get("HOME") or Path.home())
    data = home / "Library/Application Support" if system == "darwin" else home / ".local/share"
    if system != "darwin" and environ.get("XDG_DATA_HOME"):
        data = Path(environ["XDG_DATA_HOME"])
    return data / "cityscapesscripts" / "credentials.json"


class Login:
    """A login that is made when first needed, once for all threads; its cookies are kept in memory only."""

    def __init__(self, account: Credentials, site: str = SITE) -> None:
        if urlsplit(site).scheme != "https" and host(site) not in LOOPBACK:
            raise BadRequest(f"{site}: a password is sent by https only.\nName an address that starts with https://.")
        self._account, self._page = account, f"{site.rstrip('/')}/login"
        self._lock = threading.Lock()
        self._cookies: CookieJar | None = None
        self._error: PermanentError | None = None

    def cookies(self, connection: Connection) -> CookieJar:
        """Cookies of a login. Raises PermanentError on wrong credentials, TransientError where it may pass."""
        with self._lock:
            if self._error:  # another attempt with a wrong password may lock the account
                raise self._error
            if self._cookies is None:
                try:
                    self._cookies = self._log_in(connection)
                except PermanentError as error:
                    self._error = error
                    raise
            return self._cookies

    def expire(self, cookies: CookieJar) -> None:
        """Forget these cookies, unless another thread has replaced them already."""
        with self._lock:
            if self._cookies is cookies:
                self._cookies = None

    def _log_in(self, connection: Connection) -> CookieJar:
        session = Session()
        connection = connection._replace(session=session)
        with ask("GET", self._page, connection) as response:
            check_status(response)
        form = {"username": self._account.username, "password": self._account.password, "submit": "Login"}
        with ask("POST", self._page, connection, data=form) as response:
            check_status(response)
            if not response.is_redirect or is_login(response.headers["Location"]):
                raise PermanentError(
                    f"{host(self._page)}: user name and password were not accepted (the login page came again).\n"
                    f"Try them in a browser at {self._page}, then correct {' and '.join(NAMES)}, or csDownload's file."
                )
        return session.cookies
