"""Unpacking: what is honest comes out whole, what is not is refused by name, and nothing is ever written elsewhere."""

import itertools
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from archives import DEVICE, FIFO, FOLDER, LINK, PACKED, STORED, Item, rar, stand_in, zipped

from dacs.download.unpack import check_archive, unpack
from dacs.errors import DacsError, RunFailed
from dacs.locks import working_alone

ROOM = 1 << 20  # bytes that the archives here may unpack to
MAKERS = {"zip": zipped, "rar": rar}
HONEST = [
    Item(b"README.txt", b"read me"),
    Item(b"RGB/0000000.png", bytes(range(256)) * 20),
    Item(b"GT\\LABELS\\0000000.png", b"label" * 500),
    Item(b"empty.txt", b""),
]
TREE = {item.name.decode().replace("\\", "/"): item.content for item in HONEST}
both_kinds = pytest.mark.parametrize("kind", MAKERS)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which programs are found: put stand-ins there."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sh").symlink_to(shutil.which("sh") or "/bin/sh")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


def made(folder: Path, kind: str, items: list[Item]) -> Path:
    """An archive of a name that a program could take for an option."""
    (folder / f"-a b.{kind}").write_bytes(MAKERS[kind](items))
    return folder / f"-a b.{kind}"


def packed(folder: Path, items: list[Item] = HONEST) -> Path:
    """A RAR of `items` that only a tool can unpack."""
    return made(
        folder, "rar", [Item(each.name, b"packed", 0o100600, PACKED, 0, *each.numbers()[::-1]) for each in items]
    )


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def there(folder: Path) -> list[Path]:
    """All that is in a folder, but for the files of locks."""
    return sorted(path for path in folder.rglob("*") if path.suffix != ".lock")


def refusal(archive: Path, limit: int = ROOM) -> str:
    """The first line of a refusal that left everything around the archive as it was."""
    before = there(archive.parent)
    with pytest.raises(RunFailed) as caught:
        unpack(archive, archive.parent / "out", limit=limit)
    assert there(archive.parent) == before
    first, *rest = str(caught.value).splitlines()
    assert archive.name in first
    assert rest
    return first


@both_kinds
def test_every_kind_of_archive_gives_the_same_tree(kind: str, tmp_path: Path) -> None:
    archive = made(tmp_path, kind, [Item(b"GT/" if kind == "zip" else b"GT", mode=FOLDER), *HONEST])
    check_archive(archive, ROOM)
    assert unpack(archive, tmp_path / "out", limit=ROOM) == 4
    assert tree(tmp_path / "out") == TREE


def test_only_what_is_wanted_is_unpacked(tmp_path: Path) -> None:
    archive = made(tmp_path, "rar", HONEST)
    assert unpack(archive, tmp_path / "out", limit=ROOM, wanted=lambda name: name.startswith("GT/")) == 1
    assert list(tree(tmp_path / "out")) == ["GT/LABELS/0000000.png"]
    with pytest.raises(RunFailed, match="none of the wanted files"):
        unpack(archive, tmp_path / "out", limit=ROOM, wanted=lambda name: name.startswith("Depth/"))


def test_what_is_there_and_right_is_kept_and_the_rest_is_written(tmp_path: Path) -> None:
    archive, out = made(tmp_path, "zip", HONEST), tmp_path / "out"
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
    with working_alone(tmp_path / "out", "a test"), pytest.raises(RunFailed, match="another run is unpacking there"):
        unpack(made(tmp_path, "zip", HONEST), tmp_path / "out", limit=ROOM)


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([Item(b"../escape")], "'..'"),
        ([Item(b"a\\..\\..\\escape")], "'..'"),
        ([Item(b"/etc/escape")], "absolute"),
        ([Item(b"\\\\host\\share\\escape")], "absolute"),
        ([Item(b"c:escape")], "absolute"),
        ([Item(b"\x1b[2Jclear")], "control"),
        *(
            ([Item(b"odd", b"/etc/passwd", mode)], "member 'odd' is a link or a device")
            for mode in (LINK, FIFO, DEVICE)
        ),
        *(([Item(b"a/e"), Item(second)], "have one name") for second in (b"a/e", b"a\\e", b"./a//e", b"A/E")),
        ([Item("é".encode(), flags=0x800), Item("e\u0301".encode(), flags=0x800)], "have one name"),
        ([Item(b"large", b"1", declared=3 << 30)], "would unpack to 3,221,233,099 bytes, expected at most 1,048,576"),
    ],
)
@both_kinds
def test_hostile_archives_are_refused_before_the_first_byte(
    kind: str, items: list[Item], words: str, tmp_path: Path
) -> None:
    archive = made(tmp_path, kind, [*HONEST, *items])
    assert words in refusal(archive)
    with pytest.raises(RunFailed):
        check_archive(archive, ROOM)  # which is also read without unpacking


@pytest.mark.parametrize(
    ("kind", "content", "words"),
    [
        ("rar", rar([Item(b"a", b"1"), Item(b"b", link=b"../../target")]), "'b' is a link"),
        ("zip", zipped([Item(b"a", b"1", flags=1)]), "'a' is encrypted"),
        ("zip", zipped([]), "none of the wanted files"),
        ("zip", b"<!DOCTYPE html>", "no archive"),
        ("rar", b"Rar!\x1a\x07\x09\x00", "no archive"),
    ],
)
def test_what_cannot_be_read_is_refused(kind: str, content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / f"a.{kind}").write_bytes(content)
    assert words in refusal(tmp_path / f"a.{kind}")


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        *itertools.product(MAKERS, [{"declared": 6}, {"crc": 1}]),
        ("zip", {"method": STORED, "crc": 1}),
        ("zip", {"method": 99}),
        ("zip", {"content": bytes(50 << 20), "declared": 10}),  # a bomb
    ],
)
def test_a_member_that_is_not_what_it_declares_is_not_kept(kind: str, change: dict[str, int], tmp_path: Path) -> None:
    archive = made(tmp_path, kind, [Item(b"bad", b"12345")._replace(**change), Item(b"good", b"1")])
    with pytest.raises(RunFailed, match=r"1 of 2 members are damaged; the others are kept:\n  bad: "):
        unpack(archive, tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == {"good": b"1"}


@both_kinds
def test_a_cut_or_a_changed_bit_never_trips_the_reader_nor_leaves_a_wrong_file(
    kind: str, tools: Path, tmp_path: Path
) -> None:
    whole = MAKERS[kind]([Item(b"a/b.png", b"content"), Item(b"c", b"more")])
    broken = [whole[:length] for length in range(len(whole))]
    broken += [whole[:n] + bytes([whole[n] ^ (1 << n % 8)]) + whole[n + 1 :] for n in range(len(whole))]
    archive, errors = tmp_path / f"a.{kind}", 0
    for content in broken:
        archive.write_bytes(content)
        try:
            unpack(archive, tmp_path / "out", limit=ROOM)
        except DacsError:
            errors += 1
        assert set(tree(tmp_path / "out").values()) <= {b"content", b"more"}
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
    assert errors > len(whole)
    assert [path for path in there(tmp_path) if path.parent == tmp_path] == [archive, tools]


def test_a_disk_without_room_is_reported_before_the_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = made(tmp_path, "zip", HONEST)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("usage", "free")(0))
    with pytest.raises(RunFailed, match="are free"):
        unpack(archive, tmp_path / "out", limit=ROOM)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["unrar", "unar", "bsdtar"])
def test_each_tool_is_driven(name: str, tools: Path, tmp_path: Path) -> None:
    stand_in(name, tools, TREE | {item.name.decode(): item.content for item in HONEST})
    assert unpack(packed(tmp_path), tmp_path / "out", limit=ROOM) == 4
    assert tree(tmp_path / "out") == TREE


def test_what_one_tool_spoils_the_next_one_repairs_or_it_is_named(tools: Path, tmp_path: Path) -> None:
    items = [Item(b"1.png", b"12345"), Item(b"2.png", b"1"), Item(b"3.png", b"1")]
    content = {item.name.decode(): item.content for item in items}
    stand_in("unar", tools, content | {"1.png": b"54321", "2.png": b"1" * 10**6})  # no more than declared is read
    with pytest.raises(RunFailed, match=r"1 of 3 members (?s:.)*\n  1.png: (?s:.)*install another of unrar"):
        unpack(packed(tmp_path, items), tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == {"2.png": b"1", "3.png": b"1"}
    stand_in("bsdtar", tools, content)
    unpack(packed(tmp_path, items), tmp_path / "out", limit=ROOM)
    assert tree(tmp_path / "out") == content


def test_without_a_tool_a_packed_archive_is_refused(tools: Path, tmp_path: Path) -> None:
    assert "none of unrar, unar, bsdtar and 7z is installed" in refusal(packed(tmp_path))
