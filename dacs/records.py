"""What Snakemake records of each output: free of times, so that equal results have equal records, and tied to its file.

`python -m dacs.records OUT FILES...` writes what a stage of DVC made, by sha256. Torch-free.
"""

import json
import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dacs.files import check_regular, digest, write_json, write_text
from dacs.layout import SHARDS
from dacs.provenance import canonical, short_digest

FOLDER = Path(".snakemake/metadata")
RUNS = "runs"
NO_TIMES = {"starttime": 0.0, "endtime": 0.0}
SMALL = 10**6  # bytes; of larger outputs, settings.json, record.json and stats.json hold digests


def normalise() -> None:
    """Take the times out of new records, and add the sha256 of the file that each is of, where that is small."""
    for path, output, record in _records():
        if any(record.get(name) != value for name, value in NO_TIMES.items()):
            if SHARDS in output.parts:  # a file that was there for a while
                path.unlink()
                continue
            checked = {"sha256": digest(output)} if _is_small(output) else {}
            # Snakemake's number of a job, by which its report groups files, differs from process to process.
            job_hash = int(short_digest(canonical([record.get("rule"), record.get("log")])), 16) >> 1
            changed = {**record, **_without_shards(record), **NO_TIMES, "job_hash": job_hash, **checked}
            write_text(path, json.dumps(changed, sort_keys=True))


def _without_shards(record: dict[str, Any]) -> dict[str, Any]:
    """The inputs of a record but those of shards: how many jobs have prepared the frames changes nothing."""
    names = [name for name in record.get("input") or () if SHARDS not in Path(name).parts]
    sums = {name: each for name, each in (record.get("input_checksums") or {}).items() if name in names}
    return {key: value for key, value in (("input", names), ("input_checksums", sums)) if record.get(key)}


def recorded(output: Path) -> str | None:
    """The record of an output as text; None where there is none, or one that is cut, as on a full disk."""
    path = FOLDER / urlsafe_b64encode(str(output).encode()).decode()
    try:
        check_regular(path)
        text = path.read_text()
        json.loads(text)
    except (OSError, ValueError):
        return None
    return text


def of_other_files() -> Iterator[Path]:
    """Outputs whose records are of another content, as after a part of a commit was restored by DVC."""
    for _, output, record in _records():
        if "sha256" in record and _is_small(output) and digest(output) != record["sha256"]:
            yield output


def of_other_inputs(output: Path) -> bool:
    """Whether small inputs of an output are not as recorded; Snakemake itself compares only those that are newer."""
    sums = json.loads(recorded(output) or "{}").get("input_checksums") or {}
    paths = {Path(name): known.rpartition(":")[2] for name, known in sums.items() if known}
    return any(_is_small(path) and digest(path) != known for path, known in paths.items())


def forget_unreadable() -> list[Path]:
    """Remove and return records that Snakemake could not read, and would fail or wait by."""
    from snakemake.persistence import MetadataRecord  # half a second, unless it is Snakemake that asks

    found = []
    for path in sorted(path for path in FOLDER.rglob("[!.]*") if not path.is_dir()):
        try:
            check_regular(path)
            MetadataRecord.model_validate(json.loads(path.read_text()))
        except (OSError, ValueError):
            path.unlink()
            found.append(path)
    return found


def forget_absent() -> None:
    """Remove records of files that runs no longer have, such as the weights of steps that are no longer kept."""
    for path, output, _ in _records():
        if output.parts[0] == RUNS and not output.exists() and Path(*output.parts[:4], "settings.json").exists():
            path.unlink()


def forget(folder: Path) -> None:
    """Remove the records of all outputs in a folder."""
    for path, output, _ in _records():
        if output.is_relative_to(folder):
            path.unlink()


def _records() -> Iterator[tuple[Path, Path, dict[str, Any]]]:
    """The file of each record, the output that it is of, and its content, if it is readable."""
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            name = "".join(part.removeprefix("@") for part in path.relative_to(FOLDER).parts)
            try:
                yield path, Path(urlsafe_b64decode(name).decode()), json.loads(path.read_text())
            except ValueError:
                continue  # Snakemake ignores it too


def _is_small(output: Path) -> bool:
    return output.is_file() and output.stat().st_size <= SMALL


def write(out: Path, files: Iterable[str]) -> None:
    """Write the sha256 of each file."""
    write_json(out, {name: digest(Path(name)) for name in sorted(files)})


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2:])
