"""What the rules share: the checked parameters, what is to be run, and the form in which a job depends on them."""

import os
import re
import sys
from importlib.metadata import version
from pathlib import Path

from snakemake.exceptions import WorkflowError

from dacs.config import load
from dacs.errors import BadRequest, RunFailed
from dacs.faults import faults
from dacs.jobs import (
    campaign_job,
    dataset_of,
    domains_of,
    job_file,
    job_of,
    labelled_domain,
    of_campaign,
    origin,
    requests,
    run_settings,
    starts_from_source,
    unlabelled_tasks,
)
from dacs.layout import PreparedDomain, RunDir
from dacs.machine import has_gpu, memory_mb
from dacs.methods import METHODS as TABLE
from dacs.methods import adapting, base_of, mixing, possible, recalibrating, supervised
from dacs.provenance import code_digest
from dacs.stale import code_of_job, is_prepared
from dacs.training.run import snapshot_steps
from dacs.training.run_cache import code_of
from dacs.verify import RECORD

# Jobs use the Python that runs Snakemake, whether or not its environment is activated.
os.environ.update(PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
# Without these glibc gives large blocks back to the system, which clears them each time that a job has them again.
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(2**25))  # bytes
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(2**27))
os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")  # pages of 2 MB, where the system offers them
# With it each job would compile torch's modules anew, 5 seconds.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def custom_files():
    """A digest of the present files of each custom domain that is used, so that a change of them is noticed."""
    runs = [PARAMS, *(of_campaign(PARAMS, name) for name in PARAMS.campaigns)]
    used = {domain for each in runs for domain in domains_of(each) if domain in PARAMS.domains}
    if used:
        from dacs.download.download import files_now

    return {domain: files_now(domain, PARAMS.domains[domain]) for domain in used}


# Reported here and not in a rule, around which Snakemake would print a traceback.
try:
    PARAMS = load(config)
    CUSTOM_FILES = custom_files()
except (BadRequest, RunFailed) as error:
    nested = {"--config", "-C"} & {*sys.argv} and ' is "' in str(error)
    hint = "\nNumbers inside of --config NAME={…} are text for Snakemake: write them to a file, for --configfile FILE."
    raise WorkflowError(str(error) + hint * bool(nested)) from None

DOMAINS = domains_of(PARAMS)
TASKS = [task.split("-") for task in PARAMS.runs.tasks]
KNOWN = [*PARAMS.data.sources, *PARAMS.domains]
RENDERED = [domain for domain in KNOWN if origin(PARAMS, domain) == "world"]
PROVIDED = [domain for domain in KNOWN if domain not in RENDERED]
METHODS = PARAMS.runs.methods
UNLABELLED = unlabelled_tasks(PARAMS)
SEEDS = PARAMS.runs.seeds
RECALIBRATED = recalibrating(METHODS)
NEEDS_SOURCE = any(starts_from_source(PARAMS, method) for method in METHODS)
STARTED_FROM = [name for name in supervised(TABLE) if run_settings(PARAMS, "", name).start]
TRAINED = list(dict.fromkeys([*supervised(METHODS), *(["source"] if NEEDS_SOURCE else [])]))

VARIANTS = [name for campaign in PARAMS.campaigns.values() for name in campaign.changes]

TABLES = ["scores", "summary", "intervals", "class_intervals", "order", "iou", "iou_by_protocol", "missing"]
TABLES += ["curves", "checkpoints", "choice", "calibration", "confident", "conflation", "pair", "similarity"]
TABLES += ["conflation_steps", "data", "data_report"]

PROCESSES = PARAMS.loop.processes  # of one training, each with a GPU of its own where there are any
TRAININGS = ("train", "train_start", "adapt", "adapt_unmixed")


def asked_by_profile(rule, resource):
    """What set-resources of a profile gives a rule; None where that is nothing, or an expression."""
    given = workflow.resource_settings.overwrite_resources.get(rule, {}).get(resource)
    return None if given is None or given.is_evaluable() else given.value


# Nodes of Slurm that share the processes of a training: srun starts the command once on each of them.
NODES = max(asked_by_profile(rule, "nodes") or 1 for rule in TRAININGS)
# A step of training is a few wide operations: two runs of one thread each are faster than one run of two.
TRAINING_THREADS = PROCESSES // NODES * (max(PARAMS.loop.threads, 1) + PARAMS.loop.workers)
SRUN = f"srun --nodes={NODES} --ntasks={NODES} --ntasks-per-node=1 --cpus-per-task={TRAINING_THREADS} --cpu-bind=none"
# Not among the parameters of a job, since results do not depend on it.
os.environ.update(SRUN=SRUN if NODES > 1 else "")

# Another torch rounds differently.
TORCH = version("torch")


# What all jobs together may use, unless `--resources` or a profile says otherwise. Networks of different jobs would all
# be on the first GPU, so one job at a time uses it; and whatever `--cores` says, no more jobs run at a time than memory
# holds. A job that asks for more than there is runs alone. On a cluster the scheduler knows the memory of its nodes.
GPUS = int(PARAMS.loop.device != "cpu" and has_gpu())
workflow.global_resources.setdefault("gpu", 1)
if workflow.resource_settings.nodes is None:
    workflow.global_resources.setdefault("mem_mb", memory_mb() * 9 // 10)


# A profile for GPUs names their number and the memory of a training, since a login node has none, so both are its own.
SPREAD = {"nodes": NODES, "tasks": NODES, "tasks_per_gpu": 0}  # one task a node, which starts processes
for name in TRAININGS:
    given = asked_by_profile(name, "gpu")
    if PARAMS.loop.device != "cpu" and given is not None and given < PROCESSES:
        raise WorkflowError(
            f"loop.processes is {PROCESSES}, but set-resources of the profile gives {name} gpu: {given}, for fewer"
            f" processes.\nThere give train, train_start, adapt and adapt_unmixed gpu: {PROCESSES}, and mem_mb for that many."
        )
    missing = "mpi" not in workflow.resource_settings.overwrite_resources.get(name, {})
    if NODES > 1 and (missing or any(asked_by_profile(name, key) != value for key, value in SPREAD.items())):
        wanted = ", ".join(f"{key}: {value}" for key, value in {**SPREAD, "mpi": "srun"}.items())
        raise WorkflowError(
            f"A training has {NODES} nodes in set-resources of the profile, but {name} is not given all that this needs.\n"
            f"There give train, train_start, adapt and adapt_unmixed {wanted}."
        )
if PROCESSES % NODES:
    raise WorkflowError(
        f"loop.processes is {PROCESSES}, which {NODES} nodes do not share equally.\n"
        "Give a number that they divide, or other nodes in set-resources of the profile."
    )


def one_of(names):
    """A pattern that matches these names and, where there are none, nothing."""
    return "|".join(names) or "(?!)"


wildcard_constraints:
    domain=one_of(KNOWN),
    source=one_of(KNOWN),
    target=one_of(KNOWN),
    method=one_of([*TABLE, *VARIANTS]),
    campaign=one_of(PARAMS.campaigns),
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


def shards(wildcards):
    """What the jobs note that share the frames of a domain; none where one job does all, or where it is prepared."""
    domain, total = wildcards.domain, PARAMS.remap.shards
    if total == 1 or is_prepared(PARAMS, domain, Path("data/ready")):
        return []
    return expand(rules.remap_shard.output.notes, domain=domain, shard=range(1, total + 1), shards=total)


def files_of_custom(wildcards):
    """A digest of the present files of a custom domain; none for others."""
    return CUSTOM_FILES.get(wildcards.domain, "")


def code_of_remap(wildcards):
    """A digest of the code that preparing a domain reaches."""
    return code_of_job("remap", domain=wildcards.domain)


def code_of_shard(wildcards):
    """A digest of the code that preparing a share of a domain's frames reaches."""
    return code_of_job("remap_shard", domain=wildcards.domain)


def code_of_run(wildcards):
    """A digest of the code that a run reaches."""
    return code_of(TABLE[base_of(wildcards.method)], PARAMS.model)


def base_method(wildcards):
    """The method of a run, which may be one of a variant."""
    return base_of(wildcards.method)


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


# What a figure is about: a task, a target, or all of them. Its file is named `<figure>_<subject>.svg`, or `…_class<train id>.svg`.
SUBJECTS = one_of(f"({re.escape(name)})" for name in [*PARAMS.runs.tasks, *DOMAINS, "all"])


def labels_of_figure(wildcards):
    """How a figure is listed in the report of Snakemake."""
    name = PARAMS.labels.label_set.names[int(wildcards.part.removeprefix("_class"))] if wildcards.part else "all"
    return {"figure": wildcards.figure.replace("_", " "), "data": wildcards.subject, "class": name}


def campaign_runs(wildcards):
    """The folders of the runs of a campaign. Raises WorkflowError where its settings do not fit together."""
    params = of_campaign(PARAMS, wildcards.campaign)
    if found := next(faults(params, chosen=True), None):
        raise WorkflowError(f"params.yaml: campaigns.{wildcards.campaign}: {found}")
    return [RunDir.of(Path("runs"), each.task, each.method, each.seed) for each in requests(params)]


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
