"""The raw frames of a domain, from nothing to a manifest: downloaded, or found on a disk and left where they are.

The manifest is written last, so that its presence means that the data set is whole. What has been downloaded and
unpacked is noted beside it, so that no archive is asked for twice.
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dacs.datasets.custom import find_own
from dacs.datasets.formats import Frame, check_counts, format_of, look
from dacs.datasets.storage import Tree
from dacs.demo_world.write import MARK
from dacs.download.archives import TABLE, Archive, read_table, terms_of
from dacs.download.fetch import PATIENT, Patience, fetch
from dacs.download.session import BASE, Session, credentials
from dacs.download.trust import expected_of
from dacs.download.unpack import listing, unpack
from dacs.errors import BadRequest, RunFailed
from dacs.files import read_json, write_json
from dacs.provenance import canonical

NOTES = ".archives"  # in the raw folder: what has been unpacked there
SPLIT = "read_mapping.zip"  # holds GTA5's official split, and no frames
WANTED: dict[str, Callable[[str], bool]] = {  # of an archive's members; all where nothing is said
    "synthia": lambda name: not name.startswith(("RAND_CITYSCAPES/Depth/", "RAND_CITYSCAPES/GT/COLOR/")),
}


class Wishes(NamedTuple):
    """How a person wants downloads to be done."""

    archives: Path  # folder of downloads; each domain has one of its own in it
    keep_archives: bool
    unpack: bool
    official_split: bool  # of GTA5
    parallel: int  # archives at a time
    mirrors: Mapping[str, str]  # beginning of an address → another one
    unverified_hosts: Sequence[str]
    table: Path = TABLE
    site: str = BASE  # where Cityscapes logs in
    patience: Patience = PATIENT


def download(domain: str, raw: Path, wishes: Wishes, *, accepted: bool, trusted: Path) -> dict[str, Any]:
    """Download and unpack a published data set into `raw`; returns its manifest.

    Shows the terms first. `trusted`: where the checksums of first downloads are noted. Raises BadRequest where the
    terms are not accepted or credentials are missing; RunFailed and Interrupted as `fetch` and `unpack` do, and
    RunFailed where frames are missing at the end. Whatever was finished stays, and the same command goes on from there.
    """
    _show_terms(domain, accepted)
    rows = [_mirrored(row, wishes.mirrors) for row in _rows(domain, wishes)]
    packed = [] if wishes.unpack else [row for row in rows if row.name != SPLIT]
    _make_way(raw)
    folder = wishes.archives / domain
    missing = [row for row in rows if row in packed or not _unpacked(raw, row, trusted)]
    session = Session(credentials(os.environ), wishes.site) if _asks(missing, folder) else None
    for batch in _batches(missing, wishes):
        for row, path in zip(batch, _fetch(batch, folder, wishes, session, trusted), strict=True):
            if row in packed:
                _check_packed(row, path)
            else:
                _unpack(row, path, raw, trusted, keep=wishes.keep_archives)
    checksums = {row.name: expected_of(row, trusted).checksum for row in rows}
    tree = Tree(folder if packed else raw, tuple(row.name for row in packed))
    root = os.path.relpath(folder, raw) if packed else ""
    try:
        words, _, found = look(domain, tree)
        return _manifest(domain, raw, tree, (words, found), "download", root, canonical(checksums), checksums)
    except RunFailed:
        shutil.rmtree(raw / NOTES, ignore_errors=True)  # files have been lost: the same command unpacks them again
        raise


def adopt(domain: str, raw: Path, folder: Path) -> dict[str, Any]:
    """Take a copy of a published data set that lies in `folder`, which is only read; returns its manifest.

    Raises RunFailed naming what is missing there, or where it has other counts than the published data set.
    """
    _make_way(raw)
    tree = Tree(folder.absolute())
    words, _, found = look(domain, tree)
    content = canonical([[name, size] for name, size, _ in _files(found)])
    return _manifest(domain, raw, tree, (words, found), "folder", str(tree.root), content)


def survey(domain: str, raw: Path, own: dict[str, Any]) -> dict[str, Any]:
    """Note what files a domain of one's own has, so that a change of them is noticed; returns the manifest."""
    found = find_own(domain, own).frames
    content = _sha(canonical(list(_files(found))))
    manifest = {"domain": domain, "origin": "own", "frames": _counts(found), "sha256": content}
    write_json(raw / "manifest.json", manifest)
    return manifest


def files_now(domain: str, own: dict[str, Any]) -> str:
    """A digest of names, sizes and times of the files that a domain of one's own has."""
    return _sha(canonical(list(_files(find_own(domain, own).frames))))


# --------------------------------------------------------------------------------------------------------------------
# Terms and rows


def _show_terms(domain: str, accepted: bool) -> None:
    terms = terms_of(domain)
    words = f"{terms.title}: {terms.terms}\nIn full: {terms.address}"
    if not accepted:
        raise BadRequest(
            f"the terms of {domain} are not accepted yet.\n{words}\n"
            f"Read them; if you accept them, add {domain} to data.accept_terms in params.yaml."
        )
    print(f"{words}\nAccepted in data.accept_terms.", file=sys.stderr)


def _rows(domain: str, wishes: Wishes) -> list[Archive]:
    rows = [row for row in read_table(wishes.table) if row.domain == domain]
    if not wishes.unpack and any(not row.name.endswith(".zip") for row in rows):
        raise BadRequest(f"{domain}: its archive is not a zip and must be unpacked.\nSet data.unpack to true.")
    return [row for row in rows if wishes.official_split or row.name != SPLIT]


def _mirrored(row: Archive, mirrors: Mapping[str, str]) -> Archive:
    """The row with the address that the longest fitting mirror gives it; what needs a login has no mirror."""
    fitting = [start for start in mirrors if row.address.startswith(start)]
    if not fitting or row.login:
        return row
    start = max(fitting, key=len)
    return row._replace(address=mirrors[start] + row.address.removeprefix(start))


def _asks(rows: list[Archive], folder: Path) -> bool:
    """Whether any of these still has to be asked for with a login."""
    return any(row.login and not (folder / row.name).exists() for row in rows)


def _batches(rows: list[Archive], wishes: Wishes) -> Iterator[list[Archive]]:
    """All at once; or a few at a time where each is to be deleted before the disk must hold the next."""
    step = len(rows) if wishes.keep_archives or not wishes.unpack else wishes.parallel
    yield from (rows[first : first + step] for first in range(0, len(rows), max(step, 1)))


def _fetch(rows: list[Archive], folder: Path, wishes: Wishes, session: Session | None, trusted: Path) -> list[Path]:
    return fetch(
        rows,
        folder,
        parallel=wishes.parallel,
        trusted=trusted,
        unverified_hosts=wishes.unverified_hosts,
        session=session,
        patience=wishes.patience,
    )


# --------------------------------------------------------------------------------------------------------------------
# The raw folder


def _make_way(raw: Path) -> None:
    """Remove what the built-in world has drawn there: it can draw it again."""
    (raw / "manifest.json").unlink(missing_ok=True)
    if (raw / MARK).exists():
        shutil.rmtree(raw)


def _unpack(row: Archive, path: Path, raw: Path, trusted: Path, *, keep: bool) -> None:
    done = unpack(path, raw, limit=row.unpacked_limit, wanted=WANTED.get(row.domain, lambda _: True))
    write_json(_note(raw, row), done | {"checksum": expected_of(row, trusted).checksum})
    if not keep:
        path.unlink()


def _check_packed(row: Archive, path: Path) -> None:
    """What unpacking would have refused is not read in its archive either."""
    total = sum(member.bytes for member in listing(path))
    if total > row.unpacked_limit:
        raise RunFailed(
            f"{path}: would unpack to {total:,} bytes, {row.unpacked_limit:,} are expected at most.\n"
            "Download it again; if the archive is right, correct unpacked_limit in archives.csv."
        )


def _unpacked(raw: Path, row: Archive, trusted: Path) -> bool:
    """Whether this very archive has been unpacked here; that no file is lost is seen when frames are counted."""
    note = _note(raw, row)
    return note.exists() and read_json(note).get("checksum") == expected_of(row, trusted).checksum != ""


def _note(raw: Path, row: Archive) -> Path:
    return raw / NOTES / f"{row.name}.json"


# --------------------------------------------------------------------------------------------------------------------
# The manifest


def _manifest(
    domain: str,
    raw: Path,
    tree: Tree,
    seen: tuple[str, dict[str, list[Frame]]],
    origin: str,
    root: str,
    content: str,
    checksums: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Hold what was seen (layout and frames) against what is published, and write the manifest, last of all."""
    words, found = seen
    check_counts(domain, tree.root, _counts(found))
    manifest = {
        "domain": domain,
        "origin": origin,
        "root": root,
        "archives": list(tree.archives),
        "layout": words,
        "frames": {split: len(found[split]) for split in format_of(domain).splits},
        "sha256": _sha(content),
        **({"checksums": checksums} if checksums else {}),
    }
    write_json(raw / "manifest.json", manifest)
    return manifest


def _counts(found: dict[str, list[Frame]]) -> dict[str, int]:
    return {split: len(frames) for split, frames in found.items()}


def _files(found: dict[str, list[Frame]]) -> Iterator[tuple[str, int, int]]:
    """The name of each frame with size in bytes and time of writing in nanoseconds, once for each of its files."""
    for frames in found.values():
        for frame in frames:
            for file in filter(None, (frame.image, frame.label)):
                status = file.path.stat()
                yield frame.name, status.st_size, status.st_mtime_ns


def _sha(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()
