"""Damaged, edited and lost files: the same command again ends with the bytes of an undisturbed run.

Each fault is made in a copy of a finished pipeline; of most, a result is removed, so that the file is read again.
"""

import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from pipeline import Pipeline

from faults.harness import RUN, SNAKEMAKE, STORE, Fault, Outcome, entry_of, mend, results, rewind
from faults.kills import start, wait_for
from faults.test_full_disk import of_full_disk

pytestmark = pytest.mark.faults
Damage = Callable[[Pipeline], None]
Survive = Callable[[list[Fault]], list[Outcome]]
DACS = f"{RUN}/dacs/seed0"
CUTS: dict[str, Callable[[bytes], bytes]] = {
    "{}": lambda content: b"{}\n",
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
}


def typed_number(pipeline: Pipeline) -> None:
    table = pipeline.folder / "reports/tables/summary.csv"
    head, row, *rest = table.read_text().splitlines()
    table.write_text("\n".join([head, ",".join([*row.split(",")[:-1], "99.9"]), *rest]) + "\n")


def garbage_in_weights(pipeline: Pipeline) -> None:
    (pipeline.folder / DACS / "weights.safetensors").write_bytes(b"garbage")


def cache_entry(damage: str) -> Damage:
    """The run is asked for again, and found damaged in the run cache."""

    def make(pipeline: Pipeline) -> None:
        entry = entry_of(pipeline, "dacs")
        shutil.rmtree(pipeline.folder / DACS)
        if damage == "changed weights":
            flip(entry / "weights.safetensors", random.Random(0))
        elif damage == "missing weights":
            (entry / "weights.safetensors").unlink()
        else:
            (entry / "settings.json").write_text('{"key": ')

    return make


def flipped_checkpoint(number: int) -> Damage:
    """The first checkpoint of a training that was killed."""

    def make(pipeline: Pipeline) -> None:
        rewind(pipeline, "adapt")
        running = start(pipeline, *SNAKEMAKE)
        checkpoint = wait_for(lambda: next(pipeline.folder.glob(f"{STORE}/*/checkpoint.pt"), None), running)
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        flip(checkpoint, random.Random(number))

    return make


def flipped_frame(pipeline: Pipeline) -> None:
    rewind(pipeline, "adapt")
    flip(min((pipeline.folder / "data/ready/gta5/train/images").glob("*")), random.Random(0))


def flip(path: Path, draw: random.Random) -> None:
    """Flip a bit of the middle of a file, where its data are."""
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content) // 4, 3 * len(content) // 4)] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def damaged_json(name: str, how: str, stage: str) -> Damage:
    """What reads the file is run again."""

    def make(pipeline: Pipeline) -> None:
        if stage:
            rewind(pipeline, stage)
        paths = [*pipeline.folder.glob(name)]
        assert paths, name
        for path in paths:
            path.write_bytes(CUTS[how](path.read_bytes()))

    return make


NO_JSON = ("empty", "cut")
READERS = {  # a file and the stage that is run again so that it is read
    f"{DACS}/settings.json": "evaluate",
    f"{DACS}/evaluation/metrics.json": "figures",
    f"{DACS}/evaluation/confusion.json": "figures",
    f"{DACS}/evaluation/record.json": "",
    "data/ready/gta5/train/stats.json": "adapt",
    "data/ready/cityscapes/data_report.json": "figures",
    "data/manifests/gta5.json": "remap",
    "data/raw/gta5/manifest.json": "remap",
    "reports/metrics.json": "report",
    "reports/figures/record.json": "",
    ".cache/settings/*.json": "evaluate",
}
DAMAGES: dict[str, Damage] = {
    "a typed number in summary.csv": typed_number,
    "garbage in weights": garbage_in_weights,
    **{f"run cache: {damage}": cache_entry(damage) for damage in ("changed weights", "missing weights", "broken JSON")},
    **{f"a flipped bit in a checkpoint, {number}": flipped_checkpoint(number) for number in range(3)},
    "a flipped bit in a prepared frame": flipped_frame,
    **{
        f"{how}: {name}": damaged_json(name, how, stage)
        for number, (name, stage) in enumerate(READERS.items())
        for how in ("{}", NO_JSON[number % 2])
    },
}
EDITED = "edited results"
GROUPS = {"run cache": "run cache", "a flipped bit": "flipped bits", **dict.fromkeys(CUTS, "damaged JSON")}


def group_of(name: str) -> str:
    return next((group for start, group in GROUPS.items() if name.startswith(start)), EDITED)


def of_damage(base: Pipeline, name: str) -> Fault:
    def attempt(folder: Path) -> Outcome:
        pipeline = base.copy(folder)
        DAMAGES[name](pipeline)
        return mend(pipeline, results(base), *SNAKEMAKE)

    return Fault(group_of(name), name, attempt)


def change_without_records(base: Pipeline, folder: Path) -> Outcome:
    """Change a parameter where Snakemake's records, which it compares settings with, are lost."""
    undisturbed, pipeline = base.copy(folder / "undisturbed"), base.copy(folder / "lost")
    shutil.rmtree(pipeline.folder / ".snakemake")
    for each in (undisturbed, pipeline):
        each.set(methods__dacs={"threshold": 0.5})
    undisturbed.run(*SNAKEMAKE)
    return mend(pipeline, results(undisturbed), *SNAKEMAKE)


def test_edited_results_are_made_again(base: Pipeline, survive: Survive) -> None:
    survive([of_damage(base, name) for name in DAMAGES if group_of(name) == EDITED])


def test_a_full_disk_is_survived(base: Pipeline, survive: Survive, tmp_path: Path) -> None:
    """One of those in test_full_disk.py, here since the pipeline is."""
    survive(of_full_disk(base, ["figures"], tmp_path))


@pytest.mark.slow
def test_damage_is_mended(base: Pipeline, survive: Survive) -> None:
    lost = Fault("records lost", "adapt.threshold changed", lambda folder: change_without_records(base, folder))
    survive([lost, *(of_damage(base, name) for name in DAMAGES if group_of(name) != EDITED)])
