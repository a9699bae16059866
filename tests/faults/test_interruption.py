"""After Ctrl-C, or a signal to the command alone, the last lines say what is kept and which command resumes."""

import os
import re
import signal
import time
from pathlib import Path

import psutil
import pytest
from pipeline import Pipeline

from faults.harness import REPRO, SNAKEMAKE, STORE, mend, results, rewind
from faults.kills import logs_of, start, wait_for

pytestmark = pytest.mark.faults
MAKE = ("make", "READY=", "demo")
GRACE = 15  # seconds, of which a step and its checkpoint take 10 at most


@pytest.mark.parametrize(
    ("command", "resumes", "below"),
    [
        pytest.param(SNAKEMAKE, "snakemake --cores 1 all", 0, id="snakemake"),
        pytest.param(REPRO, "dvc repro", 1, id="dvc", marks=pytest.mark.slow),
        pytest.param(MAKE, "make demo", 1, id="make", marks=pytest.mark.slow),
    ],
)
def test_the_last_lines_after_ctrl_c(
    command: tuple[str, ...], resumes: str, below: int, base: Pipeline, tmp_path: Path
) -> None:
    """`below`: lines that what runs Snakemake prints after them."""
    pipeline = base.copy(tmp_path / "project")
    rewind(pipeline, "train")
    running = start(pipeline, *command)
    wait_for(lambda: [*pipeline.folder.glob(f"{STORE}/*/checkpoint.pt")], running)
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait(60) != 0
    printed = (pipeline.folder / "killed.out").read_text().rstrip().splitlines()
    last = printed[: len(printed) - below][-3:]
    assert re.fullmatch(r"Stopped\. Kept: the results of \d+ of \d+ jobs\.", last[0]), printed[-12:]
    assert re.fullmatch(r"gta5-cityscapes, source, seed 0: checkpoint of step \d+ of 100", last[1])
    assert last[2] == f"To resume: {resumes}"
    assert any(line.endswith("The log of each job is in logs/.") for line in printed)


@pytest.mark.parametrize(
    ("command", "number", "resumes"),
    [
        pytest.param(SNAKEMAKE, signal.SIGTERM, "snakemake --cores 1 all", id="SIGTERM to snakemake"),
        pytest.param(
            SNAKEMAKE, signal.SIGUSR1, "snakemake --cores 1 all", id="SIGUSR1 to snakemake", marks=pytest.mark.slow
        ),
        pytest.param(REPRO, signal.SIGTERM, "dvc repro", id="SIGTERM to dvc", marks=pytest.mark.slow),
        pytest.param(REPRO, signal.SIGKILL, "dvc repro", id="SIGKILL to dvc", marks=pytest.mark.slow),
    ],
)
def test_a_signal_to_the_command_alone_stops_its_training_too(
    command: tuple[str, ...], number: signal.Signals, resumes: str, base: Pipeline, tmp_path: Path
) -> None:
    """DVC ends at once and passes nothing on; Snakemake, below it, sees that it has ended."""
    pipeline = base.copy(tmp_path / "project")
    rewind(pipeline, "train")
    running = start(pipeline, *command)
    assert wait_for(lambda: [*pipeline.folder.glob(f"{STORE}/*/checkpoint.pt")], running)
    below = psutil.Process(running.pid).children(recursive=True)
    assert any(each.cmdline()[1:4] == ["-m", "dacs", "train"] for each in below)
    running.send_signal(number)
    begin = time.monotonic()
    assert running.wait(60) == (1 if command == SNAKEMAKE else -number)
    psutil.wait_procs(below, timeout=GRACE)
    assert time.monotonic() - begin < GRACE
    assert [*pipeline.folder.glob(f"{STORE}/*/checkpoint.pt")]
    last = (pipeline.folder / "killed.out").read_text().rstrip().splitlines()[-3:]
    assert last[0].startswith("Stopped. Kept: the results of ")
    assert re.fullmatch(r"gta5-cityscapes, source, seed 0: checkpoint of step \d+ of 100", last[1])
    assert last[2] == f"To resume: {resumes}"
    outcome = mend(pipeline, results(base), *command)
    assert outcome.survived, outcome.reason
    assert "resuming from the checkpoint at step" in logs_of(pipeline)
