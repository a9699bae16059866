"""A pipeline killed at any time of any stage: the same command again ends with the bytes of an undisturbed run."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pipeline import Pipeline, create

from faults.harness import REPRO, SETTINGS, SNAKEMAKE, Fault, Outcome, mend, results
from faults.kills import SIGNALS, Kill, of_kill, start, strike

pytestmark = pytest.mark.faults
NUMBERS = {"world": 5, "remap": 5, "train": 8, "adapt": 8, "adabn": 4, "evaluate": 6, "figures": 5, "report": 5}
STAGES = [stage for stage, number in NUMBERS.items() for _ in range(number)]
RECORDED = ["world", "remap", "train", "adapt", "evaluate", "report"]
ALL = [Kill(stage, number) for number, stage in enumerate(STAGES)]
OF_DVC = [Kill(stage, number, REPRO) for number, stage in enumerate(RECORDED, len(ALL))]
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
