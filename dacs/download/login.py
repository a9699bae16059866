"""A login at the Cityscapes server. Nothing of it is printed, logged or stored, and no error repeats a credential."""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from requests.cookies import RequestsCookieJar

from dacs.download.transfer import Session, host, is_login
from dacs.errors import BadRequest, RunFailed

SITE = "https://www.cityscapes-dataset.com"
NAMES = ("CITYSCAPES_USERNAME", "CITYSCAPES_PASSWORD")


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
    share = Path(environ.get("XDG_DATA_HOME") or Path(environ.get("HOME", "")) / ".local/share")
    path = share / "cityscapesscripts/credentials.json"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return Credentials(stored["username"], stored["password"])
    except (OSError, ValueError, TypeError, KeyError):
        raise BadRequest(
            f"Cityscapes needs an account: {' and '.join(NAMES)} are not both set in the environment, and {path} is no"
            f" JSON with a username and a password.\n"
            f"Set both, or let the official csDownload store them there; register at {SITE}/register/."
        ) from None


class Login:
    """A login that is made when first needed, once for all threads; its cookies are kept in memory only."""

    def __init__(self, account: Credentials, site: str = SITE) -> None:
        self._account, self._page = account, f"{site}/login"
        self._lock = threading.Lock()
        self._cookies: RequestsCookieJar | None = None
        self._error: RunFailed | None = None

    def cookies(self, session: Session) -> RequestsCookieJar:
        """Cookies of a login. Raises RunFailed on wrong credentials, TransientError where it may pass."""
        with self._lock:
            if self._error:  # another attempt with a wrong password may lock the account
                raise self._error
            if self._cookies is None:
                self._log_in(session)
                self._cookies = session.cookies
            return self._cookies

    def expire(self, cookies: RequestsCookieJar) -> None:
        """Forget these cookies, unless another thread has replaced them already."""
        with self._lock:
            if self._cookies is cookies:
                self._cookies = None

    def _log_in(self, session: Session) -> None:
        session.ask("GET", self._page).close()
        form = {"username": self._account.username, "password": self._account.password, "submit": "Login"}
        with session.ask("POST", self._page, data=form) as response:
            if not response.is_redirect or is_login(response.headers["Location"]):
                self._error = RunFailed(
                    f"{host(self._page)}: user name and password were not accepted (the login page came again).\n"
                    f"Try them in a browser at {self._page}, then correct {' and '.join(NAMES)}, or csDownload's file."
                )
                raise self._error
