"""Whatever a server does, a file under its name is right, what was received is kept, and errors say what to do."""

import hashlib
import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import servers
from servers import Act, Server, cut, instead, redirect, running, silent, status, unframed

from dacs.datasets.base import Archive
from dacs.download.fetch import RetryPolicy, fetch
from dacs.errors import BadRequest, RunFailed
from dacs.locks import working_alone

BODY = b"PK\x03\x04" + random.Random(1).randbytes(300_000)
FLIPPED = BODY[:-1] + bytes([BODY[-1] ^ 1])
OLD = BODY[:500] + b"?" + BODY[501:]  # of the same length as the new one
NAME = "01_images.zip"
pytestmark = [
    pytest.mark.usefixtures("no_settings_of_the_person"),
    pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning"),
]
QUICK = RetryPolicy(attempts=3, first_s=0.01, longest_s=0.02, silence_s=1)


@pytest.fixture
def server() -> Iterator[Server]:
    with running(Server()) as started:
        started.files["/" + NAME] = BODY
        yield started


@pytest.fixture
def secure() -> Iterator[Server]:
    with running(Server("https")) as started:
        started.files["/" + NAME] = BODY
        yield started


def row(server: Server, name: str = NAME, body: bytes = BODY, **changes: Any) -> Archive:
    """An archive of which all is published."""
    checksum = f"md5:{hashlib.md5(body).hexdigest()}"
    known = Archive(name, server.address("/" + name, "localhost"), len(body), checksum, 2 * len(body), "", "a test")
    return known._replace(**changes)


def unknown(server: Server, name: str = NAME, **changes: Any) -> Archive:
    """An archive of which nothing is published."""
    return row(server, name, bytes=None, checksum="", **changes)


def get(folder: Path, *archives: Archive, **changes: Any) -> list[Path]:
    trusted = folder.parent / "trusted.json"
    return fetch(archives, folder, **({"parallel": 2, "trusted": trusted, "retry": QUICK} | changes))


def named(folder: Path) -> list[str]:
    """What has a final name."""
    return sorted(path.name for path in folder.glob("[!.]*"))


def received(folder: Path) -> int:
    partial = folder / f".{NAME}.partial"
    return partial.stat().st_size if partial.exists() else 0


def check(folder: Path, *archives: Archive, **changes: Any) -> None:
    """Getting it gives the right file, and nothing besides."""
    found = get(folder, *archives, **changes)
    assert found == [folder / NAME]
    assert found[0].read_bytes() == BODY
    assert list(folder.iterdir()) == found


# ---- servers that misbehave for a while: acts, and the ranges that must have been asked for


def cut_of_old(handler: servers.Handler, body: bytes) -> None:
    cut(1000)(handler, OLD)


@pytest.mark.parametrize(
    ("make", "script", "ranges"),
    [
        (row, [], [""]),
        (row, [cut(100_000)], ["", "bytes=100000-"]),
        (row, [cut(10_000), cut(0)] * 4, ["", *(f"bytes={n}0000-" for n in (1, 1, 2, 2, 3, 3, 4, 4))]),
        (row, [cut(100_000), cut(None, deaf_to=("Range",))], ["", "bytes=100000-"]),
        (row, [cut(5000), status(500), status(429)], ["", *["bytes=5000-"] * 3]),
        (row, [cut(80), status(416)], ["", "bytes=80-", ""]),
        (row, [cut(80), cut(None, shift=7)], ["", "bytes=80-", ""]),
        (row, [instead(BODY[:-9])], ["", ""]),
        (row, [instead(FLIPPED)], ["", ""]),
        (row, [unframed(len(BODY) + 10**6)], ["", ""]),
        (row, [unframed(50_000)], ["", "bytes=50000-"]),
        (row, [redirect("/" + NAME)] * 5, [""] * 6),
        (row, [silent(0), silent(50)], ["", "", "bytes=50-"]),
        (unknown, [cut(500), cut(500)], ["", "bytes=500-", "bytes=1000-"]),
        (unknown, [cut_of_old], ["", "bytes=1000-"]),
        (unknown, [cut_of_old, cut(None, deaf_to=("If-Range",))], ["", "bytes=1000-", ""]),
    ],
)
def test_transient_faults_are_retried_and_all_parts_are_of_one_version(
    make: Callable[[Server], Archive], script: list[Act], ranges: list[str], server: Server, tmp_path: Path
) -> None:
    server.script.extend(script)
    check(tmp_path / "raw", make(server))
    assert server.ranges() == ranges


# ---- servers that misbehave for good: nothing has a final name, and the error says what to do


@pytest.mark.parametrize(
    ("make", "script", "words"),
    [
        (row, [redirect("/login?next=x")], "leads to its login page"),
        (row, [servers.html], r"sends a web page \(HTML\)"),
        (unknown, [instead(b"<html>" + BODY)] * 2, "starts with b'<html>PK', expected b'PK'"),
        (row, [status(403)], "answers 403: no right to this file"),
        (row, [status(404)], "answers 404: not there"),
        (row, [status(500)] * 3, "answers 500; given up after 3 attempts"),
        (row, [cut(90)] + [unframed(0)] * 3, "given up after 3 attempts that brought nothing"),
        (row, [redirect("/" + NAME)] * 6, "more than 5 times"),
        (row, [redirect("file:///etc/passwd")], "does not redirect to http or https"),
        (row, [redirect("http://[::x/")], "does not redirect to http or https"),
        (row, [instead(BODY[:-9])] * 2, f"announces {len(BODY) - 9} bytes, expected {len(BODY)}"),
        (row, [unframed(len(BODY) + 10**6)] * 2, f"sends more than {len(BODY)} bytes"),
        (row, [instead(FLIPPED)] * 2, "md5:[0-9a-f]{32}, expected md5:"),
        (unknown, [unframed(9000)], "announces no length"),
        (unknown, [instead(BODY * 3)], f"{3 * len(BODY)} bytes are announced, expected at most {2 * len(BODY)}"),
    ],
)
def test_permanent_faults_are_reported(
    make: Callable[[Server], Archive], script: list[Act], words: str, server: Server, tmp_path: Path
) -> None:
    server.script.extend(script)
    with pytest.raises(RunFailed, match=words) as caught:
        get(tmp_path / "raw", make(server))
    first, *what_to_do = str(caught.value).splitlines()
    assert first.startswith(f"{NAME}: ")
    assert what_to_do
    assert len(server.ranges()) == len(script)
    assert named(tmp_path / "raw") == []
    assert not (tmp_path / "trusted.json").exists()
    check(tmp_path / "raw", make(server))  # once the server behaves


def test_a_server_that_is_gone_is_reported_without_the_query_of_its_address(tmp_path: Path) -> None:
    with running(Server()) as gone:
        archive = row(gone)
    secret = str(random.Random(3).random())
    with pytest.raises(RunFailed, match=r"localhost \(Connection refused\); given up after 3") as caught:
        get(tmp_path / "raw", archive._replace(address=f"{archive.address}?token={secret}"))
    assert secret not in "".join(traceback.format_exception(caught.value))


def test_the_first_download_is_trusted_and_any_other_refused(server: Server, tmp_path: Path) -> None:
    check(tmp_path / "raw", unknown(server))
    sha256 = hashlib.sha256(BODY).hexdigest()
    entry = {"sha256": sha256, "bytes": len(BODY), "address": unknown(server).address}
    trusted = tmp_path / "trusted.json"
    assert json.loads(trusted.read_text()) == {NAME: entry}
    server.files["/" + NAME] = FLIPPED
    (tmp_path / "raw" / NAME).unlink()
    with pytest.raises(RunFailed, match=f"{hashlib.sha256(FLIPPED).hexdigest()}, expected sha256:{sha256}") as caught:
        get(tmp_path / "raw", unknown(server))
    assert f"delete the entry '{NAME}' of {trusted}" in str(caught.value)
    assert named(tmp_path / "raw") == []
    assert json.loads(trusted.read_text()) == {NAME: entry}
    trusted.unlink()
    assert get(tmp_path / "raw", unknown(server))[0].read_bytes() == FLIPPED


@pytest.mark.parametrize("content", ["{", "[]", '{"x.zip": 3}', '{"x.zip": {"bytes": 9}}'])
def test_a_broken_record_of_trust_is_reported(content: str, server: Server, tmp_path: Path) -> None:
    (tmp_path / "trusted.json").write_text(content)
    with pytest.raises(RunFailed, match=r"trusted\.json"):
        get(tmp_path / "raw", unknown(server))
    assert (tmp_path / "trusted.json").read_text() == content
    assert server.log == []


@pytest.mark.parametrize("content", [BODY, BODY[:-1], FLIPPED, b"<html>".ljust(len(BODY))])
def test_a_copy_that_is_there_counts_when_it_is_right_and_is_left_alone(
    content: bytes, server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "raw" / NAME
    path.parent.mkdir()
    path.write_bytes(content)
    if content == BODY:
        check(tmp_path / "raw", row(server))
    else:
        with pytest.raises(RunFailed, match=f"{path} is not the archive"):
            get(tmp_path / "raw", row(server))
    assert path.read_bytes() == content
    assert server.log == []


def test_bytes_of_unknown_origin_are_not_resumed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / f".{NAME}.partial").write_bytes(b"whatever")
    (tmp_path / "raw" / f".{NAME}.partial.json").write_text("{")
    check(tmp_path / "raw", row(server))
    assert server.ranges() == [""]


def test_a_disk_that_is_too_small_is_reported(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "free")(1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(RunFailed, match=r"0.00 GiB are free, 2.00 GiB are needed"):
        get(tmp_path / "raw", *(row(server, bytes=2**30, name=name) for name in ("a.zip", "b.zip")))
    assert server.log == []
    with pytest.raises(RunFailed, match="are free"):
        get(tmp_path / "raw", unknown(server))  # by the length that is announced


def test_a_disk_that_fills_up_is_reported_and_what_was_received_is_kept(server: Server, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # the kernel refuses more
    try:
        with pytest.raises(RunFailed, match="could not be written"):
            get(tmp_path / "raw", row(server))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert received(tmp_path / "raw") == 100_000
    check(tmp_path / "raw", row(server))
    assert server.ranges() == ["", "bytes=100000-"]


SCRIPT = """
import json, sys
from pathlib import Path
from dacs.datasets.base import Archive
from dacs.download.fetch import RetryPolicy, fetch
from dacs.errors import Interrupted
archive, out, trusted = Archive(*json.loads(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[3])
try:
    fetch([archive], out, trusted=trusted, retry=RetryPolicy(first_s=300, longest_s=300))
except Interrupted as error:
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize(
    ("number", "code", "act"),
    [(signal.SIGKILL, -9, silent), (signal.SIGTERM, 75, silent), (signal.SIGINT, 75, cut)],
)
def test_a_run_that_was_stopped_resumes_where_it_was(
    number: signal.Signals, code: int, act: Callable[[int], Act], server: Server, tmp_path: Path
) -> None:
    server.script.append(act(123_456))
    command = [sys.executable, "-c", SCRIPT, json.dumps(unknown(server)), str(tmp_path / "raw"), str(tmp_path / "t")]
    with subprocess.Popen(command) as process:
        end = time.monotonic() + 20
        while received(tmp_path / "raw") != 123_456:
            assert time.monotonic() < end, f"{received(tmp_path / 'raw')} bytes"
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(timeout=10) == code  # though the server is silent, or waited for, for longer
    assert named(tmp_path / "raw") == []
    check(tmp_path / "raw", unknown(server))
    assert server.ranges() == ["", "bytes=123456-"]


def test_two_downloads_do_not_work_on_one_folder(server: Server, tmp_path: Path) -> None:
    with working_alone(tmp_path / "raw", "a test"), pytest.raises(RunFailed, match="another download is at work there"):
        get(tmp_path / "raw", row(server))


def test_several_run_at_once_and_come_in_the_order_asked_for_and_are_all_noted(server: Server, tmp_path: Path) -> None:
    both = threading.Barrier(2)

    def meet(handler: servers.Handler, body: bytes) -> None:
        both.wait(10)  # for another one
        servers.whole(handler, body)

    server.script.extend([meet] * 6)
    names = [f"{letter}.zip" for letter in "fdacbe"]
    server.files |= {f"/{name}": BODY + name.encode() for name in names}
    found = get(tmp_path / "raw", *(unknown(server, name) for name in names))
    assert [(path.name, path.read_bytes()) for path in found] == [(name, BODY + name.encode()) for name in names]
    trusted = json.loads((tmp_path / "trusted.json").read_text())
    assert list(trusted) == sorted(names)
    assert trusted["a.zip"]["sha256"] == hashlib.sha256(BODY + b"a.zip").hexdigest()


def test_one_that_fails_does_not_stop_the_others(server: Server, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="2 of 3 archives failed") as caught:
        get(tmp_path / "raw", row(server, "1.zip"), row(server), row(server, "4.zip"))
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines[1:3]] == ["1.zip", "4.zip"]
    assert len(lines) == 4  # and what to do, once
    assert named(tmp_path / "raw") == [NAME]


@pytest.mark.parametrize("hosts", [[], ["127.0.0.1"], ["*", "local", ""]])
def test_only_a_named_host_goes_unverified(hosts: list[str], secure: Server, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"the certificate of localhost(?s:.)*data\.unverified_hosts"):
        get(tmp_path / "raw", row(secure), unverified=hosts)
    assert secure.log == []
    check(tmp_path / "raw", row(secure), unverified=["localhost"])


def test_a_person_may_trust_a_certificate_and_no_redirect_leads_from_https_to_http(
    server: Server, secure: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(servers.CERTIFICATE))
    secure.script.append(redirect(server.address("/" + NAME)))
    with pytest.raises(RunFailed, match="does not redirect to https"):
        get(tmp_path / "raw", row(secure))
    assert server.log == []
    check(tmp_path / "raw", row(secure))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(RunFailed, match=r"certificate(?s:.)*SSL_CERT_FILE"):
        get(tmp_path / "other", row(secure))


@pytest.mark.parametrize("changes", [{"checksum": ""}, {"login": "cityscapes"}])
def test_nothing_goes_unverified_without_a_checksum_or_with_a_password(
    changes: dict[str, Any], secure: Server, tmp_path: Path
) -> None:
    with pytest.raises(BadRequest, match="may not go unverified"):
        get(tmp_path / "raw", row(secure, **changes), unverified=["localhost"])
    assert secure.log == []


def test_a_redirect_to_an_unverified_host_needs_a_checksum_too(server: Server, secure: Server, tmp_path: Path) -> None:
    server.script.extend([redirect(secure.address("/" + NAME, "localhost"))] * 2)
    first = server.address("/" + NAME)
    check(tmp_path / "raw", row(server, address=first), unverified=["localhost"])
    with pytest.raises(RunFailed, match="cannot verify"):
        get(tmp_path / "other", unknown(server, address=first), unverified=["localhost"])
    assert len(secure.log) == 1
