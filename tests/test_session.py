"""A login is used once, renewed when it has expired, told apart from a wrong one, and never repeated to anybody."""

import hashlib
import json
import random
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import servers
from servers import Members, Server, running

from dacs.download.archives import Archive
from dacs.download.fetch import Patience, fetch
from dacs.download.session import Credentials, Session, credentials, official_file
from dacs.errors import BadRequest, DacsError, RunFailed

USER, PASSWORD = "me@example.org", "p&ss=wörd +%"
NAMES = ("gtFine_trainvaltest.zip", "leftImg8bit_trainvaltest.zip")
BODY = b"PK\x03\x04" + random.Random(2).randbytes(50_000)
pytestmark = pytest.mark.usefixtures("no_settings_of_the_person")
QUICK = Patience(attempts=3, first_s=0.01, longest_s=0.02, silence_s=1, connect_s=5)


@pytest.fixture
def members() -> Iterator[Members]:
    with running(Members(USER, PASSWORD)) as started:
        started.files["/file-handling/"] = BODY
        yield started


def rows(server: Server) -> list[Archive]:
    checksum = f"md5:{hashlib.md5(BODY).hexdigest()}"
    address = server.address("/file-handling/?packageID=")
    return [
        Archive("cityscapes", name, f"{address}{number}", len(BODY), checksum, 10**6, "cityscapes", "a test")
        for name, number in zip(NAMES, (1, 3), strict=True)
    ]


def session(server: Server, username: str = USER, password: str = PASSWORD) -> Session:
    return Session(Credentials(username, password), base=server.address(""))


def get(folder: Path, archives: list[Archive], using: Session) -> list[Path]:
    return fetch(archives, folder, parallel=2, trusted=folder.parent / "trusted.json", session=using, patience=QUICK)


def named(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


# ---- logging in


def test_one_login_serves_all_archives(members: Members, tmp_path: Path) -> None:
    found = get(tmp_path / "raw", rows(members), session(members))
    assert [path.read_bytes() for path in found] == [BODY, BODY]
    assert members.logins() == 1
    assert [asked.verb for asked in members.log[:2]] == ["GET", "POST"]


def test_nobody_logs_in_for_what_is_there_already(members: Members, tmp_path: Path) -> None:
    get(tmp_path / "raw", rows(members), session(members))
    members.log.clear()
    get(tmp_path / "raw", rows(members), session(members, password="forgotten"))
    assert members.log == []


def test_wrong_credentials_are_told_and_tried_only_once(members: Members, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="user name and password were not accepted"):
        get(tmp_path / "raw", rows(members), session(members, password="wrong"))
    assert members.logins() == 1
    assert members.ranges() == []
    assert named(tmp_path / "raw") == []


def test_an_expired_session_is_renewed_and_goes_on_with_what_is_there(members: Members, tmp_path: Path) -> None:
    def cut_and_forget(handler: servers.Handler, body: bytes) -> None:
        members.known.clear()
        servers.cut(20_000)(handler, body)

    members.script.extend([cut_and_forget, cut_and_forget])
    assert get(tmp_path / "raw", rows(members)[:1], session(members))[0].read_bytes() == BODY
    assert members.logins() == 3
    assert members.ranges() == ["", *["bytes=20000-"] * 2, *["bytes=40000-"] * 2]


def test_a_login_that_opens_no_door_is_told_apart(members: Members, tmp_path: Path) -> None:
    members.deaf = True
    with pytest.raises(RunFailed, match="login was accepted, yet the server leads to the login page again"):
        get(tmp_path / "raw", rows(members)[:1], session(members))
    assert members.logins() == 2
    assert named(tmp_path / "raw") == []


def test_a_page_of_words_is_no_archive_for_members_either(members: Members, tmp_path: Path) -> None:
    members.script.append(servers.html)
    with pytest.raises(RunFailed, match=r"a web page \(HTML\)"):
        get(tmp_path / "raw", rows(members)[:1], session(members))
    assert named(tmp_path / "raw") == []


def test_a_login_page_that_is_down_is_waited_for(members: Members, tmp_path: Path) -> None:
    members.down.extend([503, 500])
    get(tmp_path / "raw", rows(members)[:1], session(members))
    assert members.logins() == 1


@pytest.mark.parametrize(("statuses", "words"), [([404], "login page answers 404"), ([500] * 3, "answers 500")])
def test_a_login_page_that_stays_down_is_told(
    statuses: list[int], words: str, members: Members, tmp_path: Path
) -> None:
    members.down.extend(statuses)
    with pytest.raises(RunFailed, match=words):
        get(tmp_path / "raw", rows(members)[:1], session(members))
    assert members.logins() == 0


# ---- secrets


def test_cookies_and_credentials_never_leave_the_host(members: Members, tmp_path: Path) -> None:
    with running(Server()) as other:
        other.files["/store"] = BODY
        members.script.append(servers.redirect(other.address("/store", "localhost")))
        assert get(tmp_path / "raw", rows(members)[:1], session(members))[0].read_bytes() == BODY
    assert [asked.cookie for asked in other.log] == [""]
    assert "member=" in members.log[-1].cookie


def test_a_mirror_gets_no_cookie(members: Members, tmp_path: Path) -> None:
    with running(Server()) as other:
        other.files["/store"] = BODY
        archive = rows(members)[0]._replace(address=other.address("/store", "localhost"))
        get(tmp_path / "raw", [archive], session(members))
    assert [(asked.verb, asked.cookie) for asked in other.log] == [("GET", "")]


def test_a_password_is_sent_by_https_only() -> None:
    for base in ("http://www.cityscapes-dataset.com", "ftp://x", "www.cityscapes-dataset.com"):
        with pytest.raises(BadRequest, match="https only"):
            Session(Credentials(USER, PASSWORD), base=base)
    Session(Credentials(USER, PASSWORD))


def everything_told(error: BaseException) -> str:
    """With all causes, as Python prints what nobody catches."""
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize("trouble", ["wrong", "deaf", "down", "gone"])
def test_no_error_and_no_file_repeats_a_credential(
    trouble: str, members: Members, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    members.deaf = trouble == "deaf"
    members.down.extend([500] * 20 if trouble == "down" else [])
    password = "wr0ng-p&ss" if trouble == "wrong" else PASSWORD
    if trouble == "gone":
        with running(Server()) as closed:
            using = session(closed, password=password)
    else:
        using = session(members, password=password)
    with pytest.raises(DacsError) as caught:
        get(tmp_path / "raw", rows(members), using)
    files = "".join(path.read_text() for path in (tmp_path / "raw").rglob("*") if path.is_file())
    told = capfd.readouterr()
    for words in (str(caught.value), files, told.out, told.err, everything_told(caught.value)):
        for secret in (USER, password, "me%40", "member=", "visitor="):
            assert secret not in words


def test_credentials_keep_to_themselves() -> None:
    for words in (
        repr(Credentials(USER, PASSWORD)),
        str(Credentials(USER, PASSWORD)),
        f"{Credentials(USER, PASSWORD)}",
    ):
        assert USER not in words
        assert PASSWORD not in words


# ---- where credentials come from


def environ(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(tmp_path)} | more


def store(tmp_path: Path, content: str, mode: int = 0o600) -> Path:
    path = tmp_path / ".local/share/cityscapesscripts/credentials.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    path.chmod(mode)
    return path


def test_the_environment_comes_first(tmp_path: Path) -> None:
    store(tmp_path, json.dumps({"username": "other", "password": "other"}))
    found = credentials(environ(tmp_path, CITYSCAPES_USERNAME=USER, CITYSCAPES_PASSWORD=PASSWORD))
    assert found == Credentials(USER, PASSWORD)


def test_the_file_of_the_official_tool_comes_second(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(tmp_path, json.dumps({"username": USER, "password": PASSWORD}))
    assert credentials(environ(tmp_path)) == Credentials(USER, PASSWORD)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_file_that_others_can_read_is_warned_of(
    mode: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = store(tmp_path, json.dumps({"username": USER, "password": PASSWORD}), mode)
    credentials(environ(tmp_path))
    said = capsys.readouterr().err
    assert f"{path}: others can read this password" in said
    assert PASSWORD not in said


def test_the_file_is_where_the_official_tool_puts_it(tmp_path: Path) -> None:
    told = environ(tmp_path, XDG_DATA_HOME="/xdg")
    assert official_file(told, "linux") == Path("/xdg/cityscapesscripts/credentials.json")
    mac = tmp_path / "Library/Application Support/cityscapesscripts/credentials.json"
    assert official_file(told, "darwin") == mac


def test_nothing_found_tells_both_ways(tmp_path: Path) -> None:
    with pytest.raises(BadRequest) as caught:
        credentials(environ(tmp_path))
    for words in ("CITYSCAPES_USERNAME", "CITYSCAPES_PASSWORD", "csDownload", "/register/", str(tmp_path)):
        assert words in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("missing", ["CITYSCAPES_USERNAME", "CITYSCAPES_PASSWORD"])
def test_half_of_a_login_is_told(missing: str, tmp_path: Path) -> None:
    both: dict[str, Any] = {"CITYSCAPES_USERNAME": USER, "CITYSCAPES_PASSWORD": PASSWORD}
    with pytest.raises(BadRequest, match=f"^{missing} is not set") as caught:
        credentials(environ(tmp_path, **(both | {missing: ""})))
    assert PASSWORD not in str(caught.value)


BROKEN = ["", "s3cret", '["s3cret"]', '{"username": "s3cret"}', '{"username": 1, "password": "s3cret"}']


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_file_is_told_without_its_content(content: str, tmp_path: Path) -> None:
    path = store(tmp_path, content)
    with pytest.raises(BadRequest, match="no JSON with a username and a password") as caught:
        credentials(environ(tmp_path))
    assert str(path) in str(caught.value)
    assert "s3cret" not in everything_told(caught.value)
