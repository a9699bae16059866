"""A full disk is named, and the same command ends with the bytes of an undisturbed run once there is space."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
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


def of_full_disk(base: Pipeline, stages: Iterable[str], folder: Path) -> list[Fault]:
    """A full disk in each of these stages; skips the test where none can be mounted."""
    try:
        with disk(folder / "trial"):
            pass
    except (OSError, subprocess.SubprocessError):
        pytest.skip("no file system can be mounted here; it needs root")

    def of_stage(stage: str) -> Fault:
        case = f"{FREE[stage]} KB in {stage}"
        return Fault("full disk", case, lambda project: fill_and_mend(base, stage, project))

    return [of_stage(stage) for stage in stages]


def test_a_full_disk_is_named_and_survived(
    base: Pipeline, survive: Callable[[list[Fault]], list[Outcome]], tmp_path: Path
) -> None:
    survive(of_full_disk(base, FREE, tmp_path))
