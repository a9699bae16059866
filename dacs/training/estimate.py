"""What the runs of params.yaml take before they are made, and afterwards how far this was off. Torch-free.

Each job has a stated time: its work by the rates below. Jobs that Snakemake has timed here with the same settings
(logs/benchmarks) are compared with theirs, and the other jobs of the same rule are expected to be off by as much.
"""

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from dacs.datasets.base import DataSet
from dacs.errors import RunFailed
from dacs.fields import identity
from dacs.files import read_json
from dacs.jobs import WORLD as RENDERED
from dacs.jobs import RunRequest, dataset_of, domains_of, job_digest, job_of, origin, requests
from dacs.layout import PreparedDomain, RunDir
from dacs.methods import FEATURE_LOSS, STATISTICS, Method, method
from dacs.prepare.shards import Shard
from dacs.settings import Params
from dacs.verify import RECORD

BENCHMARKS, LOGS, RUNS, READY, MANIFESTS = map(
    Path, ("logs/benchmarks", "logs", "runs", "data/ready", "data/manifests")
)
TRAININGS = ("train", "adapt")
ON_GPU = (*TRAININGS, "adabn", "evaluate")

# Stated rates; docs/performance.md says how each was measured.
RENDER = 0.3  # seconds for a million raw pixels, rendered and written
REMAP = {"png": 0.065, "ppm": 0.037}  # the same, prepared
CHECK = {"png": 0.22, "ppm": 0.1}  # of that time, for a frame that a shard has prepared
FORWARD = {"pyramid": 24e3, "deeplab_resnet101": 1.44e6, "daformer": 1.0e6}  # operations of a pixel: a step of DACS / 7
CPU = {"pyramid": 31e9, "deeplab_resnet101": 76e9}  # operations a second of a step on one thread, in fp32
START = 10  # seconds of a job that imports torch
RAW = 1.8  # bytes of a raw pixel of the built-in world, image and label
PREPARED = {"png": 1.8, "ppm": 3.1}  # of a prepared one
WEIGHTS = {"pyramid": 3.3e6, "deeplab_resnet101": 176e6}  # bytes of one file
SYNTHIA = 20e9  # bytes of its archive, of which no size is published (docs/data.md)
H200 = {  # precision, whether with CUDA graphs → 10^12 operations a second, of steps of DACS (docs/performance.md)
    ("fp32", False): 22.4,
    ("fp32", True): 22.6,
    ("tf32", False): 59.9,
    ("tf32", True): 72.6,
    ("bf16", False): 63.1,
    ("bf16", True): 125.2,
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
    measured: float | None = None
    memory: float | None = None  # MB at its peak, as measured


class Device(NamedTuple):
    """What trains."""

    gpu: bool
    rate: float | None  # operations a second
    source: str


def device_of(params: Params, *, gpu: bool, tflops: float | None) -> Device:
    """The stated rate of what trains: of a GPU `tflops`, or what DACS at paper scale sustained on an H200."""
    if gpu:
        loop = params.loop
        known = H200[loop.precision, loop.cuda_graphs]
        measured = f"an H200, which sustained {known:g} TFLOP/s in {loop.precision}{', with graphs' * loop.cuda_graphs}"
        source = f"{measured}: docs/performance.md" if tflops is None else f"a GPU that sustains {tflops:g} TFLOP/s"
        return Device(True, 1e12 * (tflops or known), source)
    source = f"one thread of a CPU, {params.model.network} in fp32: docs/performance.md"
    return Device(False, CPU.get(params.model.network), source)


# --------------------------------------------------------------------------------------------------------------------
# Jobs


def jobs_of(params: Params, device: Device, counted: Mapping[str, Counted]) -> Iterator[Job]:
    """Every job of `all` or of a campaign, but those that draw and write the report."""
    for domain in domains_of(params):
        yield from _data_jobs(params, domain)
    seen: set[tuple[str, str, int]] = set()
    listed = list(requests(params))
    for request in (*filter(None, (each.init for each in listed)), *listed):
        whose = request.task.split("-")[1] if method(request.method).labels == "target" else request.task
        if (whose, request.method, request.seed) not in seen:  # the oracle of a target is one run for all tasks
            seen.add((whose, request.method, request.seed))
            yield _run_job(request, device, counted)
    for request in listed:
        yield _evaluation(request, device, counted)


def _data_jobs(params: Params, domain: str) -> Iterator[Job]:
    row, frames = dataset_of(params, domain), sum(raw_frames(params, domain).values())
    megapixels = frames * raw_pixels(params, domain, row) / 1e6
    by_world = origin(params, domain) == "world"
    first = Job("world" if by_world else "download", frames, "frames", RENDER * megapixels if by_world else None)
    yield _timed(first, domain, _same_frames(params, domain))
    stated = REMAP[params.remap.images] * megapixels if megapixels else None
    yield from _remap_jobs(params, domain, stated)


def _remap_jobs(params: Params, domain: str, stated: float | None) -> Iterator[Job]:
    """One job; or those that share the frames, and one that checks what they made."""
    splits, same, total = raw_frames(params, domain).values(), _same_size(params, domain), params.remap.shards
    if total > 1:
        for number in range(1, total + 1):
            own = sum(len(Shard(number, total).frames(count)) for count in splits)
            part = stated and stated * own / sum(splits)
            yield _timed(Job("remap_shard", own, "frames", part), f"{domain}-{number}-of-{total}", same)
    share = 1.0 if total == 1 else CHECK[params.remap.images]
    yield _timed(Job("remap", sum(splits), "frames", stated and share * stated), domain, same)


def _run_job(request: RunRequest, device: Device, counted: Mapping[str, Counted]) -> Job:
    row, settings = method(request.method), request.settings
    forward = _forward(request, counted)
    if row.recalibrates:
        frames = request.params.adabn.frames
        stated = _seconds(forward, frames * prepared_pixels(request.params, request.task.split("-")[1]), device)
        return Job("adabn", frames, "frames", stated)  # its log does not say whether it was found in the run cache
    steps, loop = settings.schedule.steps, settings.loop
    pixels = steps * loop.accumulate * loop.batch * loop.crop[0] * loop.crop[1]
    job = Job("adapt" if row.adapts else "train", steps, "steps", _seconds(forward, passes(row) * pixels, device))
    return _timed(job, _name(request), _same_run(request) and _was_trained(job, request))


def _evaluation(request: RunRequest, device: Device, counted: Mapping[str, Counted]) -> Job:
    """Student and teacher of each state, and of the last one with AdaBN, on the measured frames; criteria on others."""
    params, target = request.params, request.task.split("-")[1]
    states = 1 if method(request.method).recalibrates else params.loop.snapshots
    measured = raw_frames(params, target).get("val", 0)
    frames = 2 * (states + 1) * measured + 2 * params.adabn.frames + 2 * states * params.evaluate.criteria_frames
    stated = _seconds(_forward(request, counted), frames * prepared_pixels(params, target), device)
    folder = RunDir.of(RUNS, request.task, request.method, request.seed).evaluation.path
    digest = job_digest(job_of(params, "evaluate", domain=target))
    same = _found(folder / RECORD, "settings") == digest
    return _timed(Job("evaluate", measured, "frames", stated), _name(request), same)


def passes(row: Method) -> float:
    """A step in forward passes of a batch: 3 a term, with its backward pass; 1 for target images, 0.4 for features."""
    losses = len({*row.terms} - {STATISTICS})
    return 3 * losses + row.adapts + 0.4 * (FEATURE_LOSS in row.terms)


def _forward(request: RunRequest, counted: Mapping[str, Counted]) -> float | None:
    """Operations of a forward pass for a pixel."""
    loop, row = request.settings.loop, method(request.method)
    name = request.method if request.method in counted else next(iter(counted), "")
    if not name:
        return FORWARD.get(request.params.model.network)
    pixels = loop.accumulate * loop.batch * loop.crop[0] * loop.crop[1]
    return counted[name].operations / passes(row if name == request.method else method(name)) / pixels


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
        return job._replace(measured=float(row["s"]), memory=float(row["max_rss"]))
    except (KeyError, ValueError):  # a job that was too short for its memory to be seen
        return job


def _name(request: RunRequest) -> str:
    return f"{request.task}-{request.method}-seed{request.seed}"


def _found(path: Path, key: str) -> object:
    """A value of a JSON file; None where there is none."""
    try:
        return read_json(path).get(key)
    except RunFailed:
        return None


def _same_frames(params: Params, domain: str) -> bool:
    return _found(MANIFESTS / f"{domain}.json", "frames") == raw_frames(params, domain)


def _same_size(params: Params, domain: str) -> bool:
    size = params.domains[domain].size if domain in params.domains else params.remap.sizes[domain]
    frames = raw_frames(params, domain).get("train")
    stats = PreparedDomain(READY / domain).train.stats
    return _found(stats, "size") == list(size) and _found(stats, "frames") == frames


def _same_run(request: RunRequest) -> bool:
    """Whether the run that is there has the settings that are asked for."""
    found = _found(RunDir.of(RUNS, request.task, request.method, request.seed).spec, "settings")
    if not isinstance(found, dict):
        return False
    try:
        made_with = type(request.settings).model_validate(found, strict=False)
    except ValidationError:  # of an earlier version
        return False
    return identity(made_with) == identity(request.settings)


def _was_trained(job: Job, request: RunRequest) -> bool:
    """Whether the last job made all steps: it was not copied from the run cache, nor resumed."""
    log = LOGS / job.rule / f"{_name(request)}.log"
    text = log.read_text(errors="replace") if log.exists() else ""
    return "resuming from" not in text and bool(re.search(rf"^step {job.amount}/{job.amount}:", text, re.MULTILINE))
