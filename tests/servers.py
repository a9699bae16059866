"""Servers of the tests' own, on this machine only: one serves files and misbehaves by script, one wants a login."""

import gzip
import re
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

CERTIFICATE = Path(__file__).with_name("localhost.pem")
Act = Callable[["Handler", bytes], None]  # answers one GET for a file of these bytes


class Asked(NamedTuple):
    """One request as it came."""

    verb: str
    path: str  # with its query
    range: str
    cookie: str
    agent: str


class Server(ThreadingHTTPServer):
    """Files by path; each GET of a file is answered by the next act of the script, or well when there is none."""

    daemon_threads = True

    def __init__(self, scheme: str = "http") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.scheme = scheme
        self.files: dict[str, bytes] = {}
        self.script: deque[Act] = deque()
        self.log: list[Asked] = []
        self.let_go = threading.Event()  # ends all silence
        if scheme == "https":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def address(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.server_port}{path}"

    def ranges(self) -> list[str]:
        """What was asked of files, in order; '' is the whole."""
        return [asked.range for asked in self.log if asked.verb == "GET" and urlsplit(asked.path).path in self.files]

    def page(self, handler: "Handler", form: str) -> None:
        """What is no file; a subclass may have pages."""
        handler.send_error(404)

    def admits(self, handler: "Handler") -> bool:
        """Whether this request may have a file; else it was answered."""
        return True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what the tests are about."""


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._note()
        path = urlsplit(self.path).path
        if path not in self.server.files:
            self.server.page(self, "")
        elif self.server.admits(self):
            act = self.server.script.popleft() if self.server.script else whole
            act(self, self.server.files[path])
        self.close_connection = True

    def do_POST(self) -> None:
        self._note()
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.page(self, form)
        self.close_connection = True

    def _note(self) -> None:
        found = [self.headers.get(name, "") for name in ("Range", "Cookie", "User-Agent")]
        self.server.log.append(Asked(self.command, self.path, *found))

    def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in ({"Connection": "close"} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def first(self) -> int:
        """The first byte asked for."""
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(asked[1]) if asked else 0

    def log_message(self, *_: object) -> None:
        """Quiet."""


def tag(body: bytes) -> str:
    """A strong ETag."""
    return f'"{len(body)}-{sum(body)}"'


def part(handler: Handler, body: bytes) -> tuple[int, dict[str, str], bytes]:
    """How a good server answers: status, headers, and the bytes that were asked for."""
    first = handler.first()
    if not first or handler.headers.get("If-Range", tag(body)) != tag(body):
        return 200, {"Content-Length": str(len(body)), "ETag": tag(body)}, body
    if first >= len(body):
        return 416, {"Content-Length": "0", "Content-Range": f"bytes */{len(body)}"}, b""
    span = {"Content-Range": f"bytes {first}-{len(body) - 1}/{len(body)}", "Content-Length": str(len(body) - first)}
    return 206, span | {"ETag": tag(body)}, body[first:]


# ---- acts


def whole(handler: Handler, body: bytes) -> None:
    handler.answer(*part(handler, body))


def cut(count: int) -> Act:
    """Announce all, send `count` bytes of what was asked for, hang up."""

    def act(handler: Handler, body: bytes) -> None:
        status, headers, rest = part(handler, body)
        handler.answer(status, headers, rest[:count])

    return act


def silent(count: int) -> Act:
    """Send `count` bytes, then keep the line open and say nothing."""

    def act(handler: Handler, body: bytes) -> None:
        cut(count)(handler, body)
        handler.server.let_go.wait(60)

    return act


def no_range(handler: Handler, body: bytes) -> None:
    handler.answer(200, {"Content-Length": str(len(body))}, body)


def status(code: int, **headers: str) -> Act:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    page = b"<html>as most servers say it</html>"
    common = {"Content-Length": str(len(page)), "Content-Type": "text/html"}
    return lambda handler, body: handler.answer(code, common | named, page)


def redirect(address: str, code: int = 302) -> Act:
    return status(code, Location=address)


def html(handler: Handler, body: bytes) -> None:
    page = b"<html><form action=/login></form></html>"
    handler.answer(200, {"Content-Length": str(len(page)), "Content-Type": "text/html; charset=UTF-8"}, page)


def instead(other: bytes) -> Act:
    """Serve, in all order, another file."""
    return lambda handler, body: whole(handler, other)


def endless(handler: Handler, body: bytes) -> None:
    """The file, then more than was ever agreed, without announcing a length."""
    handler.answer(200, {"Transfer-Encoding": "chunked"})
    for piece in [body] + [b"x" * 65536] * 1000:
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))


def chunked(handler: Handler, body: bytes) -> None:
    handler.answer(200, {"Transfer-Encoding": "chunked"}, b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))


def unframed(count: int) -> Act:
    """No length at all: the end is where the line is closed."""
    return lambda handler, body: handler.answer(200, {}, body[:count])


def gzipped(handler: Handler, body: bytes) -> None:
    """Compressed, though nobody asked for it."""
    packed = gzip.compress(body)
    handler.answer(200, {"Content-Length": str(len(packed)), "Content-Encoding": "gzip"}, packed)


def shifted(handler: Handler, body: bytes) -> None:
    """Another range than was asked for."""
    first = handler.first() + 7
    span = {"Content-Range": f"bytes {first}-{len(body) - 1}/{len(body)}", "Content-Length": str(len(body) - first)}
    handler.answer(206, span, body[first:])


# ---- a server with accounts


class Members(Server):
    """Serves files to those who have logged in, as the Cityscapes server does."""

    def __init__(self, username: str, password: str) -> None:
        super().__init__()
        self.account = {"username": [username], "password": [password], "submit": ["Login"]}
        self.known: set[str] = set()  # cookies that are logged in
        self.down: deque[int] = deque()  # statuses that the login page gives first
        self.deaf = False  # takes the login, yet knows nobody

    def page(self, handler: Handler, form: str) -> None:
        if urlsplit(handler.path).path != "/login":
            handler.send_error(404)
        elif self.down:
            handler.answer(self.down.popleft(), {"Content-Length": "0"})
        elif form and parse_qs(form) == self.account and handler.headers.get("Cookie") == "visitor=1":
            cookie = f"member={len(self.log)}"
            self.known |= set() if self.deaf else {cookie}
            handler.answer(302, {"Location": "/", "Set-Cookie": f"{cookie}; HttpOnly", "Content-Length": "0"})
        else:
            handler.answer(
                200, {"Content-Type": "text/html", "Set-Cookie": "visitor=1", "Content-Length": "6"}, b"<html>"
            )

    def admits(self, handler: Handler) -> bool:
        if self.known & set(handler.headers.get("Cookie", "").split("; ")):
            return True
        redirect("/login")(handler, b"")
        return False

    def logins(self) -> int:
        return sum(asked.verb == "POST" for asked in self.log)


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
