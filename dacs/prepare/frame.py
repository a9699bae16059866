"""One raw frame → its prepared files and exact counts; runs in worker processes."""

import hashlib
import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from dacs.datasets.base import Frame
from dacs.datasets.decode import BadFrame, Decode, decode_file, decode_image, read_whole
from dacs.files import write_bytes
from dacs.prepare.pixels import (
    BANDS,
    ENCODE,
    count_bands,
    count_colors,
    count_values,
    nearest,
    png_of_label,
    resize,
    train_ids,
)


class FrameSettings(NamedTuple):
    """What all frames of a domain share."""

    size: tuple[int, int]  # height, width in pixels
    resample: str
    images: str  # png or ppm
    decode: Decode
    train_ids: dict[int, int]
    sizes: frozenset[tuple[int, int]]  # that raw images may have; empty: any


class FrameJob(NamedTuple):
    """One frame to prepare."""

    name: str  # split/name
    raw: Frame
    mend: bool  # whether its label is known to be of another size
    files: tuple[Path, ...]  # to write: the image, its label, the label at full size; or fewer
    earlier: dict[str, Any] | None  # what an interrupted run noted about it


class PreparedFrame(NamedTuple):
    """One prepared frame: where it came from, and its exact counts."""

    note: dict[str, Any]  # frame, sha256 of its raw and of its prepared files, what its raw files were like
    colors: np.ndarray  # int64 of shape (3, 256): pixels of each value in each channel
    bands: np.ndarray  # int64 of shape (16, 256): pixels of each train id in each horizontal band


def prepare_frame(settings: FrameSettings, job: FrameJob) -> PreparedFrame | str:
    """Write the files of one frame, or say in one line what is wrong with it."""
    try:
        contents = [read_whole(file) for file in job.raw[1:] if file]
        digests = [sha256(content) for content in contents]
        return _reuse(job, digests) or _convert(settings, job, contents, digests)
    except BadFrame as fault:
        return str(fault)


def sha256(content: bytes) -> str:
    """The sha256 of bytes, in hex."""
    return hashlib.sha256(content).hexdigest()


def _reuse(job: FrameJob, digests: list[str]) -> PreparedFrame | None:
    """What an interrupted run made of the same raw bytes, if its files are still as it noted."""
    if job.earlier is None or job.earlier["raw"] != digests or not all(path.exists() for path in job.files):
        return None
    contents = [path.read_bytes() for path in job.files]
    if [sha256(content) for content in contents] != job.earlier["made"]:
        return None
    image, *labels = (Image.open(io.BytesIO(content)) for content in contents[:2])
    return _counted(job.earlier, image, np.asarray(labels[0]) if labels else None)


def _convert(settings: FrameSettings, job: FrameJob, contents: list[bytes], digests: list[str]) -> PreparedFrame:
    pixels = decode_file(job.raw.image, contents[0], decode_image)
    size = pixels.shape[:2]
    if settings.sizes and size not in settings.sizes:
        expected = " or ".join(f"{width}x{height}" for height, width in sorted(settings.sizes))
        raise BadFrame(f"{job.raw.image}: is {size[1]}x{size[0]}, {expected} is published")
    image, label = resize(pixels, settings.size, settings.resample), None
    note = {"frame": job.name, "raw": digests, "size": list(size), "ids": {}, "mended": False}
    encoded = [ENCODE[settings.images](image)]
    if job.raw.label:
        whole, seen = _train_ids(settings, job, contents[1], size)
        label = nearest(whole, settings.size)
        encoded += [png_of_label(ids) for ids in (label, whole)[: len(job.files) - 1]]
        note |= seen
    for path, content in zip(job.files, encoded, strict=True):
        write_bytes(path, content)
    return _counted(note | {"made": [sha256(content) for content in encoded]}, image, label)


def _train_ids(
    settings: FrameSettings, job: FrameJob, content: bytes, size: tuple[int, ...]
) -> tuple[np.ndarray, dict[str, Any]]:
    """Train ids at full size, and what the label was like."""
    file = job.raw.label or job.raw.image
    label = decode_file(file, content, settings.decode)
    mended = job.mend and label.shape != size
    if mended:
        label = nearest(label, (size[0], size[1]))
    if label.shape != size:
        raise BadFrame(f"{file}: is {label.shape[1]}x{label.shape[0]}, its image {job.raw.image} {size[1]}x{size[0]}")
    try:
        mapped = train_ids(label, settings.train_ids)
    except ValueError as error:
        raise BadFrame(f"{file}: {error}") from error
    counts = count_values(label)
    return mapped, {"ids": {int(key): int(counts[key]) for key in np.flatnonzero(counts)}, "mended": mended}


def _counted(note: dict[str, Any], image: Image.Image, label: np.ndarray | None) -> PreparedFrame:
    bands = np.zeros((BANDS, 256), np.int64) if label is None else count_bands(label)
    return PreparedFrame(note, count_colors(image), bands)
