"""Asking a server for the rest of a file, by curl and with our rules for TLS, redirects, cookies and silence.

Redirects are followed by hand, so that each hop is judged before anything is sent to it.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import certifi
import pycurl

from dacs.download.reply import MENDING, Goal, Redirected, Refused, Reply, Show, Trouble

HOPS = 5  # redirects followed
AGENT = "dacs (pycurl)"
SLOWEST = 100  # bytes a second; below that a connection counts as silent


class LoginWanted(Exception):
    """The server leads to its login page."""


class Stopped(Exception):
    """The person stops the run."""


class Link(NamedTuple):
    """How to connect."""

    silence_s: int  # seconds of silence after which a connection counts as dead
    connect_s: int  # seconds for connecting
    unverified: frozenset[str]  # hosts whose certificate is not checked
    stopped: Callable[[], bool]


def receive(address: str, partial: Path, goal: Goal, link: Link, cookies: Sequence[str], show: Show) -> None:
    """Append to `partial` what it lacks of `goal`.

    Raises Trouble, LoginWanted, Stopped or Refused, after which the bytes that came stay and can be added to; or Anew,
    after which they are of no use.
    """
    for _ in range(HOPS + 1):
        following = _ask(address, Reply(partial, goal, show), link, cookies)
        if following is None:
            return
        address = following
    raise Refused(f"{goal.name}: redirected more than {HOPS} times, at last by {host(address)}.\n{MENDING}")


def _ask(address: str, reply: Reply, link: Link, cookies: Sequence[str]) -> str | None:
    """One request: the address it redirects to, or None when the file is whole."""
    curl = connection(address, link, cookies)
    curl.setopt(pycurl.HTTPHEADER, reply.asking())
    curl.setopt(pycurl.HEADERFUNCTION, reply.header)
    curl.setopt(pycurl.WRITEFUNCTION, reply.body)
    curl.setopt(pycurl.BUFFERSIZE, 512 * 1024)
    try:
        _perform(curl, reply, address)
        reply.finish()
    except Redirected:
        return _checked_hop(address, reply.headers["location"], reply.goal.name)
    finally:
        reply.close()
        curl.close()
    return None


def _perform(curl: Any, reply: Reply, address: str) -> None:
    try:
        curl.perform()
    except pycurl.error as error:
        raise reply.fault or fault_of(error, reply.goal.name, address) from error
    reply.begin()  # where no body came, the headers are still to be judged


def connection(address: str, link: Link, cookies: Sequence[str]) -> Any:
    """A curl handle with our rules; it takes proxies from the environment as curl does."""
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, address)
    curl.setopt(pycurl.USERAGENT, AGENT)
    curl.setopt(pycurl.NOSIGNAL, 1)  # there are threads
    curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    curl.setopt(pycurl.ACCEPT_ENCODING, "identity")  # and if the server packs it nevertheless, curl unpacks it
    curl.setopt(pycurl.CONNECTTIMEOUT, link.connect_s)
    curl.setopt(pycurl.LOW_SPEED_LIMIT, SLOWEST)
    curl.setopt(pycurl.LOW_SPEED_TIME, link.silence_s)
    curl.setopt(pycurl.NOPROGRESS, 0)
    curl.setopt(pycurl.XFERINFOFUNCTION, lambda *_: int(link.stopped()))
    curl.setopt(pycurl.CAINFO, trusted_by(os.environ))
    if host(address) in link.unverified:
        curl.setopt(pycurl.SSL_VERIFYPEER, 0)
        curl.setopt(pycurl.SSL_VERIFYHOST, 0)
    curl.setopt(pycurl.COOKIEFILE, "")  # cookies in memory
    for cookie in cookies:
        curl.setopt(pycurl.COOKIELIST, cookie)  # with its domain: curl sends it nowhere else
    return curl


def trusted_by(environ: Mapping[str, str]) -> str:
    """The file of certificates that TLS trusts: a person's own, else certifi's."""
    return environ.get("CURL_CA_BUNDLE") or environ.get("SSL_CERT_FILE") or certifi.where()


def host(address: str) -> str:
    """The host of an address; of a redirect no more than this is told, for the rest may be secret."""
    return urlsplit(address).hostname or ""


def is_login(address: str) -> bool:
    """Whether an address is that of a page to log in at."""
    return any(re.match(r"(log|sign)-?in\b", part) for part in urlsplit(address).path.lower().split("/"))


def _checked_hop(address: str, location: str, name: str) -> str:
    """Where a redirect leads, if we may go there."""
    try:
        following = urljoin(address, location)
        scheme = urlsplit(following).scheme
    except ValueError:
        following = scheme = ""
    if scheme not in ("http", "https") or not following.isascii():
        raise Refused(f"{name}: {host(address)} redirects to neither http nor https.\n{MENDING}")
    if is_login(following):
        raise LoginWanted
    if (urlsplit(address).scheme, scheme) == ("https", "http"):
        raise Refused(f"{name}: {host(address)} redirects from https to http, which is not followed.\n{MENDING}")
    return following


# --------------------------------------------------------------------------------------------------------------------
# What an error of curl means to us

UNVERIFIED = (
    "Check the clock, the proxy and SSL_CERT_FILE. If the fault is the server's and the checksum of the file is known,"
    " name exactly this host in data.unverified_hosts: then the checksum alone decides."
)
STORE = "Check what CURL_CA_BUNDLE or SSL_CERT_FILE names, or unset them."
HOPELESS = {  # what to say, and what to do
    pycurl.E_PEER_FAILED_VERIFICATION: ("the certificate of {host} cannot be verified", UNVERIFIED),
    pycurl.E_SSL_ISSUER_ERROR: ("the certificate of {host} cannot be verified", UNVERIFIED),
    pycurl.E_SSL_INVALIDCERTSTATUS: ("the certificate of {host} cannot be verified", UNVERIFIED),
    pycurl.E_SSL_CACERT_BADFILE: ("the trusted certificates cannot be read", STORE),
    pycurl.E_SSL_CERTPROBLEM: ("TLS cannot be set up", STORE),
    pycurl.E_SSL_CIPHER: ("TLS cannot be set up", STORE),
    pycurl.E_URL_MALFORMAT: ("the address is not well formed", MENDING),
    pycurl.E_UNSUPPORTED_PROTOCOL: ("the address is neither http nor https", MENDING),
    pycurl.E_BAD_CONTENT_ENCODING: ("{host} packs the file in a way that cannot be unpacked", MENDING),
}


def fault_of(error: pycurl.error, name: str, address: str) -> Exception:
    """The exception to raise: Stopped, Refused with what to do, or Trouble for all that may pass."""
    code, words = error.args[0], error.args[1]
    if code == pycurl.E_ABORTED_BY_CALLBACK:
        return Stopped()
    if code in HOPELESS:
        meaning, remedy = HOPELESS[code]
        return Refused(f"{name}: {meaning.format(host=host(address))} ({words}).\n{remedy}")
    return Trouble(words or f"curl stopped with error {code}")
