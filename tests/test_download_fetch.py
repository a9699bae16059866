"""Whatever a server does, a file under its name is right, what was received is kept, and errors say what to do."""

import hashlib
import json
import os
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
from servers import Act, Server, running

from dacs.datasets.base import Archive
from dacs.download.fetch import RetryPolicy, fetch
from dacs.download.transfer import size_of
from dacs.download.verify import trust
from dacs.errors import BadRequest, RunFailed

BODY = b"PK\x03\x04" + random.Random(1).randbytes(300_000)
NAME = "01_images.zip"
MD5 = hashlib.md5(BODY).hexdigest()
pytestmark = [
    pytest.mark.usefixtures("no_settings_of_the_person"),
    pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning"),
]
QUICK = RetryPolicy(attempts=3, first_s=0.01, longest_s=0.02, silence_s=1, connect_s=5)


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


def partial(folder: Path) -> Path:
    return folder / f".{NAME}.partial"


def check(folder: Path, found: list[Path]) -> None:
    """The right file, and nothing besides."""
    assert found == [folder / NAME]
    assert found[0].read_bytes() == BODY
    assert list(folder.iterdir()) == found


# ---- servers that misbehave for a while: acts, and the ranges that must have been asked for

OLD = BODY[:500] + b"?" + BODY[501:]  # of the same length as the new one
FLIPPED = BODY[:-1] + bytes([BODY[-1] ^ 1])


def cut_of_old(handler: servers.Handler, body: bytes) -> None:
    servers.cut(1000)(handler, OLD)


def cut_chunk(handler: servers.Handler, body: bytes) -> None:
    part = b"%x\r\n%s" % (len(body), body[:5000])
    handler.answer(200, {"Transfer-Encoding": "chunked", "ETag": servers.tag(body)}, part)


def deaf_to_if_range(handler: servers.Handler, body: bytes) -> None:
    del handler.headers["If-Range"]
    servers.whole(handler, body)


@pytest.mark.parametrize(
    ("script", "ranges"),
    [
        ([], [""]),
        ([servers.cut(100_000)], ["", "bytes=100000-"]),
        ([servers.cut(9)] * 4, ["", "bytes=9-", "bytes=18-", "bytes=27-", "bytes=36-"]),
        ([servers.cut(100_000), servers.no_range], ["", "bytes=100000-"]),
        ([servers.cut(0), servers.cut(0)], ["", "", ""]),
        ([servers.status(500), servers.status(503)], ["", "", ""]),
        ([servers.cut(5000), servers.status(408), servers.status(429)], ["", *["bytes=5000-"] * 3]),
        ([servers.cut(80), servers.status(416)], ["", "bytes=80-", ""]),
        ([servers.cut(80), servers.shifted], ["", "bytes=80-", ""]),
        ([servers.instead(BODY[:-9])], ["", ""]),
        ([servers.instead(BODY + b"more")], ["", ""]),
        ([servers.instead(FLIPPED)], ["", ""]),
        ([servers.instead(b"junk" * 9)], ["", ""]),
        ([servers.endless], ["", ""]),
        ([servers.chunked], [""]),
        ([servers.unframed(50_000)], ["", "bytes=50000-"]),
        ([servers.redirect("/" + NAME)] * 5, [""] * 6),
        ([servers.silent(0), servers.silent(50)], ["", "", "bytes=50-"]),
    ],
)  # fmt: skip
def test_transient_faults_are_retried(script: list[Act], ranges: list[str], server: Server, tmp_path: Path) -> None:
    server.script.extend(script)
    check(tmp_path / "raw", get(tmp_path / "raw", row(server)))
    assert server.ranges() == ranges
    assert all(asked.agent.startswith("dacs") for asked in server.log)


@pytest.mark.parametrize(
    ("script", "ranges"),
    [
        ([servers.chunked], [""]),
        ([cut_chunk], ["", "bytes=5000-"]),
        ([servers.cut(500), servers.cut(500)], ["", "bytes=500-", "bytes=1000-"]),
        ([servers.cut(80), servers.shifted], ["", "bytes=80-", ""]),
        ([cut_of_old, servers.whole], ["", "bytes=1000-"]),
        ([cut_of_old, deaf_to_if_range], ["", "bytes=1000-", ""]),
    ],
)
def test_without_a_checksum_the_parts_of_a_file_still_are_of_one_version(
    script: list[Act], ranges: list[str], server: Server, tmp_path: Path
) -> None:
    server.script.extend(script)
    check(tmp_path / "raw", get(tmp_path / "raw", unknown(server)))
    assert server.ranges() == ranges


def test_attempts_count_from_the_last_one_that_brought_bytes(server: Server, tmp_path: Path) -> None:
    server.script.extend([servers.cut(10_000), servers.cut(0)] * 20)
    check(tmp_path / "raw", get(tmp_path / "raw", row(server)))
    assert len(server.ranges()) == 41


def test_the_wait_that_a_server_asks_for_is_kept(server: Server, tmp_path: Path) -> None:
    server.script.append(servers.status(503, Retry_After="1"))
    begin = time.monotonic()
    check(tmp_path / "raw", get(tmp_path / "raw", row(server)))
    assert time.monotonic() - begin >= 1


# ---- servers that misbehave for good: nothing has a final name, and the error says what to do


@pytest.mark.parametrize(
    ("script", "words", "asked"),
    [
        ([servers.redirect("/login")], "leads to its login page", 1),
        ([servers.redirect("/account/sign-in.php?next=x")], "leads to its login page", 1),
        ([servers.html], r"a web page \(HTML\)", 1),
        ([servers.instead(b"\n<!DOCTYPE html><title>Log in</title>".ljust(len(BODY)))], r"a web page \(HTML\)", 1),
        ([servers.status(401)], "answers 401", 1),
        ([servers.status(403)], "answers 403: terms not accepted", 1),
        ([servers.status(404)], "answers 404: it may have moved", 1),
        ([servers.status(503, Retry_After="9999")], "asks to wait 9999 s", 1),
        ([servers.status(500)] * 3, "answers 500; given up after 3 attempts", 3),
        ([servers.redirect("/" + NAME)] * 6, "more than 5 times", 6),
        ([servers.redirect("ftp://127.0.0.1/x")], "neither http nor https", 1),
        ([servers.redirect("file:///etc/passwd")], "neither http nor https", 1),
        ([servers.redirect("http://[::x/")], "neither http nor https", 1),
        ([servers.gzipped], "compresses the archive", 1),
        ([servers.instead(BODY[:-9])] * 2, f"announces {len(BODY) - 9} bytes, expected {len(BODY)}", 2),
        ([servers.endless] * 2, f"sends more than {len(BODY)} bytes", 2),
        ([servers.instead(FLIPPED)] * 2, f"md5:[0-9a-f]{{32}}, expected md5:{MD5}", 2),
        ([servers.instead(b"junk" + BODY[4:])] * 2, "starts with b'junk.*expected b'PK'", 2),
        ([servers.cut(90)] + [servers.cut(0)] * 3, "given up after 3 attempts that brought nothing", 4),
    ],
)
def test_permanent_faults_are_reported(
    script: list[Act], words: str, asked: int, server: Server, tmp_path: Path
) -> None:
    server.script.extend(script)
    with pytest.raises(RunFailed, match=words) as caught:
        get(tmp_path / "raw", row(server))
    first, *what_to_do = str(caught.value).splitlines()
    assert first.startswith(f"{NAME}: ")
    assert what_to_do
    assert len(server.ranges()) == asked
    assert named(tmp_path / "raw") == []
    check(tmp_path / "raw", get(tmp_path / "raw", row(server)))  # once the server behaves


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (servers.unframed(9000), "announces no length"),
        (servers.endless, f"more than {2 * len(BODY)} bytes"),
        (servers.instead(BODY * 3), f"announces {3 * len(BODY)} bytes, expected at most {2 * len(BODY)}"),
        (servers.instead(b"<html>" + BODY), "web page"),
    ],
)
def test_what_may_be_wrong_is_not_trusted(act: Act, words: str, server: Server, tmp_path: Path) -> None:
    server.script.extend([act, act])
    with pytest.raises(RunFailed, match=words):
        get(tmp_path / "raw", unknown(server))
    assert named(tmp_path / "raw") == []
    assert not (tmp_path / "trusted.json").exists()


def test_a_server_that_is_gone_is_reported_without_the_query_of_its_address(tmp_path: Path) -> None:
    with running(Server()) as gone:
        archive = row(gone)
    secret = str(random.Random(3).random())
    with pytest.raises(RunFailed, match=r"localhost failed \(Connection refused\); given up after 3") as caught:
        get(tmp_path / "raw", archive._replace(address=f"{archive.address}?token={secret}"))
    assert secret not in "".join(traceback.format_exception(caught.value))


def test_no_password_of_a_netrc_file_is_sent(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine localhost login me password secret")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    sent: list[str | None] = []

    def note(handler: servers.Handler, body: bytes) -> None:
        sent.append(handler.headers.get("Authorization"))
        servers.whole(handler, body)

    server.script.append(note)
    get(tmp_path / "raw", row(server))
    assert sent == [None]


# ---- trust on first use


def test_the_first_download_is_trusted_and_any_other_refused(server: Server, tmp_path: Path) -> None:
    check(tmp_path / "raw", get(tmp_path / "raw", unknown(server)))
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


def test_what_is_trusted_is_sorted_and_complete_whoever_notes_it(server: Server, tmp_path: Path) -> None:
    names = [f"{letter}.zip" for letter in "dacb"]
    server.files |= {f"/{name}": BODY + name.encode() for name in names}
    get(tmp_path / "raw", *(unknown(server, name) for name in names), parallel=4)
    trusted = json.loads((tmp_path / "trusted.json").read_text())
    assert list(trusted) == sorted(names)
    assert all(trusted[name]["sha256"] == hashlib.sha256(BODY + name.encode()).hexdigest() for name in names)


def test_of_two_first_downloads_that_differ_the_later_one_is_refused(server: Server, tmp_path: Path) -> None:
    trusted = tmp_path / "trusted.json"
    trust(trusted, row(server), 9, "a" * 64)
    trust(trusted, row(server), 9, "a" * 64)
    before = trusted.read_text()
    with pytest.raises(RunFailed, match=f"sha256 {'b' * 64}, but .* has noted {'a' * 64}"):
        trust(trusted, row(server), 9, "b" * 64)
    assert trusted.read_text() == before


@pytest.mark.parametrize("content", ["{", "[]", '{"x.zip": 3}', '{"x.zip": {"bytes": "9", "sha256": "a"}}'])
def test_a_broken_record_of_trust_is_reported(content: str, server: Server, tmp_path: Path) -> None:
    (tmp_path / "trusted.json").write_text(content)
    with pytest.raises(RunFailed, match=r"trusted\.json"):
        get(tmp_path / "raw", unknown(server))
    assert (tmp_path / "trusted.json").read_text() == content
    assert server.log == []


# ---- what is there already


def test_a_copy_that_is_there_counts_when_it_is_right(server: Server, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / NAME).write_bytes(BODY)
    check(tmp_path / "raw", get(tmp_path / "raw", row(server)))
    assert server.log == []


@pytest.mark.parametrize("content", [BODY[:-1], FLIPPED, b"<html>".ljust(len(BODY)), b""])
def test_a_wrong_copy_is_reported_and_left_alone(content: bytes, server: Server, tmp_path: Path) -> None:
    path = tmp_path / "raw" / NAME
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(RunFailed, match="this file is not the archive") as caught:
        get(tmp_path / "raw", row(server))
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content
    assert server.log == []


@pytest.mark.parametrize("note", [None, "{", "[]", '{"version": 1}'])
def test_bytes_of_unknown_origin_are_not_resumed(note: str | None, server: Server, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    partial(tmp_path / "raw").write_bytes(b"whatever")
    if note is not None:
        (tmp_path / "raw" / f".{NAME}.partial.json").write_text(note)
    check(tmp_path / "raw", get(tmp_path / "raw", row(server)))
    assert server.ranges() == [""]


# ---- full disks


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("make", [row, unknown])
def test_what_is_complete_but_has_no_name_yet_is_not_asked_for_again(
    make: Callable[[Server], Archive], server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RunFailed, match="No space left"):
            get(tmp_path / "raw", make(server))
    assert named(tmp_path / "raw") == []
    check(tmp_path / "raw", get(tmp_path / "raw", make(server)))
    assert server.ranges() == [""]


def test_a_disk_that_is_too_small_is_reported(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "free")(1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(RunFailed, match=r"0.00 GiB are free, 2.00 GiB are needed"):
        get(tmp_path / "raw", *(row(server, bytes=2**30, name=name) for name in ("a.zip", "b.zip")))
    assert server.log == []
    with pytest.raises(RunFailed, match="are free"):
        get(tmp_path / "raw", unknown(server))  # by the length that is announced
    assert not (tmp_path / "raw").exists()


def test_a_disk_that_fills_up_is_reported_and_what_was_received_is_kept(server: Server, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # the kernel refuses more
    try:
        with pytest.raises(RunFailed, match="could not be written"):
            get(tmp_path / "raw", row(server))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert named(tmp_path / "raw") == []
    assert partial(tmp_path / "raw").stat().st_size == 100_000
    check(tmp_path / "raw", get(tmp_path / "raw", row(server)))
    assert server.ranges() == ["", "bytes=100000-"]


def test_a_folder_that_cannot_be_made_is_reported(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunFailed, match="could not be read or written"):
        get(tmp_path / "file/raw", row(server), trusted=tmp_path / "trusted.json")


# ---- kills, stops, two at once

SCRIPT = """
import json, sys
from pathlib import Path
from dacs.datasets.base import Archive
from dacs.download.fetch import RetryPolicy, fetch
from dacs.errors import DacsError
archives = [Archive(*fields) for fields in json.loads(sys.argv[1])]
try:
    fetch(archives, Path(sys.argv[2]), parallel=2, trusted=Path(sys.argv[3]), retry=RetryPolicy(first_s=0.01))
except DacsError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
sys.exit("torch" in sys.modules)
"""


def start(folder: Path, *archives: Archive) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, json.dumps(archives), str(folder), str(folder.parent / "trusted.json")]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def wait_for_bytes(folder: Path, count: int) -> None:
    end = time.monotonic() + 20
    while size_of(partial(folder)) != count:
        assert time.monotonic() < end, f"{size_of(partial(folder))} bytes"
        time.sleep(0.01)


@pytest.mark.parametrize("make", [row, unknown])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 75), (signal.SIGINT, 75)])
def test_a_run_that_was_stopped_resumes_where_it_was(
    number: signal.Signals, code: int, make: Callable[[Server], Archive], server: Server, tmp_path: Path
) -> None:
    server.script.append(servers.silent(123_456))
    process = start(tmp_path / "raw", make(server))
    wait_for_bytes(tmp_path / "raw", 123_456)
    process.send_signal(number)
    said = process.communicate(timeout=10)[1]  # though the server is silent for longer
    assert process.returncode == code
    assert "The same command resumes" in said or number == signal.SIGKILL
    assert named(tmp_path / "raw") == []
    check(tmp_path / "raw", get(tmp_path / "raw", make(server)))
    assert server.ranges() == ["", "bytes=123456-"]


def test_a_stop_ends_a_wait_at_once(server: Server, tmp_path: Path) -> None:
    server.script.append(servers.status(503, Retry_After="500"))
    process = start(tmp_path / "raw", row(server))
    assert process.stderr is not None
    assert "trying again in 500 s" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 75
    process.communicate()


def test_two_downloads_do_not_work_on_one_folder(server: Server, tmp_path: Path) -> None:
    server.script.append(servers.silent(1000))
    process = start(tmp_path / "raw", row(server))
    wait_for_bytes(tmp_path / "raw", 1000)
    with pytest.raises(RunFailed, match="another download is at work there"):
        get(tmp_path / "raw", row(server))
    assert partial(tmp_path / "raw").stat().st_size == 1000
    server.let_go.set()
    assert process.wait(timeout=20) == 0
    process.communicate()
    check(tmp_path / "raw", get(tmp_path / "raw", row(server)))


# ---- several archives


def several(server: Server, count: int) -> list[Archive]:
    server.files |= {f"/{number}.zip": BODY[: 1000 + number] for number in range(count)}
    return [row(server, f"{number}.zip", BODY[: 1000 + number]) for number in range(count)]


def test_no_more_than_so_many_run_at_once_and_files_come_in_the_order_asked_for(server: Server, tmp_path: Path) -> None:
    active, most, lock, both = 0, 0, threading.Lock(), threading.Barrier(2)

    def count(handler: servers.Handler, body: bytes) -> None:
        nonlocal active, most
        with lock:
            active += 1
            most = max(most, active)
        both.wait(10)  # each waits for another: they do run at once
        with lock:
            active -= 1
        servers.whole(handler, body)

    server.script.extend([count] * 6)
    archives = several(server, 6)[::-1]
    found = get(tmp_path / "raw", *archives, parallel=2)
    assert most == 2
    assert [(path.name, path.stat().st_size) for path in found] == [(each.name, each.bytes) for each in archives]


def test_one_that_fails_does_not_stop_the_others(server: Server, tmp_path: Path) -> None:
    archives = several(server, 6)
    del server.files["/1.zip"], server.files["/4.zip"]
    with pytest.raises(RunFailed, match="2 of 6 archives failed") as caught:
        get(tmp_path / "raw", *archives)
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines[1:3]] == ["1.zip", "4.zip"]
    assert len(lines) == 4  # and what to do, once
    assert named(tmp_path / "raw") == ["0.zip", "2.zip", "3.zip", "5.zip"]


# ---- TLS


@pytest.mark.parametrize("hosts", [[], ["127.0.0.1"], ["local"], ["*"], ["LOCALHOST.example"], [""]])
def test_only_a_named_host_goes_unverified(hosts: list[str], secure: Server, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"certificate of localhost cannot be verified(?s:.)*data\.unverified_hosts"):
        get(tmp_path / "raw", row(secure), unverified_hosts=hosts)
    assert secure.log == []
    assert named(tmp_path / "raw") == []
    check(tmp_path / "raw", get(tmp_path / "raw", row(secure), unverified_hosts=["localhost"]))


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "CURL_CA_BUNDLE"])
def test_a_person_may_trust_a_certificate(
    variable: str, secure: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv(variable, str(servers.CERTIFICATE))
    check(tmp_path / "raw", get(tmp_path / "raw", row(secure)))
    monkeypatch.setenv(variable, str(tmp_path / "none.pem"))
    with pytest.raises(RunFailed, match="trusted certificates cannot be read"):
        get(tmp_path / "other", row(secure))


@pytest.mark.parametrize("changes", [{"checksum": ""}, {"login": "cityscapes"}])
def test_nothing_goes_unverified_without_a_checksum_or_with_a_password(
    changes: dict[str, Any], secure: Server, tmp_path: Path
) -> None:
    login: Any = object()
    with pytest.raises(BadRequest, match="may not go unverified"):
        get(tmp_path / "raw", row(secure, **changes), unverified_hosts=["localhost"], login=login)
    with pytest.raises(BadRequest, match="needs a login"):
        get(tmp_path / "raw", row(secure, login="cityscapes"))
    assert secure.log == []


def test_a_redirect_to_an_unverified_host_needs_a_checksum_too(server: Server, secure: Server, tmp_path: Path) -> None:
    server.script.extend([servers.redirect(secure.address("/" + NAME, "localhost"))] * 2)
    first = server.address("/" + NAME)
    check(tmp_path / "raw", get(tmp_path / "raw", row(server, address=first), unverified_hosts=["localhost"]))
    with pytest.raises(RunFailed, match="cannot be verified"):
        get(tmp_path / "other", unknown(server, address=first), unverified_hosts=["localhost"])
    assert len(secure.log) == 1


def test_no_redirect_leads_from_https_to_http(
    server: Server, secure: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(servers.CERTIFICATE))
    secure.script.append(servers.redirect(server.address("/" + NAME)))
    with pytest.raises(RunFailed, match="from https to http"):
        get(tmp_path / "raw", row(secure))
    assert server.log == []
