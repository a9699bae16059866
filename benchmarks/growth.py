"""How processor time and memory grow with images and steps: each command for n, 2n and 4n of them, in one run.

    python benchmarks/growth.py [--frames N] [--steps N]

Frames are those of `scale: smoke`. Each command is a process of its own, one after another; its processor time is
that of its threads and workers, its memory the largest resident set. A command takes a + b x: the ratio of the increase
from 2n to 4n to that from n to 2n is 2 where time is linear, whatever its start takes, and 4 where it is quadratic. All
sizes take turns, and the least of the turns counts, as a busy machine only adds.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from dacs.config import load
from dacs.jobs import job_file, job_of
from dacs.provenance import ROOT
from dacs.settings import Params

TURNS = 3


class Taken(NamedTuple):
    """What a process took."""

    seconds: float  # of processor time
    memory: float  # MB, at its peak


def params_of(frames: int, steps: int) -> Params:
    """The smoke scale with so many frames of each split, and so many steps."""
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    smoke: dict[str, Any] = content["scales"]["smoke"]
    smoke["world"]["frames"] = dict.fromkeys(("gta5", "synthia", "cityscapes_train", "cityscapes_val"), frames)
    smoke["train"] = {"steps": steps + 1}
    smoke["adapt"] |= {"steps": steps, "init": "backbone"}
    smoke["loop"] |= {"log_every": 100, "checkpoint_every": 100_000}
    return load({**content, "scale": "smoke"})


def dacs(*arguments: object) -> Taken:
    """Run a command of dacs in a process of its own."""
    command = [sys.executable, "-m", "dacs", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed; run it alone to see why.")
    return Taken(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


class Commands:
    """The commands on n frames or steps. What one needs is left by an earlier one of as many frames."""

    def __init__(self, frames: int, steps: int) -> None:
        self.frames, self.steps, self.turn = frames, steps, 0

    def world(self, times: int) -> Taken:
        """Frames of the target, with their labels."""
        domain = "cityscapes"
        settings = job_file(job_of(params_of(times * self.frames, self.steps), "world", domain=domain))
        raw = Path(f"{times}/raw{self.turn}/{domain}")
        return dacs("world", "--settings", settings, "--out", raw, "--manifest", raw.parent / f"{domain}.json")

    def remap(self, times: int) -> Taken:
        """The same, prepared."""
        domain = "cityscapes"
        settings = job_file(job_of(params_of(times * self.frames, self.steps), "remap", domain=domain))
        folders = Path(f"{times}/raw{self.turn}/{domain}"), Path(f"{times}/ready{self.turn}/{domain}")
        return dacs("remap", "--settings", settings, "--raw", folders[0], "--out", folders[1])

    def train(self, times: int) -> Taken:
        """Always on as many frames; another seed in each turn, or the run would be found in the cache."""
        return self._run("train", "oracle", times)

    def adapt(self, times: int) -> Taken:
        """The same by DACS, from pretrained weights; the labelled frames are those of the target."""
        return self._run("adapt", "dacs", times)

    def _run(self, verb: str, method: str, times: int) -> Taken:
        settings = job_file(job_of(params_of(self.frames, times * self.steps), verb, method=method))
        ready, out = Path(f"1/ready{self.turn}/cityscapes"), f"{times}/{method}{self.turn}"
        options = ("--source", ready / "oracle", "--target", ready / "train", "--out", out)
        return dacs(verb, "--settings", settings, "--method", method, "--seed", self.turn, *options)

    def evaluate(self, times: int) -> Taken:
        """One run on more and more frames."""
        settings = job_file(job_of(params_of(self.frames, self.steps), "evaluate", domain="cityscapes"))
        ready = Path(f"{times}/ready{self.turn}/cityscapes")
        options = ("--index", ready / "val", "--train", Path(f"1/ready{self.turn}/cityscapes/train"))
        out = f"{times}/evaluation{self.turn}"
        return dacs("evaluate", "--settings", settings, "--run", f"1/oracle{self.turn}", *options, "--out", out)


def growth(commands: Commands) -> None:
    """Print time and memory of each command, and how they grow."""
    print(f"{'':10}{'n':>6}{'CPU s of n, 2n, 4n':>28}{'increases':>16}{'ratio':>7}{'MB of n, 2n, 4n':>22}{'4n / n':>8}")
    found: dict[str, dict[int, list[Taken]]] = {}
    for commands.turn in range(TURNS):
        each: dict[str, Callable[[int], Taken]] = {
            name: getattr(commands, name) for name in ("world", "remap", "train", "adapt", "evaluate")
        }
        for name, command in each.items():
            for times in (1, 2, 4):
                found.setdefault(name, {}).setdefault(times, []).append(command(times))
    for name, by_times in found.items():
        seconds = [min(taken.seconds for taken in turns) for turns in by_times.values()]
        memory = [min(taken.memory for taken in turns) for turns in by_times.values()]
        steps = seconds[1] - seconds[0], seconds[2] - seconds[1]
        amount = commands.steps if name in ("train", "adapt") else commands.frames
        cells = ", ".join(f"{each:.2f}" for each in seconds), ", ".join(f"{each:.2f}" for each in steps)
        peaks = ", ".join(f"{each:.0f}" for each in memory)
        row = f"{name:10}{amount:6}{cells[0]:>28}{cells[1]:>16}{steps[1] / steps[0]:7.2f}{peaks:>22}"
        print(f"{row}{memory[2] / memory[0]:8.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--steps", type=int, default=100)
    given = parser.parse_args()
    os.environ |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        growth(Commands(given.frames, given.steps))
        os.chdir(ROOT)


if __name__ == "__main__":
    main()
