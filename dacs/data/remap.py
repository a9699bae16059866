"""From any raw data set to the one prepared form: train ids and images at training resolution, an index, a card.

From here on no data set has a name. `index.csv` and `card.json` are written last: their presence means that the split
is whole. The bytes depend on the raw files and the settings alone, not on the number of workers.
"""

import fcntl
import hashlib
import io
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import PIL
from PIL import Image
from tqdm import tqdm

from dacs.data.formats import (
    BadFrame,
    Frame,
    decode_image,
    decoded,
    format_of,
    frames,
    listing,
    read_png,
)
from dacs.errors import BadRequest, RunFailed
from dacs.files import write_bytes, write_json, write_text
from dacs.labels import CLASSES, IGNORE, palette
from dacs.provenance import canonical, code_digest

BANDS = 16  # horizontal bands of the statistics, top to bottom
UNKNOWN = 254  # stands for an id outside the table between look-up and complaint
RESAMPLE = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}  # both antialiased
JOURNAL = ".frames.jsonl"  # what each finished frame was made from, until all are: how an interrupted run goes on


class Settings(NamedTuple):
    """What the pixels of a prepared frame depend on, besides the raw files."""

    domain: str
    size: tuple[int, int]  # height, width in pixels
    resample: str


class Job(NamedTuple):
    """One frame to prepare, and what an earlier run noted about it."""

    name: str  # split/name
    frame: Frame
    image: Path  # to write
    label: Path
    noted: dict[str, Any] | None


class Made(NamedTuple):
    """One prepared frame: where it came from, and its exact counts."""

    note: dict[str, Any]  # frame, and the sha256 of its raw and of its prepared image and label
    colors: np.ndarray  # int64 of shape (3, 256): pixels of each value in each channel
    bands: np.ndarray  # int64 of shape (16, 256): pixels of each train id in each band


@dataclass
class Tally:
    """Sums over the frames of a split, in integers: no order of adding changes them."""

    frames: int = 0
    colors: np.ndarray = field(default_factory=lambda: np.zeros((3, 256), np.int64))
    bands: np.ndarray = field(default_factory=lambda: np.zeros((BANDS, 256), np.int64))
    holding: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))  # frames with each train id
    digests: dict[str, tuple[str, str]] = field(default_factory=dict)  # name → sha256 of image and label

    def add(self, name: str, made: Made) -> None:
        self.frames += 1
        self.colors += made.colors
        self.bands += made.bands
        self.holding += made.bands.any(axis=0)
        self.digests[name] = tuple(made.note["made"])


def remap(domain: str, raw: Path, out: Path, *, size: tuple[int, int], resample: str, workers: int) -> None:
    """Prepare every split of a domain below `out` at `size` (height, width).

    All frames are read before anything is said: raises RunFailed listing what breaks the contract of the data, and then
    leaves no index. Frames that were finished stay, so that the next run makes only what is missing or has changed.
    """
    settings = Settings(domain, size, resample)
    _check(settings, raw, out)
    form, found = format_of(domain), frames(domain, raw)
    with _at_work(out):
        for split in {*form.splits, *form.splits.values()}:
            for name in ("index.csv", "card.json"):
                (out / split / name).unlink(missing_ok=True)
        tallies = _make_all(settings, raw, out, found, workers)
        for split, labels in form.splits.items():
            _finish(settings, out, split, split, tallies[split], labelled=labels == split)
            if labels != split:
                _finish(settings, out, labels, split, tallies[split], labelled=True)
        for path in (out / JOURNAL, *out.glob(".*.partial*")):
            path.unlink()


def _check(settings: Settings, raw: Path, out: Path) -> None:
    format_of(settings.domain)
    if settings.resample not in RESAMPLE:
        raise BadRequest(f"remap: resample '{settings.resample}' is unknown.\nChoose one of {', '.join(RESAMPLE)}.")
    if min(settings.size) < 1:
        raise BadRequest(f"remap: size {settings.size} is not a height and a width in pixels.\nBoth must be positive.")
    here, there = out.resolve(), raw.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise BadRequest(f"remap: {out} and {raw} lie in one another.\nRaw data are never written to: choose another.")


@contextmanager
def _at_work(out: Path) -> Iterator[None]:
    """Refuse to work in a folder where another process does; the lock ends with its process, however that ends."""
    folder = -1
    try:
        out.mkdir(parents=True, exist_ok=True)
        folder = os.open(out, os.O_RDONLY)
        _lock(folder, out)
        yield
    except OSError as error:
        raise RunFailed(
            f"{out}: could not be written ({error.strerror or error}).\n"
            f"Free some space or choose another folder, then run the same command again."
        ) from error
    finally:
        if folder >= 0:
            os.close(folder)


def _lock(folder: int, out: Path) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RunFailed(f"{out}: another 'dacs remap' is at work there.\nWait for it, or stop it first.") from error
    except OSError:
        pass  # a network file system that locks no folders; every file is still written whole or not at all


# --------------------------------------------------------------------------------------------------------------------
# All frames


def _make_all(
    settings: Settings, raw: Path, out: Path, found: dict[str, list[Frame]], workers: int
) -> dict[str, Tally]:
    """Make every frame, note each as it is done, and add up by raw split."""
    journal = out / JOURNAL
    header = canonical([*settings, PIL.__version__, cv2.__version__, code_digest("dacs.data.remap")])
    noted = _read_journal(journal, header)
    jobs = [_job(settings, out, noted, split, frame) for split, listed in found.items() for frame in listed]
    splits = [split for split, listed in found.items() for _ in listed]
    tallies: dict[str, Tally] = {split: Tally() for split in found}
    faults: list[str] = []
    write_text(journal, "\n".join([header, *map(canonical, noted.values())]) + "\n")
    with journal.open("a") as notebook:
        for split, job, made in zip(splits, jobs, _each(partial(_make, settings), jobs, workers), strict=True):
            if isinstance(made, str):
                faults.append(made)
                continue
            tallies[split].add(job.frame.name, made)
            print(canonical(made.note), file=notebook, flush=True)
    if faults:
        raise RunFailed(
            listing(f"{raw}: {len(faults)} of {len(jobs)} frames break the contract of the data", faults)
            + "\nMend or remove these frames (image and label), or make or unpack the data again; then run the same"
            + " command: it goes on from the frames that are done."
        )
    return tallies


def _job(settings: Settings, out: Path, noted: dict[str, dict[str, Any]], split: str, frame: Frame) -> Job:
    image = out / split / "images" / f"{frame.name}.png"
    label = out / format_of(settings.domain).splits[split] / "labels" / f"{frame.name}.png"
    return Job(f"{split}/{frame.name}", frame, image, label, noted.get(f"{split}/{frame.name}"))


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


def _make(settings: Settings, job: Job) -> Made | str:
    """Prepare one frame, or say in one line what is wrong with it."""
    frame = job.frame
    try:
        raw = read_png(frame.image), read_png(frame.label)
        note = {"frame": job.name, "raw": [_sha(content) for content in raw]}
        kept = _kept(job, note)
        image, label = _opened(*kept) if kept else _prepared(settings, frame, *raw)
    except BadFrame as fault:
        return str(fault)
    files = kept or (_image_png(image), _label_png(label))
    if not kept:
        write_bytes(job.image, files[0])
        write_bytes(job.label, files[1])
    note["made"] = [_sha(content) for content in files]
    return Made(note, np.array(image.histogram(), np.int64).reshape(3, 256), _count_bands(label))


def _kept(job: Job, note: dict[str, Any]) -> tuple[bytes, bytes] | None:
    """The files that an earlier run made of the same raw bytes, if they are still what it noted."""
    if job.noted is None or job.noted["raw"] != note["raw"]:
        return None
    if not (job.image.exists() and job.label.exists()):
        return None
    files = job.image.read_bytes(), job.label.read_bytes()
    return files if job.noted["made"] == [_sha(content) for content in files] else None


def _opened(image_png: bytes, label_png: bytes) -> tuple[Image.Image, np.ndarray]:
    """A prepared frame as pixels."""
    return Image.open(io.BytesIO(image_png)), np.asarray(Image.open(io.BytesIO(label_png)))


def _prepared(settings: Settings, frame: Frame, raw_image: bytes, raw_label: bytes) -> tuple[Image.Image, np.ndarray]:
    """Image and train ids at the new size."""
    form = format_of(settings.domain)
    image = decoded(frame.image, raw_image, decode_image)
    label = decoded(frame.label, raw_label, form.decode)
    if frame.name in form.mended:
        label = _nearest(label, (image.height, image.width))
    if label.shape != (image.height, image.width):
        raise BadFrame(
            f"{frame.label}: is {label.shape[1]}x{label.shape[0]}, its image {frame.image} {image.width}x{image.height}"
        )
    try:
        label = train_ids(label, form.train_ids)
    except ValueError as error:
        raise BadFrame(f"{frame.label}: {error}") from error
    height, width = settings.size
    return image.resize((width, height), RESAMPLE[settings.resample]), _nearest(label, settings.size)


def train_ids(label: np.ndarray, table: dict[int, int]) -> np.ndarray:
    """Train ids of raw ids (both uint8, same shape). Raises ValueError naming the ids outside the table."""
    lookup = np.full(256, UNKNOWN, np.uint8)
    lookup[list(table)] = list(table.values())
    mapped: np.ndarray = cv2.LUT(label, lookup)
    if (mapped == UNKNOWN).any():
        strangers = sorted(int(value) for value in np.unique(label[mapped == UNKNOWN]))
        raise ValueError(f"ids outside the table ({min(table)}..{max(table)}): {', '.join(map(str, strangers))}")
    return mapped


def _nearest(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The label at another size, each pixel taken whole from the nearest one."""
    return np.asarray(Image.fromarray(label).resize((size[1], size[0]), Image.Resampling.NEAREST))


def _image_png(image: Image.Image) -> bytes:
    """A photograph as PNG: run lengths take half the time of Pillow's search for repeats, and less space."""
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    return bytes(cv2.imencode(".png", cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2BGR), options)[1])


def _label_png(label: np.ndarray) -> bytes:
    """Train ids as a palette PNG, so that a viewer shows the official colours."""
    image = Image.fromarray(label)
    image.putpalette(palette().tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# --------------------------------------------------------------------------------------------------------------------
# Counting


def _count_bands(label: np.ndarray) -> np.ndarray:
    """How many pixels of each value each horizontal band holds: shape (16, 256)."""
    band = np.arange(len(label)) * BANDS // len(label)
    return np.bincount((band[:, None] * 256 + label).ravel(), minlength=BANDS * 256).reshape(BANDS, 256)


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


def _finish(settings: Settings, out: Path, split: str, images: str, tally: Tally, labelled: bool) -> None:
    """Remove what is not of this run, then write card and index of a split whose images may lie in another."""
    folder = "images" if images == split else f"../{images}/images"
    rows = [(f"{folder}/{name}.png", f"labels/{name}.png")[: 1 + labelled] for name in tally.digests]
    _prune(out / split, {file for row in rows for file in row})
    digests = [digest for pair in tally.digests.values() for digest in pair[: 1 + labelled]]
    content = sorted(zip((file for row in rows for file in row), digests, strict=True))
    card: dict[str, Any] = {
        "domain": settings.domain,
        "split": split,
        "frames": tally.frames,
        "size": list(settings.size),
        "sha256": _sha(canonical(content).encode()),
        **_color_statistics(tally),
    }
    write_json(out / split / "card.json", card | (_label_statistics(tally) if labelled else {}))
    lines = [("image", "label")[: 1 + labelled], *rows]
    write_text(out / split / "index.csv", "".join(",".join(line) + "\n" for line in lines))


def _prune(folder: Path, wanted: set[str]) -> None:
    """Remove frames of an earlier, longer run and what a killed one left under temporary names."""
    for path in [*folder.glob("images/*.png"), *folder.glob("labels/*.png"), *folder.glob(".*.partial*")]:
        if path.relative_to(folder).as_posix() not in wanted:
            path.unlink()
