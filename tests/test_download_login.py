"""A login is used once, renewed when it has expired, distinguished from a wrong one, and never repeated to anybody."""

import hashlib
import json
import random
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
import servers
from servers import Members, Server, running

from dacs.datasets.base import Archive
from dacs.download.fetch import RetryPolicy, fetch
from dacs.download.login import Credentials, Login, credentials, official_file
from dacs.errors import BadRequest, DacsError, RunFailed

USER, PASSWORD = "me@example.org", "p&ss=wörd +%"
BODY = b"PK\x03\x04" + random.Random(2).randbytes(50_000)
pytestmark = pytest.mark.usefixtures("no_settings_of_the_person")
QUICK = RetryPolicy(attempts=3, first_s=0.01, longest_s=0.02, silence_s=1, connect_s=5)


@pytest.fixture
def members() -> Iterator[Members]:
    with running(Members(USER, PASSWORD)) as started:
        started.files["/file-handling/"] = BODY
        yield started


def rows(server: Server) -> list[Archive]:
    checksum = f"md5:{hashlib.md5(BODY).hexdigest()}"
    address = server.address("/file-handling/?packageID=")
    return [
        Archive(name, f"{address}{number}", len(BODY), checksum, 10**6, "cityscapes", "a test")
        for name, number in (("gtFine_trainvaltest.zip", 1), ("leftImg8bit_trainvaltest.zip", 3))
    ]


def login(server: Server, username: str = USER, password: str = PASSWORD) -> Login:
    return Login(Credentials(username, password), site=server.address(""))


def get(folder: Path, archives: list[Archive], using: Login) -> list[Path]:
    return fetch(archives, folder, parallel=2, trusted=folder.parent / "trusted.json", login=using, retry=QUICK)


def named(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("[!.]*"))


def written(error: BaseException) -> str:
    """An error with all its causes, as Python prints what nobody catches."""
    return "".join(traceback.format_exception(error))


# ---- logging in


def test_one_login_serves_all_archives(members: Members, tmp_path: Path) -> None:
    found = get(tmp_path / "raw", rows(members), login(members))
    assert [path.read_bytes() for path in found] == [BODY, BODY]
    assert members.logins() == 1
    assert [asked.verb for asked in members.log[:2]] == ["GET", "POST"]
    members.log.clear()
    get(tmp_path / "raw", rows(members), login(members, password="forgotten"))
    assert members.log == []  # nobody logs in for what is there already


def test_wrong_credentials_are_reported_and_tried_only_once(members: Members, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="user name and password were not accepted"):
        get(tmp_path / "raw", rows(members), login(members, password="wrong"))
    assert members.logins() == 1
    assert members.ranges() == []
    assert named(tmp_path / "raw") == []


def test_an_expired_login_is_renewed_and_the_download_resumes(members: Members, tmp_path: Path) -> None:
    def cut_and_forget(handler: servers.Handler, body: bytes) -> None:
        members.known.clear()
        servers.cut(20_000)(handler, body)

    members.script.extend([cut_and_forget, cut_and_forget])
    assert get(tmp_path / "raw", rows(members)[:1], login(members))[0].read_bytes() == BODY
    assert members.logins() == 3
    assert members.ranges() == ["", *["bytes=20000-"] * 2, *["bytes=40000-"] * 2]


def test_a_login_without_rights_is_distinguished(members: Members, tmp_path: Path) -> None:
    members.deaf = True
    with pytest.raises(RunFailed, match="leads to its login page even after a login"):
        get(tmp_path / "raw", rows(members)[:1], login(members))
    assert members.logins() == 2
    assert named(tmp_path / "raw") == []


def test_a_web_page_is_no_archive_for_members_either(members: Members, tmp_path: Path) -> None:
    members.script.append(servers.html)
    with pytest.raises(RunFailed, match=r"a web page \(HTML\)"):
        get(tmp_path / "raw", rows(members)[:1], login(members))
    assert named(tmp_path / "raw") == []


@pytest.mark.parametrize(
    ("statuses", "words"), [([503, 500], ""), ([404], "answers 404"), ([500] * 3, "answers 500; given up")]
)
def test_a_login_page_that_is_down_is_waited_for_in_reason(
    statuses: list[int], words: str, members: Members, tmp_path: Path
) -> None:
    members.down.extend(statuses)
    if words:
        with pytest.raises(RunFailed, match=words):
            get(tmp_path / "raw", rows(members)[:1], login(members))
    else:
        get(tmp_path / "raw", rows(members)[:1], login(members))
    assert members.logins() == (not words)


# ---- secrets


@pytest.mark.parametrize("way", ["redirect", "mirror"])
def test_cookies_and_credentials_never_leave_the_host(way: str, members: Members, tmp_path: Path) -> None:
    with running(Server()) as other:
        other.files["/store"] = BODY
        elsewhere = other.address("/store", "localhost")
        archive = rows(members)[0]
        if way == "redirect":
            members.script.append(servers.redirect(elsewhere))
        else:
            archive = archive._replace(address=elsewhere)
        assert get(tmp_path / "raw", [archive], login(members))[0].read_bytes() == BODY
    assert [(asked.verb, asked.cookie) for asked in other.log] == [("GET", "")]
    assert members.logins() == 1


def test_a_password_is_sent_by_https_only() -> None:
    for site in ("http://www.cityscapes-dataset.com", "ftp://x", "www.cityscapes-dataset.com"):
        with pytest.raises(BadRequest, match="https only"):
            Login(Credentials(USER, PASSWORD), site)
    Login(Credentials(USER, PASSWORD))


@pytest.mark.parametrize("trouble", ["wrong", "deaf", "down", "gone"])
def test_no_error_and_no_file_repeats_a_credential(
    trouble: str, members: Members, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    members.deaf = trouble == "deaf"
    members.down.extend([500] * 20 if trouble == "down" else [])
    password = "wr0ng-p&ss" if trouble == "wrong" else PASSWORD
    using = login(members, password=password)
    if trouble == "gone":
        with running(Server()) as closed:
            using = login(closed, password=password)
    with pytest.raises(DacsError) as caught:
        get(tmp_path / "raw", rows(members), using)
    files = "".join(path.read_text() for path in (tmp_path / "raw").rglob("*") if path.is_file())
    printed = capfd.readouterr()
    for words in (
        files,
        printed.out,
        printed.err,
        written(caught.value),
        repr(using),
        repr(Credentials(USER, password)),
    ):
        for secret in (USER, password, "me%40", "member=", "visitor="):
            assert secret not in words


# ---- where credentials come from


def store(home: Path, content: str) -> Path:
    path = home / ".local/share/cityscapesscripts/credentials.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    return path


def test_the_environment_comes_first_and_the_file_of_the_official_tool_second(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    store(tmp_path, json.dumps({"username": "other", "password": PASSWORD}))
    both = {"CITYSCAPES_USERNAME": USER, "CITYSCAPES_PASSWORD": PASSWORD}
    assert credentials(home | both) == Credentials(USER, PASSWORD)
    assert credentials(home) == Credentials("other", PASSWORD)


def test_the_file_is_where_the_official_tool_writes_it(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "XDG_DATA_HOME": "/xdg"}
    assert official_file(environ, "linux") == Path("/xdg/cityscapesscripts/credentials.json")
    mac = tmp_path / "Library/Application Support/cityscapesscripts/credentials.json"
    assert official_file(environ, "darwin") == mac


def test_without_credentials_both_ways_are_explained(tmp_path: Path) -> None:
    with pytest.raises(BadRequest) as caught:
        credentials({"HOME": str(tmp_path)})
    for words in ("CITYSCAPES_USERNAME", "CITYSCAPES_PASSWORD", "csDownload", "/register/", str(tmp_path)):
        assert words in str(caught.value)


@pytest.mark.parametrize("missing", ["CITYSCAPES_USERNAME", "CITYSCAPES_PASSWORD"])
def test_half_of_a_login_is_reported(missing: str) -> None:
    both = {"CITYSCAPES_USERNAME": USER, "CITYSCAPES_PASSWORD": PASSWORD}
    with pytest.raises(BadRequest, match=f"^{missing} is not set") as caught:
        credentials(both | {missing: ""})
    assert PASSWORD not in str(caught.value)


BROKEN = ["", "s3cret", '["s3cret"]', '{"username": "s3cret"}', '{"username": 1, "password": "s3cret"}']


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_file_is_reported_without_its_content(content: str, tmp_path: Path) -> None:
    path = store(tmp_path, content)
    with pytest.raises(BadRequest, match="no JSON with a username and a password") as caught:
        credentials({"HOME": str(tmp_path)})
    assert str(path) in str(caught.value)
    assert "s3cret" not in written(caught.value)
