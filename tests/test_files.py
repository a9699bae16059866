"""Files are whole or absent, whatever goes wrong, and the error says what went wrong."""

import errno
import hashlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dacs import files
from dacs.errors import RunFailed
from dacs.files import atomic, digest, read_json, write_bytes, write_json, write_text


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file may grow beyond 10,000 bytes: the kernel refuses the rest, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_appears_under_its_name_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.png"
    with atomic(path) as partial:
        partial.write_text("whole")
        assert not path.exists()
        assert partial.parent == path.parent  # the same disk, so that renaming is one act
        assert partial.suffix == ".png"  # encoders choose their format by it
    assert path.read_text() == "whole"
    assert os.listdir(path.parent) == ["file.png"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, RunFailed])
def test_a_failed_block_leaves_the_old_file_and_nothing_else(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(error), atomic(path) as partial:  # noqa: PT012
        partial.write_text("half of the n")
        raise error
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk_is_reported_and_leaves_the_old_file(tmp_path: Path, small_disk: None) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")
    with pytest.raises(RunFailed, match="could not be written") as caught:
        write_bytes(path, bytes(20_000))
    assert str(path) in str(caught.value).splitlines()[0]
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_rename_that_fails_leaves_the_old_file(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise OSError(number, os.strerror(number))

    write_text(tmp_path / "file", "old")
    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(RunFailed, match=os.strerror(number)):
        write_text(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(RunFailed, match="could not be written"):
        write_text(tmp_path / "file" / "inner", "text")


def test_json_comes_back_as_it_went_in_its_own_order(tmp_path: Path) -> None:
    value = {"b": [1, 2.5, None], "a": {"λ": "mixed"}}
    write_json(tmp_path / "file.json", value)
    found = read_json(tmp_path / "file.json")
    assert found == value
    assert list(found) == ["b", "a"]
    assert (tmp_path / "file.json").read_bytes().endswith(b"}\n")


@pytest.mark.parametrize(("text", "found"), [(None, "not found"), ("{", "not JSON"), ("", "not JSON")])
def test_json_that_is_missing_or_broken_is_reported(text: str | None, found: str, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RunFailed, match=found) as caught:
        read_json(path)
    first, *advice = str(caught.value).splitlines()
    assert str(path) in first
    assert advice


def test_a_digest_is_the_sha256_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\x00street\r\n" * 999)
    assert digest(tmp_path / "file") == hashlib.sha256(b"\x00street\r\n" * 999).hexdigest()
