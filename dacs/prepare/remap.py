"""From any raw data set to the one prepared form: train ids and images at training resolution, an index, a card.

From here on no data set has a name. `index.csv` and `card.json` are written last: their presence means that the split
is whole. The bytes depend on the raw files and the settings alone, not on the number of workers.
"""

import hashlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import PIL
from PIL import Image
from tqdm import tqdm

from dacs.datasets.decode import BadFrame, Decode, decode_image, decoded, listing, read_whole
from dacs.datasets.formats import Format, Frame, Raw
from dacs.errors import BadRequest, RunFailed
from dacs.files import write_bytes, write_json, write_text
from dacs.labels import CLASSES, IGNORE
from dacs.locks import working_alone
from dacs.prepare import data_report as contract
from dacs.prepare.pixels import (
    BANDS,
    ENCODE,
    RESAMPLE,
    count_bands,
    count_colors,
    count_values,
    nearest,
    opened,
    png_of_label,
    resize,
    train_ids,
)
from dacs.provenance import canonical, code_digest

JOURNAL = ".frames.jsonl"  # what each finished frame was made from, until all are: how an interrupted run goes on
MARKERS = ("index.csv", "card.json")  # of a split, written last


class Settings(NamedTuple):
    """What the pixels of a prepared frame depend on, besides the raw files."""

    size: tuple[int, int]  # height, width in pixels
    resample: str
    images: str  # png or ppm


class Job(NamedTuple):
    """One frame to prepare, and what an earlier run noted about it."""

    name: str  # split/name
    frame: Frame
    mend: bool  # whether its label is known to be of another size
    image: Path  # to write
    label: Path | None
    full: Path | None  # its label at full size
    noted: dict[str, Any] | None


class Made(NamedTuple):
    """One prepared frame: where it came from, and its exact counts."""

    note: dict[str, Any]  # frame, sha256 of its raw and of its prepared files, what its raw files were like
    colors: np.ndarray  # int64 of shape (3, 256): pixels of each value in each channel
    bands: np.ndarray  # int64 of shape (16, 256): pixels of each train id in each band


@dataclass
class Tally:
    """Sums over the frames of a split, in integers: no order of adding changes them."""

    frames: int = 0
    colors: np.ndarray = field(default_factory=lambda: np.zeros((3, 256), np.int64))
    bands: np.ndarray = field(default_factory=lambda: np.zeros((BANDS, 256), np.int64))
    holding: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))  # frames with each train id
    digests: dict[str, tuple[str, ...]] = field(default_factory=dict)  # name → sha256 of image, label, full label

    def add(self, name: str, made: Made) -> None:
        self.frames += 1
        self.colors += made.colors
        self.bands += made.bands
        self.holding += made.bands.any(axis=0)
        self.digests[name] = tuple(made.note["made"])


def remap(raw: Raw, out: Path, *, size: tuple[int, int], resample: str, images: str, workers: int) -> None:
    """Prepare every split of a data set below `out` at `size` (height, width), its images as `images` (png or ppm).

    All frames are read before anything is said: raises RunFailed listing what breaks the contract of the data, and then
    leaves no index. Frames that were finished stay, so that the next run makes only what is missing or has changed.
    Writes contract.json too: what was found against what is published.
    """
    settings = Settings(size, resample, images)
    _check(settings, raw.root, out)
    prepared = {*raw.form.splits, *filter(None, raw.form.splits.values())}
    with working_alone(out, "another 'dacs remap' is at work"):
        for path in (out / "contract.json", *(out / split / name for split in prepared for name in MARKERS)):
            path.unlink(missing_ok=True)
        tallies, findings = _make_all(settings, raw, out, workers)
        for split, labels in raw.form.splits.items():
            _finish(settings, raw, out, split, split, tallies[split], labelled=labels == split)
            if labels not in (split, ""):
                _finish(settings, raw, out, labels, split, tallies[split], labelled=True)
        found = contract.report(raw, findings)
        write_json(out / "contract.json", found)
        print("\n".join(contract.lines(found)))
        for path in (out / JOURNAL, *out.glob(".*.partial*")):
            path.unlink()


def _check(settings: Settings, raw: Path, out: Path) -> None:
    for word, valid in ((settings.resample, RESAMPLE), (settings.images, ENCODE)):
        if word not in valid:
            raise BadRequest(f"remap: '{word}' is unknown.\nChoose one of {', '.join(valid)}.")
    if min(settings.size) < 1:
        raise BadRequest(f"remap: size {settings.size} is not a height and a width in pixels.\nBoth must be positive.")
    here, there = out.resolve(), raw.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise BadRequest(f"remap: {out} and {raw} lie in one another.\nRaw data are never written to: choose another.")


# --------------------------------------------------------------------------------------------------------------------
# All frames


def _make_all(settings: Settings, raw: Raw, out: Path, workers: int) -> tuple[dict[str, Tally], contract.Findings]:
    """Make every frame, note each as it is done, and add up by raw split."""
    journal = out / JOURNAL
    header = _header(settings, raw)
    noted = _read_journal(journal, header)
    jobs = [_job(settings, raw, out, noted, split, frame) for split, listed in raw.frames.items() for frame in listed]
    splits = [split for split, listed in raw.frames.items() for _ in listed]
    tallies: dict[str, Tally] = {split: Tally() for split in raw.frames}
    findings, faults = contract.Findings(), list[str]()
    write_text(journal, "\n".join([header, *map(canonical, noted.values())]) + "\n")
    make = partial(_make, settings, raw.form, raw.decode)
    with journal.open("a") as notebook:
        for split, job, made in zip(splits, jobs, _each(make, jobs, workers), strict=True):
            if isinstance(made, str):
                faults.append(made)
                continue
            tallies[split].add(job.frame.name, made)
            findings.add(split, job.frame.name, made.note)
            print(canonical(made.note), file=notebook, flush=True)
    if faults:
        raise RunFailed(
            listing(f"{raw.root}: {len(faults)} of {len(jobs)} frames break the contract of the data", faults)
            + "\nMend or remove these frames (image and label), or make or unpack the data again; then run the same"
            + " command: it goes on from the frames that are done."
        )
    return tallies, findings


def _header(settings: Settings, raw: Raw) -> str:
    """What all notes of a journal share."""
    form = raw.form
    what = [raw.domain, *settings, sorted(form.train_ids.items()), form.stamp]
    return canonical([*what, PIL.__version__, cv2.__version__, code_digest("dacs.prepare.remap")])


def _job(settings: Settings, raw: Raw, out: Path, noted: dict[str, dict[str, Any]], split: str, frame: Frame) -> Job:
    labels = out / raw.form.splits[split] if frame.label else None
    return Job(
        f"{split}/{frame.name}",
        frame,
        raw.known.get(frame.name, ("", ""))[0] == "mend",
        out / split / "images" / f"{frame.name}.{settings.images}",
        labels / "labels" / f"{frame.name}.png" if labels else None,
        labels / "full" / f"{frame.name}.png" if labels and split in raw.form.full else None,
        noted.get(f"{split}/{frame.name}"),
    )


def _read_journal(path: Path, header: str) -> dict[str, dict[str, Any]]:
    """What earlier runs with the same settings and code have noted, by frame; the last note may be cut off."""
    lines = path.read_text().splitlines() if path.exists() else []
    if not lines or lines[0] != header:
        return {}
    notes = [json.loads(line) for line in lines[1:] if line.endswith("}")]
    return {note["frame"]: note for note in notes}


def _each(make: Any, jobs: list[Job], workers: int) -> Iterator[Made | str]:
    """Results in the order of the jobs, with a progress bar where a person watches."""
    bar = partial(tqdm, total=len(jobs), desc="remap", unit="frame", disable=None)
    workers = min(workers, len(jobs))
    if workers <= 1:
        yield from bar(map(make, jobs))
        return
    spawn = multiprocessing.get_context("spawn")  # forking a process that has threads may hang
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_prepare_worker) as pool:
        try:
            yield from bar(pool.map(make, jobs, chunksize=4))
        except BrokenProcessPool as error:
            raise RunFailed(
                "remap: a worker process died, perhaps for want of memory.\nRun the same command again, it goes on from"
                " the frames that are done; with fewer cores it needs less memory."
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _prepare_worker() -> None:
    """One thread; Ctrl-C is the parent's to answer; no worker outlives a killed parent."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


# --------------------------------------------------------------------------------------------------------------------
# One frame


def _make(settings: Settings, form: Format, decode: Decode, job: Job) -> Made | str:
    """Prepare one frame, or say in one line what is wrong with it."""
    try:
        raw = [read_whole(file) for file in (job.frame.image, job.frame.label) if file]
        note: dict[str, Any] = {"frame": job.name, "raw": [_sha(content) for content in raw]}
        kept = _kept(job, note)
        if kept:
            return _counted({**(job.noted or {}), **note}, kept, opened(kept[0]), *map(_ids, kept[1:2]))
        image, found = _image(settings, form, job.frame, raw[0])
        note |= {"size": found, "ids": {}, "mended": False}
        if job.frame.label is None:
            return _counted(note, _written(job, [ENCODE[settings.images](image)]), image)
        whole, seen = _train_ids(form, decode, job, raw[1], found)
        note |= seen
    except BadFrame as fault:
        return str(fault)
    label = nearest(whole, settings.size)
    files = [ENCODE[settings.images](image), png_of_label(label)] + ([png_of_label(whole)] if job.full else [])
    return _counted(note, _written(job, files), image, label)


def _paths(job: Job) -> list[Path]:
    return [path for path in (job.image, job.label, job.full) if path]


def _written(job: Job, files: list[bytes]) -> list[bytes]:
    for path, content in zip(_paths(job), files, strict=True):
        write_bytes(path, content)
    return files


def _counted(note: dict[str, Any], files: list[bytes], image: Image.Image, label: np.ndarray | None = None) -> Made:
    bands = np.zeros((BANDS, 256), np.int64) if label is None else count_bands(label)
    return Made(note | {"made": [_sha(content) for content in files]}, count_colors(image), bands)


def _kept(job: Job, note: dict[str, Any]) -> list[bytes]:
    """The files that an earlier run made of the same raw bytes, if they are still what it noted."""
    paths = _paths(job)
    if job.noted is None or job.noted["raw"] != note["raw"] or not all(path.exists() for path in paths):
        return []
    files = [path.read_bytes() for path in paths]
    return files if job.noted["made"] == [_sha(content) for content in files] else []


def _ids(content: bytes) -> np.ndarray:
    return np.asarray(opened(content))


def _image(settings: Settings, form: Format, frame: Frame, content: bytes) -> tuple[Image.Image, list[int]]:
    """The image at the new size, and the height and width that it had."""
    pixels = decoded(frame.image, content, decode_image)
    size = pixels.shape[:2]
    if form.exact and size not in form.sizes:
        expected = " or ".join(f"{width}x{height}" for height, width in sorted(form.sizes))
        raise BadFrame(f"{frame.image}: is {size[1]}x{size[0]}, {expected} is published")
    return resize(pixels, settings.size, settings.resample), list(size)


def _train_ids(
    form: Format, decode: Decode, job: Job, content: bytes, size: list[int]
) -> tuple[np.ndarray, dict[str, Any]]:
    """Train ids at full size, and what the label was like."""
    file = job.frame.label or job.frame.image
    label = decoded(file, content, decode)
    mended = job.mend and list(label.shape) != size
    if mended:
        label = nearest(label, (size[0], size[1]))
    if list(label.shape) != size:
        raise BadFrame(f"{file}: is {label.shape[1]}x{label.shape[0]}, its image {job.frame.image} {size[1]}x{size[0]}")
    try:
        mapped = train_ids(label, form.train_ids)
    except ValueError as error:
        raise BadFrame(f"{file}: {error}") from error
    counts = count_values(label)
    return mapped, {"ids": {int(key): int(counts[key]) for key in np.flatnonzero(counts)}, "mended": mended}


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# --------------------------------------------------------------------------------------------------------------------
# Statistics


def _color_statistics(tally: Tally) -> dict[str, Any]:
    """Mean and standard deviation of each channel, 0..255."""
    values = np.arange(256)
    pixels, sums, squares = tally.colors.sum(axis=1), tally.colors @ values, tally.colors @ values**2
    spread = [int(n) * int(q) - int(s) ** 2 for n, s, q in zip(pixels, sums, squares, strict=True)]
    return {
        "image_mean": [round(int(s) / int(n), 6) for n, s in zip(pixels, sums, strict=True)],
        "image_std": [round(v**0.5 / int(n), 6) for n, v in zip(pixels, spread, strict=True)],
    }


def _label_statistics(tally: Tally) -> dict[str, Any]:
    """How often each class comes, in how many frames, and at which height."""
    bands = tally.bands[:, : len(CLASSES)]
    valid = np.maximum(bands.sum(axis=1, keepdims=True), 1)  # a band of void alone has shares of zero
    return {
        "pixels": bands.sum(axis=0).tolist(),
        "ignored": int(tally.bands[:, IGNORE].sum()),
        "presence": (tally.holding[: len(CLASSES)] / tally.frames).round(6).tolist(),
        "rows16": (bands / valid).round(6).T.tolist(),
    }


# --------------------------------------------------------------------------------------------------------------------
# The split as others see it


def _finish(settings: Settings, raw: Raw, out: Path, split: str, images: str, tally: Tally, labelled: bool) -> None:
    """Remove what is not of this run, then write card and index of a split whose images may lie in another."""
    folder = "images" if images == split else f"../{images}/images"
    columns = ("image", "label", "full")[: 1 + labelled + (labelled and images in raw.form.full)]
    rows = [
        (f"{folder}/{name}.{settings.images}", f"labels/{name}.png", f"full/{name}.png")[: len(columns)]
        for name in tally.digests
    ]
    _prune(out / split, {file for row in rows for file in row})
    digests = [digest for each in tally.digests.values() for digest in each[: 1 + labelled]]
    content = sorted(zip((file for row in rows for file in row[: 1 + labelled]), digests, strict=True))
    card: dict[str, Any] = {
        "domain": raw.domain,
        "split": split,
        "frames": tally.frames,
        "size": list(settings.size),
        "sha256": _sha(canonical(content).encode()),
        **_color_statistics(tally),
    }
    write_json(out / split / "card.json", card | (_label_statistics(tally) if labelled else {}))
    write_text(out / split / "index.csv", "".join(",".join(line) + "\n" for line in [columns, *rows]))


def _prune(folder: Path, wanted: set[str]) -> None:
    """Remove frames of an earlier, longer run and what a killed one left under temporary names."""
    kinds = ("images/*.png", "images/*.ppm", "labels/*.png", "full/*.png", ".*.partial*")
    for path in [path for kind in kinds for path in folder.glob(kind)]:
        if path.relative_to(folder).as_posix() not in wanted:
            path.unlink()
