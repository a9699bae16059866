"""Whether reading keeps up with training: crops a second and core from prepared frames, beside those that a step takes.

    python benchmarks/loader.py [--scale smoke|demo|paper] [--batches N] [--device auto|cpu|cuda]

At demo scale frames are kept decoded, as in the run itself; at paper scale they are mapped from PPM files, which are in
the page cache, and labels are decoded each time. One process reads and does nothing else. The number of cores that
reading keeps busy is that of the crops that a step takes, divided by that of the crops that one core reads.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from PIL import Image
from step import dacs_settings, measure, operations, ours, params_at, variants

from dacs.adaptation.sampling import shuffled
from dacs.layout import PreparedSplit
from dacs.loading.split import MEMORY, Split
from dacs.loading.stream import Crops, batches
from dacs.models.device import device_for
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
        for kind, content in (("images", ENCODE[images](noisy)), ("labels", png_of_label(label))):
            path = folder / kind / f"{number}.{images if kind == 'images' else 'png'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        rows.append(f"images/{number}.{images},labels/{number}.png\n")
    (folder / "index.csv").write_text("image,label\n" + "".join(rows))
    return Split(
        PreparedSplit(folder), memory=0 if images == "ppm" else MEMORY
    )  # nor do the real sets of that scale fit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", default="demo", choices=("smoke", "demo", "paper"))
    parser.add_argument("--batches", type=int, default=60)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    given = parser.parse_args()
    cv2.setNumThreads(1)
    device, params = device_for(given.device), params_at(given.scale)
    settings = dacs_settings(params, threads=1, deterministic=False)
    loop = settings.loop
    with tempfile.TemporaryDirectory() as folder:
        split = prepared(Path(folder), params.remap.sizes["gta5"], params.remap.images)
        crops = Crops(split, shuffled(split, 0), 0, loop.batch, loop.crop, loop.flip)
        stream = batches(crops, start_step=0)
        torch.set_num_threads(1)
        for _ in range(FRAMES):
            next(stream)
        read = median(measure([lambda: next(stream)], given.batches, torch.device("cpu"))[0] for _ in range(3))
    step = ours(settings, variants(device)[-1], loop.batch, device)
    slow = device.type == "cpu" and given.scale == "paper"  # a minute a step
    (taken,) = measure([step.take], 1 if slow else 20, device, warm=1 if slow else 3)
    readable, needed = loop.batch / read, 2 * loop.batch / taken
    print(
        f"scale {given.scale}: one core reads {readable:.0f} crops/s, a step takes {needed:.2f} crops/s ({device.type})"
    )
    workers = 2 * loop.workers or 1  # a training reads two streams
    print(f"cores busy with reading: {needed / readable:.3f}; a training has {workers}")
    shortest = 2 * loop.batch / (readable * workers)
    rate = operations(step) / shortest / 1e12
    print(f"enough for steps of {1e3 * shortest:.1f} ms or more, that is, for a device of up to {rate:.2f} TFLOP/s")


if __name__ == "__main__":
    main()
