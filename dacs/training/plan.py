"""The tables of `dacs plan`: jobs and hours, disk, memory, downloads, and how far a plan was off. Torch-free."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from dacs.datasets.registry import DATASETS
from dacs.jobs import RunRequest, dataset_of, domains_of, origin, with_starts
from dacs.methods import method
from dacs.settings import Params
from dacs.training.estimate import (
    ON_GPU,
    PREPARED,
    PROCESS,
    RAW,
    SYNTHIA,
    WEIGHTS,
    Counted,
    Device,
    Job,
    distinct,
    jobs_of,
    prepared_pixels,
    raw_frames,
    raw_pixels,
)
from dacs.training.found import READY, folder_of, same_prepared, same_raw, same_run, value_of
from dacs.training.run_cache import STORE


class Size(NamedTuple):
    """Bytes of a kind of files: as stated, and as found of those that are what is asked for."""

    name: str
    stated: float | None
    found: int
    compared: float  # what was stated of the files that were found
    source: str


def cost_plan(params: Params, device: Device, counted: Mapping[str, Counted]) -> str:
    """Jobs and hours by rule, disk and memory: stated, expected, and as they were."""
    jobs = list(jobs_of(params, device, counted))
    parts = [_jobs_table(jobs, device), _disk_table(sizes(params, counted)), _memory_table(jobs, device)]
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


class Part(NamedTuple):
    """Files that are made together."""

    stated: float  # bytes
    folder: Path
    asked: bool  # whether what is there is what is asked for


def sizes(params: Params, counted: Mapping[str, Counted]) -> list[Size]:
    """What is downloaded, and what lies on the disk after a run."""
    raw, prepared = zip(*(_frames(params, domain) for domain in domains_of(params)), strict=True)
    loaded = [
        Part(archives(domain), Path(params.data.archives) / domain, same_raw(params, domain))
        for domain in domains_of(params)
        if origin(params, domain) == "download"
    ]
    weight = max((float(each.weights) for each in counted.values()), default=WEIGHTS.get(params.model.network))
    listed = with_starts(params)
    runs = [Part(_states(each) * (weight or 0), folder_of(each).path, same_run(each)) for each in listed]
    kept = [
        Part(_states(each) * (weight or 0), STORE / str(value_of(folder_of(each).spec, "key")), same_run(each))
        for each in distinct(listed)
    ]
    cached = _size("run cache", kept, "", known=weight is not None)
    others, versions = _bytes(STORE) - cached.found, _bytes(Path(".dvc/cache"))
    both = None if cached.stated is None else cached.stated + sum(part.stated for part in prepared)
    return [
        _size("downloads", loaded, "as published; SYNTHIA: about"),
        _size("raw", raw, "unpacked, or rendered"),
        _size("prepared", prepared, params.remap.images),
        _size("runs", runs, "weights of all states", known=weight is not None),
        cached._replace(source=f"a copy of each run; of other settings: {_gigabytes(others)} GB"),
        Size("DVC", both, 0, 0, f"copies of prepared and cached; of all versions there: {_gigabytes(versions)} GB"),
    ]


def _size(name: str, parts: Iterable[Part], source: str, *, known: bool = True) -> Size:
    listed = list(parts)
    there = [(part.stated, size) for part in listed if part.asked and (size := _bytes(part.folder))]
    stated = sum(part.stated for part in listed) if known else None
    return Size(name, stated, sum(size for _, size in there), sum(stated for stated, _ in there), source)


def _frames(params: Params, domain: str) -> tuple[Part, Part]:
    """The raw and the prepared frames of a domain."""
    number, raw = sum(raw_frames(params, domain).values()), 0.0
    if origin(params, domain) == "world":
        raw = RAW * number * raw_pixels(params, domain, dataset_of(params, domain))
    elif origin(params, domain) == "download" and params.data.unpack:
        raw = SYNTHIA.unpacked if domain == "synthia" else archives(domain)
    prepared = PREPARED[params.remap.images] * number * prepared_pixels(params, domain)
    return (
        Part(raw, Path("data/raw") / domain, same_raw(params, domain)),
        Part(prepared, READY / domain, same_prepared(params, domain)),
    )


def archives(domain: str) -> int:
    """Bytes of the archives of a data set."""
    return round(sum(SYNTHIA.archive if each.bytes is None else each.bytes for each in DATASETS[domain].archives))


def _states(request: RunRequest) -> int:
    """Files of weights that a run keeps: student and teacher of each state, and the one that others start from."""
    states = 1 if method(request.method).recalibrates else request.params.loop.snapshots
    return 2 * states + (request.settings.start is not None)


def _bytes(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(os.lstat(os.path.join(place, name)).st_size for place, _, names in os.walk(folder) for name in names)


def _disk_table(listed: list[Size]) -> str:
    lines = [f"{'disk':10} {'stated GB':>10} {'found GB':>10} {'found / stated':>15}  what"]
    for size in listed:
        ratio = f"{size.found / size.compared:.2f}" if size.compared else ""
        cells = _gigabytes(size.stated), _gigabytes(size.found) if size.found else ""
        lines.append(f"{size.name:10} {cells[0]:>10} {cells[1]:>10} {ratio:>15}  {size.source}")
    known = [size.stated for size in listed if size.stated is not None]
    lines.append(f"{'all':10} {_gigabytes(sum(known)):>10}")
    lines.append("Found: files of the settings that are asked for, beside what was stated of them.")
    return "\n".join(lines)


def _gigabytes(size: int | float | None) -> str:
    return "–" if size is None else f"{size / 1e9:.2f}"


def _memory_table(jobs: list[Job], device: Device) -> str:
    """The largest job of each rule at its peak."""
    lines = [f"{'memory':10} {'stated MiB':>10} {'found MiB':>10} {'found / stated':>15}"]
    for rule in dict.fromkeys(job.rule for job in jobs):
        stated, found = _largest(jobs, rule, "room"), _largest(jobs, rule, "memory")
        of_found = _largest((job for job in jobs if job.memory), rule, "room")
        ratio = f"{found / of_found:.2f}" if found and of_found and not device.gpu else ""
        if stated or found:
            lines.append(
                f"{rule:10} {_mebibytes(stated):>10} {_mebibytes(found) if found else '':>10} {ratio:>15}".rstrip()
            )
    where = (
        "of the GPU, the tensors of a step in float32; found: of the process on this machine"
        if device.gpu
        else f"of Python and torch {_mebibytes(PROCESS)}, the tensors of a step, and frames that are kept decoded"
    )
    return "\n".join([*lines, f"Stated: {where}. --cost counts a step of any network."])


def _largest(jobs: Iterable[Job], rule: str, of: Literal["room", "memory"]) -> int | float | None:
    return max((each for job in jobs if job.rule == rule and (each := getattr(job, of)) is not None), default=None)


def _mebibytes(size: int | float | None) -> str:
    return "–" if size is None else f"{size / 2**20:,.0f}"
