"""From any raw data set to the one prepared form: train ids and images at training resolution, an index, statistics.

From here on all data sets look the same. Index and statistics are written last: their presence means that the split is
whole. The bytes depend on the raw files and the settings alone, not on the number of workers.
"""

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import PIL
from tqdm import tqdm

from dacs.datasets.base import PUBLISHED, Raw
from dacs.datasets.custom import find_custom
from dacs.datasets.decode import listing
from dacs.datasets.find import find
from dacs.datasets.registry import MODULES
from dacs.errors import BadRequest, RunFailed
from dacs.files import write_json, write_text
from dacs.labels import NAMES
from dacs.layout import PreparedDomain, PreparedSplit
from dacs.locks import working_alone
from dacs.prepare.data_report import data_report
from dacs.prepare.frame import FrameJob, FrameSettings, PreparedFrame, prepare_frame, sha256
from dacs.prepare.statistics import Tally, color_statistics, label_statistics
from dacs.provenance import canonical, code_digest
from dacs.settings import RemapJob

JOURNAL = ".frames.jsonl"  # what each finished frame was made from, until all are: how an interrupted run resumes


def remap(job: RemapJob, raw_folder: Path, out: Path, workers: int) -> None:
    """Prepare every split of a domain below `out`; a custom domain's table says where its raw frames are.

    All frames are read before anything is reported: raises RunFailed listing what breaks the contract of the data, and
    then leaves no index. Finished frames stay, so that the next run makes only what is missing or has changed. The data
    report, what was found compared with what is published, is written last.
    """
    raw = find_custom(job.domain, job.custom) if job.custom else find(job.domain, raw_folder, job.part)
    _check_apart(raw.root, out)
    prepared = PreparedDomain(out)
    with working_alone(out, "another 'dacs remap' is at work"):
        for part in map(prepared.split, raw.dataset.prepared_splits):
            for path in (prepared.data_report, part.index, part.stats, part.class_counts):
                path.unlink(missing_ok=True)
        tallies = _prepare_frames(job, raw, out, workers)
        for split, tally in tallies.items():
            labels = raw.dataset.splits[split]
            for name in filter(None, dict.fromkeys([split, labels])):
                columns = 1 if name != labels else 3 if split in raw.dataset.full else 2
                _write_split(job, prepared.split(name), split, tally, columns)
        report = data_report(raw, tallies)
        write_json(prepared.data_report, report)
        print(f"{job.domain}: {report['summary']}; frames {report['frames']}; {raw.layout}")
        for path in (out / JOURNAL, *out.glob(".*.partial*")):
            path.unlink()


def _check_apart(raw: Path, out: Path) -> None:
    here, there = out.resolve(), raw.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise BadRequest(
            f"remap: of {out} and {raw} one is in the other.\nRaw data are never written to: choose another folder."
        )


def _prepare_frames(job: RemapJob, raw: Raw, out: Path, workers: int) -> dict[str, Tally]:
    """Prepare every frame, note each as it is done, and add up by raw split."""
    journal, header = out / JOURNAL, _header(job, raw)
    earlier = _read_journal(journal, header)
    frame_jobs = list(_frame_jobs(job, raw, out, earlier))
    sizes = raw.dataset.sizes if raw.dataset.exact and raw.origin in PUBLISHED else frozenset()
    settings = FrameSettings(job.size, job.resample, job.images, raw.decode, raw.dataset.train_ids, sizes)
    tallies, faults = {split: Tally() for split in raw.frames}, list[str]()
    write_text(journal, "\n".join([header, *map(canonical, earlier.values())]) + "\n")
    with journal.open("a") as notebook:
        for frame_job, made in zip(frame_jobs, _each(settings, frame_jobs, workers), strict=True):
            if isinstance(made, str):
                faults.append(made)
                continue
            split, _, name = frame_job.name.partition("/")
            tallies[split].add(name, made)
            print(canonical(made.note), file=notebook, flush=True)
    if faults:
        raise RunFailed(
            listing(f"{raw.root}: {len(faults)} of {len(frame_jobs)} frames break the contract of the data", faults)
            + "\nCorrect or remove these frames (image and label), or make or unpack the data again; then run the same"
            + " command: it resumes after the frames that are done."
        )
    return tallies


def _header(job: RemapJob, raw: Raw) -> str:
    """What all notes of a journal share."""
    modules = [f"{MODULES[job.domain]}:DATASET"] if job.domain in MODULES else []
    code = code_digest("dacs.prepare.remap:remap", *modules)
    train_ids = sorted(raw.dataset.train_ids.items())
    return canonical([job.model_dump(mode="json"), train_ids, PIL.__version__, cv2.__version__, code])


def _read_journal(path: Path, header: str) -> dict[str, dict[str, Any]]:
    """What earlier runs with the same settings and code have noted, by frame; the last note may be cut off."""
    lines = path.read_text().splitlines() if path.exists() else []
    if not lines or lines[0] != header:
        return {}
    notes = [json.loads(line) for line in lines[1:] if line.endswith("}")]
    return {note["frame"]: note for note in notes}


def _frame_jobs(job: RemapJob, raw: Raw, out: Path, earlier: dict[str, dict[str, Any]]) -> Iterator[FrameJob]:
    for split, frames in raw.frames.items():
        labels = out / raw.dataset.splits[split]
        for frame in frames:
            name, file = f"{split}/{frame.name}", f"{frame.name}.png"
            image = out / split / "images" / f"{frame.name}.{job.images}"
            files = (image, labels / "labels" / file, labels / "full" / file)
            kept = 1 if frame.label is None else 3 if split in raw.dataset.full else 2
            mend = frame.name in raw.defects and raw.defects[frame.name].remedy == "mend"
            yield FrameJob(name, frame, mend, files[:kept], earlier.get(name))


def _each(settings: FrameSettings, jobs: list[FrameJob], workers: int) -> Iterator[PreparedFrame | str]:
    """Results in the order of the jobs, with a progress bar on a terminal."""
    prepare, bar = partial(prepare_frame, settings), partial(tqdm, total=len(jobs), desc="remap", disable=None)
    workers = min(workers, len(jobs))
    if workers <= 1:
        yield from bar(map(prepare, jobs))
        return
    spawn = multiprocessing.get_context("spawn")  # forking a process that has threads may hang
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_start_worker) as pool:
        try:
            yield from bar(pool.map(prepare, jobs, chunksize=4))
        except BrokenProcessPool as error:
            raise RunFailed(
                "remap: a worker process died, perhaps for lack of memory.\nRun the same command again, with fewer"
                " cores if so: it resumes after the frames that are done."
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _start_worker() -> None:
    """One thread; Ctrl-C is for the parent; no worker outlives a killed parent."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _write_split(job: RemapJob, split: PreparedSplit, images: str, tally: Tally, columns: int) -> None:
    """Remove what is not of this run, then write tables and statistics of a split, whose images may be in another.

    `columns` of the index: 1 for images, 2 with labels, 3 with labels at full size.
    """
    folder = "images" if images == split.path.name else f"../{images}/images"
    rows = [
        (f"{folder}/{name}.{job.images}", f"labels/{name}.png", f"full/{name}.png")[:columns] for name in tally.digests
    ]
    _prune(split.path, {file for row in rows for file in row})
    content = [
        pair
        for row, made in zip(rows, tally.digests.values(), strict=True)
        for pair in zip(row[:2], made, strict=False)
    ]
    stats = {
        "domain": job.domain,
        "split": split.path.name,
        "frames": len(rows),
        "size": list(job.size),
        "sha256": sha256(canonical(sorted(content)).encode()),
        **color_statistics(tally),
    }
    if columns > 1:
        stats |= label_statistics(tally)
        counts = [[row[0], *map(str, count)] for row, count in zip(rows, tally.classes, strict=True)]
        _write_table(split.class_counts, [["image", *NAMES], *counts])
    write_json(split.stats, stats)
    _write_table(split.index, [("image", "label", "full")[:columns], *rows])


def _write_table(path: Path, rows: list[Any]) -> None:
    write_text(path, "".join(",".join(row) + "\n" for row in rows))


def _prune(folder: Path, wanted: set[str]) -> None:
    """Remove frames of an earlier, longer run and what a killed one left under temporary names."""
    kinds = ("images/*.png", "images/*.ppm", "labels/*.png", "full/*.png", ".*.partial*")
    for path in [path for kind in kinds for path in folder.glob(kind)]:
        if path.relative_to(folder).as_posix() not in wanted:
            path.unlink()
