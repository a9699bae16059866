"""How fast raw frames are prepared at the paper's sizes, beside the codecs alone and beside a plain implementation.

    python benchmarks/remap.py [--frames N] [--resample bicubic bicubic_torch]

Raw frames are rendered by the built-in world at their real sizes, with the noise of a sensor, so that their files are
as large as real ones. The limit decodes the raw pair of files and encodes the prepared pair with the same codecs, and
does nothing else; the cost of resizing, as the reference does it, is printed too. PNG/ours is the cost of the codecs
for PNG relative to ours, also where PPM is kept. The plain implementation is Pillow, a mask for each id, and Pillow's
defaults. All take turns, frame by frame, on one core; processor time is measured, so that a busy machine does not
distort it. `found` is the time of a frame that a shard or an interrupted run has prepared, which is only checked. Then:
differences from Pillow, of ways that are not Pillow's, and the time of each part (both for the last --resample), the
time with several processes, and the peak memory by the number of frames.
"""

import argparse
import cProfile
import io
import multiprocessing
import os
import pstats
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
from typing import cast, get_args

import cv2
import numpy as np
from PIL import Image

from dacs.datasets.base import Frame, Raw
from dacs.datasets.decode import decode_image
from dacs.datasets.find import find
from dacs.demo_world.write import write_world
from dacs.fields import Resample
from dacs.files import write_json
from dacs.labels import CITYSCAPES, IGNORE
from dacs.prepare.frame import FrameJob, prepare_frame
from dacs.prepare.pixels import ENCODE, nearest, png_of_label, resize, train_ids
from dacs.prepare.remap import remap
from dacs.settings import RemapJob

SIZES = {"gta5": (720, 1280), "synthia": (760, 1280), "cityscapes": (512, 1024)}  # prepared height, width in pixels
NOISE = {"gta5": 1.6, "synthia": 3, "cityscapes": 1.6}  # standard deviation, so that files have 2 to 3 MB
REPEATS = 7
COLUMNS = (
    "images",
    "resample",
    "ours",
    "limit",
    "resize",
    "plain",
    "found",
    "limit/ours",
    "+resize",
    "PNG/ours",
    "plain/ours",
)
WIDTH = 12  # of a column
PARTS = {  # of preparing a frame: names of functions
    "read files": ("read_file",),
    "check files": ("_check_png",),
    "look for an orientation": ("_has_exif",),
    "decode images": ("decode_unchanged",),
    "encode": ("png_of_image", "png_of_label"),
    "resize": ("resize", "nearest"),
    "look up train ids": ("train_ids",),
    "count pixels": ("count_values",),
    "digests": ("sha256",),
    "write": ("write_bytes",),
}
PEAK = r"""
import re, sys
from pathlib import Path
from dacs.prepare.remap import remap
from dacs.settings import RemapJob
job = RemapJob(domain="gta5", size=(72, 128), resample="bicubic", images="png")
remap(job, Path(sys.argv[1]), Path(sys.argv[2]), workers=1)
print(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1], file=sys.stderr)  # not the parent's
"""


def job_of(domain: str, images: str, resample: Resample = "bicubic") -> RemapJob:
    """How a domain is prepared at the paper's size."""
    return RemapJob(domain=domain, size=SIZES[domain], resample=resample, images=images)


# --------------------------------------------------------------------------------------------------------------------
# Raw frames


def write_raw(domain: str, out: Path, frames: int, scale: float = 1.0) -> Raw:
    """Write frames with files as large as real ones, in the true layout."""
    counts = {"train": frames} | ({"val": 1} if domain == "cityscapes" else {})  # which needs both
    write_world(domain, out, seed=0, scale=scale, frames=counts, workers=1)
    raw = find(domain, out)
    rng = np.random.default_rng(0)
    for frame in raw.frames["train"]:
        pixels = np.asarray(Image.open(frame.image.path)).astype(np.float32)
        noisy = pixels + rng.normal(0, NOISE[domain], pixels.shape[:2])[..., None] + rng.normal(0, 0.5, pixels.shape)
        Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8)).save(frame.image.path)
    return raw


def multiply(raw: Raw, out: Path, frames: int) -> Path:
    """Make a folder of more frames of GTA5, by links to those that are there."""
    there = raw.frames["train"]
    for number in range(frames):
        for kind, file in (("images", there[number % len(there)].image), ("labels", there[number % len(there)].label)):
            (out / kind).mkdir(parents=True, exist_ok=True)
            os.link(file.path, out / kind / f"{number + 1:05d}.png")
    write_json(out / "manifest.json", {"domain": "gta5", "origin": "world", "frames": {"train": frames}})
    return out


# --------------------------------------------------------------------------------------------------------------------
# Ways to prepare a frame


def ours(raw: Raw, frame: Frame, job: RemapJob, out: Path) -> None:
    files = (out / f"image.{job.images}", out / "label.png")
    made = prepare_frame(job, raw, FrameJob("train", frame, files, None))
    assert not isinstance(made, str), made


def found(raw: Raw, frame: Frame, job: RemapJob, out: Path) -> Callable[[], object]:
    """Check a frame that was prepared and noted, as `remap` does with those of shards or of an interrupted run."""
    frame_job = FrameJob("train", frame, (out / f"found.{job.images}", out / "found.label.png"), None)
    made = prepare_frame(job, raw, frame_job)
    assert not isinstance(made, str), made
    return partial(prepare_frame, job, raw, frame_job._replace(earlier=made.note))


def limit(raw: Raw, frame: Frame, job: RemapJob) -> Callable[[], None]:
    """Only the codecs, on bytes that were read and pixels that were resized before."""
    image, label = frame.image.read(), frame.label.read()
    decode, encode = raw.dataset.decode, ENCODE[job.images]
    small = resize(decode_image(image), job.size, job.resample)
    small_ids = nearest(train_ids(decode(label), raw.dataset.train_ids(CITYSCAPES)), job.size)

    def code() -> None:
        decode_image(image)
        decode(label)
        encode(small)
        png_of_label(small_ids)

    return code


def plain(raw: Raw, frame: Frame, job: RemapJob, out: Path) -> None:
    """As it is written in an afternoon."""
    size = (job.size[1], job.size[0])
    Image.open(frame.image.path).convert("RGB").resize(size, Image.Resampling.BICUBIC).save(out / "plain.png")
    if job.domain == "synthia":  # 16 bits, which Pillow does not read
        ids = cv2.imread(str(frame.label.path), cv2.IMREAD_UNCHANGED)[..., 2]
    else:
        ids = np.array(Image.open(frame.label.path))
    mapped = np.full(ids.shape, IGNORE, np.uint8)
    for raw_id, train_id in raw.dataset.train_ids(CITYSCAPES).items():
        mapped[ids == raw_id] = train_id
    label = Image.fromarray(mapped).resize(size, Image.Resampling.NEAREST)
    label.putpalette(CITYSCAPES.palette().tobytes())
    label.save(out / "plain_label.png")


def milliseconds(work: Callable[[], object]) -> float:
    """Processor time of one call."""
    start = time.process_time()
    work()
    return 1e3 * (time.process_time() - start)


def compare(raw: Raw, domain: str, out: Path, resamples: list[Resample]) -> dict[str, float]:
    """Milliseconds a frame of each way, in turns: medians of repeats, means over frames."""
    taken: dict[str, list[float]] = defaultdict(list)
    for frame in raw.frames["train"]:
        ways: dict[str, Callable[[], object]] = {}
        pixels = decode_image(frame.image.read())
        for images in ("png", "ppm"):
            ways[f"limit {images}"] = limit(raw, frame, job_of(domain, images))
            ways[f"found {images}"] = found(raw, frame, job_of(domain, images), out)
            for resample in resamples:
                ways[f"{images} {resample}"] = partial(ours, raw, frame, job_of(domain, images, resample), out)
        ways |= {f"resize {resample}": partial(resize, pixels, SIZES[domain], resample) for resample in resamples}
        ways["plain"] = partial(plain, raw, frame, job_of(domain, "png"), out)
        turns = [{way: milliseconds(work) for way, work in ways.items()} for _ in range(REPEATS + 1)][1:]
        for way in ways:
            taken[way].append(median(turn[way] for turn in turns))
    return {way: float(np.mean(each)) for way, each in taken.items()}


def differences(raw: Raw, domain: str, resample: Resample) -> str:
    """In words, by how much frames that are resized so differ from those that Pillow resizes."""
    off = []
    for frame in raw.frames["train"]:
        pixels = decode_image(frame.image.read())
        ways = (resample, cast(Resample, resample.removesuffix("_torch")))
        made, pillow = (np.asarray(resize(pixels, SIZES[domain], way), np.int16) for way in ways)
        off.append(np.abs(made - pillow))
    every = np.stack(off)
    return f"{(every > 0).mean():.3%} of {every.size:,} values differ, by {every.max()} at most"


def parts(raw: Raw, domain: str, out: Path, resample: Resample) -> dict[str, float]:
    """Milliseconds a frame of each part of ours, for images kept as PNG."""
    job, frames, profile = job_of(domain, "png", resample), raw.frames["train"], cProfile.Profile(time.process_time)
    profile.enable()
    for frame in frames * REPEATS:
        ours(raw, frame, job, out)
    profile.disable()
    seconds: dict[str, float] = defaultdict(float)  # by function, with those that it calls
    for (file, _, name), (_, _, _, cumulative, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        seconds[name] += cumulative if "dacs" in Path(file).parts[-3:] or name == "ours" else 0
    spent = {part: sum(seconds[name] for name in names) for part, names in PARTS.items()}
    spent["decode labels and the rest"] = seconds["ours"] - sum(spent.values())
    return {part: 1e3 * value / REPEATS / len(frames) for part, value in spent.items()}


# --------------------------------------------------------------------------------------------------------------------
# Processes and memory


def rates(raw: Raw, out: Path, counts: list[int], few: int = 8, many: int = 40) -> dict[int, float]:
    """Milliseconds of processor time a frame by number of processes, without their start; medians of three turns."""
    folders = {frames: multiply(raw, out / f"{frames}", frames) for frames in (few, many)}
    seconds: dict[tuple[int, int], list[float]] = defaultdict(list)
    for turn, workers, frames in product(range(3), counts, folders):
        start = processor_seconds()
        prepare(job_of("gta5", "png"), folders[frames], out / f"{turn}-{workers}-{frames}", workers)
        seconds[workers, frames].append(processor_seconds() - start)
    middle = {key: median(times) for key, times in seconds.items()}
    return {workers: 1e3 * (middle[workers, many] - middle[workers, few]) / (many - few) for workers in counts}


def processor_seconds() -> float:
    """Processor time of this process and of those that it has started, once these have ended."""
    for child in multiprocessing.active_children():
        child.join()
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def prepare(job: RemapJob, raw: Path, out: Path, workers: int = 1) -> None:
    """Prepare a domain, without the messages for people."""
    with redirect_stdout(io.StringIO()):
        remap(job, raw, out, workers)


def peak(raw: Raw, out: Path, frames: int) -> float:
    """MB that a process of its own takes at its peak."""
    folder = multiply(raw, out / f"{frames}/raw", frames)
    program = [sys.executable, "-c", PEAK, str(folder), str(out / f"{frames}/ready")]
    printed = subprocess.run(program, check=True, capture_output=True, text=True).stderr
    return int(printed.split()[-1]) / 1024


# --------------------------------------------------------------------------------------------------------------------


def main(frames: int, resamples: list[Resample]) -> None:
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raws = {domain: write_raw(domain, folder / domain, frames) for domain in SIZES}
        (folder / "out").mkdir()
        print(
            f"{'ms a frame':12}{'MB raw':>8}"
            + "".join(f"{column:>{15 if column == 'resample' else WIDTH}}" for column in COLUMNS)
        )
        for domain, raw in raws.items():
            size = sum(frame.image.path.stat().st_size for frame in raw.frames["train"]) / frames / 1e6
            taken = compare(raw, domain, folder / "out", resamples)
            for images, resample in product(("png", "ppm"), resamples):
                keys = (f"{images} {resample}", f"limit {images}", f"resize {resample}", "plain", f"found {images}")
                mine, least, between, plainly, again = (taken[key] for key in keys)
                times = "".join(f"{ms:{WIDTH}.1f}" for ms in (mine, least, between, plainly, again))
                others = (least, least + between, taken["limit png"], plainly)
                ratios = "".join(f"{other / mine:{WIDTH}.2f}" for other in others)
                print(f"{domain:12}{size:8.1f}{images:>{WIDTH}}{resample:>15}{times}{ratios}", flush=True)
        resample = resamples[-1]
        if resample.endswith("_torch"):
            print()
            for domain, raw in raws.items():
                print(f"{domain:12}{resample}: {differences(raw, domain, resample)}", flush=True)
        print(f"\nms a frame by part, images as PNG, {resample}")
        for domain, raw in raws.items():
            spent = parts(raw, domain, folder / "out", resample)
            print(f"{domain:12}" + ", ".join(f"{part} {ms:.1f}" for part, ms in spent.items()), flush=True)
        cores = len(os.sched_getaffinity(0))
        found = rates(raws["gta5"], folder / "rates", sorted({1, cores}))
        print("\nprocesses: " + ", ".join(f"{workers}: {each:.1f} ms a frame" for workers, each in found.items()))
        print(f"frames/s, where cores are idle, relative to linear: {found[1] / found[cores]:.2f}")
        small = write_raw("gta5", folder / "small", frames, scale=0.2)
        few, many = (peak(small, folder / "peak", number) for number in (50, 200))
        print(f"memory: {few:.0f} MB for 50 frames, {many:.0f} MB for 200, ratio {many / few:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=3, help="raw frames of each data set")
    parser.add_argument("--resample", choices=get_args(Resample), default=["bicubic"], nargs="+", help="how")
    options = parser.parse_args()
    main(options.frames, options.resample)
