"""The world on disk, in the true layouts of the three data sets; nothing downstream can tell it from a download."""

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
FAST = 1  # zlib level: frames are read once or twice, and smaller files would cost more than drawing them
Job = tuple[str, int]  # split and number of a frame
Written = tuple[str, str]  # relative path and digest of a file
MARK = ".world"  # in a folder that the world may write to again


def _gta5_label(path: Path, ids: np.ndarray, frame: Frame) -> None:
    label = Image.fromarray(ids).convert("P")
    label.putpalette([channel for entry in LABELS for channel in entry.color])
    label.save(path, compress_level=FAST)


def _synthia_label(path: Path, ids: np.ndarray, frame: Frame) -> None:
    channels = np.zeros((*ids.shape, 3), dtype=np.uint16)
    channels[..., 2] = ids  # OpenCV orders blue, green, red: the class lands in red
    channels[..., 1] = frame.instance
    _png(path, channels)


def _cityscapes_label(path: Path, ids: np.ndarray, frame: Frame) -> None:
    _png(path, ids)


def _png(path: Path, pixels: np.ndarray) -> None:
    if not cv2.imwrite(str(path), pixels, [cv2.IMWRITE_PNG_COMPRESSION, FAST]):
        raise OSError(f"the encoder could not write {path.name}")


class Layout(NamedTuple):
    """Where a domain keeps a frame, and how."""

    image: str  # path in the domain's folder; n: number, split and city as Cityscapes has them
    label: str
    first: int  # number of the first frame
    ids: dict[int, int]  # id on disk, where it is not that of the label table
    write_label: Callable[[Path, np.ndarray, Frame], None]


_TO_SYNTHIA = {label.id: label.synthia_id or 0 for label in LABELS}
LAYOUTS = {
    "gta5": Layout("images/{n:05d}.png", "labels/{n:05d}.png", 1, {LANE_MARKING: IDS["road"]}, _gta5_label),
    "synthia": Layout(
        "RAND_CITYSCAPES/RGB/{n:07d}.png", "RAND_CITYSCAPES/GT/LABELS/{n:07d}.png", 0,
        # a plate is part of its car; RAND-CITYSCAPES holds no terrain, its lawns count as vegetation
        _TO_SYNTHIA | {LANE_MARKING: 22, IDS["license plate"]: _TO_SYNTHIA[IDS["car"]],
                       IDS["terrain"]: _TO_SYNTHIA[IDS["vegetation"]]},
        _synthia_label,
    ),
    "cityscapes": Layout(
        "leftImg8bit/{split}/{city}/{city}_{n:06d}_000019_leftImg8bit.png",
        "gtFine/{split}/{city}/{city}_{n:06d}_000019_gtFine_labelIds.png", 0,
        {LANE_MARKING: IDS["road"], IDS["license plate"]: IDS["car"]},
        _cityscapes_label,
    ),
}  # fmt: skip


def paths(domain: str, split: str, number: int) -> tuple[str, str]:
    """Image and label of a frame, relative to the domain's folder."""
    layout, cities = LAYOUTS[domain], CITIES[split]
    n = number // len(cities) if domain == "cityscapes" else layout.first + number
    names = {"n": n, "split": split, "city": cities[number % len(cities)]}
    return layout.image.format(**names), layout.label.format(**names)


def ids_on_disk(domain: str, label: np.ndarray) -> np.ndarray:
    """A label in the ids that the domain keeps in its files."""
    table = np.arange(256, dtype=np.uint8)
    for id, on_disk in LAYOUTS[domain].ids.items():
        table[id] = on_disk
    return table[label]


def write_frame(job: Job, *, domain: str, out: Path, seed: int, scale: float) -> list[Written]:
    """Render and write one frame; relative path and digest of its two files."""
    split, number = job
    frame = render(domain, split, number, seed=seed, scale=scale)
    image, label = paths(domain, split, number)
    with atomic(out / image) as path:
        _png(path, frame.image[..., ::-1])
    with atomic(out / label) as path:
        LAYOUTS[domain].write_label(path, ids_on_disk(domain, frame.label), frame)
    return [(name, digest(out / name)) for name in (image, label)]


def write_world(
    domain: str, out: Path, *, seed: int, scale: float, frames: dict[str, int], workers: int
) -> dict[str, Any]:
    """Write all frames of a domain, then `manifest.json`, whose presence means that the world is whole.

    `frames` counts them by split; `scale` is the share of the real width and height. Same seed, same bytes, whatever
    the number of workers. BadRequest if domain or split is unknown, or if `out` holds files that are not the world's.
    """
    _check(domain, out, frames)
    manifest = out / "manifest.json"
    manifest.unlink(missing_ok=True)
    write_text(out / MARK, "These files were drawn by the built-in world, which may write them again.\n")
    jobs = [(split, number) for split, count in frames.items() for number in range(count)]
    written = _spread(partial(write_frame, domain=domain, out=out, seed=seed, scale=scale), jobs, workers)
    contents = dict(sorted(pair for pairs in written for pair in pairs))
    _sweep(out, contents)
    whole = hashlib.sha256("".join(f"{name} {content}\n" for name, content in contents.items()).encode())
    receipt = {"domain": domain, "origin": "world", "frames": frames, "sha256": whole.hexdigest()}
    write_json(manifest, receipt)
    return receipt


def _check(domain: str, out: Path, frames: dict[str, int]) -> None:
    if domain not in DOMAINS:
        raise BadRequest(f"{domain}: not a domain of the world.\nIt draws {', '.join(DOMAINS)}.")
    for split in frames:
        if split not in SPLITS:
            raise BadRequest(f"{split}: not a split of {domain}.\nThe world draws {' and '.join(SPLITS)}.")
    if out.exists() and any(out.iterdir()) and not (out / MARK).exists():
        raise BadRequest(f"{out}: holds files that the world did not write.\nMove them away or name another folder.")


def _spread(work: Callable[[Job], list[Written]], jobs: list[Job], workers: int) -> list[list[Written]]:
    if workers <= 1:
        return [work(job) for job in jobs]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(pool.map(work, jobs, chunksize=8))


def _sweep(out: Path, contents: dict[str, str]) -> None:
    """Remove the frames of an earlier, larger world."""
    for path in out.rglob("*.png"):
        if path.relative_to(out).as_posix() not in contents:
            path.unlink()
