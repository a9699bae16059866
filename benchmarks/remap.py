"""How fast raw frames are prepared at the paper's sizes, beside what coding them alone costs, and the plain way.

    python benchmarks/remap.py [--frames N]

Raw frames are drawn by the world at their real sizes, with a sensor's noise, so that they weigh what real ones weigh.
The limit decodes the raw pair of files and encodes the prepared pair, with the same coders, and does nothing else.
Between the two a frame must still be resized, as the reference does it; what that costs stands beside. PNG/ours holds
what coding PNG files alone costs against ours also where we keep PPM. The plain way is
Pillow, a mask for each id, and Pillow's defaults. All take turns, frame by frame, on one core; processor time is
measured, so that a busy machine does not blur it. Then: where the time of a frame goes, what it takes in several
processes, and the peak of memory by the number of frames.
"""

import argparse
import io
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from dacs.data import remap as module
from PIL import Image

from dacs.datasets.decode import decode_image
from dacs.datasets.formats import Frame, Raw, find
from dacs.demo_world.write import write_world
from dacs.files import write_json
from dacs.labels import IGNORE, palette
from dacs.prepare.pixels import ENCODE, nearest, png_of_label, resize, train_ids
from dacs.prepare.remap import Job, Settings, remap

SIZES = {"gta5": (720, 1280), "synthia": (760, 1280), "cityscapes": (512, 1024)}  # prepared height, width in pixels
NOISE = {"gta5": 1.6, "synthia": 3, "cityscapes": 1.6}  # standard deviation, so that files weigh 2 to 3 MB
REPEATS = 7
COLUMNS = ("images", "ours", "limit", "resize", "plain", "limit/ours", "+resize", "PNG/ours", "plain/ours")
WIDE = 11
PARTS = {  # of preparing a frame: functions of dacs.prepare.remap
    "read and check files": ("read_whole",),
    "decode": ("decode_image",),
    "encode": ("png_of_label",),
    "resize": ("resize", "nearest"),
    "look up train ids": ("train_ids",),
    "count pixels": ("count_values", "count_bands", "count_colors"),
    "digests": ("_sha",),
    "write": ("write_bytes",),
}
PEAK = """
import resource, sys
from pathlib import Path
from dacs.datasets.formats import find
from dacs.prepare.remap import remap
remap(find("gta5", Path(sys.argv[1])), Path(sys.argv[2]), size=(72, 128), resample="bicubic", images="png", workers=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


# --------------------------------------------------------------------------------------------------------------------
# Raw frames


def write_raw(domain: str, out: Path, frames: int, scale: float = 1.0) -> Raw:
    """Frames as heavy as the real ones, in the true layout."""
    counts = {"train": frames} | ({"val": 1} if domain == "cityscapes" else {})  # which is not whole without
    write_world(domain, out, seed=0, scale=scale, frames=counts, workers=1)
    raw = find(domain, out)
    rng = np.random.default_rng(0)
    for frame in raw.frames["train"]:
        pixels = np.asarray(Image.open(frame.image.path)).astype(np.float32)
        noisy = pixels + rng.normal(0, NOISE[domain], pixels.shape[:2])[..., None] + rng.normal(0, 0.5, pixels.shape)
        Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8)).save(frame.image.path)
    return raw


def multiplied(raw: Raw, out: Path, frames: int) -> Raw:
    """More frames of GTA5, by linking to those that are there."""
    there = raw.frames["train"]
    for number in range(frames):
        for kind, file in (("images", there[number % len(there)].image), ("labels", there[number % len(there)].label)):
            (out / kind).mkdir(parents=True, exist_ok=True)
            os.link(file.path, out / kind / f"{number + 1:05d}.png")
    write_json(out / "manifest.json", {"domain": "gta5", "origin": "world", "frames": {"train": frames}})
    return find("gta5", out)


# --------------------------------------------------------------------------------------------------------------------
# Ways to prepare a frame


def jobs(raw: Raw, out: Path, settings: Settings) -> list[Job]:
    return [module._job(settings, raw, out, {}, "train", frame) for frame in raw.frames["train"]]


def ours(raw: Raw, job: Job, settings: Settings) -> None:
    made = module._make(settings, raw.form, raw.decode, job)
    assert not isinstance(made, str), made


def limit(raw: Raw, frame: Frame, settings: Settings) -> Callable[[], None]:
    """Only the coders, on bytes that were read and pixels that were resized before."""
    image, label = frame.image.read(), frame.label.read()
    small = resize(decode_image(image), settings.size, settings.resample)
    small_ids = nearest(train_ids(raw.decode(label), raw.form.train_ids), settings.size)

    def code() -> None:
        decode_image(image)
        raw.decode(label)
        ENCODE[settings.images](small)
        png_of_label(small_ids)

    return code


def plain(raw: Raw, frame: Frame, settings: Settings, out: Path) -> None:
    """As it is written in an afternoon."""
    size = (settings.size[1], settings.size[0])
    Image.open(frame.image.path).convert("RGB").resize(size, Image.Resampling.BICUBIC).save(out / "image.png")
    if raw.domain == "synthia":  # 16 bits, which Pillow does not read
        ids = cv2.imread(str(frame.label.path), cv2.IMREAD_UNCHANGED)[..., 2]
    else:
        ids = np.array(Image.open(frame.label.path))
    mapped = np.full(ids.shape, IGNORE, np.uint8)
    for id, train_id in raw.form.train_ids.items():
        mapped[ids == id] = train_id
    label = Image.fromarray(mapped).resize(size, Image.Resampling.NEAREST)
    label.putpalette(palette().tobytes())
    label.save(out / "label.png")


def milliseconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return 1e3 * (time.process_time() - start)


def compare(raw: Raw, out: Path) -> dict[str, float]:
    """Milliseconds a frame of each way, in turns: medians of repeats, means over frames."""
    took: dict[str, list[list[float]]] = defaultdict(list)
    for number, frame in enumerate(raw.frames["train"]):
        ways: dict[str, Callable[[], object]] = {}
        for images in ("png", "ppm"):
            settings = Settings(SIZES[raw.domain], "bicubic", images)
            ways[images] = partial(ours, raw, jobs(raw, out, settings)[number], settings)
            ways[f"limit {images}"] = limit(raw, frame, settings)
        ways["resize"] = partial(resize, decode_image(frame.image.read()), settings.size, settings.resample)
        ways["plain"] = partial(plain, raw, frame, settings, out)
        turns = [{way: milliseconds(work) for way, work in ways.items()} for _ in range(REPEATS + 1)][1:]
        for way in ways:
            took[way].append([turn[way] for turn in turns])
    return {way: float(np.mean([median(times) for times in each])) for way, each in took.items()}


def parts(raw: Raw, out: Path, images: str) -> dict[str, float]:
    """Milliseconds a frame that each part of ours takes."""
    settings = Settings(SIZES[raw.domain], "bicubic", images)
    spent: dict[str, float] = defaultdict(float)

    def timed(part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            start = time.process_time()
            result = work(*arguments)
            spent[part] += 1e3 * (time.process_time() - start)
            return result

        return call

    before = {name: getattr(module, name) for names in PARTS.values() for name in names if hasattr(module, name)}
    encode, decode = ENCODE[images], timed("decode", raw.decode)
    try:
        for part, names in PARTS.items():
            for name in set(names) & set(before):
                setattr(module, name, timed(part, before[name]))
        ENCODE[images] = timed("encode", encode)
        for _ in range(REPEATS):
            for job in jobs(raw, out, settings):
                spent["all"] += milliseconds(partial(module._make, settings, raw.form, decode, job))
    finally:
        ENCODE[images] = encode
        for name, work in before.items():
            setattr(module, name, work)
    return {part: value / REPEATS / len(raw.frames["train"]) for part, value in spent.items()}


# --------------------------------------------------------------------------------------------------------------------
# Processes and memory


def rates(raw: Raw, out: Path, counts: list[int], few: int = 8, many: int = 40) -> dict[int, float]:
    """Milliseconds of processor time a frame by number of processes, their start left out; medians of three turns."""
    raws = {frames: multiplied(raw, out / f"{frames}", frames) for frames in (few, many)}
    seconds: dict[tuple[int, int], list[float]] = defaultdict(list)
    for turn, workers, frames in product(range(3), counts, raws):
        start = used()
        quietly(raws[frames], out / f"{turn}-{workers}-{frames}", SIZES["gta5"], "png", workers)
        seconds[workers, frames].append(used() - start)
    middle = {key: median(times) for key, times in seconds.items()}
    return {workers: 1e3 * (middle[workers, many] - middle[workers, few]) / (many - few) for workers in counts}


def used() -> float:
    """Seconds of processor time of this process and of those that it has started, which have ended."""
    for child in multiprocessing.active_children():
        child.join()
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def quietly(raw: Raw, out: Path, size: tuple[int, int], images: str, workers: int = 1) -> None:
    """Prepare frames, without what that tells a person."""
    with redirect_stdout(io.StringIO()):
        remap(raw, out, size=size, resample="bicubic", images=images, workers=workers)


def peak(raw: Raw, out: Path, frames: int) -> float:
    """MB that a process of its own has held at most."""
    multiplied(raw, out / f"{frames}/raw", frames)
    program = [sys.executable, "-c", PEAK, str(out / f"{frames}/raw"), str(out / f"{frames}/ready")]
    said = subprocess.run(program, check=True, capture_output=True, text=True).stderr
    return int(said.split()[-1]) / 1024


# --------------------------------------------------------------------------------------------------------------------


def main(frames: int) -> None:
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raws = {domain: write_raw(domain, folder / domain, frames) for domain in SIZES}
        print(f"{'ms a frame':12}{'MB raw':>8}" + "".join(f"{column:>{WIDE}}" for column in COLUMNS))
        for domain, raw in raws.items():
            weight = sum(frame.image.path.stat().st_size for frame in raw.frames["train"]) / frames / 1e6
            took = compare(raw, folder / "out")
            for images in ("png", "ppm"):
                mine, least, between, plainly = (took[way] for way in (images, f"limit {images}", "resize", "plain"))
                times = "".join(f"{ms:{WIDE}.1f}" for ms in (mine, least, between, plainly))
                against = (least, least + between, took["limit png"], plainly)
                ratios = "".join(f"{part / mine:{WIDE}.2f}" for part in against)
                print(f"{domain:12}{weight:8.1f}{images:>{WIDE}}{times}{ratios}", flush=True)
        print("\nwhere the time of a frame goes, ms, images png")
        for domain, raw in raws.items():
            spent = parts(raw, folder / "out", "png")
            spent["the rest"] = 2 * spent["all"] - sum(spent.values())
            print(f"{domain:12}" + ", ".join(f"{part} {ms:.1f}" for part, ms in spent.items()), flush=True)
        cores = len(os.sched_getaffinity(0))
        found = rates(raws["gta5"], folder / "rates", sorted({1, cores}))
        print("\nprocesses: " + ", ".join(f"{workers}: {each:.1f} ms a frame" for workers, each in found.items()))
        print(f"frames/s, where cores are idle, of linear: {found[1] / found[cores]:.2f}")
        small = write_raw("gta5", folder / "small", frames, scale=0.2)
        few, many = (peak(small, folder / "peak", number) for number in (50, 200))
        print(f"memory: {few:.0f} MB for 50 frames, {many:.0f} MB for 200, ratio {many / few:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=3, help="raw frames of each data set")
    main(parser.parse_args().frames)
