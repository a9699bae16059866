"""What can go wrong with one download, by what to do about it."""

from dacs.errors import RunFailed

NEW_ADDRESS = "Look for the new address on the page of the data set, and put it into data.mirrors."


class TransientError(Exception):
    """The same request may succeed later, after `wait_s` seconds where the server asks for that."""

    def __init__(self, message: str, wait_s: float = 0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class RestartDownload(Exception):
    """The bytes received do not belong to the file that was asked for; a request from byte 0 may help."""


class LoginRequired(Exception):
    """The server redirects to its login page."""


class Stopped(Exception):
    """The run is being stopped."""


class PermanentError(RunFailed):
    """Another attempt does not help: a person has to do something."""


class WebPage(PermanentError):
    """A web page came in place of an archive."""

    def __init__(self) -> None:
        super().__init__(
            "a web page (HTML) was found, expected an archive.\n"
            "Open its address in a browser: it may want a login or an accepted licence, or have moved (data.mirrors)."
        )
