"""The tables of `dacs plan`: jobs and hours, disk, memory, downloads, and how far a plan was off. Torch-free."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from dacs.datasets.registry import DATASETS
from dacs.jobs import dataset_of, domains_of, origin, requests
from dacs.layout import RunDir
from dacs.methods import method
from dacs.settings import Params
from dacs.training.estimate import (
    ON_GPU,
    PREPARED,
    RAW,
    READY,
    RUNS,
    SYNTHIA,
    WEIGHTS,
    Counted,
    Device,
    Job,
    jobs_of,
    prepared_pixels,
    raw_frames,
    raw_pixels,
)

RESERVED = 2500  # MB that the rules of trainings and evaluations reserve


class Size(NamedTuple):
    """Bytes of a kind of files, as stated and as found."""

    name: str
    stated: float | None
    found: int
    source: str


def cost_plan(params: Params, device: Device, counted: Mapping[str, Counted]) -> str:
    """Jobs and hours by rule, disk and memory: stated, expected, and as they were."""
    jobs = list(jobs_of(params, device, counted))
    parts = [_jobs_table(jobs, device), _disk_table(sizes(params, counted)), _memory(jobs, counted)]
    return "\n\n".join(parts)


def _jobs_table(jobs: list[Job], device: Device) -> str:
    lines = [
        f"{'rule':11} {'jobs':>5} {'work':>18} {'stated h':>9} {'expected h':>10} {'took h':>8} {'took / stated':>14}"
    ]
    for rule in dict.fromkeys(job.rule for job in jobs):
        of_rule = [job for job in jobs if job.rule == rule]
        timed = [job for job in of_rule if job.measured is not None and job.stated]
        took, ratio = sum(job.measured or 0 for job in timed), ratio_of(of_rule)
        work = f"{sum(job.amount for job in of_rule):,} {of_rule[0].unit}"
        share = f"{ratio:.2f} ({len(timed)} jobs)" if ratio else ""
        cells = _hours(stated(of_rule)), _hours(expected(of_rule)), _hours(took) if timed else ""
        lines.append(f"{rule:11} {len(of_rule):5} {work:>18} {cells[0]:>9} {cells[1]:>10} {cells[2]:>8} {share:>14}")
    lines.append(f"{'all':11} {len(jobs):5} {'':18} {_hours(stated(jobs)):>9} {_hours(_sum_by_rule(jobs)):>10}")
    trained = [job for job in jobs if job.rule in ON_GPU]
    if device.gpu:
        lines.append(f"GPU hours: {_hours(_sum_by_rule(trained))} of train, adapt, adabn and evaluate.")
    lines.append(
        "Hours of one job after another. Stated: by rates of docs/performance.md; trainings on "
        f"{device.source}.\nExpected: as this machine took for the same settings, where it has run them."
    )
    if any(job.stated is None for job in jobs):
        lines.append("–: no rate is known: of downloads, of custom data sets, and of networks without --cost.")
    return "\n".join(lines)


def stated(jobs: Iterable[Job]) -> float | None:
    """Seconds by the stated rates; None where none is known."""
    known = [job.stated for job in jobs if job.stated is not None]
    return sum(known) if known else None


def ratio_of(jobs: Iterable[Job]) -> float | None:
    """Measured time by stated time, of those jobs that have both."""
    timed = [job for job in jobs if job.measured is not None and job.stated]
    return sum(job.measured or 0 for job in timed) / sum(job.stated or 0 for job in timed) if timed else None


def expected(jobs: Iterable[Job]) -> float | None:
    """Seconds of jobs of one rule: as measured, and of the others as stated, times the ratio of the measured ones."""
    listed = list(jobs)
    ratio = ratio_of(listed) or 1.0
    measured = [job.measured for job in listed if job.measured is not None]
    others = [ratio * job.stated for job in listed if job.measured is None and job.stated is not None]
    return sum(measured + others) if measured or others else None


def _sum_by_rule(jobs: list[Job]) -> float | None:
    sums = [expected(job for job in jobs if job.rule == rule) for rule in dict.fromkeys(job.rule for job in jobs)]
    known = [each for each in sums if each is not None]
    return sum(known) if known else None


def _hours(seconds: int | float | None) -> str:
    """Hours with two digits that count.

    >>> _hours(36.0), _hours(7200.0), _hours(36e5), _hours(None)
    ('0.010', '2.0', '1000', '–')
    """
    if seconds is None:
        return "–"
    hours = seconds / 3600
    return f"{hours:.3f}" if hours < 1 else f"{hours:.1f}" if hours < 100 else f"{hours:.0f}"


# --------------------------------------------------------------------------------------------------------------------
# Disk and memory


def sizes(params: Params, counted: Mapping[str, Counted]) -> list[Size]:
    """What is downloaded, and what lies on the disk after a run."""
    domains = domains_of(params)
    downloads = {domain: archives(domain) for domain in domains if origin(params, domain) == "download"}
    rendered = [domain for domain in domains if origin(params, domain) == "world"]
    pixels = {domain: sum(raw_frames(params, domain).values()) for domain in domains}
    raw = sum(RAW * pixels[each] * raw_pixels(params, each, dataset_of(params, each)) for each in rendered)
    raw += sum(downloads.values()) if params.data.unpack else 0
    prepared = sum(PREPARED[params.remap.images] * pixels[each] * prepared_pixels(params, each) for each in domains)
    runs, folders = _runs(params, counted)
    in_cache = None if runs is None else runs + prepared
    return [
        Size(
            "downloads", sum(downloads.values()), _bytes([Path(params.data.archives)]), "as published; SYNTHIA: about"
        ),
        Size("raw", raw, _bytes([Path("data/raw") / each for each in domains]), "unpacked, or rendered"),
        Size("prepared", prepared, _bytes([READY / each for each in domains]), params.remap.images),
        Size("runs", runs, _bytes(folders), "weights of all states"),
        Size("run cache", runs, _bytes([Path(".cache/runs")]), "a copy, and every setting tried"),
        Size("DVC", in_cache, _bytes([Path(".dvc/cache")]), "copies of prepared and runs, of every version"),
    ]


def archives(domain: str) -> int:
    """Bytes of the archives of a data set."""
    return round(sum(SYNTHIA if each.bytes is None else each.bytes for each in DATASETS[domain].archives))


def _runs(params: Params, counted: Mapping[str, Counted]) -> tuple[float | None, list[Path]]:
    """Bytes of the weights of all runs, and their folders."""
    files, folders = 0, []
    for request in requests(params):
        states = 1 if method(request.method).recalibrates else params.loop.snapshots
        files += 2 * states + (request.settings.start is not None)
        folders.append(RunDir.of(RUNS, request.task, request.method, request.seed).path)
    weights = max((float(each.weights) for each in counted.values()), default=WEIGHTS.get(params.model.network))
    return None if weights is None else files * weights, folders


def _bytes(folders: Iterable[Path]) -> int:
    """Bytes of all files in folders."""
    total = 0
    for folder in folders:
        for place, _, names in os.walk(folder):
            total += sum(os.lstat(os.path.join(place, name)).st_size for name in names)
    return total


def _disk_table(listed: list[Size]) -> str:
    lines = [f"{'disk':10} {'stated GB':>10} {'found GB':>10} {'found / stated':>15}  what"]
    for size in listed:
        ratio = f"{size.found / size.stated:.2f}" if size.stated and size.found else ""
        cells = _gigabytes(size.stated), _gigabytes(size.found) if size.found else ""
        lines.append(f"{size.name:10} {cells[0]:>10} {cells[1]:>10} {ratio:>15}  {size.source}")
    known = [size.stated for size in listed if size.stated is not None]
    lines.append(f"{'all':10} {_gigabytes(sum(known)):>10} {_gigabytes(sum(size.found for size in listed)):>10}")
    return "\n".join(lines)


def _gigabytes(size: int | float | None) -> str:
    return "–" if size is None else f"{size / 1e9:.2f}"


def _memory(jobs: list[Job], counted: Mapping[str, Counted]) -> str:
    found = {job.rule: max(each.memory or 0 for each in jobs if each.rule == job.rule) for job in jobs}
    seen = ", ".join(f"{rule} {peak:.0f}" for rule, peak in found.items() if peak)
    here = (
        f"largest of a job here, in MB: {seen}."
        if seen
        else f"{RESERVED} MB are reserved for a training; none ran here."
    )
    if not counted:
        return f"Memory: {here} That of a step, on a GPU: --cost."
    most = max(counted, key=lambda name: counted[name].memory)
    return f"Memory: {here} Tensors of a step: {counted[most].memory / 2**20:,.0f} MiB ({most})."
