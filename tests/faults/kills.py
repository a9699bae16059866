"""Commands that are killed at a random time of one stage, all that is random following from a seed."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from pipeline import Pipeline, environment

from faults.harness import LIMIT, SNAKEMAKE, STORE, TRAININGS, Fault, Outcome, durations, mend, results, rewind

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGKILL)
WAYS = [*product(("job", "command", "group"), SIGNALS)]
STEP = 13  # through them all, with each signal and victim soon
LAST = 0.9  # share of a job's time at which it is killed at the latest, so that it has not ended


class Kill(NamedTuple):
    """How a command is killed."""

    stage: str
    number: int  # what is random follows from it; consecutive ones differ in signal and victim
    command: tuple[str, ...] = SNAKEMAKE

    @property
    def after_checkpoint(self) -> bool:
        """Whether it waits for a checkpoint."""
        return self.stage in ("train", "adapt") and self.number % 2 == 0

    @property
    def times(self) -> int:
        """How often the command is killed before it may end."""
        return 2 if self.after_checkpoint and self.number % 4 == 0 else 1

    @property
    def orphans(self) -> bool:
        """Whether jobs of a killed command go on while it is run again; as after a power cut they do not."""
        return self.number % 2 == 1

    def way(self, turn: int) -> tuple[str, signal.Signals]:
        """The victim and the signal of the first or the second time."""
        return WAYS[STEP * (self.number + turn) % len(WAYS)]


def of_kill(base: Pipeline, kill: Kill) -> Fault:
    """The kill as a fault in a copy of a finished pipeline."""
    group = "kill of dvc repro" if kill.command[0] == "dvc" else f"kill in {kill.stage}"
    case = f"{' '.join(kill.command)}, {kill.number} in {kill.stage}"
    return Fault(group, case, lambda folder: kill_and_mend(base, kill, folder))


def kill_and_mend(base: Pipeline, kill: Kill, folder: Path) -> Outcome:
    """Kill a command in a copy, run it again, and compare with the results of an undisturbed run."""
    draw, seconds, logs = random.Random(str(kill)), durations(base)[kill.stage], ""
    pipeline, expected = base.copy(folder), results(base)
    rewind(pipeline, kill.stage)
    struck: list[str] = []
    for turn in range(kill.times):
        struck += interrupt(pipeline, kill, kill.way(turn), draw.random(), seconds)
        logs += logs_of(pipeline)
    outcome = mend(pipeline, expected, *kill.command)
    resumed = "resuming from the checkpoint" in logs + logs_of(pipeline)
    return outcome._replace(kills=tuple(struck), resumed=resumed)


def interrupt(
    pipeline: Pipeline, kill: Kill, way: tuple[str, signal.Signals], delay: float, seconds: float
) -> list[str]:
    """Run the command and kill something of it in the stage; name what was killed, if it had not ended yet.

    `delay`: in [0, 1), share of the stage's seconds, or seconds after a checkpoint.
    """
    victim, number = way
    finished = {path.parent for path in pipeline.folder.glob(f"{STORE}/*/settings.json")}
    running = start(pipeline, *kill.command)
    job = wait_for(lambda: _job_of(running.pid, kill.stage), running)
    if kill.after_checkpoint:
        checkpoints = f"{STORE}/*/checkpoint.pt"
        wait_for(lambda: any(path.parent not in finished for path in pipeline.folder.glob(checkpoints)), running)
        time.sleep(delay)
    else:
        time.sleep(delay * LAST * seconds)
    family = _family(running.pid)
    struck = strike(running, job, number, victim)
    running.wait(LIMIT)
    if number == signal.SIGKILL and not kill.orphans:
        kill_all(family)
    return [f"{number.name} to {victim}"] * struck


def logs_of(pipeline: Pipeline) -> str:
    """The logs of all jobs."""
    return "".join(path.read_text() for path in pipeline.folder.glob("logs/*/*.log"))


def start(pipeline: Pipeline, *command: str) -> subprocess.Popen[bytes]:
    """A command in a process group of its own."""
    with (pipeline.folder / "killed.out").open("ab") as out:
        kinds = {"cwd": pipeline.folder, "env": environment(), "stdout": out, "stderr": subprocess.STDOUT}
        return subprocess.Popen(list(command), **kinds, start_new_session=True)


def strike(running: subprocess.Popen[bytes], job: psutil.Process | None, number: signal.Signals, victim: str) -> bool:
    """Send a signal to a job, the command or the whole group; return whether it was there."""
    try:
        if victim == "job" and job:
            job.send_signal(number)
        elif victim == "group":
            os.killpg(running.pid, number)
        elif running.poll() is None:
            os.kill(running.pid, number)
        else:
            return False
    except (psutil.NoSuchProcess, ProcessLookupError):
        return False
    return True


def kill_all(processes: list[psutil.Process]) -> None:
    """Kill those that still run."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=30)


def _family(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _job_of(pid: int, stage: str) -> psutil.Process | None:
    """The process of a stage below a process."""
    verb = "adapt" if TRAININGS.get(stage) == "adabn" else stage
    command = ["-m", "dacs.records"] if stage == "record" else ["-m", "dacs", verb]
    for process in _family(pid):
        try:
            if process.cmdline()[1 : 1 + len(command)] == command:
                return process
        except psutil.Error:
            continue
    return None


def wait_for(found: Callable[[], Any], running: subprocess.Popen[bytes]) -> Any:
    """What `found` returns as soon as that is something; None where the command ends before."""
    until = time.monotonic() + LIMIT
    while running.poll() is None:
        if result := found():
            return result
        assert time.monotonic() < until, f"nothing to kill within {LIMIT} s"
        time.sleep(0.1)
    return None
