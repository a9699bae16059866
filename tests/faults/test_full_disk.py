"""A full disk is named, and the same command ends with the bytes of an undisturbed run once there is space."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipeline import Pipeline

from faults.harness import OUTCOMES, SNAKEMAKE, Outcome, execute, mend, results, rewind

pytestmark = [pytest.mark.faults, pytest.mark.slow]
LARGE = 1_000_000  # KB, of which only what is used takes memory


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system in memory."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={LARGE}k", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def resize(disk: Path, kilobytes: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", str(disk)], check=True)


@pytest.mark.parametrize(("stage", "free"), [("remap", 300), ("train", 2_000), ("adapt", 9_000), ("figures", 150)])
def test_a_full_disk_is_named_and_survived(stage: str, free: int, base: Pipeline, disk: Path) -> None:
    """`free`: KB that there are for what the stage and Snakemake write."""
    begin, pipeline = time.monotonic(), base.copy(disk / "project")
    rewind(pipeline, stage)
    resize(disk, shutil.disk_usage(disk).used // 1024 + free)
    full = execute(pipeline, *SNAKEMAKE)
    assert full.returncode != 0, "the disk was large enough"
    resize(disk, LARGE)
    mended, manual, reason = mend(pipeline, results(base), *SNAKEMAKE)
    seconds = time.monotonic() - begin
    OUTCOMES.append(Outcome("full disk", f"{free} KB in {stage}", mended, manual, seconds=seconds, reason=reason))
    assert (mended, manual) == (True, 0), reason
    assert re.search(r"Only \d+ MB are free on the disk of .*: free some space\.", full.stdout), full.stdout
