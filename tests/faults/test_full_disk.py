"""A full disk is named, and the same command ends with the bytes of an undisturbed run once there is space."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pipeline import Pipeline

from faults.harness import SNAKEMAKE, Fault, Outcome, execute, mend, results, rewind

pytestmark = [pytest.mark.faults, pytest.mark.slow]
LARGE = 1_000_000  # KB, of which only what is used takes memory
FREE = {"remap": 300, "train": 2_000, "adapt": 9_000, "figures": 150}  # KB for what a stage and Snakemake write
NAMED = r"Only \d+ MB are free on the disk of .*: free some space\."


@contextmanager
def disk(folder: Path) -> Iterator[None]:
    """A small file system in memory, mounted on a folder."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={LARGE}k", "tmpfs", folder], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def resize(folder: Path, kilobytes: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", folder], check=True)


def fill_and_mend(base: Pipeline, stage: str, folder: Path) -> Outcome:
    """The outcome of a stage on a disk that is full before it ends."""
    with disk(folder):
        pipeline = base.copy(folder / "project")
        rewind(pipeline, stage)
        resize(folder, shutil.disk_usage(folder).used // 1024 + FREE[stage])
        full = execute(pipeline, *SNAKEMAKE)
        resize(folder, LARGE)
        assert full.returncode != 0, "the disk was large enough"
        assert re.search(NAMED, full.stdout), full.stdout
        return mend(pipeline, results(base), *SNAKEMAKE)


def can_mount(folder: Path) -> bool:
    """Whether this process may mount a file system."""
    try:
        with disk(folder):
            return True
    except (OSError, subprocess.SubprocessError):
        return False


def test_a_full_disk_is_named_and_survived(
    base: Pipeline, survive: Callable[[list[Fault]], list[Outcome]], tmp_path: Path
) -> None:
    if not can_mount(tmp_path / "trial"):
        pytest.skip("no file system can be mounted here; it needs root")

    def of_stage(stage: str) -> Fault:
        case = f"{FREE[stage]} KB in {stage}"
        return Fault("full disk", case, lambda folder: fill_and_mend(base, stage, folder))

    survive([of_stage(stage) for stage in FREE])
