"""A copy of this project in a folder of its own, and what its two front doors do there."""

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

# Jobs of one task with source-only training and one adaptation, by rule.
EVERY = Counter(world=2, remap=1, remap_target=1, train=1, adapt=1, evaluate=2, figures=1, report=1)
ADAPTATION = Counter(adapt=1, evaluate=1, figures=1, report=1)


class River:
    """One copy of the project."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *command: str, fails: bool = False) -> str:
        """What a command printed; it should fail or not, as told."""
        done = subprocess.run(
            [TOOLS / command[0], *command[1:]] if (TOOLS / command[0]).exists() else command,
            cwd=self.folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert (done.returncode != 0) == fails, f"{' '.join(command)} returned {done.returncode}:\n{done.stdout}"
        return done.stdout

    def jobs(self, *command: str) -> Counter[str]:
        """How many jobs of each rule a command ran, but for `all`, which does nothing."""
        jobs = Counter(FINISHED.findall(self.run(*command)))
        del jobs["all"]
        return jobs

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
            place = params
            for section in sections:
                place = place[section]
            place[key] = value
        path.write_text(yaml.safe_dump(params, sort_keys=False))

    def undo(self) -> None:
        """Take params.yaml as it was committed."""
        self.run("git", "checkout", "--quiet", "params.yaml")

    def commit(self, message: str) -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--allow-empty", "--message", message)

    def clone(self, folder: Path) -> "River":
        self.run("git", "clone", "--quiet", str(self.folder), str(folder))
        return _with_identity(River(folder))

    def copy(self, folder: Path) -> "River":
        """The same, with all that was made, in another folder."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return River(folder)


def spring(folder: Path, **values: Any) -> River:
    """A repository of the project's sources at `scale: smoke`, with edits of params.yaml; nothing is made yet."""
    listed = subprocess.run(
        ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"),
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file() and name not in ("dvc.lock", "reports/metrics.json"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    river = River(folder)
    river.run("git", "init", "--quiet", "--initial-branch", "main")
    _with_identity(river)
    river.set(scale="smoke", **values)
    river.commit("Begin")
    return river


def environment() -> dict[str, str]:
    """As after activating the environment, and as Git and DVC are without a person's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "DVC_", "SNAKEMAKE_"))}
    return {**kept, "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}", "GIT_CONFIG_GLOBAL": os.devnull}


def _with_identity(river: River) -> River:
    river.run("git", "config", "user.name", "A person")
    river.run("git", "config", "user.email", "person@example.org")
    return river
