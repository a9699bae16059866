"""Whether reading keeps up with training: crops a second and core from prepared frames, beside what a step eats.

    python benchmarks/loader.py [--scale demo|paper] [--batches N] [--device auto|cpu|cuda]

At demo scale frames are kept decoded, as in the run itself; at paper scale they are mapped from PPM files, which lie in
the page cache, and labels are decoded anew. Both streams of a step are read in turn, by one process that does nothing
else. Cores that a step keeps busy with reading: what it eats divided by what one core brings.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from PIL import Image
from step import measure, operations, ours, scaled, ways

from dacs.config import load, settings_for
from dacs.loading.split import MEMORY, Split
from dacs.loading.stream import batches
from dacs.prepare.pixels import ENCODE, png_of_label

FRAMES = 8


def prepared(folder: Path, size: tuple[int, int], images: str) -> Split:
    """Frames of noise over large shapes, and labels in blocks, as `dacs remap` keeps them."""
    rng, rows = np.random.default_rng(0), []
    for number in range(FRAMES):
        small = Image.fromarray(rng.integers(0, 256, (9, 16, 3), dtype=np.uint8))
        pixels = np.asarray(small.resize(size[::-1], Image.Resampling.BICUBIC), np.int16)
        noisy = np.clip(pixels + rng.normal(0, 2, pixels.shape), 0, 255).astype(np.uint8)
        label = np.asarray(Image.fromarray(rng.integers(0, 19, (9, 16), dtype=np.uint8)).resize(size[::-1], 0))
        for kind, content in (("images", ENCODE[images](Image.fromarray(noisy))), ("labels", png_of_label(label))):
            path = folder / kind / f"{number}.{images if kind == 'images' else 'png'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        rows.append(f"images/{number}.{images},labels/{number}.png\n")
    (folder / "index.csv").write_text("image,label\n" + "".join(rows))
    return Split(folder, memory=0 if images == "ppm" else MEMORY)  # the real sets of that scale do not fit either


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", default="demo", choices=("demo", "paper"))
    parser.add_argument("--batches", type=int, default=60)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    name = ("cuda" if torch.cuda.is_available() else "cpu") if asked.device == "auto" else asked.device
    params = load(scaled(asked.scale))
    settings, batch = settings_for(params, "adapt", method="dacs"), params.loop.batch
    with tempfile.TemporaryDirectory() as folder:
        split = prepared(Path(folder), params.remap.gta5, params.remap.images)
        stream = batches(split, seed=0, batch=batch, crop=params.loop.crop, start_step=0, flip=params.loop.flip)
        for _ in range(FRAMES):
            next(stream)
        read = median(measure([lambda: next(stream)], asked.batches, torch.device("cpu"))[0] for _ in range(3))
    step = ours(settings, ways(name, None)[-1], batch, torch.device(name))
    slow = name == "cpu" and asked.scale == "paper"  # a minute a step
    (taken,) = measure([step.take], 1 if slow else 20, torch.device(name), warm=1 if slow else 3)
    brings, eats = batch / read, 2 * batch / taken
    print(f"scale {asked.scale}: one core brings {brings:.0f} crops/s, a step on {name} eats {eats:.2f} crops/s")
    workers = 2 * params.loop.workers or 1  # a training reads two streams
    print(f"cores busy with reading: {eats / brings:.3f}; a training has {workers}")
    shortest = 2 * batch / (brings * workers)
    rate = operations(step) / shortest / 1e12
    print(f"they feed a step of {1e3 * shortest:.1f} ms or more, that is, a device of up to {rate:.2f} TFLOP/s")


if __name__ == "__main__":
    main()
