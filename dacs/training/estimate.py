"""What the runs of params.yaml take before they are made, and afterwards how far this was off. Torch-free.

Each job has a stated time: its work by the rates below, and a training a stated memory. Jobs that Snakemake has timed
here with the same settings (logs/benchmarks) are compared with theirs, and the other jobs of the same rule are expected
to be off by as much.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from dacs.datasets.base import DataSet
from dacs.jobs import WORLD as RENDERED
from dacs.jobs import RunRequest, dataset_of, domains_of, labelled_domain, origin, requests, with_starts
from dacs.methods import FEATURE_LOSS, STATISTICS, method
from dacs.prepare.shards import Shard
from dacs.settings import Params
from dacs.training.found import same_evaluation, same_prepared, same_raw, same_run

BENCHMARKS, LOGS = map(Path, ("logs/benchmarks", "logs"))
TRAININGS = ("train", "adapt")
ON_GPU = (*TRAININGS, "adabn", "evaluate")


class Packed(NamedTuple):
    """Bytes of a data set."""

    archive: float
    unpacked: float


# Stated rates; docs/performance.md says how each was measured.
RENDER = 0.3  # seconds for a million raw pixels, rendered and written
REMAP = {"png": 0.065, "ppm": 0.037}  # the same, prepared
CHECK = {"png": 0.22, "ppm": 0.1}  # of that time, for a frame that a shard has prepared
FORWARD = {"pyramid": 21e3, "deeplab_resnet101": 1.44e6, "daformer": 1.0e6}  # operations of a pixel
CPU = {"pyramid": 31e9, "deeplab_resnet101": 76e9}  # operations a second of a step on one thread, in fp32
START = 10  # seconds of a job that imports torch
RAW = 1.8  # bytes of a raw pixel of the built-in world, image and label
PREPARED = {"png": 1.8, "ppm": 3.1}  # of a prepared one
WEIGHTS = {"pyramid": 3.3e6, "deeplab_resnet101": 176e6}  # bytes of one file
TENSORS = {"pyramid": (16e6, 1807), "deeplab_resnet101": (703e6, 7744)}  # bytes of networks, gradients and optimizer;
# and of a step for each pixel of a batch, in fp32
SYNTHIA = Packed(20e9, 22e9)  # of its archive no size is published (docs/data.md)
PROCESS = 710 * 2**20  # bytes of Python, torch and all else that is loaded when some steps are done
KEPT = 2**30  # bytes of decoded frames that a split may keep (dacs.loading.split)
STEP = 5.285e12  # operations of a step of DACS at paper scale
H200 = {  # precision, whether with CUDA graphs → seconds of such a step
    ("fp32", False): 0.2355,
    ("fp32", True): 0.2340,
    ("tf32", False): 0.0883,
    ("tf32", True): 0.0728,
    ("bf16", False): 0.0838,
    ("bf16", True): 0.0422,
}


class Counted(NamedTuple):
    """What `dacs plan --cost` counts of a method."""

    operations: int  # of a step
    weights: int  # bytes
    memory: int  # bytes of tensors at the peak of a step


class Job(NamedTuple):
    """A job: its work, what it should take, and what it took."""

    rule: str
    amount: int
    unit: str
    stated: float | None  # seconds; None where no rate is known
    room: float | None = None  # bytes that it should take at its peak: on a GPU of tensors there, else of the process
    measured: float | None = None  # seconds
    memory: float | None = None  # bytes of its process at the peak, as measured


class Device(NamedTuple):
    """What trains."""

    gpu: bool
    rate: float | None  # operations a second
    source: str


def device_of(params: Params, *, gpu: bool, tflops: float | None) -> Device:
    """The stated rate of what trains: of a GPU `tflops`, or what DACS at paper scale sustained on an H200."""
    if gpu:
        loop = params.loop
        known = STEP / H200[loop.precision, loop.cuda_graphs]
        how = f"{known / 1e12:.1f} TFLOP/s in {loop.precision}{', with graphs' * loop.cuda_graphs}"
        if tflops is None:
            return Device(True, known, f"an H200, which sustained {how}: docs/performance.md")
        return Device(True, 1e12 * tflops, f"a GPU that sustains {tflops:g} TFLOP/s")
    source = f"one thread of a CPU, {params.model.network} in fp32: docs/performance.md"
    return Device(False, CPU.get(params.model.network), source)


# --------------------------------------------------------------------------------------------------------------------
# Jobs


def jobs_of(params: Params, device: Device, counted: Mapping[str, Counted]) -> Iterator[Job]:
    """Every job of `all` or of a campaign, but those that draw and write the report."""
    for domain in domains_of(params):
        yield from _data_jobs(params, domain)
    for request in distinct(with_starts(params)):
        yield _run_job(request, device, counted)
    for request in requests(params):
        yield _evaluation(request, device, counted)


def distinct(listed: Iterable[RunRequest]) -> list[RunRequest]:
    """The runs that are trained: the oracle of a target is one for all tasks."""
    found: dict[tuple[str, str, int], RunRequest] = {}
    for each in listed:
        whose = each.task.split("-")[1] if method(each.method).labels == "target" else each.task
        found.setdefault((whose, each.method, each.seed), each)
    return list(found.values())


def _data_jobs(params: Params, domain: str) -> Iterator[Job]:
    row, frames = dataset_of(params, domain), sum(raw_frames(params, domain).values())
    megapixels = frames * raw_pixels(params, domain, row) / 1e6
    by_world = origin(params, domain) == "world"
    first = Job("world" if by_world else "download", frames, "frames", RENDER * megapixels if by_world else None)
    yield _timed(first, domain, same_raw(params, domain))
    stated = REMAP[params.remap.images] * megapixels if megapixels else None
    yield from _remap_jobs(params, domain, stated)


def _remap_jobs(params: Params, domain: str, stated: float | None) -> Iterator[Job]:
    """One job; or those that share the frames, and one that checks what they made."""
    splits, same, total = raw_frames(params, domain).values(), same_prepared(params, domain), params.remap.shards
    if total > 1:
        for number in range(1, total + 1):
            own = sum(len(Shard(number, total).frames(count)) for count in splits)
            part = stated and stated * own / sum(splits)
            yield _timed(Job("remap_shard", own, "frames", part), f"{domain}-{number}-of-{total}", same)
    share = 1.0 if total == 1 else CHECK[params.remap.images]
    yield _timed(Job("remap", sum(splits), "frames", stated and share * stated), domain, same)


def _run_job(request: RunRequest, device: Device, counted: Mapping[str, Counted]) -> Job:
    row, settings, forward = method(request.method), request.settings, _forward(request, counted)
    if row.recalibrates:
        frames = request.params.adabn.frames
        stated = _seconds(forward, frames * prepared_pixels(request.params, request.task.split("-")[1]), device)
        return Job("adabn", frames, "frames", stated)  # its log does not say whether it was found in the run cache
    steps = settings.schedule.steps
    stated = _seconds(forward, passes(request) * steps * settings.loop.accumulate * _pixels(request), device)
    job = Job("adapt" if row.adapts else "train", steps, "steps", stated, _room(request, device, counted))
    return _timed(job, _name(request), same_run(request) and _was_trained(job, request))


def _evaluation(request: RunRequest, device: Device, counted: Mapping[str, Counted]) -> Job:
    """Student and teacher of each state, and of the last one with AdaBN, on the measured frames; criteria on others."""
    params, target = request.params, request.task.split("-")[1]
    states = 1 if method(request.method).recalibrates else params.loop.snapshots
    measured = raw_frames(params, target).get("val", 0)
    frames = 2 * (states + 1) * measured + 2 * params.adabn.frames + 2 * states * params.evaluate.criteria_frames
    stated = _seconds(_forward(request, counted), frames * prepared_pixels(params, target), device)
    return _timed(Job("evaluate", measured, "frames", stated), _name(request), same_evaluation(request))


def passes(request: RunRequest) -> float:
    """A step in forward passes of a batch: 3 a loss, with its backward pass; 1 each for pseudo-labels and for
    statistics of the target; 0.4 for features.
    """
    row, adapt = method(request.method), request.settings.adapt
    losses = len({*row.terms} - {STATISTICS})
    tracked = adapt is not None and adapt.bn_statistics == "target"
    return 3 * losses + row.mixes + tracked + 0.4 * (FEATURE_LOSS in row.terms)


def _forward(request: RunRequest, counted: Mapping[str, Counted]) -> float | None:
    """Operations of a forward pass for a pixel."""
    name = request.method if request.method in counted else next(iter(counted), "")
    if not name:
        return FORWARD.get(request.params.model.network)
    pixels = request.params.loop.accumulate * _pixels(request)
    return counted[name].operations / passes(request._replace(method=name)) / pixels


def _pixels(request: RunRequest) -> int:
    """Pixels of a batch of one domain."""
    loop = request.params.loop
    return loop.batch * loop.crop[0] * loop.crop[1]


def _room(request: RunRequest, device: Device, counted: Mapping[str, Counted]) -> int | float | None:
    """Bytes of a training at its peak: of its step, and on a CPU of the process and its frames too."""
    if request.method in counted:
        step: int | float = counted[request.method].memory
    elif request.params.model.network in TENSORS:
        networks, pixel = TENSORS[request.params.model.network]
        step = networks + pixel * _pixels(request)
    else:
        return None
    return step if device.gpu else PROCESS + kept_frames(request) + step


def kept_frames(request: RunRequest) -> int:
    """Bytes of the frames that a training keeps decoded in memory: a split's, where all of them fit."""
    params, (source, target) = request.params, request.task.split("-")
    labelled = labelled_domain(source, target, request.method)
    splits = {(labelled, 1)} | ({(target, 0)} if method(request.method).adapts else set())
    colours = 0 if params.remap.images == "ppm" else 3
    sizes = [
        raw_frames(params, domain).get("train", 0) * prepared_pixels(params, domain) * (colours + labels)
        for domain, labels in splits
    ]
    return sum(size for size in sizes if size <= KEPT)


def _seconds(forward: float | None, pixels: int | float, device: Device) -> float | None:
    return START + forward * pixels / device.rate if forward and device.rate and pixels else None


def raw_frames(params: Params, domain: str) -> dict[str, int]:
    """Frames by split: those of the built-in world, or as published; empty of a custom domain, which is not counted."""
    if origin(params, domain) == "world":
        frames = params.world.frames.model_dump()
        return {split: frames[key] for split, key in RENDERED[domain].items()}
    published = dict(dataset_of(params, domain).published)
    return {"train": 12403} if domain == "gta5" and params.data.gta5_frames == "official" else published


def raw_pixels(params: Params, domain: str, row: DataSet) -> float:
    """Pixels of a raw frame; 0 where they are not known."""
    height, width = max(row.sizes, default=(0, 0))
    return height * width * (params.world.scale**2 if origin(params, domain) == "world" else 1.0)


def prepared_pixels(params: Params, domain: str) -> int:
    """Pixels of a prepared frame."""
    custom = params.domains.get(domain)
    height, width = custom.size if custom else params.remap.sizes[domain]
    return height * width


# --------------------------------------------------------------------------------------------------------------------
# What was measured


def _timed(job: Job, name: str, same: bool) -> Job:
    """The job with its time and memory, if it ran with the `same` settings."""
    path = BENCHMARKS / job.rule / f"{name}.tsv"
    if not (same and path.exists()):
        return job
    with path.open(newline="") as stream:
        row = next(csv.DictReader(stream, delimiter="\t"), {})
    try:
        return job._replace(measured=float(row["s"]), memory=2**20 * float(row["max_rss"]))
    except (KeyError, ValueError):  # a job that was too short for its memory to be seen
        return job


def _name(request: RunRequest) -> str:
    return f"{request.task}-{request.method}-seed{request.seed}"


def _was_trained(job: Job, request: RunRequest) -> bool:
    """Whether the last job made all steps: it was not copied from the run cache, nor resumed."""
    log = LOGS / job.rule / f"{_name(request)}.log"
    text = log.read_text(errors="replace") if log.exists() else ""
    return "resuming from" not in text and bool(re.search(rf"^step {job.amount}/{job.amount}:", text, re.MULTILINE))
