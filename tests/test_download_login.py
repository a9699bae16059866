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
from dacs.download.login import Credentials, Login, credentials
from dacs.errors import BadRequest, RunFailed

USER, PASSWORD = "me@example.org", "p&ss=wörd +%"
BODY = b"PK\x03\x04" + random.Random(2).randbytes(50_000)
pytestmark = pytest.mark.usefixtures("no_settings_of_the_person")
QUICK = RetryPolicy(attempts=3, first_s=0.01, longest_s=0.02, silence_s=1)


@pytest.fixture
def members() -> Iterator[Members]:
    with running(Members(USER, PASSWORD)) as started:
        started.files["/file-handling/"] = BODY
        yield started


def get(folder: Path, server: Server, password: str = PASSWORD, count: int = 1, address: str = "") -> list[Path]:
    """Two archives, or one, which may be at another address than the login."""
    names = ["gtFine_trainvaltest.zip", "leftImg8bit_trainvaltest.zip"][:count]
    address = address or server.address("/file-handling/?packageID=1")
    known = address, len(BODY), f"md5:{hashlib.md5(BODY).hexdigest()}", 10**6, "cityscapes", "a test"
    login = Login(Credentials(USER, password), server.address(""))
    trusted = folder / "trusted.json"
    return fetch(
        [Archive(name, *known) for name in names], folder, parallel=2, trusted=trusted, login=login, retry=QUICK
    )


def test_one_login_serves_all_archives(members: Members, tmp_path: Path) -> None:
    assert [path.read_bytes() for path in get(tmp_path, members, count=2)] == [BODY, BODY]
    assert [asked.command for asked in members.log] == ["GET", "POST", "GET", "GET"]
    get(tmp_path, members, password="forgotten", count=2)
    assert len(members.log) == 4  # no login for what is there already


def test_an_expired_login_is_renewed_and_the_download_resumes(members: Members, tmp_path: Path) -> None:
    def cut_and_forget(handler: servers.Handler, body: bytes) -> None:
        members.known.clear()
        servers.cut(20_000)(handler, body)

    members.script.extend([cut_and_forget, cut_and_forget])
    assert get(tmp_path, members)[0].read_bytes() == BODY
    assert members.logins() == 3


@pytest.mark.parametrize("way", ["redirect", "mirror"])
def test_cookies_and_credentials_never_leave_the_host(
    way: str, members: Members, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine localhost login me password secret")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with running(Server()) as other:
        other.files["/store"] = BODY
        elsewhere = other.address("/store", "localhost")
        members.script.append(servers.redirect(elsewhere))
        get(tmp_path, members, address=elsewhere if way == "mirror" else "")
    assert [asked.command for asked in other.log] == ["GET"]
    assert not {"Cookie", "Authorization"} & set(other.log[0].headers)
    assert members.logins() == 1


@pytest.mark.parametrize(
    ("trouble", "message", "logins"),
    [
        ("wrong", "user name and password were not accepted", 1),  # tried once for both archives
        ("no rights", "leads to its login page even after a login", 2),
        ("gone", "given up after 3 attempts", 0),
    ],
)
def test_what_is_wrong_with_a_login_is_distinguished_and_no_credential_repeated(
    trouble: str, message: str, logins: int, members: Members, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    members.deaf = trouble == "no rights"
    password = "wr0ng-p&ss" if trouble == "wrong" else PASSWORD
    with running(Server()) as closed:
        pass
    with pytest.raises(RunFailed, match=message) as caught:
        get(tmp_path, closed if trouble == "gone" else members, password, count=2 if trouble == "wrong" else 1)
    assert members.logins() == logins
    assert list(tmp_path.iterdir()) == []
    raised = "".join(traceback.format_exception(caught.value))
    for words in (*capfd.readouterr(), raised, repr(Credentials(USER, password))):
        for secret in (USER, password, "me%40", "member=", "visitor="):
            assert secret not in words


def test_the_environment_comes_first_and_the_file_of_the_official_tool_second(tmp_path: Path) -> None:
    path = tmp_path / ".local/share/cityscapesscripts/credentials.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"username": "other", "password": PASSWORD}))
    home, both = {"HOME": str(tmp_path)}, {"CITYSCAPES_USERNAME": USER, "CITYSCAPES_PASSWORD": PASSWORD}
    assert credentials(home | both) == Credentials(USER, PASSWORD)
    assert credentials(home) == credentials({"XDG_DATA_HOME": f"{tmp_path}/.local/share"}) != credentials(both)


@pytest.mark.parametrize("content", [None, "", "s3cret", '["s3cret"]', '{"username": "s3cret"}'])
def test_without_credentials_both_ways_are_explained_and_nothing_is_repeated(
    content: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "cityscapesscripts/credentials.json"
    path.parent.mkdir()
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadRequest) as caught:
        credentials({"XDG_DATA_HOME": str(tmp_path), "CITYSCAPES_PASSWORD": PASSWORD})
    for words in ("CITYSCAPES_USERNAME", "CITYSCAPES_PASSWORD", "csDownload", "/register/", str(path)):
        assert words in str(caught.value)
    written = "".join(traceback.format_exception(caught.value))
    assert "s3cret" not in written
    assert PASSWORD not in written
