"""What there is to download, and on whose terms: two tables that people review in a diff. Nothing here connects.

`archives.csv` holds a row for each archive:

name            its file name, with which it is kept
address         where it is served; a mirror is named in `data.mirrors`, not here
bytes           its size, empty where none is published
checksum        md5:<hex> or sha256:<hex>, empty where none is published: then the first download is trusted and noted
unpacked_limit  bytes beyond which unpacking is refused: a guard of ours, not a published fact. PNG does not compress,
                so zips of PNG get a quarter more than their size; polygons do, so the labels of Cityscapes get a round
                number, and so does what has no published size
login           whose account it needs, empty for none
what            a few words for people

`terms.csv` holds a row for each data set: its terms in short, and where to read them in full.
"""

import csv
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from dacs.errors import BadRequest

TABLE = Path(__file__).with_name("archives.csv")
TERMS = Path(__file__).with_name("terms.csv")
LOGINS = ("", "cityscapes")
DIGITS = {"md5": 32, "sha256": 64}  # kinds of checksum, and how long they are in hex


class Archive(NamedTuple):
    """One file on a server."""

    domain: str
    name: str
    address: str
    bytes: int | None  # None: not published
    checksum: str  # "md5:…" or "sha256:…"; "" where none is published
    unpacked_limit: int  # bytes
    login: str  # "" or "cityscapes"
    what: str


class Terms(NamedTuple):
    """On what terms a data set may be used, in short, and where its owners say it."""

    domain: str
    title: str
    address: str
    terms: str


def read_table(path: Path = TABLE) -> list[Archive]:
    """The rows of a table of archives. Raises BadRequest naming the file and the line that is wrong."""
    archives: list[Archive] = []
    for where, row in _rows(path, Archive._fields):
        try:
            archive = Archive(**{column: READERS[column](cell) for column, cell in row.items()})
            if archive.name in {known.name for known in archives}:
                raise ValueError(f"'{archive.name}' is there twice")
        except ValueError as error:
            raise BadRequest(f"{where}: {error}.\nCorrect this row.") from error
        archives.append(archive)
    return archives


def terms_of(domain: str, path: Path = TERMS) -> Terms:
    """The terms of a data set. Raises BadRequest where the table has none."""
    table = {row["domain"]: Terms(**row) for _, row in _rows(path, Terms._fields)}
    if domain not in table:
        raise BadRequest(f"{path}: no terms of '{domain}' there.\nChoose one of {', '.join(table)}.")
    return table[domain]


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each row as a mapping, and words for where it stands."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            _check_header(path, next(reader, []), columns)
            for cells in reader:
                where = f"{path}, line {reader.line_num}"
                if len(cells) != len(columns):
                    raise BadRequest(f"{where}: {len(cells)} cells, expected {len(columns)}.\nCorrect this row.")
                yield where, dict(zip(columns, cells, strict=True))
    except (OSError, UnicodeError, csv.Error) as error:
        raise BadRequest(f"{path}: cannot be read as a table ({error}).\nRestore it from version control.") from error


def _check_header(path: Path, found: list[str], columns: tuple[str, ...]) -> None:
    if tuple(found) != columns:
        raise BadRequest(
            f"{path}, line 1: found columns {', '.join(found) or 'none'}, expected {', '.join(columns)}.\n"
            f"Correct the first line."
        )


# --------------------------------------------------------------------------------------------------------------------
# Cells: each reader raises ValueError with words


def _text(cell: str) -> str:
    if not cell.strip():
        raise ValueError("a cell is empty that must not be")
    return cell


def _name(cell: str) -> str:
    if not re.fullmatch(r"\w[\w.-]*\.(zip|rar)", cell, re.ASCII):
        raise ValueError(f"name '{cell}' is not a plain file name that ends in .zip or .rar")
    return cell


def _address(cell: str) -> str:
    parts = urlsplit(cell)
    if not re.fullmatch(r"https?://[!-~]+", cell) or not parts.hostname:
        raise ValueError(f"address '{cell}' is not http:// or https:// and a host, in ASCII without spaces")
    if parts.username or parts.password:
        raise ValueError("the address holds a user or a password, which must not be in a table")
    return cell


def _count(cell: str) -> int:
    if not re.fullmatch(r"[1-9]\d*", cell, re.ASCII):
        raise ValueError(f"'{cell}' is not a number of bytes")
    return int(cell)


def _count_or_none(cell: str) -> int | None:
    return _count(cell) if cell else None


def _checksum(cell: str) -> str:
    kind, _, digits = cell.partition(":")
    if cell and not (kind in DIGITS and re.fullmatch("[0-9a-f]+", digits) and len(digits) == DIGITS[kind]):
        raise ValueError(f"checksum '{cell}' is neither md5: with 32 nor sha256: with 64 lower-case hex digits")
    return cell


def _login(cell: str) -> str:
    if cell not in LOGINS:
        raise ValueError(f"login '{cell}' is unknown; it is empty or one of {', '.join(filter(None, LOGINS))}")
    return cell


READERS: dict[str, Callable[[str], Any]] = {
    "domain": _text,
    "name": _name,
    "address": _address,
    "bytes": _count_or_none,
    "checksum": _checksum,
    "unpacked_limit": _count,
    "login": _login,
    "what": _text,
}
