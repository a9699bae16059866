"""One raw frame → its prepared files and exact counts; runs in worker processes."""

import hashlib
import io
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from dacs.datasets.base import Frame, Raw
from dacs.datasets.decode import BadFrame, decode_file
from dacs.datasets.picture import any_size, check_label, decode_picture, is_deep, orientation, read_file, upright
from dacs.files import write_bytes
from dacs.labels import LabelSet
from dacs.prepare import pixels
from dacs.settings import RemapJob, label_set


class FrameJob(NamedTuple):
    """One frame to prepare."""

    split: str
    frame: Frame
    files: tuple[Path, ...]  # to write: the image, its label, the label at full size; or fewer
    earlier: dict[str, Any] | None  # what an interrupted run noted about it


class PreparedFrame(NamedTuple):
    """What was made of one frame, and its exact counts."""

    note: dict[str, Any]  # frame; sha256 of its raw and made files; size and depth of the image; pixels of each raw id
    colors: np.ndarray  # int64 of shape (3, 256): pixels of each value in each channel
    bands: np.ndarray  # int64 of shape (16, 256): pixels of each train id in each horizontal band


def prepare_frame(job: RemapJob, raw: Raw, frame_job: FrameJob) -> PreparedFrame | str:
    """Write the files of one frame, or say in one line what is wrong with it."""
    try:
        contents = [read_file(file) for file in (frame_job.frame.image, frame_job.frame.label) if file]
        with any_size():
            return _reuse(frame_job, contents) or _convert(job, raw, frame_job, contents)
    except BadFrame as fault:
        return str(fault)


def sha256(content: bytes) -> str:
    """The sha256 of bytes, in hex."""
    return hashlib.sha256(content).hexdigest()


def _reuse(frame_job: FrameJob, contents: list[bytes]) -> PreparedFrame | None:
    """What an interrupted run made of the same raw bytes, if its files are still as it noted."""
    note = frame_job.earlier
    if note is None:
        return None
    made = [path.read_bytes() for path in frame_job.files if path.exists()]
    if [list(map(sha256, contents)), list(map(sha256, made))] != [note["raw"], note["made"]]:
        return None
    image, *labels = (np.asarray(Image.open(io.BytesIO(content))) for content in made[:2])
    return _with_counts(note, image, labels[0] if labels else None)


def _convert(job: RemapJob, raw: Raw, frame_job: FrameJob, contents: list[bytes]) -> PreparedFrame:
    frame, label = frame_job.frame, None
    photo = decode_file(frame.image, contents[0], decode_picture)
    size = (len(photo), len(photo[0]))
    if raw.sizes and size not in raw.sizes:
        expected = " or ".join(map(pixels.size_text, sorted(raw.sizes)))
        raise BadFrame(f"{frame.image}: is {pixels.size_text(size)}, {expected} is published")
    image = pixels.resize(photo, job.size, job.resample)
    made, raw_ids = [pixels.ENCODE[job.images](image)], dict[str, int]()
    if frame.label:
        labels = label_set(job.labels)
        whole, raw_ids = decode_file(frame.label, contents[1], partial(_read_label, labels, raw, frame, size))
        label = pixels.resize_label(whole, job.size, job.resample)
        made += [pixels.png_of_label(ids, labels) for ids in (label, whole)[: len(frame_job.files) - 1]]
    for path, content in zip(frame_job.files, made, strict=True):
        write_bytes(path, content)
    digests = {"raw": list(map(sha256, contents)), "made": list(map(sha256, made))}
    note = {
        "frame": f"{frame_job.split}/{frame.name}",
        **digests,
        "size": pixels.size_text(size),
        "deep": is_deep(contents[0]),
        "ids": raw_ids,
    }
    return _with_counts(note, image, label)


def _read_label(
    labels: LabelSet, raw: Raw, frame: Frame, size: tuple[int, int], content: bytes
) -> tuple[np.ndarray, dict[str, int]]:
    """Train ids at the size of the image, and how many pixels have each raw id."""
    check_label(content)
    label = upright(raw.dataset.decode(content), orientation(content))
    if frame.name in raw.defects and raw.defects[frame.name].remedy == "mended":
        label = pixels.nearest(label, size)
    if label.shape != size:
        differs = f"is {pixels.size_text(label.shape)}, its image {frame.image} {pixels.size_text(size)}"
        lying = "; was it drawn on the image without its EXIF orientation?" if label.shape == size[::-1] else ""
        raise BadFrame(differs + lying)
    counts = pixels.count_values(label)
    found = {str(raw_id): int(counts[raw_id]) for raw_id in np.flatnonzero(counts).tolist()}
    return pixels.train_ids(label, raw.dataset.train_ids(labels), counts), found


def _with_counts(note: dict[str, Any], image: np.ndarray, label: np.ndarray | None) -> PreparedFrame:
    bands = np.zeros((pixels.BANDS, 256), np.int64) if label is None else pixels.count_bands(label)
    return PreparedFrame(note, pixels.count_colors(image), bands)
