"""What happens when Snakemake starts and ends: results are compared with their records, runs and records tidied."""

import atexit
import errno
import math
import platform
import shlex
import shutil
import signal
import time
from contextlib import suppress

from filelock import FileLock, Timeout

from dacs import records
from dacs.config import read_file
from dacs.datasets.decode import listing
from dacs.files import break_links
from dacs.jobs import notes, with_starts
from dacs.layout import PreparedSplit
from dacs.stale import compared, stale
from dacs.training.run_cache import adopt, drop
from dacs.training.status import kept
from dacs.verify import ASIDE, Damage, damages, damages_of_split, damages_of_tables, set_aside
from dacs.watch import EVERY, Watcher

LINES = 8  # of the log of a failed job, at the end of what is printed
CHECKED = 2**31  # bytes of a prepared split up to which frames are read here; a training reads those of any split
FEW_MB = 50  # free on the disk, less than most jobs write

# Held while this Snakemake lives, however it ends.
ALIVE = FileLock(Path(".cache/snakemake.lock"), blocking=False)
HOLDER = Path(".cache/snakemake.txt")  # which process that is


# Dry runs and what only lists: `workflow.dryrun` is known after the rules have been read, when it is too late.
LISTS = (
    r"-[a-zA-Z]*n[a-zA-Z]*|-[lSD]|--(dry-?run|summary|detailed-summary|dag|d3dag|rulegraph|filegraph|lint|report|unlock"
    r"|l[tcipu]|list(-[a-z-]+)?)(=.*)?"
)
READS_ONLY = any(re.fullmatch(LISTS, argument) for argument in sys.argv[1:])


def check_folders():
    """Raise WorkflowError where a folder that results are in cannot be read or written to."""
    made, found = (".cache", ".cache/settings", ".cache/runs"), ("data", "data/ready", "logs", "reports", "runs")
    for folder in map(Path, (*made, *(name for name in found if os.path.lexists(name)))):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise WorkflowError(
                f"{folder}: cannot be read and written to ({error.strerror}).\nChange its permissions, or move it."
            ) from None


def wait_for_others():
    """Wait for another Snakemake that works here, as after `dvc` was killed; remove the lock of one that was killed.

    Jobs of a killed one that still run are waited for by their like.
    """
    try:
        ALIVE.acquire()
    except Timeout:
        holder = HOLDER.read_text() if HOLDER.exists() else "unknown"
        print(f"Another Snakemake ({holder}) works in this folder; waiting for it to end.", file=sys.stderr, flush=True)
        ALIVE.acquire(blocking=True)
    except OSError:
        return  # the file system has no locks
    with suppress(OSError):  # a full disk
        HOLDER.unlink(missing_ok=True)
        HOLDER.write_text(f"process {os.getpid()} on {platform.node()}")
    locks = [path for path in Path(".snakemake/locks").glob("*") if path.is_file()]
    if locks:
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
    known = {damage.path for damage in damaged}
    restored = [
        Damage(path, "of another commit than Snakemake's record of it", path)
        for path in records.of_other_files()
        if path not in known
    ]
    other = [*restored, *stale(PARAMS, runs, reports, prepared, manifests)]
    damaged += damages_of_frames(
        runs, prepared, {path for each in damaged + other for path in (each.path, each.marker)}
    )
    fate = "would be set aside" if READS_ONLY else f"kept in {ASIDE}"
    if damaged:
        print(listing(f"Not as recorded, {fate} and made again", map(str, damaged)), file=sys.stderr)
    if other:
        print(listing(f"Not as asked for, {fate} and made again", map(str, other)), file=sys.stderr)
    trusted = compared(PARAMS, runs, reports, prepared, manifests)
    if READS_ONLY:
        make_again({*(damage.marker for damage in damaged), *(damage.path for damage in other)}, trusted)
        return
    make_again(set(), trusted)
    set_aside(damaged)
    if other:
        adopt(runs)  # an undone edit finds them again
    set_aside(other)


def damages_of_frames(runs, prepared, gone):
    """What was changed of prepared frames, which are read only where a run or an evaluation is missing or in `gone`.

    And for the stage of DVC that has them as its output, which DVC starts only where they or what they need changed.
    """
    asked = []
    for request in with_starts(PARAMS):
        run = RunDir.of(runs, request.task, request.method, request.seed)
        asked += [run.spec, *[run.evaluation.metrics] * (request.method in METHODS)]
    of_stage = "data_stage" in sys.argv
    if not of_stage and all(path.exists() and path not in gone for path in asked):
        return []
    splits = [PreparedSplit(path.parent) for name in DOMAINS for path in prepared.glob(f"{name}/*/stats.json")]
    most = math.inf if of_stage else CHECKED
    return [damage for split in splits for damage in damages_of_split(split, most)]


def make_again(outputs, trusted):
    """Let Snakemake make again, as far as the command asks for them, outputs and what `untrusted` finds."""
    prepare = workflow._prepare_dag

    def prepare_dag(*given, **named):
        prepare(*given, **named)
        check, forced = workflow.dag.check_incomplete, workflow.dag.forcefiles

        async def check_incomplete():  # once all jobs are known, and before it is decided which of them are run
            await check()
            if not READS_ONLY:
                end_future(workflow.dag.jobs)
            # Its option --forcerun would make them targets too.
            forced.update(map(str, outputs), untrusted(workflow.dag.jobs, trusted))

        workflow.dag.check_incomplete = check_incomplete

    workflow._prepare_dag = prepare_dag


def untrusted(jobs, trusted):
    """Outputs that Snakemake would take for up to date though it is not known what they were made from.

    Where one output of a job has no record Snakemake compares nothing, and takes an output whose inputs are missing for
    up to date. `trusted` are compared with a record of their own. In a fresh clone the tables of Git are there alone.
    """
    for job in jobs:
        outputs = [Path(path) for path in job.output]
        known = [records.recorded(path) is not None for path in outputs]
        if not any(path.exists() for path in outputs):
            continue
        if all(known):
            unknown = any(map(records.of_other_inputs, outputs))
        else:
            unknown = any(known) or trusted.isdisjoint(outputs) or not all(map(is_there, job.input))
        if unknown:
            yield from job.output


def end_future(jobs):
    """Give inputs from the future, as after a clock was set back, the present time: Snakemake refuses their outputs.

    Files outside of this folder are a person's own, and stay as they are.
    """
    now, here = time.time(), Path.cwd()
    for path in {Path(name) for job in jobs for name in job.input}:
        with suppress(OSError):
            if path.stat().st_mtime > now and path.resolve().is_relative_to(here):
                os.utime(path, (now, now))


def is_there(name):
    """Whether an input is there, or was: raw frames are in neither Git nor DVC, but their manifest is."""
    recorded = Path("data/manifests", Path(name).parent.name).with_suffix(".json")
    return Path(name).exists() or (name.startswith("data/raw/") and recorded.exists())


def drop_runs():
    """Take runs that neither params.yaml nor the command asks for out of `runs`, so that DVC does not keep them."""
    read = [PARAMS]
    with suppress(BadRequest, RunFailed):  # of a file that only the command makes whole
        read += [load(read_file(Path(file))) for file in workflow.configfiles[:1]]
    tables = {name: Path(f"reports/campaigns/{name}.csv") for name in PARAMS.campaigns}
    asked = any("campaigns" in argument for argument in sys.argv[1:])
    read += [of_campaign(PARAMS, name) for name, table in tables.items() if asked or table.exists()]
    wanted = [each for params in read for each in with_starts(params)]
    asked_for = {RunDir.of(Path("runs"), run.task, run.method, run.seed).path for run in wanted}
    dropped = drop(Path("runs"), asked_for)
    for path in dropped:
        records.forget(path)
    if dropped:
        listed = listing("No longer asked for, and taken out of runs; .cache/runs keeps them", map(str, dropped))
        print(listed, file=sys.stderr)


def compare_results():
    """Compare all results with their records. Raises WorkflowError where one cannot be read."""
    try:
        if not READS_ONLY:
            wait_for_others()
            break_links(records.FOLDER)  # DVC may link them into its cache, and they are written in place
        if unreadable := records.forget_unreadable():
            listed = listing("Records of Snakemake that cannot be read, and are removed", map(str, unreadable))
            print(listed, file=sys.stderr)
        if not READS_ONLY:
            records.normalise()
        set_damaged_aside()
        if not READS_ONLY:
            drop_runs()
    except PermissionError as error:
        raise WorkflowError(f"{error.filename}: {error.strerror}.\nChange its permissions, or move it.") from None


if workflow.is_main_process:
    check_folders()
    compare_results()
else:  # in a job, where a signal of Slurm reaches all processes: training saves a checkpoint, the others wait for it
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    shell.prefix("set -euo pipefail; trap : TERM; ")


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


def show_full_disk():
    """Say so where the disk is full: the logs, which would, are on it."""
    free = shutil.disk_usage(".").free // 10**6
    if free < FEW_MB:
        print(f"\nOnly {free} MB are free on the disk of {Path.cwd()}: free some space.", file=sys.stderr)


def show_what_is_kept(watcher):
    """Print, after an interruption or a failure, what is kept, and the command that resumes."""
    show_full_disk()  # here, since Snakemake may fail by it too, and then calls no hook
    own = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    command = os.environ.get("DACS_COMMAND") or ("dvc repro" if "DVC_ROOT" in os.environ else own)
    print(f"\nStopped. Kept: the results of {watcher.counted()}.", file=sys.stderr)
    print(*kept(PARAMS), f"To resume: {command}", sep="\n", file=sys.stderr, flush=True)


# Runs that came with `dvc pull` join those made here, before an edit replaces them: an undone edit finds them again.
onstart:
    check_terms_of_downloads()
    print("".join(f"{note}\n" for note in notes(PARAMS)), end="", file=sys.stderr)
    adopt(Path("runs"))
    watcher = Watcher(Path("logs"), [Path(job.benchmark) for job in workflow.dag.needrun_jobs() if job.benchmark])
    print(
        f"{watcher.counted()} done; a line every {EVERY} s says how far it is. The log of each job is in logs/.",
        file=sys.stderr,
    )
    watcher.start()
    # The last of all: Snakemake prints more after its own hooks.
    atexit.register(show_what_is_kept, watcher)
    stop_on_signals()


def show_failures(logs):
    """Repeat how the logs of failed jobs end, below what Snakemake prints of them."""
    text = "".join(Path(log).read_text() for log in logs)
    failed = re.findall(r"> (\S+) 2>&1' returned non-zero exit status", text)
    for name in dict.fromkeys(failed):
        if Path(name).exists():
            lines = Path(name).read_text(errors="replace").rstrip().splitlines()
            print("\n".join(["", f"{name} ends with:", *lines[-LINES:]]), file=sys.stderr)


onsuccess:
    atexit.unregister(show_what_is_kept)
    records.normalise()
    records.forget_absent()


onerror:
    records.normalise()
    show_failures(log)
