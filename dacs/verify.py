"""Whether results are still what was recorded of them, and for the settings that are asked for now. Torch-free.

A run records its files in settings.json, a prepared split in stats.json; an evaluation, the tables and figures, and the
page each have a record of their own, which their commands write last.
"""

import csv
import hashlib
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dacs.errors import RunFailed
from dacs.files import digest, read_json, write_json
from dacs.layout import PreparedDomain, PreparedSplit
from dacs.provenance import canonical

RECORD = "record.json"
FIGURES_RECORD = f"figures/{RECORD}"  # of tables and figures, below `reports`
PAGE_RECORD = f"stages/page.{RECORD}"  # not in the folder of figures, which is removed when they are drawn anew
ASIDE = Path(".cache/damaged")


MadeWith = dict[str, str]  # settings, code, torch → digest or version


class Damage(NamedTuple):
    """A file that is not what was recorded."""

    path: Path
    reason: str
    marker: Path  # without which all that belongs together is made again

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def write_record(record: Path, files: Iterable[Path], made_with: MadeWith, inputs: Iterable[Path] = ()) -> None:
    """Record files by their sha256, relative to the folder of the record, and what they were made with and from.

    `inputs`: small files that stand for all that was read, as settings.json does for a run.
    """
    made, read = (
        {os.path.relpath(path, record.parent): digest(path) for path in sorted(some)} for some in (files, inputs)
    )
    write_json(record, {**made_with, "inputs": read, "sha256": made})


def record_beside(output: Path) -> Path:
    """The record of a JSON file that is alone in what it is of."""
    return output.with_name(f"{output.stem}.{RECORD}")


def damages(runs: Path, reports: Path, ready: Path | None = None) -> Iterator[Damage]:
    """What is damaged or missing of runs, their evaluations, the report and, if `ready` is given, prepared frames."""
    for spec in sorted(runs.glob("*/*/seed*/settings.json")):
        yield from damages_of(spec)
    for record in sorted(runs.glob(f"*/*/seed*/evaluation/{RECORD}")):
        yield from damages_of(record)
    for record in sorted(runs.glob(f"*/appearance.{RECORD}")):
        yield from _damages_of_output(record, record.with_name("appearance.json"))
    for record in sorted(reports.glob(f"campaigns/*.{RECORD}")):
        yield from _damages_of_output(record, record.with_name(record.name.replace(f".{RECORD}", ".csv")))
    for name, marker in ((FIGURES_RECORD, "metrics.json"), (PAGE_RECORD, "index.html")):
        yield from _damages_of_output(reports / name, reports / marker)
    for stats in sorted(ready.glob("*/*/stats.json") if ready else ()):
        yield from damages_of_split(PreparedSplit(stats.parent))


def damages_of_tables(ready: Path, manifests: Path) -> Iterator[Damage]:
    """What is damaged or missing of the manifests of raw frames and of the tables of prepared ones."""
    for record in sorted(manifests.glob(f"*.{RECORD}")):
        yield from _damages_of_output(record, record.with_name(record.name.replace(f".{RECORD}", ".json")))
    for record in sorted(ready.glob(f"*/{RECORD}")):
        yield from _damages_of_output(record, PreparedDomain(record.parent).data_report)


def _damages_of_output(record: Path, marker: Path) -> Iterator[Damage]:
    """The same as `damages_of`, where there is a record, which is not itself what Snakemake asks for."""
    if record.exists():
        yield from (damage._replace(marker=marker) for damage in damages_of(record))


def any_record(folder: Path) -> bool:
    """Whether there is a record of results in a folder."""
    return any(path.name.endswith(("settings.json", RECORD)) for path in folder.rglob("*.json"))


def first_damage(paths: Iterable[Path]) -> Damage | None:
    """What is damaged of results and prepared frames in folders or beside them, if anything is."""
    names = RECORD, f"*.{RECORD}", "settings.json"
    for path in paths:
        beside = [path, path / "settings.json", path.parent / RECORD, path.parent / "settings.json"]
        inside = [record for name in names for record in path.rglob(name)]
        for record in (each for each in (*beside, *inside) if each.name.endswith(("settings.json", RECORD))):
            if record.is_file() and (found := next(damages_of(record), None)):
                return found
    return None


def damages_of(record: Path) -> Iterator[Damage]:
    """What is damaged or missing of the files that a record lists by their sha256, or the record itself."""
    try:
        content = read_json(record)
        listed = dict(content["sha256"])
        if "key" in content and not isinstance(content["settings"]["model"], dict):
            raise TypeError
    except (RunFailed, KeyError, TypeError, ValueError):
        yield Damage(record, "not a record of results", record)
        return
    for name, expected in listed.items():
        path = _beside(record, name)
        if reason := _difference(path, expected):
            yield Damage(path, reason, record)


def changed_input(record: Path, inputs: Mapping[str, str]) -> Path | None:
    """The first of the inputs of a record, name → sha256, that is there with another content."""
    found = ((_beside(record, name), expected) for name, expected in inputs.items())
    return next((path for path, expected in found if path.exists() and _difference(path, expected)), None)


def _beside(record: Path, name: str) -> Path:
    """A file that a record names."""
    return Path(os.path.normpath(record.parent / name))


def set_aside(found: Iterable[Damage]) -> None:
    """Move damaged files to `.cache/damaged`, and remove their markers, so that they are made again."""
    for damage in found:
        for path in {damage.path, damage.marker} - {*damage.marker.parents}:  # of a split the folder stays
            if os.path.lexists(path):
                place = ASIDE.joinpath(*(part for part in path.parts if part not in (path.anchor, "..")))
                _remove(place)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(path, place)


def _remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def damages_of_split(split: PreparedSplit, most: float = math.inf) -> Iterator[Damage]:
    """What was changed of images, labels and labels at full size, whose digests stats.json has.

    Of more than `most` bytes nothing is read.
    """
    try:
        stats = read_json(split.stats)
        with split.index.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        for key, kinds in (("sha256", ("image", "label")), ("sha256_full", ("full",))):
            names = [row[kind] for row in rows for kind in kinds if kind in row]
            if sum((split.path / name).stat().st_size for name in names) > most:
                return
            pairs = sorted([name, digest(split.path / name)] for name in names)
            if names and hashlib.sha256(canonical(pairs).encode()).hexdigest() != stats[key]:
                yield Damage(split.path, "a frame was changed since it was prepared", split.stats)
                return
    except (OSError, RunFailed, KeyError, TypeError, ValueError) as error:
        yield Damage(split.path, f"frames are missing or cannot be read ({error})", split.stats)


def _difference(path: Path, expected: Any) -> str:
    """How a file differs from what was recorded; empty where it does not."""
    try:
        return "" if digest(path) == expected else "changed since it was made"
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
