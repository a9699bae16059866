"""A copy of this project in another folder, and what commands do there."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
TOOLS = Path(sys.executable).parent
SNAKEMAKE = ("snakemake", "--cores", "2", "all")
REPRO = ("dvc", "repro")
FINISHED = re.compile(r"^Finished jobid: \d+ \(Rule: (\w+)\)", re.MULTILINE)
PLANNED = re.compile(r"^(\w+) +(\d+)$", re.MULTILINE)

# Jobs of one task with source-only training and one adaptation, by rule.
EVERY = Counter(world=2, remap=1, remap_target=1, train_start=1, adapt=1, evaluate=2, appearance=1, figures=1, report=1)
ADAPTATION = Counter(adapt=1, evaluate=1, figures=1, report=1)


class Pipeline:
    """One copy of the project."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def result(self, *command: str) -> subprocess.CompletedProcess[str]:
        """How a command ended, and what it printed."""
        return subprocess.run(
            [TOOLS / command[0], *command[1:]] if (TOOLS / command[0]).exists() else command,
            cwd=self.folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: str, fails: bool = False) -> str:
        """What a command printed; asserts that it fails, or that it does not."""
        done = self.result(*command)
        assert (done.returncode != 0) == fails, f"{' '.join(command)} returned {done.returncode}:\n{done.stdout}"
        return done.stdout

    def jobs(self, *command: str) -> Counter[str]:
        """How many jobs of each rule a command ran, but for targets, which do nothing."""
        return _work(Counter(FINISHED.findall(self.run(*command))))

    def planned(self, *options: str) -> Counter[str]:
        """How many jobs of each rule Snakemake would run."""
        planned = PLANNED.findall(self.run("snakemake", "-n", *options))
        return _work(Counter({rule: int(count) for rule, count in planned}))

    def trained(self) -> set[str]:
        """The keys of the runs that were trained here."""
        return {path.parent.name for path in (self.folder / ".cache/runs").glob("*/settings.json")}

    def bytes_of(self, pattern: str) -> dict[str, bytes]:
        """The content of all files that match."""
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in sorted(self.folder.glob(pattern))}

    def set(self, **values: Any) -> None:
        """Edit params.yaml: the key `train__lr` is `lr` in the section `train`."""
        path = self.folder / "params.yaml"
        params = yaml.safe_load(path.read_text())
        for name, value in values.items():
            *sections, key = name.split("__")
            inner = params
            for section in sections:
                inner = inner[section]
            inner[key] = value
        path.write_text(yaml.safe_dump(params, sort_keys=False))

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace text of a file, which must be there."""
        path = self.folder / name
        text = path.read_text()
        assert old in text, f"{name} has no {old!r}"
        path.write_text(text.replace(old, new))

    def undo(self) -> None:
        """Take all that is in Git as it was committed."""
        self.run("git", "checkout", "--quiet", ".")

    def commit(self, message: str) -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--allow-empty", "--message", message)

    def clone(self, folder: Path) -> "Pipeline":
        self.run("git", "clone", "--quiet", str(self.folder), str(folder))
        return _with_identity(Pipeline(folder))

    def copy(self, folder: Path) -> "Pipeline":
        """The same, with all that was made, in another folder."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Pipeline(folder)


def _work(jobs: Counter[str]) -> Counter[str]:
    """The jobs but those that make nothing: targets, totals, and the records that stages of DVC depend on."""
    idle = re.compile(r"all|total|record|\w+_stage")
    return Counter({rule: count for rule, count in jobs.items() if not idle.fullmatch(rule)})


def create(folder: Path, **values: Any) -> Pipeline:
    """A repository of the project's sources at `scale: smoke`, with edits of params.yaml; nothing is made yet."""
    for name in sources():
        if name != "dvc.lock" and not name.startswith("reports/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    pipeline = Pipeline(folder)
    pipeline.run("git", "init", "--quiet", "--initial-branch", "main")
    _with_identity(pipeline)
    pipeline.set(scale="smoke", **values)
    pipeline.commit("Begin")
    return pipeline


def sources() -> list[str]:
    """The files of the project that are in Git, or could be."""
    command = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def environment() -> dict[str, str]:
    """As after activating the environment, without a person's settings of Git, DVC, Snakemake and Python."""
    settings = ("GIT_", "DVC_", "SNAKEMAKE_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
    return {**kept, "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}", "GIT_CONFIG_GLOBAL": os.devnull}


def _with_identity(pipeline: Pipeline) -> Pipeline:
    pipeline.run("git", "config", "user.name", "A person")
    pipeline.run("git", "config", "user.email", "person@example.org")
    return pipeline


def create_recorded(folder: Path) -> Pipeline:
    """One task and two methods, recorded by DVC, committed, and pushed to a remote in the folder."""
    pipeline = create(folder / "project", runs__tasks=["gta5-cityscapes"], runs__methods=["source", "dacs"])
    assert pipeline.jobs(*REPRO) == EVERY
    pipeline.run("dvc", "remote", "add", "--default", "store", str(folder / "store"))
    pipeline.commit("Record")
    pipeline.run("dvc", "push", "--quiet")
    return pipeline
