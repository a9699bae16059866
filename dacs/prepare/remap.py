"""From any raw data set to the one prepared form: train ids and images at training resolution, an index, statistics.

Index, statistics and data report are written last: their presence means that all is whole. The bytes depend on the raw
files and the settings alone, not on the number of workers.
"""

import csv
import io
import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import PIL
from tqdm import tqdm

from dacs.datasets.base import Raw
from dacs.datasets.custom import find_custom
from dacs.datasets.decode import listing
from dacs.datasets.find import find
from dacs.datasets.registry import MODULES
from dacs.errors import BadRequest, RunFailed
from dacs.files import write_json, write_text
from dacs.layout import SHARDS, PreparedDomain, PreparedSplit
from dacs.locks import working_alone
from dacs.prepare.frame import FrameJob, PreparedFrame, prepare_frame, sha256
from dacs.prepare.pixels import proportions
from dacs.prepare.statistics import Tally, data_report, statistics
from dacs.provenance import canonical, code_digest
from dacs.settings import RemapJob, label_set

JOURNAL = ".frames.jsonl"  # what each finished frame was made from, until all are: how an interrupted run resumes
Notes = dict[str, dict[str, Any]]  # by frame


def remap(job: RemapJob, raw_folder: Path, out: Path, workers: int, record: Callable[[], None] = lambda: None) -> None:
    """Prepare every split of a domain below `out`; a custom domain's table says where its raw frames are.

    `record` is called when all tables are written, while `out` is still held. Shards that are at work are waited for.

    All frames are read before anything is reported: raises RunFailed listing what breaks the contract of the data, and
    then leaves no index. Finished frames stay, so that the next run makes only what is missing or has changed.
    """
    raw, prepared = find_raw(job, raw_folder, out), PreparedDomain(out)
    splits = [prepared.split(name) for name in raw.dataset.prepared_splits]
    with working_alone(out, "another 'dacs remap' is at work", wait=True):
        _wait_for_shards(out)
        for line in unfinished(job, raw, out):
            print(line)
        remove_tables(raw, prepared)
        earlier = open_journal(out / JOURNAL, job, raw, shard_journals(out))
        tallies = prepare_frames(job, raw, out, workers, out / JOURNAL, earlier)
        _check_labels(job, raw, tallies)
        _prune(splits, tallies)
        shapes = proportions(note["size"] for tally in tallies.values() for note in tally.notes)
        for images, labels in raw.dataset.splits.items():
            for name in dict.fromkeys([images, labels or images]):
                _write_split(job, prepared.split(name), tallies[images], name == labels, shapes)
        report = data_report(raw, tallies, label_set(job.labels), job.size)
        write_json(prepared.data_report, report)
        record()
        print(f"{job.domain}: {report['summary']}; frames {report['frames']}; {raw.layout}")
        for path in (out / JOURNAL, *out.glob(".*.partial*")):
            path.unlink()
        if (out / SHARDS).exists():
            shutil.rmtree(out / SHARDS)


def find_raw(job: RemapJob, raw_folder: Path, out: Path) -> Raw:
    """The raw frames of a domain. Raises BadRequest where `out` is among them, or they are in `out`."""
    raw = find_custom(job.domain, job.custom) if job.custom else find(job.domain, raw_folder, job.part)
    here, there = out.resolve(), raw.root.resolve()
    if here.is_relative_to(there) or there.is_relative_to(here):
        raise BadRequest(f"remap: of {out} and {raw.root} one is in the other.\nRaw data are only read: name another.")
    return raw


def remove_tables(raw: Raw, prepared: PreparedDomain) -> None:
    """Remove what says that a domain is prepared as a whole: tables, the data report and the record of all."""
    splits = map(prepared.split, raw.dataset.prepared_splits)
    tables = (path for split in splits for path in (split.index, split.stats, split.class_counts))
    for path in (*prepared.path.glob("*.json"), *tables):
        path.unlink(missing_ok=True)


def prepare_frames(job: RemapJob, raw: Raw, out: Path, workers: int, notes: Path, earlier: Notes) -> dict[str, Tally]:
    """Prepare every frame of `raw`, append a note of each that `earlier` lacks, and add up by raw split."""
    frame_jobs = list(_frame_jobs(job, raw, out, earlier))
    tallies, faults = {split: Tally(label_set(job.labels)) for split in raw.frames}, list[str]()
    with notes.open("a") as journal:
        for frame_job, made in zip(frame_jobs, _each(job, raw, frame_jobs, workers), strict=True):
            if isinstance(made, str):
                faults.append(made)
                continue
            tallies[frame_job.split].add(frame_job.files, made)
            if made.note != frame_job.earlier:
                print(canonical(made.note), file=journal, flush=True)
    if faults:
        raise RunFailed(
            listing(f"{raw.root}: {len(faults)} of {len(frame_jobs)} frames break the contract of the data", faults)
            + "\nCorrect these frames, remove image and label, or add what the table of a custom domain lacks."
            " Then run the same command: it resumes."
        )
    return tallies


def open_journal(path: Path, job: RemapJob, raw: Raw, others: Iterable[Path] = ()) -> Notes:
    """What earlier runs with the same settings and code have noted, by frame; or nothing, and a new journal.

    What is noted in `others` is added to it.
    """
    header = _header(job, raw)
    found: dict[str, str] = {}
    for each in (*others, path):
        with suppress(FileNotFoundError):  # of a shard that has just finished
            lines = each.read_text().split("\n")[:-1]  # the last line may be cut off
            found |= {json.loads(line)["frame"]: line for line in lines[1:] if lines[0] == header}
    write_text(path, "\n".join([header, *found.values(), ""]))
    return {frame: json.loads(line) for frame, line in found.items()}


def _header(job: RemapJob, raw: Raw) -> str:
    """The first line of a journal: settings, code and versions of its notes."""
    row = [f"{MODULES[job.domain]}:DATASET"] if job.domain in MODULES else []
    code = code_digest("dacs.prepare.remap:remap", *row)
    train_ids = sorted(raw.dataset.train_ids(label_set(job.labels)).items())
    versions = PIL.__version__, cv2.__version__, version("torch")
    return canonical([job.model_dump(mode="json"), train_ids, *versions, code])


def unfinished(job: RemapJob, raw: Raw, out: Path) -> Iterator[str]:
    """In words, the shards of a domain that have not finished; nothing where a set of shards is whole.

    Notes of other settings or code do not count.
    """
    header, found = _header(job, raw), dict[int, set[int]]()
    for path in shard_journals(out):
        if path.read_text().split("\n", 1)[0] == header:
            finished = path.name != JOURNAL
            number, total = map(int, (path.stem if finished else path.parent.name).split("-of-"))
            found.setdefault(total, set()).update({number} if finished else ())
    missing = {total: sorted({*range(1, total + 1)} - numbers) for total, numbers in found.items()}
    if all(missing.values()):
        for total, numbers in missing.items():
            listed = ", ".join(map(str, numbers))
            yield f"{out}: of {total} shards {listed} have not finished; the frames that they lack are prepared now."


def _wait_for_shards(out: Path) -> None:
    """Wait until no shard is at work; none begins while `out` is held."""
    for folder in sorted((out / SHARDS).glob("[0-9]*-of-*[0-9]")):
        shard = folder.name.replace("-of-", "/")
        with working_alone(folder, f"'dacs remap --shard {shard}' is at work", wait=True):
            pass


def shard_journals(out: Path) -> list[Path]:
    """What the shards of a domain have noted, finished or not."""
    names = ("[0-9]*-of-*.jsonl", f"[0-9]*-of-*/{JOURNAL}")
    return sorted(path for name in names for path in (out / SHARDS).glob(name))


def _frame_jobs(job: RemapJob, raw: Raw, out: Path, earlier: Notes) -> Iterator[FrameJob]:
    for split, frames in raw.frames.items():
        labels = raw.dataset.splits[split]
        for frame in frames:
            image = out / split / "images" / f"{frame.name}.{job.images}"
            files = [image, *(out / labels / kind / f"{frame.name}.png" for kind in ("labels", "full"))]
            kept = 1 if frame.label is None else 3 if labels == "val" else 2  # what is evaluated on, at full size too
            yield FrameJob(split, frame, tuple(files[:kept]), earlier.get(f"{split}/{frame.name}"))


def _each(job: RemapJob, raw: Raw, frame_jobs: list[FrameJob], workers: int) -> Iterator[PreparedFrame | str]:
    """Results in the order of the jobs, with a progress bar on a terminal."""
    prepare = partial(prepare_frame, job, raw._replace(frames={}))  # small, as it is sent to workers again and again
    bar = partial(tqdm, total=len(frame_jobs), desc="remap", disable=None)
    if workers <= 1:
        yield from bar(map(prepare, frame_jobs))
        return
    spawn = multiprocessing.get_context("spawn")  # forking a process that has threads may hang
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_start_worker) as pool:
        try:
            yield from bar(pool.map(prepare, frame_jobs, chunksize=4))
        except BrokenExecutor as error:
            raise RunFailed("remap: a worker died: out of memory?\nRun again, with fewer cores: it resumes.") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _start_worker() -> None:
    """One thread; Ctrl-C is for the parent; no worker outlives a killed parent."""
    cv2.setNumThreads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # of torch, if it is imported
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _check_labels(job: RemapJob, raw: Raw, tallies: dict[str, Tally]) -> None:
    """Raise RunFailed for labels that teach nothing, as none of their pixels is of a class."""
    where = f"domains.{job.domain}.classes" if job.custom else "labels"
    for split, tally in tallies.items():
        if raw.dataset.splits[split] and not any(tally.pixels.values()):
            raise RunFailed(
                f"{raw.root}: the labels of split '{split}' have no pixel of a class, every pixel is ignored.\n"
                f"Correct {where} in params.yaml: which raw class is which class of the run."
            )


def _prune(splits: list[PreparedSplit], tallies: dict[str, Tally]) -> None:
    """Remove frames of an earlier, longer run and what a killed one left under temporary names."""
    wanted = {file for tally in tallies.values() for files in tally.files for file in files}
    for kind in ("images/*.png", "images/*.ppm", "labels/*.png", "full/*.png", ".*.partial*"):
        for path in (path for split in splits for path in split.path.glob(kind)):
            if path not in wanted:
                path.unlink()


def _write_split(job: RemapJob, split: PreparedSplit, tally: Tally, labelled: bool, proportions: list[float]) -> None:
    """Write the tables and statistics of a split, whose images may be in another; `proportions`: of all raw images."""
    kept = slice(None) if labelled else slice(1)
    rows = [[os.path.relpath(file, split.path) for file in files[kept]] for files in tally.files]
    made = [note["made"] for note in tally.notes]
    digests = [pair for row, each in zip(rows, made, strict=True) for pair in zip(row[:2], each, strict=False)]
    full = [pair for row, each in zip(rows, made, strict=True) for pair in zip(row[2:], each[2:], strict=False)]
    stats = {
        "domain": job.domain,
        "split": split.path.name,
        "frames": len(rows),
        "size": list(job.size),
        "proportions": proportions,
        "resample": job.resample,
        "sha256": sha256(canonical(sorted(digests)).encode()),
        **({"sha256_full": sha256(canonical(sorted(full)).encode())} if full else {}),
        **statistics(tally, labelled),
    }
    if labelled:
        counts = [[row[0], *map(str, classes)] for row, classes in zip(rows, tally.classes, strict=True)]
        _write_table(split.class_counts, [["image", *tally.labels.names], *counts])
    write_json(split.stats, stats)
    _write_table(split.index, [["image", "label", "full"][: len(rows[0])], *rows])


def _write_table(path: Path, rows: list[list[str]]) -> None:
    with io.StringIO() as text:
        csv.writer(text, lineterminator="\n").writerows(rows)
        write_text(path, text.getvalue())
