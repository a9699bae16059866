"""After Ctrl-C the last lines say what is kept and which command resumes."""

import os
import re
import signal
from pathlib import Path

import pytest
from pipeline import Pipeline

from faults.harness import REPRO, SNAKEMAKE, STORE, rewind
from faults.kills import start, wait_for

pytestmark = pytest.mark.faults
MAKE = ("make", "READY=", "demo")


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
