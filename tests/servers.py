"""Servers of the tests' own, on this machine only: one serves files and misbehaves by script, one wants a login."""

import re
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

CERTIFICATE = Path(__file__).with_name("localhost.pem")
Act = Callable[["Handler", bytes], None]  # answers one GET for a file of these bytes


class Server(ThreadingHTTPServer):
    """Files by path; each GET of a file is answered by the next act of the script, or well when there is none."""

    daemon_threads = True

    def __init__(self, scheme: str = "http") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.scheme = scheme
        self.files: dict[str, bytes] = {}
        self.script: deque[Act] = deque()
        self.log: list[Handler] = []
        self.let_go = threading.Event()  # ends all silence
        if scheme == "https":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def address(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.server_port}{path}"

    def ranges(self) -> list[str]:
        """What was asked of files, in order; '' is the whole."""
        asked = [each for each in self.log if each.command == "GET" and urlsplit(each.path).path in self.files]
        return [each.headers.get("Range", "") for each in asked]

    def respond(self, handler: "Handler", form: str) -> None:
        body = self.files.get(urlsplit(handler.path).path)
        act = self.script.popleft() if self.script and body is not None else whole
        (status(404) if body is None else act)(handler, body or b"")

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what the tests are about."""


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.log.append(self)
        self.server.respond(self, self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
        self.close_connection = True

    do_POST = do_GET  # noqa: N815

    def answer(self, status: int, headers: dict[str, str | None] | None = None, body: bytes = b"") -> None:
        """A header that is None is left out."""
        self.send_response(status)
        for name, value in ({"Connection": "close", "Content-Length": str(len(body))} | (headers or {})).items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def tag(body: bytes) -> str:
    """A strong ETag."""
    return f'"{len(body)}-{sum(body)}"'


def cut(count: int | None, shift: int = 0, deaf_to: tuple[str, ...] = ()) -> Act:
    """Announce all, send `count` bytes of what was asked for, hang up; with a shift, of another range."""

    def act(handler: Handler, body: bytes) -> None:
        known = {name: value for name, value in handler.headers.items() if name not in deaf_to}
        asked = re.fullmatch(r"bytes=(\d+)-", known.get("Range", ""))
        first = int(asked[1]) + shift if asked and known.get("If-Range", tag(body)) == tag(body) else 0
        headers: dict[str, str | None] = {"Content-Length": str(len(body) - first), "ETag": tag(body)}
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
        handler.answer(206 if first else 200, headers, body[first:][:count])

    return act


whole = cut(None)


def silent(count: int) -> Act:
    """Send `count` bytes, then keep the line open and say nothing."""

    def act(handler: Handler, body: bytes) -> None:
        cut(count)(handler, body)
        handler.server.let_go.wait(60)

    return act


def status(code: int, **headers: str) -> Act:
    return lambda handler, body: handler.answer(code, {**headers}, b"<html>as most servers say it</html>")


def redirect(address: str) -> Act:
    return status(302, Location=address)


def html(handler: Handler, body: bytes) -> None:
    page = b"<html><form action=/login></form></html>"
    handler.answer(200, {"Content-Type": "text/html; charset=UTF-8"}, page)


def instead(other: bytes) -> Act:
    """Serve, in all order, another file."""
    return lambda handler, body: whole(handler, other)


def unframed(count: int) -> Act:
    """No length at all: the end is where the line is closed. More than the file has is padded."""
    return lambda handler, body: handler.answer(
        200, {"Content-Length": None, "ETag": tag(body)}, body.ljust(count, b"x")[:count]
    )


class Members(Server):
    """Serves files to those who have logged in, as the Cityscapes server does."""

    def __init__(self, username: str, password: str) -> None:
        super().__init__()
        self.account = {"username": [username], "password": [password], "submit": ["Login"]}
        self.known: set[str] = set()  # cookies that are logged in
        self.deaf = False  # takes the login, yet has no members

    def respond(self, handler: Handler, form: str) -> None:
        cookies = set(handler.headers.get("Cookie", "").split("; "))
        if urlsplit(handler.path).path != "/login":
            if self.known & cookies:
                super().respond(handler, form)
            else:
                handler.answer(302, {"Location": "/login"})
        elif parse_qs(form) == self.account and "visitor=1" in cookies:
            cookie = f"member={len(self.log)}"
            self.known |= set() if self.deaf else {cookie}
            handler.answer(302, {"Location": "/", "Set-Cookie": f"{cookie}; HttpOnly"})
        else:
            handler.answer(200, {"Content-Type": "text/html", "Set-Cookie": "visitor=1"}, b"<html>")

    def logins(self) -> int:
        return sum(asked.command == "POST" for asked in self.log)


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Serve in the background until the block ends."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.let_go.set()
        server.shutdown()
        server.server_close()
        thread.join()
