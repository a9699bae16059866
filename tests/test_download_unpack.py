"""Unpacking: what is honest comes out whole, what is not is refused by name, and nothing is ever written elsewhere."""

import itertools
import os
import shutil
import stat
import time
import zlib
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
from archives import (
    COPY,
    DEVICE,
    FIFO,
    FOLDER,
    HARD_LINK,
    JUNCTION,
    LINK,
    PACKED,
    UNIX_LINK,
    WINDOWS_LINK,
    Item,
    rar4,
    rar5,
    stand_in,
    zipped,
)

from dacs.download.unpack import check_archive, unpack
from dacs.errors import DacsError, RunFailed
from dacs.locks import working_alone

ROOM = 1 << 20  # bytes that the archives here may unpack to
MAKERS = {"zip": zipped, "4.rar": rar4, "5.rar": rar5}
HONEST = [
    Item(b"README.txt", b"read me"),
    Item(b"RGB/0000000.png", bytes(range(256)) * 20),
    Item(b"GT/LABELS/0000000.png", b"label" * 500),
    Item(b"empty.txt", b""),
]
TREE = {item.name.decode(): item.content for item in HONEST}
BACK_SLASHED = [item._replace(name=item.name.replace(b"/", b"\\")) for item in HONEST]


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which programs are found: put stand-ins there."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sh").symlink_to(shutil.which("sh") or "/bin/sh")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


def made(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(archive: Path, limit: int = ROOM) -> str:
    """The first line of a refusal that left everything around the archive as it was."""
    before = sorted(archive.parent.rglob("*"))
    with pytest.raises(RunFailed) as caught:
        unpack(archive, archive.parent / "out", limit=limit)
    assert sorted(archive.parent.rglob("*")) == before
    first, *rest = str(caught.value).splitlines()
    assert archive.name in first
    assert rest
    return first


def packed(path: Path, maker: Callable[[list[Item]], bytes] = rar5, items: list[Item] = HONEST) -> Path:
    """A RAR of `items` that only a tool can unpack."""
    unreadable = [
        Item(item.name, b"packed", method=PACKED, declared=len(item.content), crc=zlib.crc32(item.content))
        for item in items
    ]
    return made(path, maker(unreadable))


# ---- honest archives


@pytest.mark.parametrize("items", [HONEST, BACK_SLASHED], ids=["slashes", "back-slashes"])
@pytest.mark.parametrize("kind", MAKERS)
def test_every_kind_of_archive_gives_the_same_tree(kind: str, items: list[Item], tmp_path: Path) -> None:
    archive = made(tmp_path / f"a.{kind}", MAKERS[kind]([Item(b"GT/" * (kind == "zip") or b"GT", mode=FOLDER), *items]))
    check_archive(archive, ROOM)
    assert unpack(archive, tmp_path / "out", limit=ROOM) == 4
    assert tree(tmp_path / "out") == TREE


def test_only_what_is_wanted_is_unpacked(tmp_path: Path) -> None:
    archive = made(tmp_path / "a.rar", rar5(BACK_SLASHED))
    assert unpack(archive, tmp_path / "out", limit=ROOM, wanted=lambda name: name.startswith("RGB/")) == 1
    assert list(tree(tmp_path / "out")) == ["RGB/0000000.png"]
    with pytest.raises(RunFailed, match="none of the wanted files"):
        unpack(archive, tmp_path / "out", limit=ROOM, wanted=lambda name: name.startswith("Depth/"))


def test_rights_and_time_in_an_archive_do_not_count(tmp_path: Path) -> None:
    start = time.time()
    unpack(made(tmp_path / "a.zip", zipped([Item(b"a", b"1", mode=0o104000)])), tmp_path / "out", limit=ROOM)
    status = (tmp_path / "out/a").stat()
    assert stat.S_IMODE(status.st_mode) & 0o4600 == 0o600
    assert status.st_mtime >= start - 1


def test_what_is_there_and_right_is_kept_and_the_rest_is_written(tmp_path: Path) -> None:
    archive, out = made(tmp_path / "a.zip", zipped(HONEST)), tmp_path / "out"
    unpack(archive, out, limit=ROOM)
    (out / "README.txt").unlink()
    (out / "GT/LABELS/0000000.png").write_bytes(b"LABEL" * 500)  # of the right size
    (out / "RGB/.0000001.99.partial.png").touch()  # of a killed run
    (out / "RGB/mine.txt").write_text("mine")
    kept = [(out / name).stat().st_ino for name in ("RGB/0000000.png", "empty.txt")]
    unpack(archive, out, limit=ROOM)
    assert tree(out) == TREE | {"RGB/mine.txt": b"mine"}
    assert [(out / name).stat().st_ino for name in ("RGB/0000000.png", "empty.txt")] == kept


def test_two_runs_do_not_unpack_to_one_folder(tmp_path: Path) -> None:
    archive = made(tmp_path / "a.zip", zipped(HONEST))
    with working_alone(tmp_path / "out", "a test"), pytest.raises(RunFailed, match="another run is unpacking there"):
        unpack(archive, tmp_path / "out", limit=ROOM)


# ---- names and kinds

NAMES = [
    (b"../escape", "'..'"),
    (b"a/../../escape", "'..'"),
    (b"a/..", "'..'"),
    (b"a\\..\\..\\escape", "'..'"),
    (b"/etc/escape", "absolute"),
    (b"\\\\host\\share\\escape", "absolute"),
    (b"C:\\escape", "absolute"),
    (b"c:escape", "absolute"),
    (b"line\nbreak", "control"),
    (b"\x1b[2Jclear", "control"),
]


@pytest.mark.parametrize(("name", "words"), NAMES)
@pytest.mark.parametrize("kind", MAKERS)
def test_a_name_outside_the_folder_is_refused(kind: str, name: bytes, words: str, tmp_path: Path) -> None:
    archive = made(tmp_path / f"a.{kind}", MAKERS[kind]([*HONEST, Item(name, b"evil")]))
    assert words in refusal(archive)
    with pytest.raises(RunFailed, match="nothing was unpacked"):
        check_archive(archive, ROOM)


def test_no_mixture_of_dots_and_slashes_leads_outside(tmp_path: Path) -> None:
    parts = ["..", ".", "a", "/", "\\", "C:", "..."]
    inside = tmp_path / "box/out"
    unpacked = 0
    for name in sorted({"".join(joined) for joined in itertools.product(parts, repeat=3)}):
        try:
            unpack(made(tmp_path / "a.zip", zipped([Item(name.encode(), b"1")])), inside, limit=ROOM)
            unpacked += 1
        except RunFailed:
            pass
        assert [path for path in tmp_path.rglob("*") if path.is_file() and inside not in path.parents] == [
            tmp_path / "a.zip"
        ]
        shutil.rmtree(inside, ignore_errors=True)
    assert unpacked > 50


@pytest.mark.parametrize("mode", [LINK, FIFO, DEVICE])
@pytest.mark.parametrize("kind", MAKERS)
def test_only_plain_files_are_unpacked(kind: str, mode: int, tmp_path: Path) -> None:
    first = refusal(made(tmp_path / f"a.{kind}", MAKERS[kind]([Item(b"odd", b"/etc/passwd", mode=mode)])))
    assert "member 'odd' is a link or a device" in first


@pytest.mark.parametrize("link", [UNIX_LINK, WINDOWS_LINK, JUNCTION, HARD_LINK, COPY, 99])
def test_links_of_rar5_are_refused(link: int, tmp_path: Path) -> None:
    items = [Item(b"a", b"1"), Item(b"b", redirected=(link, b"../../target"))]
    assert "member 'b' is a link" in refusal(made(tmp_path / "a.rar", rar5(items)))


@pytest.mark.parametrize("second", ["a/é", "a\\é", "./a//é", "A/É", "a/e\u0301"])
@pytest.mark.parametrize("kind", MAKERS)
def test_two_members_of_one_name_are_refused(kind: str, second: str, tmp_path: Path) -> None:
    utf8 = {"zip": 0x800, "4.rar": 0x200, "5.rar": 0}[kind]
    items = [Item(name.encode(), b"1", flags=utf8) for name in ("a/é", second)]
    assert "have one name" in refusal(made(tmp_path / f"a.{kind}", MAKERS[kind](items)))


def test_a_file_and_a_folder_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="could not be written"):
        unpack(made(tmp_path / "a.zip", zipped([Item(b"a"), Item(b"a/b")])), tmp_path / "out", limit=ROOM)


# ---- archives that are none, cut, encrypted, of parts, or larger than they say


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.zip", b"", "no archive"),
        ("a.zip", b"\n<!DOCTYPE html><title>Login</title>", "no archive"),
        ("a.rar", b"Rar!\x1a\x07\x09\x00", "no archive"),
        ("a.zip", zipped([]), "none of the wanted files"),
        ("a.rar", rar5([]), "none of the wanted files"),
        ("a.zip", zipped([Item(b"a", b"1", flags=1)]), "'a' is encrypted"),
        ("a.rar", rar4([Item(b"a", b"1", flags=4)]), "'a' is encrypted"),
        ("a.rar", rar5([Item(b"a", b"1")], main_flags=4), "solid"),
        ("a.rar", rar4([Item(b"a", b"1")], main_flags=8), "solid"),
    ],
)
def test_what_cannot_be_read_is_refused_before_the_first_byte(
    name: str, content: bytes, words: str, tmp_path: Path
) -> None:
    assert words in refusal(made(tmp_path / name, content))


@pytest.mark.parametrize("kind", MAKERS)
def test_an_archive_that_declares_more_than_its_limit_is_refused(kind: str, tmp_path: Path) -> None:
    items = [Item(b"a", b"1", declared=3 << 30, method=None if kind == "zip" else PACKED), *HONEST]
    archive = made(tmp_path / f"a.{kind}", MAKERS[kind](items))
    assert "would unpack to 3,221,233,099 bytes, expected at most 2,147,483,648" in refusal(archive, limit=2 << 30)


def test_a_bomb_that_declares_little_yields_no_more(tmp_path: Path) -> None:
    bomb = Item(b"bomb", bytes(50 << 20), declared=10)
    with pytest.raises(RunFailed, match=r"1 of 2 members are damaged.*\n  bomb: "):
        unpack(made(tmp_path / "a.zip", zipped([Item(b"good", b"1"), bomb])), tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == {"good": b"1"}


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        *itertools.product(MAKERS, [{"declared": 6}, {"crc": 1}]),
        ("zip", {"method": 0, "crc": 1}),
        ("zip", {"method": 99}),
    ],
)
def test_a_member_that_is_not_what_it_declares_is_not_kept(
    kind: str, change: dict[str, int], tools: Path, tmp_path: Path
) -> None:
    stand_in("unar", tools, {"bad": b"12345"})
    archive = made(tmp_path / f"a.{kind}", MAKERS[kind]([Item(b"bad", b"12345", **change), Item(b"good", b"1")]))
    with pytest.raises(RunFailed, match=r"1 of 2 members are damaged; the others are kept\n  bad: "):
        unpack(archive, tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == {"good": b"1"}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_cut_or_a_changed_bit_never_trips_the_reader_nor_leaves_a_wrong_file(
    kind: str, tools: Path, tmp_path: Path
) -> None:
    whole = MAKERS[kind]([Item(b"a/b.png", b"content"), Item(b"c", b"more")])
    broken = [whole[:length] for length in range(len(whole))]
    broken += [whole[:n] + bytes([whole[n] ^ (1 << n % 8)]) + whole[n + 1 :] for n in range(len(whole))]
    errors = 0
    for content in broken:
        try:
            unpack(made(tmp_path / f"a.{kind}", content), tmp_path / "out", limit=ROOM)
        except DacsError:
            errors += 1
        assert set(tree(tmp_path / "out").values()) <= {b"content", b"more"}
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
    assert errors > len(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a.{kind}", "bin"]


# ---- the disk


def test_a_disk_without_room_is_reported_before_the_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = made(tmp_path / "a.zip", zipped(HONEST))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("usage", "free")(0))
    assert "0.00 GiB are free" in refusal_of_room(archive, tmp_path / "new")
    monkeypatch.undo()
    unpack(archive, tmp_path / "out", limit=ROOM)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("usage", "free")(0))
    unpack(archive, tmp_path / "out", limit=ROOM)  # nothing is missing


def refusal_of_room(archive: Path, out: Path) -> str:
    with pytest.raises(RunFailed) as caught:
        unpack(archive, out, limit=ROOM)
    assert not out.exists()
    return str(caught.value)


def test_a_disk_that_fills_up_leaves_whole_files_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, replace, count = made(tmp_path / "a.zip", zipped(HONEST)), os.replace, itertools.count()

    def full(source: Path, target: Path) -> None:
        if next(count) >= 2:
            raise OSError(28, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(RunFailed, match=r"No space left(?s:.)*Free some space"):
            unpack(archive, tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == {name: TREE[name] for name in ("README.txt", "RGB/0000000.png")}
    unpack(archive, tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == TREE


# ---- tools


@pytest.mark.parametrize("name", ["unrar", "unar", "bsdtar"])
@pytest.mark.parametrize("maker", [rar4, rar5])
def test_each_tool_is_driven(maker: Callable[[list[Item]], bytes], name: str, tools: Path, tmp_path: Path) -> None:
    stand_in(name, tools, TREE)
    stored = Item(b"stored", b"as it is")
    archive = packed(tmp_path / "-a b.rar", lambda items: maker([*items, stored]))
    assert unpack(archive, tmp_path / "out", limit=ROOM) == 5
    assert tree(tmp_path / "out") == TREE | {"stored": b"as it is"}


def test_what_one_tool_spoils_the_next_one_repairs(tools: Path, tmp_path: Path) -> None:
    stand_in("unar", tools, TREE | {"RGB/0000000.png": bytes(5120), "README.txt": b"short"})
    stand_in("bsdtar", tools, TREE)
    unpack(packed(tmp_path / "a.rar"), tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == TREE


def test_what_no_tool_gives_is_named_and_the_rest_is_kept(tools: Path, tmp_path: Path) -> None:
    stand_in("unar", tools, TREE | {"RGB/0000000.png": bytes(5120)})
    with pytest.raises(RunFailed, match=r"1 of 4 members (?s:.)*RGB/0000000\.png(?s:.)*install another of unrar"):
        unpack(packed(tmp_path / "a.rar"), tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == {name: TREE[name] for name in TREE if name != "RGB/0000000.png"}


def test_a_tool_that_writes_more_than_declared_yields_no_more(tools: Path, tmp_path: Path) -> None:
    stand_in("unar", tools, {"a": b"1" * 10**6})
    with pytest.raises(RunFailed, match="1 of 1 members"):
        unpack(packed(tmp_path / "a.rar", items=[Item(b"a", b"2")]), tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == {}


def test_without_a_tool_a_packed_archive_is_refused_and_a_stored_one_read(tools: Path, tmp_path: Path) -> None:
    assert "none of unrar, unar, bsdtar and 7z is installed" in refusal(packed(tmp_path / "a.rar"))
    unpack(made(tmp_path / "b.rar", rar5(HONEST)), tmp_path / "new", limit=ROOM)
    assert tree(tmp_path / "new") == TREE
