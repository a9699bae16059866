"""A pipeline killed at any time of any stage: the same command again ends with the bytes of an undisturbed run."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from own_data import scene, write_frame
from pipeline import Pipeline, create

from faults.harness import REPRO, SETTINGS, SNAKEMAKE, Fault, Outcome, mend, results
from faults.kills import SIGNALS, Kill, of_kill, start, strike

pytestmark = pytest.mark.faults
NUMBERS = {"world": 5, "remap": 5, "train": 8, "adapt": 8, "adabn": 4, "evaluate": 6, "figures": 5, "report": 5}
STAGES = [stage for stage, number in NUMBERS.items() for _ in range(number)]
RECORDED = ["world", "remap", "train", "adapt", "evaluate", "report"]
ALL = [Kill(stage, number) for number, stage in enumerate(STAGES)]
OF_DVC = [Kill(stage, number, REPRO) for number, stage in enumerate(RECORDED, len(ALL))]
PREPARED = "data/manifests/fleet.json", "data/ready/fleet/data_report.json"
Survive = Callable[[list[Fault]], list[Outcome]]


def test_a_few_kills_are_survived(base: Pipeline, survive: Survive) -> None:
    outcomes = survive([of_kill(base, Kill("train", 14)), of_kill(base, Kill("report", 42))])
    assert any(each.resumed for each in outcomes)


@pytest.mark.slow
def test_kills_in_every_stage_are_survived(base: Pipeline, survive: Survive) -> None:
    beginning = Fault("kill from beginning", "six kills", lambda folder: killed_again_and_again(base, folder))
    outcomes = survive([beginning, *(of_kill(base, kill) for kill in [*OF_DVC, *ALL])])
    assert sum(len(each.kills) for each in outcomes) >= 50
    assert sum(each.resumed for each in outcomes) >= 5


@pytest.mark.slow
def test_kills_in_stages_with_inputs_of_their_own_are_survived(
    base: Pipeline, survive: Survive, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Stages that the base has not, or whose jobs are no command of `dacs`: one kill of each."""
    folder = tmp_path_factory.mktemp("others")
    compared, downloaded = with_campaign(base, folder / "campaign"), with_download(folder)
    faults = [of_kill(base, Kill("appearance", 60)), of_kill(base, Kill("record", 61))]
    faults.append(of_kill(compared, Kill("campaign", 62, (*SNAKEMAKE[:-1], "campaigns"))))
    faults.append(of_kill(downloaded, Kill("download", 63, (*SNAKEMAKE[:-1], *PREPARED))))
    outcomes = survive(faults)
    assert sum(len(each.kills) for each in outcomes) >= 3  # a job of a second may have ended before


def with_campaign(base: Pipeline, folder: Path) -> Pipeline:
    """A copy with the table of a campaign of the runs that are there."""
    pipeline = base.copy(folder)
    task = {"tasks": ["gta5-cityscapes"], "seeds": [0], "base": "dacs", "methods": ["source"]}
    pipeline.set(campaigns={"pair": task})
    pipeline.run(*SNAKEMAKE[:-1], "campaigns")
    return pipeline


def with_download(folder: Path) -> Pipeline:
    """A pipeline of which frames of a person's own are prepared, and nothing else is made."""
    for number in range(40):
        image, label = (folder / kind / f"{number}.png" for kind in ("images", "labels"))
        write_frame(image, label, scene([0, 1], number, (80, 96)))
    files = {kind: f"{folder}/{kind}/*.png" for kind in ("images", "labels")}
    fleet = {"train": files, "classes": {"0": "road", "1": "car"}, "size": [64, 64]}
    pipeline = create(folder / "project", runs__tasks=["gta5-fleet"], domains={"fleet": fleet})
    pipeline.run(*SNAKEMAKE[:-1], *PREPARED)
    return pipeline


def killed_again_and_again(base: Pipeline, folder: Path) -> Outcome:
    """The outcome of a pipeline that was killed six times, beginning with nothing."""
    draw, pipeline, struck = random.Random(0), create(folder, **SETTINGS), []
    for _ in range(6):
        running, number = start(pipeline, *SNAKEMAKE), draw.choice(SIGNALS)
        time.sleep(draw.uniform(4, 16))
        struck += [f"{number.name} to group"] * strike(running, None, number, "group")
        running.wait(300)
    return mend(pipeline, results(base), *SNAKEMAKE)._replace(kills=tuple(struck))


def test_the_kills_are_of_all_kinds() -> None:
    ways = [kill.way(turn) for kill in ALL for turn in range(kill.times)]
    assert {*ways} == {(victim, number) for victim in ("job", "command", "group") for number in SIGNALS}
    of_dvc_alone = [kill for kill in OF_DVC if kill.way(0) == ("command", SIGNALS[0])]
    assert any(kill.orphans for kill in of_dvc_alone)  # Snakemake outlives it by a step
