"""A pipeline killed at any time of any stage: the same command again ends with the bytes of an undisturbed run."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pipeline import Pipeline, create

from faults.harness import OUTCOMES, REPRO, SETTINGS, SNAKEMAKE, Outcome, mend, results
from faults.kills import SIGNALS, Kill, kill_and_mend, start, strike

pytestmark = pytest.mark.faults
AT_ONCE = 2  # pipelines, of one core each
NUMBERS = {"world": 5, "remap": 5, "train": 8, "adapt": 8, "adabn": 4, "evaluate": 6, "figures": 5, "report": 5}
RECORDED = ("world", "remap", "train", "adapt", "evaluate", "report")


def assert_survived(base: Pipeline, kills: list[Kill], folder: Path) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        copies = (folder / f"{kill.stage}{kill.number}" for kill in kills)
        found = [*pool.map(kill_and_mend, [base] * len(kills), kills, copies)]
    OUTCOMES.extend(found)
    assert [f"{each.case}: {each.reason}" for each in found if not each.survived] == []
    assert any(each.kills for each in found)
    assert any(each.resumed for each in found) or not any(kill.after_checkpoint for kill in kills)


def test_a_few_kills_are_survived(base: Pipeline, tmp_path: Path) -> None:
    assert_survived(base, [Kill("train", 2), Kill("report", 1)], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("stage", NUMBERS)
def test_kills_in_every_stage_are_survived(stage: str, base: Pipeline, tmp_path: Path) -> None:
    assert_survived(base, [Kill(stage, number) for number in range(1, NUMBERS[stage] + 1)], tmp_path)


@pytest.mark.slow
def test_kills_of_dvc_repro_are_survived(base: Pipeline, tmp_path: Path) -> None:
    assert_survived(base, [Kill(stage, number, REPRO) for number, stage in enumerate(RECORDED)], tmp_path)


@pytest.mark.slow
def test_a_pipeline_killed_again_and_again_from_its_beginning_survives(base: Pipeline, tmp_path: Path) -> None:
    draw, begin, kills = random.Random(0), time.monotonic(), 0
    pipeline = create(tmp_path / "project", **SETTINGS)
    for _ in range(6):
        running = start(pipeline, *SNAKEMAKE)
        time.sleep(draw.uniform(4, 16))
        kills += strike(running, None, draw.choice(SIGNALS), "group")
        running.wait(300)
    mended, manual, reason = mend(pipeline, results(base), *SNAKEMAKE)
    seconds = time.monotonic() - begin
    OUTCOMES.append(Outcome("from the beginning", "six kills", mended, manual, kills, False, seconds, reason))
    assert (mended, manual) == (True, 0), reason
