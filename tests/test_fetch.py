"""Whatever a server does, a file under its final name is the right one; what came is kept; and a person is told."""

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
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import servers
from servers import Act, Server, running

from dacs.download import fetch as module
from dacs.download.archives import TABLE, Archive, read_table, terms_of
from dacs.download.fetch import Patience, fetch
from dacs.download.reply import seconds_of
from dacs.download.trust import trust
from dacs.errors import BadRequest, RunFailed

BODY = b"PK\x03\x04" + random.Random(1).randbytes(300_000)
NAME = "01_images.zip"
pytestmark = pytest.mark.usefixtures("no_settings_of_the_person")
QUICK = Patience(attempts=3, first_s=0.01, longest_s=0.02, silence_s=1, connect_s=5)


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
    """An archive with all that can be known of it."""
    checksum = f"md5:{hashlib.md5(body).hexdigest()}"
    known = Archive("gta5", name, server.address("/" + name), len(body), checksum, 2 * len(body), "", "a test")
    return known._replace(**changes)


def unknown(server: Server, **changes: Any) -> Archive:
    """An archive of which nothing is published."""
    return row(server, bytes=None, checksum="", **changes)


def get(folder: Path, *archives: Archive, **changes: Any) -> list[Path]:
    trusted = folder.parent / "trusted.json"
    return fetch(archives, folder, **({"parallel": 2, "trusted": trusted, "patience": QUICK} | changes))


def named(folder: Path) -> list[str]:
    """What stands under a final name."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def partial(folder: Path, name: str = NAME) -> Path:
    return folder / f".{name}.partial"


def check(folder: Path, found: list[Path]) -> None:
    """The right file, and nothing that was of use only on the way."""
    assert found == [folder / NAME]
    assert found[0].read_bytes() == BODY
    assert not list(folder.glob("*.partial*"))


def wait_until(happened: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


# ---- servers that misbehave and are lived with: acts, and the ranges that must have been asked for


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
        ([servers.instead(BODY[:-1] + bytes([BODY[-1] ^ 1]))], ["", ""]),
        ([servers.instead(b"junk" * 9)], ["", ""]),
        ([servers.endless], ["", ""]),
        ([servers.chunked], [""]),
        ([servers.unframed(50_000)], ["", "bytes=50000-"]),
        ([servers.gzipped], [""]),
        ([servers.cut(80), servers.gzipped], ["", "bytes=80-"]),
        ([servers.redirect("/" + NAME)] * 5, [""] * 6),
    ],
)  # fmt: skip
def test_what_passes_is_outlived(script: list[Act], ranges: list[str], server: Server, tmp_path: Path) -> None:
    server.script.extend(script)
    check(tmp_path / "raw", get(tmp_path / "raw", row(server)))
    assert server.ranges() == ranges
    assert all(asked.agent.startswith("dacs") for asked in server.log)


def test_a_server_that_cuts_often_exhausts_nobody(server: Server, tmp_path: Path) -> None:
    server.script.extend([servers.cut(10_000), servers.cut(0)] * 20)
    check(tmp_path / "raw", get(tmp_path / "raw", row(server)))
    assert len(server.ranges()) == 41


def test_the_wait_that_a_server_asks_for_is_kept(server: Server, tmp_path: Path) -> None:
    server.script.append(servers.status(503, Retry_After="1"))
    begin = time.monotonic()
    check(tmp_path / "raw", get(tmp_path / "raw", row(server)))
    assert time.monotonic() - begin >= 1


def test_a_wait_is_asked_for_by_number_or_by_date() -> None:
    assert seconds_of("120") == 120
    assert seconds_of("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert seconds_of("Wed, 21 Oct 2099 07:28:00 GMT") > 10**9
    assert seconds_of("") == seconds_of("soon") == 0


# ---- servers that misbehave for good: told in words, nothing under a final name


TWICE = [servers.instead(BODY[:-1] + bytes([BODY[-1] ^ 1]))] * 2


@pytest.mark.parametrize(
    ("script", "words", "asked"),
    [
        ([servers.redirect("/login")], "leads to a login page", 1),
        ([servers.redirect("/account/sign-in.php?next=x")], "leads to a login page", 1),
        ([servers.html], r"a web page \(HTML\)", 1),
        ([servers.instead(b"\n<!DOCTYPE html><title>Log in</title>".ljust(len(BODY)))], r"a web page \(HTML\)", 1),
        ([servers.status(401)], "answers 401", 1),
        ([servers.status(403)], "answers 403 .*terms not accepted", 1),
        ([servers.status(404)], "answers 404 .*moved", 1),
        ([servers.status(410)], "answers 410 .*moved", 1),
        ([servers.status(418)], "answers 418", 1),
        ([servers.status(503, Retry_After="86400")], "asks to wait 86400 s", 1),
        ([servers.status(500)] * 3, "answers 500; given up after 3 attempts", 3),
        ([servers.redirect("/" + NAME)] * 6, "more than 5 times", 6),
        ([servers.redirect("ftp://127.0.0.1/x")], "neither http nor https", 1),
        ([servers.redirect("file:///etc/passwd")], "neither http nor https", 1),
        ([servers.redirect("http://[::x/")], "neither http nor https", 1),
        ([servers.redirect("/\xe9")], "neither http nor https", 1),
        ([servers.said_gzipped], "cannot be unpacked", 1),
        ([servers.instead(BODY[:-9])] * 2, f"announces {len(BODY) - 9} bytes, expected {len(BODY)}", 2),
        ([servers.instead(BODY + b"more")] * 2, f"announces {len(BODY) + 4} bytes, expected {len(BODY)}", 2),
        ([servers.endless] * 2, f"sends more than {len(BODY)} bytes", 2),
        (TWICE, "md5:[0-9a-f]{32}, expected md5:" + hashlib.md5(BODY).hexdigest(), 2),
        ([servers.instead(b"junk" + BODY[4:])] * 2, "starts with b'junk.*expected b'PK'", 2),
        ([servers.cut(90)] + [servers.cut(0)] * 3, "given up after 3 attempts that brought nothing", 4),
    ],
)
def test_what_does_not_pass_is_told(script: list[Act], words: str, asked: int, server: Server, tmp_path: Path) -> None:
    server.script.extend(script)
    with pytest.raises(RunFailed, match=words) as caught:
        get(tmp_path / "raw", row(server))
    assert caught.value.exit_code == 1
    assert NAME in str(caught.value).splitlines()[0]
    assert len(str(caught.value).splitlines()) >= 2  # what to do next
    assert len(server.ranges()) == asked
    assert named(tmp_path / "raw") == []
    check(tmp_path / "raw", get(tmp_path / "raw", row(server)))  # and a server that has come to its senses is believed


def test_a_line_that_is_dead_is_told(tmp_path: Path) -> None:
    with running(Server()) as gone:
        archive = row(gone)
    with pytest.raises(RunFailed, match="given up after 3 attempts"):
        get(tmp_path / "raw", archive)
    assert named(tmp_path / "raw") == []


def test_a_body_that_is_too_long_is_cut_short(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.script.extend([servers.endless] * 2)
    sizes: list[int] = []
    discard = module.discard
    monkeypatch.setattr(module, "discard", lambda path: (sizes.append(path.stat().st_size), discard(path)))
    with pytest.raises(RunFailed):
        get(tmp_path / "raw", row(server))
    assert len(sizes) == 2
    assert max(sizes) <= len(BODY)


OLD = BODY[:500] + b"?" + BODY[501:]  # of the same length as the new one


def cut_of_old(handler: servers.Handler, body: bytes) -> None:
    servers.cut(1000)(handler, OLD)


def deaf_to_if_range(handler: servers.Handler, body: bytes) -> None:
    del handler.headers["If-Range"]
    servers.whole(handler, body)


@pytest.mark.parametrize(
    ("act", "ranges"),
    [(servers.whole, ["", "bytes=1000-"]), (deaf_to_if_range, ["", "bytes=1000-", ""])],
)
def test_a_file_that_changed_on_the_server_is_not_glued_of_two(
    act: Act, ranges: list[str], server: Server, tmp_path: Path
) -> None:
    server.script.extend([cut_of_old, act])
    check(tmp_path / "raw", get(tmp_path / "raw", unknown(server)))
    assert server.ranges() == ranges


def test_another_range_than_asked_for_is_not_glued_in(server: Server, tmp_path: Path) -> None:
    server.script.extend([servers.cut(80), servers.shifted])
    check(tmp_path / "raw", get(tmp_path / "raw", unknown(server)))
    assert server.ranges() == ["", "bytes=80-", ""]


def test_silence_is_borne_for_as_long_as_was_said(server: Server, tmp_path: Path) -> None:
    server.script.extend([servers.silent(0), servers.silent(50)])
    begin = time.monotonic()
    check(tmp_path / "raw", get(tmp_path / "raw", row(server)))
    assert 1 < time.monotonic() - begin < 15


# ---- archives of which nothing is published


def test_the_first_download_is_trusted_and_any_other_refused(server: Server, tmp_path: Path) -> None:
    check(tmp_path / "raw", get(tmp_path / "raw", unknown(server)))
    sha256 = hashlib.sha256(BODY).hexdigest()
    entry = {"sha256": sha256, "bytes": len(BODY), "address": server.address("/" + NAME)}
    trusted = tmp_path / "trusted.json"
    assert json.loads(trusted.read_text()) == {NAME: entry}
    check(tmp_path / "raw", get(tmp_path / "raw", unknown(server)))
    other = BODY[:-1] + b"?"
    server.files["/" + NAME] = other
    (tmp_path / "raw" / NAME).unlink()
    with pytest.raises(RunFailed, match=f"{hashlib.sha256(other).hexdigest()}, expected sha256:{sha256}") as caught:
        get(tmp_path / "raw", unknown(server))
    assert f"delete the entry '{NAME}' of {trusted}" in str(caught.value)
    assert named(tmp_path / "raw") == []
    assert json.loads(trusted.read_text()) == {NAME: entry}
    trusted.unlink()
    assert get(tmp_path / "raw", unknown(server))[0].read_bytes() == other


def test_what_is_trusted_is_sorted_and_kept_by_those_who_come_later(server: Server, tmp_path: Path) -> None:
    names = [f"{letter}.zip" for letter in "dacb"]
    server.files |= {f"/{name}": BODY + name.encode() for name in names}
    get(
        tmp_path / "raw",
        *(unknown(server, name=name, address=server.address(f"/{name}")) for name in names),
        parallel=4,
    )
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
def test_a_broken_record_of_trust_is_told(content: str, server: Server, tmp_path: Path) -> None:
    (tmp_path / "trusted.json").write_text(content)
    with pytest.raises(RunFailed, match=r"trusted\.json"):
        get(tmp_path / "raw", unknown(server))
    assert (tmp_path / "trusted.json").read_text() == content
    assert server.log == []


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (servers.unframed(9000), "does not say how long"),
        (servers.endless, f"more than {2 * len(BODY)} bytes"),
        (servers.instead(BODY * 3), f"announces {3 * len(BODY)} bytes, at most {2 * len(BODY)}"),
        (servers.instead(b"<html>" + BODY), "web page"),
    ],
)
def test_what_cannot_be_told_from_a_fault_is_not_trusted(act: Act, words: str, server: Server, tmp_path: Path) -> None:
    server.script.extend([act, act])
    with pytest.raises(RunFailed, match=words):
        get(tmp_path / "raw", unknown(server))
    assert named(tmp_path / "raw") == []
    assert not (tmp_path / "trusted.json").exists()


@pytest.mark.parametrize("act", [servers.chunked, servers.gzipped])
def test_a_length_may_be_told_by_the_frame(act: Act, server: Server, tmp_path: Path) -> None:
    server.script.append(act)
    check(tmp_path / "raw", get(tmp_path / "raw", unknown(server)))


def test_an_unpublished_archive_goes_on_after_a_cut(server: Server, tmp_path: Path) -> None:
    server.script.extend([servers.cut(500), servers.cut(500)])
    check(tmp_path / "raw", get(tmp_path / "raw", unknown(server)))
    assert server.ranges() == ["", "bytes=500-", "bytes=1000-"]


# ---- what is there already


def test_a_verified_file_is_neither_asked_for_nor_hashed_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archives = [row(server), unknown(server, name="b.zip", address=server.address("/" + NAME))]
    get(tmp_path / "raw", *archives)
    monkeypatch.setattr(module, "_digest", lambda *_: pytest.fail("hashed again"))
    assert get(tmp_path / "raw", *archives) == [tmp_path / "raw" / NAME, tmp_path / "raw/b.zip"]
    assert len(server.log) == 2


def test_a_touched_file_is_hashed_again(server: Server, tmp_path: Path) -> None:
    path = get(tmp_path / "raw", row(server))[0]
    content = bytearray(BODY)
    content[99] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(0, 0))
    with pytest.raises(RunFailed, match="not this archive: md5"):
        get(tmp_path / "raw", row(server))
    assert path.read_bytes() == content


def test_a_copy_put_there_by_hand_counts_when_it_is_right(server: Server, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / NAME).write_bytes(BODY)
    check(tmp_path / "raw", get(tmp_path / "raw", row(server)))
    assert server.log == []


@pytest.mark.parametrize("content", [BODY[:-1], BODY[:-1] + b"?", b"<html>".ljust(len(BODY)), b""])
def test_a_wrong_copy_is_told_and_left_alone(content: bytes, server: Server, tmp_path: Path) -> None:
    path = tmp_path / "raw" / NAME
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(RunFailed, match="a file is there that is not this archive") as caught:
        get(tmp_path / "raw", row(server))
    assert str(path) in str(caught.value)
    assert f"{len(content)} bytes, expected {len(BODY)}" in str(caught.value) or len(content) == len(BODY)
    assert path.read_bytes() == content
    assert server.log == []


@pytest.mark.parametrize("note", [None, "{", "[]", '{"version": 1}'])
def test_bytes_of_unknown_origin_are_not_taken_up(note: str | None, server: Server, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    partial(tmp_path / "raw").write_bytes(b"whatever")
    if note is not None:
        (tmp_path / "raw" / f".{NAME}.partial.json").write_text(note)
    check(tmp_path / "raw", get(tmp_path / "raw", row(server)))
    assert server.ranges() == [""]


@pytest.mark.parametrize("make", [row, unknown])
def test_a_whole_partial_is_not_asked_for_again(
    make: Callable[[Server], Archive], server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RunFailed, match="No space left"):
            get(tmp_path / "raw", make(server))
    assert named(tmp_path / "raw") == []
    check(tmp_path / "raw", get(tmp_path / "raw", make(server)))
    assert server.ranges() == [""]


# ---- full disks


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_disk_that_is_too_small_is_told_before_anything_is_asked_for(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")(2**40, 0, 3 * 2**29)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    big = row(server, bytes=2**30)
    with pytest.raises(RunFailed, match=r"1.50 GiB are free, 2.00 GiB are still to come"):
        get(tmp_path / "raw", big, big._replace(name="b.zip"))
    assert server.log == []
    check(tmp_path / "raw", get(tmp_path / "raw", row(server)))


def test_an_announced_length_is_held_against_the_disk(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")(2**40, 0, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(RunFailed, match="are free"):
        get(tmp_path / "raw", unknown(server))
    assert named(tmp_path / "raw") == []


@pytest.fixture
def small_disk() -> Iterator[Callable[[], None]]:
    """No file may grow beyond 100,000 bytes: the kernel refuses the rest. Called: no more of that."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_up_is_told_and_what_came_is_kept(
    small_disk: Callable[[], None], server: Server, tmp_path: Path
) -> None:
    with pytest.raises(RunFailed, match="could not be written"):
        get(tmp_path / "raw", row(server))
    assert named(tmp_path / "raw") == []
    assert partial(tmp_path / "raw").stat().st_size == 100_000
    small_disk()
    check(tmp_path / "raw", get(tmp_path / "raw", row(server)))
    assert server.ranges() == ["", "bytes=100000-"]


def test_a_folder_that_cannot_be_made_is_told(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunFailed, match="could not be written"):
        get(tmp_path / "file/raw", row(server))


# ---- kills, stops, two at once


SCRIPT = """
import json, sys
from pathlib import Path
from dacs.download.archives import Archive
from dacs.download.fetch import Patience, fetch
from dacs.errors import DacsError
archives = [Archive(*fields) for fields in json.loads(sys.argv[1])]
try:
    fetch(archives, Path(sys.argv[2]), parallel=2, trusted=Path(sys.argv[3]), patience=Patience(first_s=0.01))
except DacsError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def start(folder: Path, *archives: Archive) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, json.dumps(archives), str(folder), str(folder.parent / "trusted.json")]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("make", [row, unknown])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 75), (signal.SIGINT, 75)])
def test_a_run_that_was_stopped_goes_on_where_it_was(
    number: signal.Signals, code: int, make: Callable[[Server], Archive], server: Server, tmp_path: Path
) -> None:
    server.script.append(servers.silent(123_456))
    process = start(tmp_path / "raw", make(server))
    wait_until(lambda: module.size_of(partial(tmp_path / "raw")) == 123_456)
    process.send_signal(number)
    said = process.communicate(timeout=10)[1]
    assert process.returncode == code
    assert "The same command goes on" in said or number == signal.SIGKILL
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


def test_two_downloads_of_one_archive_are_one_too_many(server: Server, tmp_path: Path) -> None:
    server.script.append(servers.silent(1000))
    process = start(tmp_path / "raw", row(server))
    wait_until(lambda: module.size_of(partial(tmp_path / "raw")) == 1000)
    with pytest.raises(RunFailed, match="another download is at work there"):
        get(tmp_path / "raw", row(server))
    assert partial(tmp_path / "raw").stat().st_size == 1000
    server.let_go.set()
    assert process.wait(timeout=20) == 0
    process.communicate()
    check(tmp_path / "raw", get(tmp_path / "raw", row(server)))


def test_signals_are_given_back(server: Server, tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    get(tmp_path / "raw", row(server))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


# ---- several archives


def several(server: Server, count: int) -> list[Archive]:
    made = []
    for number in range(count):
        body = BODY[: 1000 + number]
        server.files[f"/{number}.zip"] = body
        made.append(row(server, name=f"{number}.zip", body=body))
    return made


def test_files_come_back_in_the_order_asked_for(server: Server, tmp_path: Path) -> None:
    archives = several(server, 6)[::-1]
    found = get(tmp_path / "raw", *archives, parallel=3)
    assert [path.name for path in found] == [archive.name for archive in archives]
    assert [path.stat().st_size for path in found] == [archive.bytes for archive in archives]


def test_no_more_than_so_many_run_at_once(server: Server, tmp_path: Path) -> None:
    running_now, most, lock = 0, 0, threading.Lock()
    both = threading.Barrier(2)

    def counted(handler: servers.Handler, body: bytes) -> None:
        nonlocal running_now, most
        with lock:
            running_now += 1
            most = max(most, running_now)
        both.wait(10)  # each waits for another: they do run at once
        with lock:
            running_now -= 1
        servers.whole(handler, body)

    server.script.extend([counted] * 6)
    get(tmp_path / "raw", *several(server, 6), parallel=2)
    assert most == 2


def test_one_that_fails_does_not_stop_the_others(server: Server, tmp_path: Path) -> None:
    archives = several(server, 6)
    del server.files["/1.zip"], server.files["/4.zip"]
    with pytest.raises(RunFailed, match="2 of 6 archives could not be had") as caught:
        get(tmp_path / "raw", *archives)
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines[1:3]] == ["1.zip", "4.zip"]
    assert len(lines) == 4  # and what to do, once
    assert named(tmp_path / "raw") == ["0.zip", "2.zip", "3.zip", "5.zip"]


def test_no_bad_request_reaches_a_server(server: Server, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="too few"):
        get(tmp_path / "raw", row(server), parallel=0)
    with pytest.raises(BadRequest, match="needs a login"):
        get(tmp_path / "raw", row(server, login="cityscapes"))
    assert server.log == []


# ---- TLS and redirects


def local(secure: Server) -> Archive:
    return row(secure, address=secure.address("/" + NAME, "localhost"))


def test_a_certificate_nobody_vouches_for_is_refused_at_once(secure: Server, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="certificate of localhost cannot be verified") as caught:
        get(tmp_path / "raw", local(secure))
    assert "data.unverified_hosts" in str(caught.value)
    assert secure.log == []
    assert named(tmp_path / "raw") == []


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "CURL_CA_BUNDLE"])
def test_a_person_may_trust_a_certificate(
    variable: str, secure: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(servers.CERTIFICATE))
    check(tmp_path / "raw", get(tmp_path / "raw", local(secure)))


def test_a_missing_file_of_certificates_is_told(
    secure: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(RunFailed, match="trusted certificates cannot be read"):
        get(tmp_path / "raw", local(secure))


def test_a_named_host_goes_unverified_where_the_checksum_decides(secure: Server, tmp_path: Path) -> None:
    check(tmp_path / "raw", get(tmp_path / "raw", local(secure), unverified_hosts=["localhost"]))


@pytest.mark.parametrize("hosts", [["127.0.0.1"], ["local"], ["*"], ["LOCALHOST.example"], [""]])
def test_only_that_host_goes_unverified(hosts: list[str], secure: Server, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="cannot be verified"):
        get(tmp_path / "raw", local(secure), unverified_hosts=hosts)
    assert secure.log == []


@pytest.mark.parametrize("changes", [{"checksum": ""}, {"login": "cityscapes"}])
def test_nothing_goes_unverified_without_a_checksum_or_with_a_password(
    changes: dict[str, Any], secure: Server, tmp_path: Path
) -> None:
    session: Any = object()
    with pytest.raises(BadRequest, match="may not go unverified"):
        get(tmp_path / "raw", local(secure)._replace(**changes), unverified_hosts=["localhost"], session=session)
    assert secure.log == []


def test_a_redirect_to_an_unverified_host_needs_a_checksum_too(server: Server, secure: Server, tmp_path: Path) -> None:
    for make in (row, unknown):
        server.script.append(servers.redirect(secure.address("/" + NAME, "localhost")))
        folder = tmp_path / make.__name__ / "raw"
        if make is row:
            check(folder, get(folder, make(server), unverified_hosts=["localhost"]))
        else:
            with pytest.raises(RunFailed, match="cannot be verified"):
                get(folder, make(server), unverified_hosts=["localhost"])
    assert len(secure.log) == 1


def test_no_redirect_leads_from_https_to_http(
    server: Server, secure: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(servers.CERTIFICATE))
    secure.script.append(servers.redirect(server.address("/" + NAME)))
    with pytest.raises(RunFailed, match="from https to http"):
        get(tmp_path / "raw", local(secure))
    assert server.log == []


# ---- the tables


def test_the_table_holds_what_is_published() -> None:
    archives = read_table()
    sums = {
        kind: sum(archive.bytes or 0 for archive in archives if archive.name.endswith(f"_{kind}.zip"))
        for kind in ("images", "labels")
    }
    assert sums == {"images": 60_557_008_558, "labels": 738_508_110}
    assert sum(archive.name[:2].isdecimal() for archive in archives) == 20
    assert len(archives) == 24
    checksums = [archive.checksum for archive in archives if archive.checksum]
    assert len(set(checksums)) == 22
    assert all(checksum.startswith("md5:") and len(checksum) == 36 for checksum in checksums)


def test_the_table_says_who_needs_a_login_and_what_is_not_published() -> None:
    archives = read_table()
    assert {archive.domain for archive in archives if archive.login} == {"cityscapes"}
    assert all(archive.login for archive in archives if archive.domain == "cityscapes")
    unpublished = [archive.name for archive in archives if archive.bytes is None]
    assert unpublished == ["read_mapping.zip", "SYNTHIA_RAND_CITYSCAPES.rar"]
    assert unpublished == [archive.name for archive in archives if not archive.checksum]
    assert all(urlsplit(archive.address).scheme == "https" for archive in archives if archive.login)
    assert all(archive.unpacked_limit > (archive.bytes or 0) for archive in archives)


def test_every_domain_of_the_table_has_terms() -> None:
    for domain in {archive.domain for archive in read_table()}:
        terms = terms_of(domain)
        assert terms.domain == domain
        assert terms.address.startswith("http")
    with pytest.raises(BadRequest, match="no terms of 'kitti'"):
        terms_of("kitti")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("domain,name", "domain,title", "line 1: found columns domain, title"),
        ("6138548997", "6138548997.0", "line 2: '6138548997.0' is not a number"),
        ("7673186246", "", "line 2: '' is not a number"),
        ("01_labels.zip,", "01_images.zip,", "line 3: '01_images.zip' is there twice"),
        ("md5:df", "crc:df", "line 2: checksum 'crc:df"),
        ("md5:df", "md5:f", "line 2: checksum 'md5:f"),
        ("md5:df", "md5:DF", "line 2: checksum 'md5:DF"),
        (",01_images.zip", ",../01_images.zip", "line 2: name '../01_images.zip'"),
        (",01_images.zip", ",.zip", "line 2: name '.zip'"),
        (",01_images.zip", ",01_images.tar", "line 2: name '01_images.tar'"),
        ("https://download", "ftp://download", "line 2: address 'ftp://"),
        ("https://download", "https://me:secret@download", "line 2: the address holds a user"),
        (",,photographs", ",photographs", "line 2: 7 cells, expected 8"),
        (",,photographs", ",myspace,photographs", "line 2: login 'myspace'"),
        ("gta5,01_images", ",01_images", "line 2: a cell is empty"),
    ],
)
def test_a_wrong_row_is_named_by_file_and_line(before: str, after: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(TABLE.read_text().replace(before, after, 1))
    with pytest.raises(BadRequest, match=words) as caught:
        read_table(path)
    assert str(caught.value).startswith(str(path))
    assert caught.value.exit_code == 2


def test_a_table_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    for content in (None, b"", b"\xff\xfe", b'"'):
        path = tmp_path / "table.csv"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(BadRequest, match=r"table\.csv"):
            read_table(path)


def test_fetching_needs_no_torch() -> None:
    code = "import sys, dacs.download.fetch; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
