"""Faults made on purpose in copies of one finished pipeline, and whether the same command run again mends them."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from pipeline import TOOLS, Pipeline, create, environment

SNAKEMAKE = ("snakemake", "--cores", "1", "all")
REPRO = ("dvc", "repro")
LIMIT = 600  # seconds that a command may take
AT_ONCE = 2  # pipelines, of one core each
SETTINGS = {
    "runs__tasks": ["gta5-cityscapes"],
    "runs__methods": ["source", "adabn", "dacs"],
    # A small network, since most of the time of so small a pipeline is imports and building networks.
    "model__network": "small",
    "model__weights": "none",
    "train__bn_statistics": "live",
    "adapt__bn_statistics": "live",
    "scales__smoke__loop__snapshots": 2,
    "scales__smoke__loop__checkpoint_every": 10,
    "scales__smoke__train": {"steps": 100},
    "scales__smoke__adapt": {"steps": 50, "rare_class_frame": 0.0},
}
COMPARED = ("data/manifests/*", "data/ready/**/*", "runs/**/*", "reports/**/*")


class Outcome(NamedTuple):
    """What became of one fault."""

    mended: bool  # the same bytes as without the fault
    manual: int = 0  # steps beyond running the same command again
    reason: str = ""
    kills: tuple[str, ...] = ()
    resumed: bool = False  # from a checkpoint
    group: str = ""
    case: str = ""
    seconds: float = 0.0

    @property
    def survived(self) -> bool:
        """Whether the same command alone mended it."""
        return self.mended and not self.manual

    def __str__(self) -> str:
        fate = "survived" if self.survived else f"LOST ({self.reason})"
        how = [*self.kills, *["resumed from a checkpoint"] * self.resumed, f"{self.seconds:.0f} s"]
        return f"{self.group}: {self.case}: {fate}; {', '.join(how)}"


class Fault(NamedTuple):
    """Something that is done to a pipeline in a folder, and what becomes of it."""

    group: str
    case: str
    attempt: Callable[[Path], Outcome]


def try_one(fault: Fault, folder: Path) -> Outcome:
    """Try a fault; the folder stays where it was not survived. A fault that cannot be tried is lost."""
    begin = time.monotonic()
    try:
        outcome = fault.attempt(folder)
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        outcome = Outcome(False, reason=f"{type(error).__name__}: {error}")
    if outcome.survived:
        shutil.rmtree(folder, ignore_errors=True)
    return outcome._replace(group=fault.group, case=fault.case, seconds=time.monotonic() - begin)


def try_all(faults: list[Fault], folder: Path) -> Iterator[Outcome]:
    """Try faults, two at a time, each in a folder of its own; yield each outcome as soon as it is known."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        tried = [pool.submit(try_one, fault, folder / str(number)) for number, fault in enumerate(faults)]
        yield from (each.result() for each in as_completed(tried))


def table(outcomes: list[Outcome]) -> str:
    """One row for each group of faults, one for all, and a line for each that was not survived."""
    head = "survived", "lost", "manual steps", "kills", "resumed", "seconds"
    lines = [f"{'fault':22}{'tried':>7}" + "".join(f"{name:>{len(name) + 3}}" for name in head)]
    for name in (*dict.fromkeys(each.group for each in outcomes), "all"):
        found = [each for each in outcomes if name in ("all", each.group)]
        rows = [(o.survived, not o.mended, o.manual, len(o.kills), o.resumed, o.seconds) for o in found]
        sums = [round(sum(column)) for column in zip(*rows, strict=True)]
        numbers = (f"{value:{len(title) + 3}}" for title, value in zip(head, sums, strict=True))
        lines.append(f"{name:22}{len(found):7}{''.join(numbers)}")
    return "\n".join(lines + [f"not survived: {each}" for each in outcomes if not each.survived])


# --------------------------------------------------------------------------------------------------------------------
# Pipelines


def finished(folder: Path) -> Pipeline:
    """A small pipeline, run without disturbance and recorded by DVC."""
    pipeline = create(folder, **SETTINGS)
    pipeline.run(*REPRO)
    pipeline.commit("Record")
    return pipeline


def results(pipeline: Pipeline) -> dict[str, bytes]:
    """The bytes of prepared data, runs, tables and page."""
    files = (path for pattern in COMPARED for path in pipeline.folder.glob(pattern) if path.is_file())
    visible = (path for path in files if not path.name.startswith("."))  # locks are hidden
    return {str(path.relative_to(pipeline.folder)): path.read_bytes() for path in visible}


def differences(found: dict[str, bytes], expected: dict[str, bytes]) -> str:
    """Names of files that differ, are missing or are new; empty where there are none."""
    names = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
    return f"{len(names)} files differ: {', '.join(names[:4])}" if names else ""


def execute(pipeline: Pipeline, *command: str) -> subprocess.CompletedProcess[str]:
    """A command that may fail, with all that it printed."""
    kinds = {"cwd": pipeline.folder, "env": environment(), "text": True, "timeout": LIMIT}
    return subprocess.run([TOOLS / command[0], *command[1:]], **kinds, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def mend(pipeline: Pipeline, expected: dict[str, bytes], *command: str) -> Outcome:
    """Run the command; where that is not enough, what its message asks for, then the command again."""
    done = execute(pipeline, *command)
    wrong = differences(results(pipeline), expected)
    if done.returncode == 0 and not wrong:
        return Outcome(True)
    tail = done.stdout.rstrip().splitlines()[-12:] if done.returncode else []
    reason = " | ".join([f"returned {done.returncode}", wrong, *tail])
    execute(pipeline, "python", "-m", "dacs", "verify", "--remake")
    done = execute(pipeline, *command)
    return Outcome(done.returncode == 0 and not differences(results(pipeline), expected), manual=1, reason=reason)


# --------------------------------------------------------------------------------------------------------------------
# Stages

STORE, RUN = ".cache/runs", "runs/gta5-cityscapes"
TRAININGS = {"train": "source", "adapt": "dacs", "adabn": "adabn"}
MADE: dict[str, tuple[str, ...]] = {  # what a stage makes; it is run again where this is removed
    "world": ("data/raw", "data/manifests"),
    "remap": ("data/ready",),
    **{stage: (f"{RUN}/{method}/seed0/[!e]*",) for stage, method in TRAININGS.items()},
    "evaluate": (f"{RUN}/*/seed0/evaluation",),
    "figures": ("reports/metrics.json", "reports/tables", "reports/figures"),
    "report": ("reports/index.html",),
    "appearance": (f"{RUN}/appearance.json",),
    "record": ("reports/stages/[!p]*.json",),  # of stages, not of the page
    "campaign": ("reports/campaigns",),
    "download": ("data/raw", "data/manifests"),
}


def rewind(pipeline: Pipeline, stage: str) -> None:
    """Remove what a stage has made, from the run cache too."""
    if stage in TRAININGS:
        shutil.rmtree(entry_of(pipeline, TRAININGS[stage]))
    for pattern in MADE[stage]:
        found = [*pipeline.folder.glob(pattern)]
        assert found, pattern
        for path in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def entry_of(pipeline: Pipeline, method: str) -> Path:
    """The entry of a finished run in the run cache."""
    spec = json.loads((pipeline.folder / RUN / method / "seed0/settings.json").read_text())
    return Path(pipeline.folder / STORE / spec["key"])


def durations(pipeline: Pipeline) -> dict[str, float]:
    """The seconds of the longest job of each stage, as Snakemake measured them."""
    found: dict[str, float] = {}
    for path in (pipeline.folder / "logs/benchmarks").rglob("*.tsv"):
        name = path.stem if path.parent.name == "benchmarks" else path.parent.name
        found[name] = max(found.get(name, 0.0), float(path.read_text().splitlines()[1].split("\t")[0]))
    return found
