"""The rendered world on disk, in the layouts and formats of the three data sets."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from dacs.demo_world.frame import SPLITS, Frame, render
from dacs.demo_world.materials import IDS, LANE_MARKING
from dacs.demo_world.rates import DOMAINS
from dacs.errors import BadRequest
from dacs.files import atomic, digest, write_json, write_text
from dacs.labels import LABELS

CITIES = {"train": ("aachen", "bremen", "tuebingen", "zurich"), "val": ("frankfurt", "lindau", "munster")}
PNG_LEVEL = 1  # of zlib: frames are read once or twice, and smaller files would cost more than rendering them
MARKER = ".world"  # marks a folder that may be written to again


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write one channel, or blue, green and red, of 8 or 16 bits."""
    if not cv2.imwrite(str(path), pixels, [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL]):
        raise OSError(f"the encoder could not write {path.name}")


def _write_gta5_label(path: Path, ids: np.ndarray, frame: Frame) -> None:
    label = Image.fromarray(ids).convert("P")
    label.putpalette([channel for entry in LABELS for channel in entry.color])
    label.save(path, compress_level=PNG_LEVEL)


def _write_synthia_label(path: Path, ids: np.ndarray, frame: Frame) -> None:
    blue_green_red = np.stack([np.zeros_like(ids), frame.instance, ids], axis=-1, dtype=np.uint16)
    write_png(path, blue_green_red)


class DiskFormat(NamedTuple):
    """Where and how a domain stores a frame."""

    image: str  # path below the domain's folder; n: number, split and city as Cityscapes has them
    label: str
    first: int  # number of the first frame
    ids: dict[int, int]  # id on disk, where it is not that of the label table
    write_label: Callable[[Path, np.ndarray, Frame], None]


_TO_SYNTHIA = {label.id: label.synthia_id or 0 for label in LABELS}
FORMATS = {
    "gta5": DiskFormat(
        "images/{n:05d}.png", "labels/{n:05d}.png", 1, {LANE_MARKING: IDS["road"]}, _write_gta5_label
    ),
    "synthia": DiskFormat(
        "RAND_CITYSCAPES/RGB/{n:07d}.png", "RAND_CITYSCAPES/GT/LABELS/{n:07d}.png", 0,
        # a plate is part of its car; RAND-CITYSCAPES has no terrain, its lawns count as vegetation
        _TO_SYNTHIA | {LANE_MARKING: 22, IDS["license plate"]: _TO_SYNTHIA[IDS["car"]],
                       IDS["terrain"]: _TO_SYNTHIA[IDS["vegetation"]]},
        _write_synthia_label,
    ),
    "cityscapes": DiskFormat(
        "leftImg8bit/{split}/{city}/{city}_{n:06d}_000019_leftImg8bit.png",
        "gtFine/{split}/{city}/{city}_{n:06d}_000019_gtFine_labelIds.png", 0,
        {LANE_MARKING: IDS["road"], IDS["license plate"]: IDS["car"]},
        lambda path, ids, frame: write_png(path, ids),
    ),
}  # fmt: skip


def paths(domain: str, split: str, number: int) -> tuple[str, str]:
    """Image and label of a frame, relative to the domain's folder."""
    format, cities = FORMATS[domain], CITIES[split]
    n = number // len(cities) if domain == "cityscapes" else format.first + number
    names = {"n": n, "split": split, "city": cities[number % len(cities)]}
    return format.image.format(**names), format.label.format(**names)


def ids_on_disk(domain: str, label: np.ndarray) -> np.ndarray:
    """A label in the ids that the domain stores."""
    table = np.arange(256, dtype=np.uint8)
    for id, on_disk in FORMATS[domain].ids.items():
        table[id] = on_disk
    return table[label]


def write_frame(job: tuple[str, int], *, domain: str, out: Path, seed: int, scale: float) -> dict[str, str]:
    """Render and write the frame of this split and number; return the digest of its two files by relative path."""
    split, number = job
    frame = render(domain, split, number, seed=seed, scale=scale)
    image, label = paths(domain, split, number)
    with atomic(out / image) as path:
        write_png(path, frame.image[..., ::-1])
    with atomic(out / label) as path:
        FORMATS[domain].write_label(path, ids_on_disk(domain, frame.label), frame)
    return {name: digest(out / name) for name in (image, label)}


def write_world(
    domain: str, out: Path, *, seed: int, scale: float, frames: dict[str, int], workers: int
) -> dict[str, Any]:
    """Write all frames of a domain, then `manifest.json`, which marks the folder as whole; return the manifest.

    `frames` is their number by split; `scale` is the share of the real width and height. The same seed gives the same
    bytes for any number of workers. Raises BadRequest if domain or split is unknown, or `out` holds other files.
    """
    _check(domain, out, frames)
    (out / "manifest.json").unlink(missing_ok=True)
    write_text(out / MARKER, "These files were rendered by `dacs world`, which may write them again.\n")
    jobs = [(split, number) for split, count in frames.items() for number in range(count)]
    work = partial(write_frame, domain=domain, out=out, seed=seed, scale=scale)
    if workers <= 1:
        written = [work(job) for job in jobs]
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            written = list(pool.map(work, jobs, chunksize=8))
    contents = dict(sorted(file for files in written for file in files.items()))
    for path in out.rglob("*.png"):  # of an earlier, larger world
        if path.relative_to(out).as_posix() not in contents:
            path.unlink()
    whole = hashlib.sha256("".join(f"{name} {content}\n" for name, content in contents.items()).encode())
    manifest = {"domain": domain, "origin": "world", "frames": frames, "sha256": whole.hexdigest()}
    write_json(out / "manifest.json", manifest)
    return manifest


def _check(domain: str, out: Path, frames: dict[str, int]) -> None:
    if domain not in DOMAINS:
        raise BadRequest(f"{domain}: not a domain of the built-in world.\nIt renders {', '.join(DOMAINS)}.")
    for split in frames:
        if split not in SPLITS:
            raise BadRequest(f"{split}: not a split of {domain}.\nThe built-in world renders {' and '.join(SPLITS)}.")
    if out.exists() and any(out.iterdir()) and not (out / MARKER).exists():
        raise BadRequest(f"{out}: holds files that `dacs world` did not write.\nMove them or name another folder.")
