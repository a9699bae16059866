"""Unpacking: what is honest comes out whole, what is not is refused by name, and nothing is ever written elsewhere."""

import errno
import itertools
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from archives import (
    BLOCK,
    CHAR,
    COPY,
    FIFO,
    FOLDER,
    HARD_LINK,
    JUNCTION,
    LINK,
    RAR5_LOCKED,
    RAR_PACKED,
    SOCKET,
    STORED,
    UNIX_LINK,
    WINDOWS_LINK,
    Item,
    rar4,
    rar5,
    stand_in,
    writes,
    zipped,
)

from dacs.download import members, rar
from dacs.download.members import Member, name_fault, repaired
from dacs.download.unpack import listing, unpack
from dacs.errors import DacsError, RunFailed

ROOM = 1 << 20  # bytes that the archives here may unpack to
MAKERS = {"zip": zipped, "rar4": rar4, "rar5": rar5}
HONEST = [
    Item(b"README.txt", b"read me"),
    Item(b"RGB/0000000.png", bytes(range(256)) * 20),
    Item(b"GT/LABELS/0000000.png", b"label" * 500),
    Item(b"empty.txt", b""),
]
TREE = {item.name.decode(): item.content for item in HONEST}
BACK_SLASHED = [item._replace(name=item.name.replace(b"/", b"\\")) for item in HONEST]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder with something of a person's own in it."""
    (tmp_path / "out/RGB").mkdir(parents=True)
    (tmp_path / "out/RGB/mine.txt").write_text("mine")
    return tmp_path / "out"


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which programs are looked for: put stand-ins there."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


def made(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def state(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Everything below a folder: mode, inode and content of files and links."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[path.relative_to(folder).as_posix()] = (status.st_mode, status.st_ino, content)
    return found


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(archive: Path, out: Path, limit: int = ROOM) -> str:
    """The words of a refusal that left everything around `out` as it was."""
    before = state(archive.parent)
    with pytest.raises(RunFailed) as caught:
        unpack(archive, out, limit=limit)
    assert state(archive.parent) == before
    first, *rest = str(caught.value).splitlines()
    assert str(archive.name) in first
    assert rest
    return first


def wait_until(happened: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


# ---- honest archives


@pytest.mark.parametrize("items", [HONEST, BACK_SLASHED], ids=["slashes", "back-slashes"])
@pytest.mark.parametrize("kind", MAKERS)
def test_every_kind_of_archive_gives_the_same_tree(kind: str, items: list[Item], tmp_path: Path) -> None:
    archive = made(tmp_path / "a.archive", MAKERS[kind](items))
    receipt = unpack(archive, tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == TREE
    reference = unpack(made(tmp_path / "b.zip", zipped(HONEST)), tmp_path / "other", limit=ROOM)
    assert receipt == reference | {"archive": "a.archive", "bytes": archive.stat().st_size}
    assert (receipt["members"], receipt["unpacked"]) == (4, sum(map(len, TREE.values())))


@pytest.mark.parametrize("zip64", [False, True])
@pytest.mark.parametrize("method", [STORED, None])
def test_stored_deflated_and_wide_zips_are_read(method: int | None, zip64: bool, tmp_path: Path) -> None:
    items = [item._replace(method=method) for item in HONEST]
    unpack(made(tmp_path / "a.zip", zipped(items, zip64)), tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == TREE


@pytest.mark.parametrize("kind", MAKERS)
def test_the_listing_says_names_sizes_and_checksums(kind: str, tmp_path: Path) -> None:
    folder = Item(b"GT/" if kind == "zip" else b"GT", mode=FOLDER)
    archive = made(tmp_path / "a", MAKERS[kind]([folder, Item(b"GT\\a.png", b"123456789")]))
    assert listing(archive) == [Member("GT/a.png", 9, 0xCBF43926)]  # the check value of CRC-32
    assert list(tmp_path.iterdir()) == [archive]


def test_only_what_is_wanted_is_unpacked(tmp_path: Path) -> None:
    archive = made(tmp_path / "a.rar", rar5(BACK_SLASHED))
    receipt = unpack(archive, tmp_path / "out", limit=ROOM, wanted=lambda name: name.startswith("RGB/"))
    assert list(tree(tmp_path / "out")) == ["RGB/0000000.png"]
    assert receipt["members"] == 1
    with pytest.raises(RunFailed, match="none of the wanted files among its 4"):
        unpack(archive, tmp_path / "out", limit=ROOM, wanted=lambda name: name.startswith("Depth/"))


def test_the_digest_follows_names_sizes_and_checksums(tmp_path: Path) -> None:
    def digest(items: list[Item]) -> str:
        return unpack(made(tmp_path / "a.zip", zipped(items)), tmp_path / "out", limit=ROOM)["sha256"]

    assert digest(HONEST) == digest(HONEST[::-1])
    assert digest(HONEST) != digest(HONEST[:-1])
    assert digest(HONEST) != digest([*HONEST[:-1], Item(b"empty.txt", b"no")])


def test_files_are_of_today_and_readable_whatever_the_archive_says(tmp_path: Path) -> None:
    start = time.time()
    before = os.umask(0o077)
    try:
        unpack(made(tmp_path / "a.zip", zipped([Item(b"a", b"1", mode=0o104000)])), tmp_path / "out", limit=ROOM)
    finally:
        os.umask(before)
    status = (tmp_path / "out/a").stat()
    assert stat.S_IMODE(status.st_mode) == 0o644
    assert status.st_mtime >= start - 1


def test_an_archive_whose_name_looks_like_an_option_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made(tmp_path / "-a.rar", rar4(HONEST))
    unpack(Path("-a.rar"), Path("out"), limit=ROOM)
    assert tree(tmp_path / "out") == TREE


# ---- names and kinds

NAMES = [
    (b"../escape", "'..'"),
    (b"a/../../escape", "'..'"),
    (b"a/..", "'..'"),
    (b"..\\escape", "'..'"),
    (b"a\\..\\..\\escape", "'..'"),
    (b"/etc/escape", "absolute"),
    (b"\\escape", "absolute"),
    (b"\\\\host\\share\\escape", "absolute"),
    (b"C:\\escape", "drive"),
    (b"c:escape", "drive"),
    (b"line\nbreak", "control"),
    (b"\x1b[2Jclear", "control"),
    (b".unpacking/x", "our own"),
    (b"a/" + b"n" * 201, "longer"),
    (b"n/" * 501 + b"n", "longer"),
    (b"./.", "no name"),
]


@pytest.mark.parametrize(("name", "words"), NAMES)
@pytest.mark.parametrize("kind", MAKERS)
def test_a_name_that_leads_astray_is_refused(kind: str, name: bytes, words: str, out: Path, tmp_path: Path) -> None:
    archive = made(tmp_path / "a", MAKERS[kind]([*HONEST, Item(name, b"evil")]))
    first = refusal(archive, out)
    assert words in first
    assert repr(name.decode())[1:-1].replace("\\\\", "/") in first.replace("\\\\", "/")
    with pytest.raises(RunFailed, match="nothing was unpacked"):
        listing(archive)


def test_a_name_with_nul_is_refused(out: Path, tmp_path: Path) -> None:
    assert "control" in refusal(made(tmp_path / "a.zip", zipped([Item(b"a.png\0.exe", b"evil")])), out)


def test_the_second_name_of_a_rar4_member_is_judged_too(out: Path, tmp_path: Path) -> None:
    harmless = (
        b"\x00" + b"\x00" + b"ok.p" + b"\x00" + b"ng"
    )  # as RAR packs it: high byte, then flags before four letters
    archive = made(tmp_path / "a.rar", rar4([Item(b"../escape\0" + harmless, b"evil", flags=0x200)]))
    assert "'..'" in refusal(archive, out)


def test_every_name_that_is_let_in_lies_inside(tmp_path: Path) -> None:
    parts = ["..", ".", "", "a", "/", "\\", "C:", "...", " ", "~", "\x00", "a\n"]
    accepted = 0
    for name in ("".join(joined) for joined in itertools.product(parts, repeat=4)):
        if not name_fault(name, folder=False):
            accepted += 1
            assert tmp_path in Path(os.path.normpath(tmp_path / repaired(name))).parents
            assert repaired(repaired(name)) == repaired(name)
    assert accepted > 1000


@pytest.mark.parametrize("mode", [LINK, FIFO, CHAR, BLOCK, SOCKET])
@pytest.mark.parametrize("kind", MAKERS)
def test_only_plain_files_are_let_in(kind: str, mode: int, out: Path, tmp_path: Path) -> None:
    first = refusal(made(tmp_path / "a", MAKERS[kind]([Item(b"odd", b"/etc/passwd", mode=mode)])), out)
    assert "member 'odd' is a" in first
    assert "not a file" in first


@pytest.mark.parametrize("link", [UNIX_LINK, WINDOWS_LINK, JUNCTION, HARD_LINK, COPY, 99])
def test_links_of_rar5_are_refused(link: int, out: Path, tmp_path: Path) -> None:
    items = [Item(b"a", b"1"), Item(b"b", redirected=(link, b"../../target"))]
    first = refusal(made(tmp_path / "a.rar", rar5(items)), out)
    assert "member 'b' is" in first
    assert "link" in first or "reference" in first


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b"a/b", b"a/b"),
        (b"a/b", b"a\\b"),
        (b"a/b", b"./a//b"),
        (b"a/b", b"A/B"),
        (b"a/b", b"a/b/c"),
        (b"a/b/c", b"A/B"),
        ("a/\u00e9".encode(), "a/e\u0301".encode()),
    ],
)
@pytest.mark.parametrize("kind", MAKERS)
def test_two_members_of_one_name_are_refused(kind: str, first: bytes, second: bytes, out: Path, tmp_path: Path) -> None:
    utf8 = {"zip": 0x800, "rar4": 0x200, "rar5": 0}[kind]
    items = [Item(first, b"1", flags=utf8), Item(second, b"2", flags=utf8)]
    words = refusal(made(tmp_path / "a", MAKERS[kind](items)), out)
    assert "have one name" in words or "a file and a folder" in words


def test_a_folder_may_be_listed_before_or_after_its_files(tmp_path: Path) -> None:
    items = [Item(b"GT/", mode=FOLDER), *HONEST, Item(b"RGB", mode=FOLDER), Item(b"./", mode=FOLDER)]
    unpack(made(tmp_path / "a.zip", zipped(items)), tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == TREE


# ---- archives that are none, cut, locked or of unknown make


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"\n<!DOCTYPE html><title>Login</title>", "an HTML page"),
        (b"<HTML>", "an HTML page"),
        (b"\x1f\x8b\x08 tar", "begins with"),
        (b"PK\x03\x04" + b"\0" * 100, "no sound directory"),
        (b"Rar!\x1a\x07\x00", "no end mark"),
        (b"Rar!\x1a\x07\x01\x00", "cut or damaged"),
        (b"Rar!\x1a\x07\x09\x00", "cut or damaged"),
        (zipped([]), "none of the wanted files"),
        (rar4([]), "none of the wanted files"),
        (rar5([]), "none of the wanted files"),
    ],
)
def test_what_is_no_archive_is_said_to_be_none(content: bytes, words: str, out: Path, tmp_path: Path) -> None:
    assert words in refusal(made(tmp_path / "a.zip", content), out)


def test_a_missing_archive_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"absent\.zip: cannot be read \(No such file"):
        unpack(tmp_path / "absent.zip", tmp_path / "out", limit=ROOM)
    with pytest.raises(RunFailed, match="cannot be read"):
        listing(tmp_path)


@pytest.mark.parametrize("kind", MAKERS)
def test_an_archive_that_is_cut_anywhere_is_refused(kind: str, tmp_path: Path) -> None:
    whole = MAKERS[kind]([Item(b"a/b.png", b"content"), Item(b"c", b"more")])
    before = made(tmp_path / "a", whole) and state(tmp_path)
    for length in range(len(whole)):
        (tmp_path / "a").write_bytes(whole[:length])
        with pytest.raises(RunFailed):
            unpack(tmp_path / "a", tmp_path / "out", limit=ROOM)
    (tmp_path / "a").write_bytes(whole)
    assert state(tmp_path) == before


@pytest.mark.parametrize("kind", MAKERS)
def test_a_damaged_byte_never_trips_the_reader_nor_leaves_a_wrong_file(kind: str, tools: Path, tmp_path: Path) -> None:
    items = [Item(b"a/b.png", b"content"), Item(b"c", b"more")]
    whole = MAKERS[kind](items)
    told = 0
    for place in range(len(whole)):
        for bit in (1, 128):
            broken = bytearray(whole)
            broken[place] ^= bit
            out = tmp_path / f"{place}.{bit}"
            try:
                unpack(made(tmp_path / "a", bytes(broken)), out, limit=ROOM)
            except DacsError:
                told += 1
            assert set(tree(out).values()) <= {b"content", b"more"}
            shutil.rmtree(out, ignore_errors=True)
    assert told > len(whole) // 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "bin"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (zipped([Item(b"a", b"1", flags=1)]), "'a' is encrypted"),
        (zipped([Item(b"a", b"1", flags=0x40)]), "'a' is encrypted"),
        (zipped([Item(b"a", b"1", method=9)]), "packed by method 9"),
        (zipped([Item(b"a", b"1", method=14)]), "packed by method 14"),
        (zipped([Item(b"a/", b"1", mode=FOLDER)]), "a folder with 1 bytes"),
        (rar4([Item(b"a", b"1", flags=4)]), "'a' is encrypted"),
        (rar4([Item(b"a", b"1")], main_flags=0x80), "listing is encrypted"),
        (rar4([Item(b"a", b"1")], main_flags=1), "one volume of several"),
        (rar4([Item(b"a", b"1", flags=2)]), "another volume"),
        (rar4([Item(b"a;1", b"1", flags=0x800)]), "old version"),
        (rar4([Item(b"a", b"1", version=20)], end=b"\0" * 6), "cut or damaged"),
        (rar4([Item(b"a", b"1", method=0x36)]), "unknown method"),
        (rar4([Item(b"a", b"1", declared=2)]), "stored in 1 bytes and declares 2"),
        (rar4([Item(b"a", b"1")], end=b""), "no end mark"),
        (rar5([Item(b"a", b"1")], end=b""), "cut or damaged"),
        (rar5([Item(b"a", b"1")], first=RAR5_LOCKED[:1] + b"\0\0\0\x0f" + bytes(16)), "listing is encrypted"),
        (rar5([Item(b"a", b"1", method=0x37)]), "unknown method"),
        (rar5([Item(b"a", b"1", declared=2)]), "stored in 1 bytes and declares 2"),
        (rar5([Item(b"a", b"1")], first=b"\x01\x00\x01"), "one volume of several"),
    ],
)
def test_what_cannot_be_read_is_refused_before_the_first_byte(
    content: bytes, words: str, out: Path, tmp_path: Path
) -> None:
    assert words in refusal(made(tmp_path / "a", content), out)


def test_archives_of_rar_2_need_no_end_mark(tmp_path: Path) -> None:
    archive = made(tmp_path / "a.rar", rar4([item._replace(version=20) for item in HONEST], end=b""))
    unpack(archive, tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == TREE


# ---- sizes


@pytest.mark.parametrize("kind", MAKERS)
def test_an_archive_that_declares_more_than_its_limit_is_refused(kind: str, out: Path, tmp_path: Path) -> None:
    items = [Item(b"a", b"1", declared=3 << 30, method=RAR_PACKED if kind != "zip" else None), *HONEST]
    first = refusal(made(tmp_path / "a", MAKERS[kind](items)), out, limit=2 << 30)
    assert "would unpack to 3.00 GiB, expected at most 2.00 GiB" in first


def test_an_archive_of_just_the_limit_is_let_in(tmp_path: Path) -> None:
    archive = made(tmp_path / "a.zip", zipped(HONEST))
    unpack(archive, tmp_path / "out", limit=sum(map(len, TREE.values())))
    assert tree(tmp_path / "out") == TREE


@pytest.mark.parametrize("crc", ["of all", "of the declared part"])
def test_a_bomb_that_declares_little_is_stopped_at_once(crc: str, tmp_path: Path) -> None:
    content = bytes(50 << 20)
    checksum = members.crc32(iter([content if crc == "of all" else content[:10]]))
    archive = made(tmp_path / "a.zip", zipped([Item(b"good", b"1"), Item(b"bomb", content, declared=10, crc=checksum)]))
    assert archive.stat().st_size < 100_000
    with pytest.raises(RunFailed, match="'bomb' yields more than the 10 bytes it declares"):
        unpack(archive, tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == {"good": b"1"}


@pytest.mark.parametrize(
    "item",
    [
        Item(b"bad", b"12345", declared=6),
        Item(b"bad", b"12345", crc=1),
        Item(b"bad", b"12345", method=STORED, declared=4),
        Item(b"bad", b"12345", method=STORED, crc=1),
    ],
)
def test_a_member_that_is_not_what_it_declares_is_told_and_not_kept(item: Item, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="member 'bad'"):
        unpack(made(tmp_path / "a.zip", zipped([Item(b"good", b"1"), item])), tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == {"good": b"1"}


@pytest.mark.parametrize("maker", [rar4, rar5])
def test_a_stored_rar_member_with_a_wrong_checksum_is_not_kept(
    maker: Callable[[list[Item]], bytes], tmp_path: Path
) -> None:
    archive = made(tmp_path / "a.rar", maker([Item(b"good", b"1"), Item(b"bad", b"12345", crc=1)]))
    with pytest.raises(RunFailed, match="member 'bad' is damaged"):
        unpack(archive, tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == {"good": b"1"}


# ---- the folder


@pytest.mark.parametrize("place", ["RGB", "GT/LABELS", "RGB/0000000.png", ".unpacking"])
@pytest.mark.parametrize("target", ["outside", "nowhere"])
def test_a_planted_link_is_neither_followed_nor_replaced(place: str, target: str, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    link = tmp_path / "out" / place
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / target)
    first = refusal(made(tmp_path / "a.zip", zipped(HONEST)), tmp_path / "out")
    assert str(link) in first
    assert "a link stands where" in first


def test_a_folder_where_a_file_must_go_is_refused_and_the_reverse(tmp_path: Path) -> None:
    archive = made(tmp_path / "a.zip", zipped(HONEST))
    (tmp_path / "out/README.txt").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/RGB").write_text("a file")
    assert "needs a file" in refusal(archive, tmp_path / "out")
    assert "needs a folder" in refusal(archive, tmp_path / "other")


def test_a_temporary_name_planted_as_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "outside").write_text("mine")
    (tmp_path / f"out/.README.{os.getpid()}.partial.txt").symlink_to(tmp_path / "outside")
    unpack(made(tmp_path / "a.zip", zipped(HONEST)), tmp_path / "out", limit=ROOM)
    assert (tmp_path / "outside").read_text() == "mine"
    assert tree(tmp_path / "out") == TREE


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to("disk")
    unpack(made(tmp_path / "a.zip", zipped(HONEST)), tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "disk") == TREE


def test_what_is_there_and_right_is_kept_and_the_rest_is_made(tmp_path: Path) -> None:
    archive, out = made(tmp_path / "a.zip", zipped(HONEST)), tmp_path / "out"
    unpack(archive, out, limit=ROOM)
    (out / "README.txt").unlink()
    (out / "GT/LABELS/0000000.png").write_bytes(b"LABEL" * 500)  # of the right size
    before = state(out)
    unpack(archive, out, limit=ROOM)
    after = state(out)
    assert tree(out) == TREE
    for name in ("RGB/0000000.png", "empty.txt"):
        assert after[name] == before[name]


def test_files_of_others_are_left_alone(out: Path, tmp_path: Path) -> None:
    unpack(made(tmp_path / "a.zip", zipped(HONEST)), out, limit=ROOM)
    assert tree(out) == TREE | {"RGB/mine.txt": b"mine"}


# ---- the disk


def test_a_disk_without_room_is_told_before_the_first_byte(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = namedtuple("usage", "total used free")(1 << 40, 0, 3 << 30)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    archive = made(tmp_path / "a.rar", rar5([Item(b"a", b"1", declared=5 << 30, method=RAR_PACKED)]))
    monkeypatch.setattr(rar, "tools", lambda _: ["unar"])
    assert "needs 5.00 GiB there, 3.00 GiB are free" in refusal(archive, out, limit=6 << 30)
    assert "3.00 GiB are free" in refusal(archive, tmp_path / "new", limit=6 << 30)


def test_room_is_asked_only_for_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = made(tmp_path / "a.zip", zipped(HONEST))
    unpack(archive, tmp_path / "out", limit=ROOM)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("usage", "free")(0))
    unpack(archive, tmp_path / "out", limit=ROOM)
    (tmp_path / "out/README.txt").unlink()
    with pytest.raises(RunFailed, match="0 bytes are free"):
        unpack(archive, tmp_path / "out", limit=ROOM)


def test_what_a_killed_run_has_left_takes_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half = tmp_path / "out/.unpacking"
    half.mkdir(parents=True)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0 if half.exists() else ROOM))
    unpack(made(tmp_path / "a.zip", zipped(HONEST)), tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == TREE


def test_a_disk_that_fills_up_leaves_whole_files_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, opened, count = made(tmp_path / "a.zip", zipped(HONEST)), Path.open, itertools.count()

    def full(path: Path, mode: str = "r", *rest: Any) -> Any:
        """From the third file on, what is written goes to the device that is always full."""
        return opened(Path("/dev/full"), "wb") if mode == "xb" and next(count) >= 2 else opened(path, mode, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(RunFailed, match=os.strerror(errno.ENOSPC)) as caught:
            unpack(archive, tmp_path / "out", limit=ROOM)
    assert "Free some space" in str(caught.value)
    assert tree(tmp_path / "out") == {name: TREE[name] for name in ("README.txt", "RGB/0000000.png")}
    unpack(archive, tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == TREE


# ---- kills, and two at once

STUCK = """
import signal, sys
from pathlib import Path
from dacs.download import unpack as module
content = module._content
def stuck(archive, opened, entry, member, bar):
    for chunk in content(archive, opened, entry, member, bar):
        yield chunk[:1000]
        if member.name.startswith("GT/"):
            print("stuck", flush=True)
            signal.pause()
        yield chunk[1000:]
module._content = stuck
module.unpack(Path(sys.argv[1]), Path(sys.argv[2]), limit=1 << 30)
"""


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that unpacks a.zip to out, in the middle of its third file."""
    made(tmp_path / "a.zip", zipped(HONEST))
    command = [sys.executable, "-c", STUCK, str(tmp_path / "a.zip"), str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "stuck\n"
            yield process
        finally:
            process.kill()


def test_a_killed_run_leaves_whole_files_and_the_next_makes_the_rest(
    stuck: subprocess.Popen[str], tmp_path: Path
) -> None:
    stuck.send_signal(signal.SIGKILL)
    stuck.wait()
    out = tmp_path / "out"
    finished = {name: TREE[name] for name in ("README.txt", "RGB/0000000.png")}
    (leftover,) = set(tree(out)) - set(finished)
    assert leftover.startswith("GT/LABELS/.")
    before = {name: (out / name).stat() for name in finished}
    unpack(tmp_path / "a.zip", out, limit=ROOM)
    assert tree(out) == TREE
    for name, status in before.items():
        now = (out / name).stat()
        assert (now.st_ino, now.st_mtime_ns) == (status.st_ino, status.st_mtime_ns)


@pytest.mark.usefixtures("stuck")
def test_a_second_run_says_at_once_that_another_is_at_work(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="another run is unpacking there"):
        unpack(tmp_path / "a.zip", tmp_path / "out", limit=ROOM)


def test_what_a_killed_run_has_left_of_its_staging_is_swept(tmp_path: Path) -> None:
    (tmp_path / "out/.unpacking/deep").mkdir(parents=True)
    (tmp_path / "out/.unpacking/deep/half.png").write_bytes(b"half")
    unpack(made(tmp_path / "a.zip", zipped(HONEST)), tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == TREE
    assert not (tmp_path / "out/.unpacking").exists()


# ---- tools


def packed(path: Path, maker: Callable[[list[Item]], bytes] = rar5) -> Path:
    """A RAR of the honest tree that only a tool can unpack."""
    items = [
        Item(i.name, b"packed", method=RAR_PACKED, declared=len(i.content), crc=members.crc32(iter([i.content])))
        for i in HONEST
    ]
    return made(path, maker(items))


@pytest.mark.parametrize("name", rar.TOOLS)
@pytest.mark.parametrize("maker", [rar4, rar5])
def test_each_tool_is_driven_and_leaves_the_tree(
    maker: Callable[[list[Item]], bytes], name: str, tools: Path, tmp_path: Path
) -> None:
    stand_in(name, tools, "assert os.path.isabs(archive) and out.is_dir()" + writes(TREE))
    start = time.time()
    receipt = unpack(packed(tmp_path / "-a b{x}.rar", maker), tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == TREE
    assert [path.name for path in (tmp_path / "out").glob(".*")] == []
    assert receipt["members"] == 4
    for file in TREE:
        assert (tmp_path / "out" / file).stat().st_mtime >= start - 1


def test_flat_names_that_a_tool_leaves_become_folders(tools: Path, tmp_path: Path) -> None:
    stand_in("unar", tools, writes({name.replace("/", "\\"): content for name, content in TREE.items()}))
    unpack(packed(tmp_path / "a.rar"), tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == TREE


def test_accents_that_a_tool_takes_apart_are_the_same_name(tools: Path, tmp_path: Path) -> None:
    archive = made(tmp_path / "a.rar", rar5([Item("\u00e9".encode(), b"1", method=RAR_PACKED)]))
    stand_in("unar", tools, writes({"e\u0301": b"1"}))
    unpack(archive, tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == {"\u00e9": b"1"}


def test_rights_that_an_archive_asks_of_a_tool_lock_nobody_out(tools: Path, tmp_path: Path) -> None:
    locked = "for path in ('RGB/0000000.png', 'RGB', 'GT/LABELS', 'GT'): os.chmod(out / path, 0)"
    stand_in("unar", tools, writes(TREE) + locked)
    unpack(packed(tmp_path / "a.rar"), tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == TREE
    assert stat.S_IMODE((tmp_path / "out/RGB/0000000.png").stat().st_mode) == 0o644


def test_what_one_tool_spoils_the_next_one_mends(tools: Path, tmp_path: Path) -> None:
    stand_in("unar", tools, writes(TREE | {"RGB/0000000.png": bytes(5120), "README.txt": b"short"}) + "sys.exit(3)")
    stand_in("bsdtar", tools, writes({"RGB/0000000.png": TREE["RGB/0000000.png"], "README.txt": TREE["README.txt"]}))
    unpack(packed(tmp_path / "a.rar"), tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == TREE


def test_what_no_tool_gives_is_named_with_what_they_said(tools: Path, tmp_path: Path) -> None:
    stand_in("unar", tools, writes(TREE | {"RGB/0000000.png": bytes(5120)}) + "print('CRC\\x1b failed')")
    stand_in("bsdtar", tools, "sys.exit('Unsupported block')")
    with pytest.raises(RunFailed) as caught:
        unpack(packed(tmp_path / "a.rar"), tmp_path / "out", limit=ROOM)
    first, named, *said, last = str(caught.value).splitlines()
    assert "1 of 4 members came missing or damaged out of unar and bsdtar" in first
    assert named == "  RGB/0000000.png"
    assert said == [
        "unar said: CRC? failed | (exit status 0)",
        "bsdtar said: Unsupported block | (exit status 1)",
    ]
    assert "unrar" in last
    assert tree(tmp_path / "out") == {name: TREE[name] for name in TREE if name != "RGB/0000000.png"}
    stand_in("bsdtar", tools, writes(TREE))
    unpack(tmp_path / "a.rar", tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == TREE


def test_ten_members_are_named_and_the_rest_counted(tools: Path, tmp_path: Path) -> None:
    stand_in("unar", tools, "")
    archive = made(tmp_path / "a.rar", rar4([Item(b"%02d" % n, b"1", method=RAR_PACKED) for n in range(12)]))
    with pytest.raises(RunFailed, match="12 of 12 members") as caught:
        unpack(archive, tmp_path / "out", limit=ROOM)
    assert "  09\n  … and 2 more, 12 in all\n" in str(caught.value)


def test_a_tool_that_cannot_be_started_is_no_end(tools: Path, tmp_path: Path) -> None:
    made(tools / "unar", b"\x7fELF no program").chmod(0o755)
    stand_in("bsdtar", tools, writes(TREE))
    unpack(packed(tmp_path / "a.rar"), tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == TREE


@pytest.mark.usefixtures("tools")
def test_without_a_tool_a_packed_archive_is_refused_and_a_stored_one_read(out: Path, tmp_path: Path) -> None:
    first = refusal(packed(tmp_path / "a.rar"), out)
    assert "none of unar, bsdtar, unrar is here" in first
    unpack(made(tmp_path / "b.rar", rar5(HONEST)), tmp_path / "new", limit=ROOM)
    assert tree(tmp_path / "new") == TREE


@pytest.mark.parametrize("way", ["symlink", "link"])
def test_links_and_second_names_that_a_tool_leaves_are_not_taken(way: str, tools: Path, tmp_path: Path) -> None:
    outside = made(tmp_path / "outside.txt", TREE["README.txt"])
    outside.chmod(0o600)
    before = state(tmp_path)["outside.txt"]
    link = f"(out / 'README.txt').unlink(); os.{way}({str(outside)!r}, out / 'README.txt')"
    stand_in("unar", tools, writes(TREE) + link)
    with pytest.raises(RunFailed, match="1 of 4 members"):
        unpack(packed(tmp_path / "a.rar"), tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == {name: TREE[name] for name in TREE if name != "README.txt"}
    assert state(tmp_path)["outside.txt"] == before


@pytest.mark.parametrize("then", ["signal.pause()", "sys.exit()"])
def test_a_tool_that_writes_more_than_declared_is_stopped(
    then: str, tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rar, "GLANCE", 0.02)
    stand_in("unar", tools, "import signal" + writes(TREE | {"more": bytes(100)}) + then)
    stand_in("bsdtar", tools, writes(TREE))
    with pytest.raises(RunFailed, match="yields more than the 7627 bytes it declares"):
        unpack(packed(tmp_path / "a.rar"), tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == {}


def test_stored_and_packed_members_of_one_archive_come_together(tools: Path, tmp_path: Path) -> None:
    content = b"only the tool knows"
    item = Item(b"z/packed", b"?", method=RAR_PACKED, declared=len(content), crc=members.crc32(iter([content])))
    stand_in("unar", tools, writes({"z/packed": content}))
    unpack(made(tmp_path / "a.rar", rar5([*HONEST, item])), tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == TREE | {"z/packed": content}


ALONE = "import sys; from pathlib import Path; from dacs.download.unpack import unpack; "
ALONE += "unpack(Path(sys.argv[1]), Path(sys.argv[2]), limit=1 << 30)"


def test_a_tool_dies_with_the_run_that_started_it_and_the_next_run_starts_anew(tools: Path, tmp_path: Path) -> None:
    endless = writes({"README.txt": b"read me"}) + "while True: print('still at work', flush=True)"
    stand_in("unar", tools, endless)
    archive, out = packed(tmp_path / "a.rar"), tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", ALONE, str(archive), str(out)])
    try:
        wait_until((out / ".unpacking/README.txt").exists)
        with pytest.raises(RunFailed, match="another run is unpacking there"):
            unpack(archive, out, limit=ROOM)
    finally:
        process.kill()
        process.wait()
    stand_in("unar", tools, writes(TREE))
    wait_until(lambda: succeeds(archive, out))
    assert tree(out) == TREE


def succeeds(archive: Path, out: Path) -> bool:
    """Whether no other run, nor a tool of one, is at work there any more."""
    try:
        unpack(archive, out, limit=ROOM)
    except RunFailed as error:
        if "another run" not in str(error):
            raise
        return False
    return True


def test_random_archives_are_unpacked_as_they_were_made(tmp_path: Path) -> None:
    draw = random.Random(0)
    for number, maker in itertools.product(range(10), (zipped, rar4, rar5)):
        items = [Item(b"%d/%d.bin" % (draw.randrange(3), n), draw.randbytes(draw.randrange(5000))) for n in range(6)]
        out = tmp_path / f"{number}{maker.__name__}"
        unpack(made(tmp_path / "a", maker(items)), out, limit=ROOM)
        assert tree(out) == {item.name.decode(): item.content for item in items}
