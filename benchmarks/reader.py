"""How many crops a second one core reads from prepared frames, kept as PNG or as PPM, and from the originals.

    python benchmarks/reader.py [--crops N]

Each way yields the same kind of sample: an image of 512x512 in floats and its train ids, from labelled frames at the
paper's sizes. The originals are decoded whole at their own size, by Pillow or by OpenCV, and cropped, not resized. All
ways take turns, crop by crop; processor time is measured. Nothing is kept decoded, but all files are in the page cache:
what a disk adds is proportional to the sizes, which are printed too (of a PPM only the rows of the crop are read).
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from PIL import Image
from remap import SIZES, job_of, milliseconds, prepare, write_raw

from dacs.adaptation.sampling import shuffled
from dacs.datasets.base import Raw
from dacs.labels import CITYSCAPES
from dacs.layout import PreparedDomain
from dacs.loading.split import Split
from dacs.loading.stream import Batch, Crops, view_of
from dacs.prepare.pixels import train_ids

CROP = (512, 512)
FRAMES = 4
KINDS = ("png", "ppm")


def prepared(raw: Raw, out: Path, images: str) -> Split:
    """The labelled split of a domain, nothing of which is kept decoded."""
    prepare(job_of(raw.dataset.name, images), raw.root, out)
    return Split(PreparedDomain(out).labelled, memory=0)


def crops(split: Split) -> Crops:
    return Crops(split, shuffled(split, 0), seed=0, batch=1, crop=CROP, flip=False, rank=0, world=1)


def by_pillow(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def by_opencv(path: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def original(raw: Raw, read: Callable[[Path], np.ndarray], k: int) -> Batch:
    """A sample of the raw frames; labels by our decoders, as neither library reads all three formats."""
    frames = raw.frames["train"]
    frame = frames[k % len(frames)]
    image, label = read(frame.image.path), raw.dataset.decode(frame.label.read())
    view = view_of(0, k, k % len(frames), size=label.shape, crop=CROP)
    rows, columns = slice(view.top, view.top + CROP[0]), slice(view.left, view.left + CROP[1])
    pixels = torch.from_numpy(image[rows, columns].copy()).permute(2, 0, 1)[None].contiguous()
    ids = train_ids(np.ascontiguousarray(label[rows, columns]), raw.dataset.train_ids(CITYSCAPES))
    return Batch(pixels.to(torch.float32) / 255, torch.from_numpy(ids)[None].to(torch.int64))


def megabytes(raw: Raw, splits: dict[str, Split]) -> dict[str, float]:
    """The size of image and label of a frame, raw and prepared."""
    raw_files = [file.path for frame in raw.frames["train"] for file in (frame.image, frame.label) if file]
    files = {"raw": raw_files} | {kind: split.paths["image"] + split.paths["label"] for kind, split in splits.items()}
    return {kind: sum(path.stat().st_size for path in paths) / FRAMES / 1e6 for kind, paths in files.items()}


def measure(ways: dict[str, Callable[[int], object]], number: int) -> dict[str, float]:
    """Milliseconds a crop of each way, in turns: medians."""
    for work in ways.values():
        work(0)
    turns = [{way: milliseconds(partial(work, k)) for way, work in ways.items()} for k in range(number)]
    return {way: median(turn[way] for turn in turns) for way in ways}


def main(number: int) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    print("crops of 512x512 a second and core, files in the page cache")
    with tempfile.TemporaryDirectory() as name:
        for domain in SIZES:
            raw = write_raw(domain, Path(name) / domain / "raw", FRAMES)
            splits = {images: prepared(raw, Path(name) / domain / images, images) for images in KINDS}
            ways: dict[str, Callable[[int], object]] = {
                images: crops(split).__getitem__ for images, split in splits.items()
            }
            ways |= {read.__name__: partial(original, raw, read) for read in (by_pillow, by_opencv)}
            taken = measure(ways, number)
            print(f"{domain:12}" + ", ".join(f"{way} {1e3 / ms:.1f}" for way, ms in taken.items()))
            for images in KINDS:
                ratios = ", ".join(
                    f"{taken[way] / taken[images]:.1f} times {way}" for way in ("by_pillow", "by_opencv")
                )
                print(f"{'':12}{images}: {ratios}")
            sizes = ", ".join(f"{kind} {size:.2f}" for kind, size in megabytes(raw, splits).items())
            print(f"{'':12}MB a frame: {sizes}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crops", type=int, default=40, help="to read in each way")
    main(parser.parse_args().crops)
