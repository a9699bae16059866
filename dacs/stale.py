"""Results that were made with other settings, code or data than are asked for now. Torch-free.

Snakemake compares what it asks for with its own records in `.snakemake`, where those are. Each result has a record of
its own beside it too, which travels with it and is compared here.
"""

from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from dacs.datasets.registry import MODULES
from dacs.errors import DacsError, RunFailed
from dacs.fields import Section
from dacs.files import read_json
from dacs.jobs import RunRequest, domains_of, job_digest, job_of, origin, requests, with_starts
from dacs.layout import PreparedDomain, RunDir
from dacs.methods import method as method_row
from dacs.networks import NETWORKS
from dacs.provenance import code_digest
from dacs.records import recorded
from dacs.settings import Params
from dacs.training.run import Run
from dacs.training.run_cache import NOT_DIGESTED, code_of, made_as
from dacs.verify import FIGURES_RECORD, PAGE_RECORD, RECORD, Damage, MadeWith, changed_input, record_beside

ROOTS = {  # verb → what it calls
    "world": ["dacs.demo_world.write:write_world"],
    "download": [],
    "remap": ["dacs.prepare.remap:remap"],
    "remap_shard": ["dacs.prepare.shards:remap_shard"],
    "evaluate": ["dacs.evaluation.evaluate:evaluate_run"],
    "appearance": ["dacs.evaluation.appearance:appearance"],
    "figures": ["dacs.reporting.figures:make", *MODULES.values()],
    "campaign": ["dacs.reporting.campaign:write", *MODULES.values()],
    "report": ["dacs.reporting.page:write", *MODULES.values()],
}


@cache
def code_of_job(verb: str, *, domain: str = "", network: str = "") -> str:
    """A digest of the code that a job reaches, but for trainings; domain and network matter to some.

    What is downloaded depends on no code.
    """
    more = [f"{MODULES[domain]}:DATASET"] if domain in MODULES else []
    more += [NETWORKS[network]] if network else []
    ignore = () if verb in ("figures", "report", "campaign") else NOT_DIGESTED
    return code_digest(*ROOTS[verb], *more, ignore=ignore) if ROOTS[verb] else ""


def made_with(verb: str, job: Section, *, domain: str = "", network: str = "") -> MadeWith:
    """What is recorded beside the results of a job; of one that runs a network, the version of torch too."""
    found = {"settings": job_digest(job), "code": code_of_job(verb, domain=domain, network=network)}
    return found | ({"torch": version("torch")} if network else {})


class Asked(NamedTuple):
    """What params.yaml asks for of a rule's output."""

    output: Path  # without which the rule runs again
    record: Path
    made_with: MadeWith


def stale(params: Params, runs: Path, reports: Path, ready: Path, manifests: Path) -> Iterator[Damage]:
    """What was made with other settings or code and would be taken for up to date, or has no record of either."""
    for asked in _asked(params, runs, reports, ready, manifests):
        # Metrics are in Git, the folder of their record is not: without it Snakemake makes both.
        if asked.output.exists() and asked.record.parent.exists() and (reason := _difference(asked)):
            yield Damage(asked.output, reason, asked.record)
    for request in with_starts(params):
        out = RunDir.of(runs, request.task, request.method, request.seed)
        code = code_of(method_row(request.method), params.model)
        noticed = _metadata_differs(out.spec, {"settings": job_digest(request.settings), "code": code})
        if out.spec.exists() and not noticed and not _made_as(request, out, runs, ready):
            yield Damage(out.spec, "made with other settings, code or data", out.spec)


def compared(params: Params, runs: Path, reports: Path, ready: Path, manifests: Path) -> set[Path]:
    """The outputs that `stale` compares with what is asked for, where they are there."""
    of_jobs = (asked for asked in _asked(params, runs, reports, ready, manifests) if asked.record.parent.exists())
    specs = (RunDir.of(runs, one.task, one.method, one.seed).spec for one in with_starts(params))
    return {*(asked.output for asked in of_jobs), *specs}


def is_prepared(params: Params, domain: str, ready: Path) -> bool:
    """Whether a domain is prepared as it is asked for, by its own record."""
    return is_made(_prepared(params, domain, ready))


def is_made(asked: Asked) -> bool:
    """Whether an output is there, and was made as it is asked for by the record beside it."""
    try:
        return asked.output.exists() and asked.made_with.items() <= read_json(asked.record).items()
    except RunFailed:
        return False


def _difference(asked: Asked) -> str:
    """How an output differs from what is asked for, where Snakemake does not notice it itself."""
    try:
        beside = read_json(asked.record)
        known = {name: beside[name] for name in asked.made_with if name in beside}
        inputs = dict(beside).get("inputs")
    except (RunFailed, TypeError, ValueError):
        known, inputs = {}, None
    if any(known[name] != asked.made_with[name] for name in known):
        return "" if _metadata_differs(asked.output, asked.made_with) else "made with other settings or code"
    if recorded(asked.output) is not None:  # Snakemake compares the inputs
        return ""
    if not isinstance(inputs, dict) or len(known) < len(asked.made_with):
        return "no record of what it was made with"
    changed = changed_input(asked.record, inputs)
    return f"made from another {changed}" if changed else ""


def _metadata_differs(output: Path, wanted: MadeWith) -> bool:
    """Whether Snakemake has a record of an output, made with something else, so that it makes it again itself."""
    text = recorded(output)
    return text is not None and not all(value in text for value in wanted.values())


def _asked(params: Params, runs: Path, reports: Path, ready: Path, manifests: Path) -> Iterator[Asked]:
    network = params.model.network
    for domain in domains_of(params):
        verb, manifest = "world" if origin(params, domain) == "world" else "download", manifests / f"{domain}.json"
        yield Asked(manifest, record_beside(manifest), made_with(verb, job_of(params, verb, domain=domain)))
        yield _prepared(params, domain, ready)
    for request in requests(params):
        folder = RunDir.of(runs, request.task, request.method, request.seed).evaluation
        job = job_of(params, "evaluate", domain=request.task.split("-")[1])
        yield Asked(folder.metrics, folder.path / RECORD, made_with("evaluate", job, network=network))
    for task in params.runs.tasks:
        output = runs / task / "appearance.json"
        compared = made_with("appearance", job_of(params, "appearance"), network=network)
        yield Asked(output, record_beside(output), compared)
    for verb, marker, record in (("figures", "metrics.json", FIGURES_RECORD), ("report", "index.html", PAGE_RECORD)):
        yield Asked(reports / marker, reports / record, made_with(verb, job_of(params, verb)))


def _prepared(params: Params, domain: str, ready: Path) -> Asked:
    report = PreparedDomain(ready / domain).data_report
    prepared = made_with("remap", job_of(params, "remap", domain=domain), domain=domain)
    return Asked(report, report.with_name(RECORD), prepared)


def _made_as(request: RunRequest, out: RunDir, runs: Path, ready: Path) -> bool:
    """Whether a run is the one that is asked for; true where what it needs is missing, which is made first."""
    init = request.init and RunDir.of(runs, request.task, request.init.method, request.seed)
    source, target = request.prepared(ready)
    if not (source.stats.exists() and target.stats.exists()) or (init and not init.spec.exists()):
        return True
    try:
        return made_as(out, Run(request.method, request.seed, request.settings, source, target, init or None))
    except (DacsError, KeyError, TypeError, AttributeError):
        return False
