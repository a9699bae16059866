"""The world on disk, in the true layouts of the three data sets; nothing downstream can tell it from a download."""

import hashlib
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from dacs.files import atomic, digest, write_json
from dacs.labels import LABELS
from dacs.world.frame import Frame, render
from dacs.world.materials import LANE_MARKING

CITIES = {"train": ("aachen", "bremen", "tuebingen", "zurich"), "val": ("frankfurt", "lindau", "munster")}
LIGHTEST = 1  # zlib level: the frames are read once, speed counts


class Layout(NamedTuple):
    """Where a domain keeps a frame, and how."""

    image: str
    label: str
    first: int  # number of the first frame
    ids: np.ndarray  # (256,) id on disk of each id of the label table


def _ids(changes: dict[int, int]) -> np.ndarray:
    table = np.arange(256, dtype=np.uint8)
    for id, on_disk in changes.items():
        table[id] = on_disk
    return table


ROAD, CAR, VEGETATION = (next(label.id for label in LABELS if label.name == name) for name in ("road", "car", "vegetation"))
PLATE = next(label.id for label in LABELS if label.name == "license plate")
TERRAIN = next(label.id for label in LABELS if label.name == "terrain")
_SYNTHIA = {label.id: label.synthia_id or 0 for label in LABELS}

LAYOUTS = {
    "gta5": Layout("images/{n:05d}.png", "labels/{n:05d}.png", 1, _ids({LANE_MARKING: ROAD})),
    "synthia": Layout("RAND_CITYSCAPES/RGB/{n:07d}.png", "RAND_CITYSCAPES/GT/LABELS/{n:07d}.png", 0,
                      # plates are part of the car; lawns count as vegetation, since RAND-CITYSCAPES holds no terrain
                      _ids(_SYNTHIA | {LANE_MARKING: 22, PLATE: 8, TERRAIN: 6})),
    "cityscapes": Layout("leftImg8bit/{split}/{city}/{city}_{n:06d}_000019_leftImg8bit.png",
                         "gtFine/{split}/{city}/{city}_{n:06d}_000019_gtFine_labelIds.png", 0,
                         _ids({LANE_MARKING: ROAD, PLATE: CAR})),
}  # fmt: skip


def paths(domain: str, split: str, index: int) -> tuple[str, str]:
    """Image and label of a frame, relative to the domain's folder."""
    layout = LAYOUTS[domain]
    cities = CITIES[split]
    names = {"n": layout.first + index, "split": split, "city": cities[index % len(cities)]}
    if domain == "cityscapes":
        names["n"] = index // len(cities)
    return layout.image.format(**names), layout.label.format(**names)


def _gta5_label(path: Path, ids: np.ndarray, frame: Frame) -> None:
    label = Image.fromarray(ids).convert("P")
    label.putpalette([channel for entry in LABELS for channel in entry.color])
    label.save(path, compress_level=LIGHTEST)


def _synthia_label(path: Path, ids: np.ndarray, frame: Frame) -> None:
    channels = np.zeros((*ids.shape, 3), dtype=np.uint16)
    channels[..., 2] = ids  # OpenCV orders blue, green, red: the class lands in red
    channels[..., 1] = frame.instance
    _png(path, channels)


def _cityscapes_label(path: Path, ids: np.ndarray, frame: Frame) -> None:
    _png(path, ids)


LABEL_WRITERS = {"gta5": _gta5_label, "synthia": _synthia_label, "cityscapes": _cityscapes_label}


def _png(path: Path, pixels: np.ndarray) -> None:
    if not cv2.imwrite(str(path), pixels, [cv2.IMWRITE_PNG_COMPRESSION, LIGHTEST]):
        raise OSError(f"the encoder could not write {path.name}")


def write_frame(job: tuple[str, int], *, domain: str, out: Path, seed: int, scale: float) -> list[tuple[str, str]]:
    """Render and write one frame; relative path and digest of its two files."""
    split, index = job
    frame = render(domain, split, index, seed=seed, scale=scale)
    image, label = paths(domain, split, index)
    with atomic(out / image) as partial_path:
        _png(partial_path, frame.image[..., ::-1])
    with atomic(out / label) as partial_path:
        LABEL_WRITERS[domain](partial_path, LAYOUTS[domain].ids[frame.label], frame)
    return [(name, digest(out / name)) for name in (image, label)]


def write_world(domain: str, out: Path, *, seed: int, scale: float, frames: dict[str, int], workers: int) -> dict:
    """Write all frames of a domain, then `manifest.json`, whose presence means that the world is whole.

    `frames` counts them by split; `scale` is the share of the real frames' width and height.
    """
    manifest = out / "manifest.json"
    manifest.unlink(missing_ok=True)
    jobs = [(split, index) for split, count in frames.items() for index in range(count)]
    work = partial(write_frame, domain=domain, out=out, seed=seed, scale=scale)
    if workers <= 1:
        written = [work(job) for job in jobs]
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            written = list(pool.map(work, jobs, chunksize=8))
    whole = hashlib.sha256()
    for name, content in sorted(pair for pairs in written for pair in pairs):
        whole.update(f"{name} {content}\n".encode())
    receipt = {"domain": domain, "origin": "world", "frames": frames, "sha256": whole.hexdigest()}
    write_json(manifest, receipt)
    return receipt
