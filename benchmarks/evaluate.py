"""What evaluation costs beyond the forward passes: whole passes over frames, and ways of counting.

    python benchmarks/evaluate.py [--scale smoke|demo|paper] [--frames N] [--times N] [--device auto|cpu|cuda]
                                  [--weights RUN/weights.safetensors] [--split data/ready/cityscapes/val]

A pass reads frames and labels, computes logits, takes the likeliest class of each pixel and counts. It is compared with
the forward pass of the same batches alone, whose images are on the device already. All ways take turns; medians, of
processor time on a CPU.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from step import params_at
from torch import Tensor

from dacs.evaluation.confusion import count
from dacs.evaluation.evaluate import load
from dacs.evaluation.passes import batches, forward
from dacs.evaluation.protocols import Measured, count_by_torch
from dacs.labels import CITYSCAPES, IGNORE
from dacs.layout import PreparedSplit
from dacs.loading.split import Split
from dacs.models.build import build
from dacs.models.device import device_for
from dacs.models.published import NONE
from dacs.models.segmenter import Segmenter
from dacs.prepare.pixels import ENCODE, png_of_label

CLASSES = len(CITYSCAPES.classes)


def measure(ways: dict[str, Callable[[], object]], times: int, device: torch.device) -> dict[str, float]:
    """Milliseconds of each way, in turns, after one that does not count: medians."""
    taken: dict[str, list[float]] = {way: [] for way in ways}
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    for turn in range(times + 1):
        for way, work in ways.items():
            start = clock()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:
                taken[way].append(1e3 * (clock() - start))
    return {way: median(each) for way, each in taken.items()}


def labels(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Train ids in patches, a tenth of which is ignored."""
    patches = rng.integers(0, CLASSES + 2, (32, 64), dtype=np.uint8)
    patches[patches >= CLASSES] = IGNORE
    return np.asarray(Image.fromarray(patches).resize(size[::-1], Image.Resampling.NEAREST))


def write_frames(folder: Path, number: int, size: tuple[int, int], images: str) -> None:
    """Write frames of large shapes, and labels at their size and at twice this, as `dacs remap` keeps them."""
    rng, columns, rows = np.random.default_rng(0), ["image", "label", "full"], []
    for each in range(number):
        small = Image.fromarray(rng.integers(0, 256, (9, 16, 3), dtype=np.uint8))
        contents = {
            "image": ENCODE[images](small.resize(size[::-1], Image.Resampling.BICUBIC)),
            "label": png_of_label(labels(size, rng)),
            "full": png_of_label(labels((2 * size[0], 2 * size[1]), rng)),
        }
        files = {kind: f"{kind}/{each}.{images if kind == 'image' else 'png'}" for kind in columns}
        for kind, file in files.items():
            (folder / kind).mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(contents[kind])
        rows.append(",".join(files.values()))
    (folder / "index.csv").write_text("\n".join([",".join(columns), *rows]) + "\n")


def frames_of(folder: Path, number: int, *, full: bool) -> Split:
    """The first frames of a prepared split, without their labels at full size unless they are asked for."""
    split = Split(PreparedSplit(folder))
    split.paths = {kind: paths[:number] for kind, paths in split.paths.items() if full or kind != "full"}
    return split


def passes(network: Segmenter, folder: Path, batch: int, given: argparse.Namespace, device: torch.device) -> None:
    """Print what passes over labels at the prepared size, and at both sizes, take beside the forward passes."""
    ways: dict[str, Callable[[], object]] = {}
    for sizes in ("prepared", "full and prepared"):
        split = frames_of(folder, given.frames, full=sizes != "prepared")
        measured = Measured(split, CITYSCAPES, {}, device)
        ways[sizes] = lambda measured=measured: measured.count({"student": network}, batch)
    images = [images for _, images in batches(split, range(len(split)), batch, device)]
    ways["forward alone"] = lambda: [forward(network, each) for each in images]
    taken = {way: ms / len(split) for way, ms in measure(ways, given.times, device).items()}
    alone = taken.pop("forward alone")
    print(f"{len(split)} frames, {split.size[0]}x{split.size[1]}, {device.type}: forward alone {alone:.2f} ms a frame")
    for way, ms in taken.items():
        print(f"  labels {way}: {ms:.2f} ms, {ms / alone:.3f} of the forward pass", flush=True)


def by_mask(truth: Tensor, given: Tensor) -> Tensor:
    """Counting as it is commonly written: ignored pixels are left out by a boolean index."""
    known = truth != IGNORE
    return torch.bincount(CLASSES * truth[known].long() + given[known], minlength=CLASSES**2)


def counting(size: tuple[int, int], times: int, device: torch.device) -> None:
    """Print what counting the pixels of one frame takes, by numpy and by torch."""
    rng = np.random.default_rng(0)
    truth, given = labels(size, rng), labels(size, rng) % CLASSES  # in patches, as predictions are
    of_torch = [torch.from_numpy(each).to(device) for each in (truth.copy(), given)]
    ways: dict[str, Callable[[], object]] = {
        "numpy": lambda: count(truth, given, CLASSES),
        "torch": lambda: count_by_torch(*of_torch, CLASSES),
        "torch, boolean index": lambda: by_mask(*of_torch).cpu(),
    }
    taken = measure(ways, 5 * times, device)
    print(f"counting {size[0]}x{size[1]}, torch on {device.type}")
    for way, ms in taken.items():
        print(f"  {way}: {ms:.2f} ms, {ms / taken['numpy']:.2f} of numpy's", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", default="demo", choices=("smoke", "demo", "paper"))
    parser.add_argument("--weights", type=Path, help="weights of a finished run; default: random ones")
    parser.add_argument("--split", type=Path, help="a prepared split with labels; default: frames of random shapes")
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    device = device_for(given.device)
    at = params_at(given.scale)
    network = load(given.weights) if given.weights else build(at.model.model_copy(update={"weights": NONE}))
    with tempfile.TemporaryDirectory() as name:
        if given.split is None:
            write_frames(Path(name), given.frames, at.remap.sizes["cityscapes"], at.remap.images)
        passes(network.to(device).eval(), given.split or Path(name), at.evaluate.batch, given, device)
    for size in ((512, 1024), (1024, 2048)):
        counting(size, given.times, device)


if __name__ == "__main__":
    main()
