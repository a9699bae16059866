"""What the rules share: the checked parameters, what is to be run, and the form in which a job depends on them."""

import errno
import os
import re
import sys
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock, Timeout
from snakemake.exceptions import WorkflowError

from dacs.config import load, read_file
from dacs.datasets.decode import listing
from dacs.errors import BadRequest, RunFailed
from dacs.jobs import (
    dataset_of,
    domains_of,
    job_file,
    job_of,
    labelled_domain,
    notes,
    origin,
    run_settings,
    starts_from_source,
    unlabelled_tasks,
)
from dacs.layout import PreparedDomain, RunDir
from dacs.machine import has_gpu, memory_mb
from dacs.methods import METHODS as TABLE
from dacs.methods import adapting, possible, recalibrating, supervised
from dacs.stale import code_of_job, stale
from dacs.training.run import snapshot_steps
from dacs.training.run_cache import adopt, code_of
from dacs.verify import ASIDE, damages, damages_of_tables, set_aside
from dacs.watch import Watcher

# Jobs use the Python that runs Snakemake, whether or not its environment is activated.
os.environ.update(PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))


def custom_files():
    """A digest of the present files of each custom domain that is used, so that a change of them is noticed."""
    used = [domain for domain in domains_of(PARAMS) if domain in PARAMS.domains]
    if used:
        from dacs.download.download import files_now

    return {domain: files_now(domain, PARAMS.domains[domain]) for domain in used}


# Reported here and not in a rule, around which Snakemake would print a traceback.
try:
    for file in workflow.configfiles:  # of which Snakemake's own reader keeps the last of two equal keys
        read_file(Path(file))
    PARAMS = load(config)
    CUSTOM_FILES = custom_files()
except (BadRequest, RunFailed) as error:
    raise WorkflowError(str(error)) from None

DOMAINS = domains_of(PARAMS)
TASKS = [task.split("-") for task in PARAMS.runs.tasks]
KNOWN = [*PARAMS.data.sources, *PARAMS.domains]
RENDERED = [domain for domain in KNOWN if origin(PARAMS, domain) == "world"]
PROVIDED = [domain for domain in KNOWN if domain not in RENDERED]
METHODS = PARAMS.runs.methods
UNLABELLED = unlabelled_tasks(PARAMS)
SEEDS = PARAMS.runs.seeds
ADAPTED = adapting(METHODS)
RECALIBRATED = recalibrating(METHODS)
NEEDS_SOURCE = any(starts_from_source(PARAMS, method) for method in METHODS)
STARTED_FROM = [name for name in supervised(TABLE) if run_settings(PARAMS, "", name).start]
TRAINED = list(dict.fromkeys([*supervised(METHODS), *(["source"] if NEEDS_SOURCE else [])]))

TABLES = ["scores", "summary", "intervals", "class_intervals", "order", "iou", "iou_by_protocol", "missing"]
TABLES += ["curves", "checkpoints", "choice", "calibration", "confident", "conflation", "pair", "similarity"]
TABLES += ["data", "data_report"]

# A step of training is a few wide operations: two runs of one thread each are faster than one run of two.
TRAINING_THREADS = max(PARAMS.loop.threads, 1) + PARAMS.loop.workers

LINES = 8  # of the log of a failed job, at the end of what is printed

# Another torch rounds differently.
TORCH = version("torch")


# What all jobs together may use, unless `--resources` or a profile says otherwise. Networks of different jobs would all
# be on the first GPU, so one job at a time uses it; and whatever `--cores` says, no more jobs run at a time than memory
# holds. A job that asks for more than there is runs alone. On a cluster the scheduler knows the memory of its nodes.
GPUS = int(PARAMS.loop.device != "cpu" and has_gpu())
workflow.global_resources.setdefault("gpu", 1)
if workflow.resource_settings.nodes is None:
    workflow.global_resources.setdefault("mem_mb", memory_mb() * 9 // 10)


def one_of(names):
    """A pattern that matches these names and, where there are none, nothing."""
    return "|".join(names) or "(?!)"


wildcard_constraints:
    domain=one_of(KNOWN),
    source=one_of(KNOWN),
    target=one_of(KNOWN),
    method=one_of(TABLE),
    seed=r"\d+",


def each(paths, methods):
    """The paths of all runs of these methods, but of the oracle where the target is unlabelled."""
    return [
        path
        for source, target in TASKS
        for path in expand(
            paths,
            source=source,
            target=target,
            method=possible(methods, unlabelled=f"{source}-{target}" in UNLABELLED),
            seed=SEEDS,
        )
    ]


def ready(domain):
    """The files of a prepared domain."""
    return PreparedDomain(Path("data/ready") / domain)


def prepared(domain, *splits):
    """What `remap` writes of a domain that is prepared as these splits."""
    folder = ready(domain)
    return [str(folder.data_report), *(str(path) for name in splits for path in marker_files(folder.split(name)))]


def marker_files(split):
    """The small files that mark a prepared split as whole."""
    return split.index, split.stats


def prepared_as(*splits):
    """A pattern of the domains that are prepared as exactly these splits."""
    return one_of([domain for domain in KNOWN if dataset_of(PARAMS, domain).prepared_splits == [*splits]])


def prepared_files():
    """All that is prepared of the domains that the tasks name."""
    return [path for domain in DOMAINS for path in prepared(domain, *dataset_of(PARAMS, domain).prepared_splits)]


def settings(verb):
    """The settings of a job of `verb` as a small file, whose name says what the job depends on."""

    def of_job(wildcards):
        names = {"domain": "domain", "target": "domain", "method": "method"}
        known = {names[name]: value for name, value in wildcards.items() if name in names}
        return job_file(job_of(PARAMS, verb, **known))

    return of_job


def files_of_custom(wildcards):
    """A digest of the present files of a custom domain; none for others."""
    return CUSTOM_FILES.get(wildcards.domain, "")


def code_of_remap(wildcards):
    """A digest of the code that preparing a domain reaches."""
    return code_of_job("remap", domain=wildcards.domain)


def code_of_run(wildcards):
    """A digest of the code that a run reaches."""
    return code_of(TABLE[wildcards.method], PARAMS.model)


def labelled_stats(wildcards):
    """The statistics of the labelled frames that a run learns from."""
    domain = labelled_domain(wildcards.source, wildcards.target, wildcards.method)
    return str(ready(domain).split(dataset_of(PARAMS, domain).labelled_split).stats)


def measured_stats(wildcards):
    """The statistics of the target's frames that a run is evaluated on."""
    target = wildcards.target
    return str(ready(target).split(dataset_of(PARAMS, target).measured_split).stats)


def snapshots(steps):
    """The weights that a run keeps of earlier steps."""
    run = RunDir(Path("runs/{source}-{target}/{method}/seed{seed}"))
    kept = snapshot_steps(steps, PARAMS.loop.snapshots)
    return [str(run.snapshot(step, network)) for step in kept for network in ("student", "teacher")]


def same_run(wildcards):
    """The run of an earlier task that equals this one, if there is one; the run cache copies it.

    The oracle learns from the target alone, so it is one run for all tasks of this target.
    """
    if TABLE[wildcards.method].labels == "source":
        return []
    first = next((source for source, target in TASKS if target == wildcards.target), wildcards.source)
    same = "runs/{0}-{target}/{method}/seed{seed}/settings.json".format(first, **wildcards)
    return [] if first == wildcards.source else same


def initial_run(wildcards):
    """The settings file of the run whose weights an adaptation starts from, if it starts from any."""
    spec = "runs/{source}-{target}/source/seed{seed}/settings.json".format(**wildcards)
    return spec if starts_from_source(PARAMS, wildcards.method) else []


def init_option(wildcards, input):
    """The same as an option of the command."""
    return f"--init {Path(input.init).parent}" if input.init else ""


def remove_stale_marker(domain):
    """Remove the marker of raw frames that are not those of the recorded manifest.

    Raw frames are in neither Git nor DVC, so after a change of branch the manifest can be of one version and the frames
    of another. Without their marker they are made again, but not before a job needs them.
    """
    marker, manifest = Path(f"data/raw/{domain}/manifest.json"), Path(f"data/manifests/{domain}.json")
    if marker.exists() and manifest.exists() and marker.read_bytes() != manifest.read_bytes():
        marker.unlink()


for domain in DOMAINS:
    remove_stale_marker(domain)


# Held while this Snakemake lives, however it ends.
ALIVE = FileLock(Path(".cache/snakemake.lock"), blocking=False)


# Dry runs and what only lists: `workflow.dryrun` is known after the rules have been read, when it is too late.
LISTS = (
    r"-[a-zA-Z]*n[a-zA-Z]*|--(dry-?run|summary|detailed-summary|dag|rulegraph|filegraph|lint|report|unlock|list)(=.*)?"
)
READS_ONLY = any(re.fullmatch(LISTS, argument) for argument in sys.argv[1:])


def check_cache():
    """Raise WorkflowError where `.cache` cannot be written to."""
    for folder in (Path(".cache/settings"), Path(".cache/runs")):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise WorkflowError(
                f"{folder}: cannot be written to ({error.strerror}).\nMake it writable, or move it."
            ) from None


def remove_stale_lock():
    """Remove the lock of a Snakemake that was killed here; jobs of it that still run are waited for by their like."""
    Path(".cache").mkdir(exist_ok=True)
    try:
        ALIVE.acquire()
    except (Timeout, OSError):
        return  # another Snakemake is alive, or the file system has no locks
    locks = [path for path in Path(".snakemake/locks").glob("*") if path.is_file()]
    if locks and not READS_ONLY:
        print(
            "An earlier Snakemake was killed in this folder; its lock is removed, and its work resumed.",
            file=sys.stderr,
        )
        for path in locks:
            path.unlink()


def set_damaged_aside():
    """Move results aside that are not as recorded or asked for, so that they are made again; of a dry run, say so."""
    runs, reports, prepared, manifests = map(Path, ("runs", "reports", "data/ready", "data/manifests"))
    damaged = [*damages(runs, reports), *damages_of_tables(prepared, manifests)]
    other = list(stale(PARAMS, runs, reports, prepared, manifests))
    kept = "would be set aside" if READS_ONLY else f"kept in {ASIDE}"
    if damaged:
        print(listing(f"Not as recorded, {kept} and made again", map(str, damaged)), file=sys.stderr)
    if other:
        print(listing(f"Not as asked for, {kept} and made again", map(str, other)), file=sys.stderr)
    if READS_ONLY:
        return
    set_aside(damaged)
    if other:
        adopt(runs)  # an undone edit finds them again
    set_aside(other)


if workflow.is_main_process:
    check_cache()
    remove_stale_lock()
    set_damaged_aside()


def check_terms_of_downloads():
    """Show the terms of data sets that are to be downloaded; raise WorkflowError where they are not accepted."""
    from dacs.download.download import check_terms

    jobs = (job for job in workflow.dag.needrun_jobs() if job.rule.name == "download")
    for domain in sorted(job.wildcards.domain for job in jobs):
        if origin(PARAMS, domain) == "download":
            try:
                check_terms(job_of(PARAMS, "download", domain=domain))
            except BadRequest as error:
                raise WorkflowError(str(error)) from None


# Runs that came with `dvc pull` join those made here, before an edit replaces them: an undone edit finds them again.
onstart:
    check_terms_of_downloads()
    print("".join(f"{note}\n" for note in notes(PARAMS)), end="", file=sys.stderr)
    adopt(Path("runs"))
    Watcher([Path("logs/train"), Path("logs/adapt")]).start()


def show_failures(logs):
    """Repeat how the logs of failed jobs end, below what Snakemake prints of them."""
    text = "".join(Path(log).read_text() for log in logs)
    failed = re.findall(r"> (\S+) 2>&1' returned non-zero exit status", text)
    for name in dict.fromkeys(failed):
        if Path(name).exists():
            lines = Path(name).read_text(errors="replace").rstrip().splitlines()
            print("\n".join(["", f"{name} ends with:", *lines[-LINES:]]), file=sys.stderr)


onerror:
    show_failures(log)
