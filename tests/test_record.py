"""What people do with DVC and a recorded pipeline: clones without data, merges, branches, experiments, Ctrl-C.

Each test says what must not run again, and what must.
"""

import os
import re
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from faults.kills import start, wait_for
from pipeline import ADAPTATION, EVERY, REPRO, SNAKEMAKE, Pipeline, create_recorded

pytestmark = pytest.mark.slow
NOTHING: Counter[str] = Counter()
STAGES = 5
LOWER = {"methods__dacs": {"threshold": 0.5}}


def results(pipeline: Pipeline) -> dict[str, bytes]:
    """The scores of all runs, and all tables."""
    return pipeline.bytes_of("runs/**/metrics.json") | pipeline.bytes_of("reports/tables/*")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """One task and two methods, recorded by DVC and pushed."""
    return create_recorded(tmp_path_factory.mktemp("recorded"))


@pytest.fixture
def pipeline(recorded: Pipeline, tmp_path: Path) -> Pipeline:
    """A copy, to be changed."""
    return recorded.copy(tmp_path / "project")


def test_a_clone_without_data_says_whether_the_record_fits(recorded: Pipeline, tmp_path: Path) -> None:
    clone = recorded.clone(tmp_path / "clone")
    command = *REPRO, "--dry", "--allow-missing"
    printed = clone.run(*command)
    assert printed.count("didn't change") == STAGES
    assert "Running stage" not in printed
    assert not (clone.folder / "data").exists()
    clone.set(adapt__threshold=0.5)
    printed = clone.run(*command, fails=True)  # DVC stops at the first stage that has changed: it has no files to go on
    assert "Stage 'data' didn't change" in printed
    assert "failed to reproduce 'train'" in printed


def test_frames_left_out_of_dvc_are_prepared_again_and_nothing_is_trained(pipeline: Pipeline, tmp_path: Path) -> None:
    """As docs/workflow.md says of `cache: false`: rules of training run, and find their runs in the cache."""
    frames = "      - data/ready:\n          persist: true\n"
    pipeline.edit("dvc.yaml", frames, f"{frames}          cache: false\n")
    assert pipeline.jobs(*REPRO) == NOTHING
    pipeline.commit("Leave frames out")
    pipeline.run("dvc", "push", "--quiet")
    clone = pipeline.clone(tmp_path / "clone")
    clone.run("dvc", "pull", "--quiet")
    assert not (clone.folder / "data/ready").exists()
    before = clone.bytes_of("runs/**/*.safetensors") | results(clone)
    assert clone.jobs(*SNAKEMAKE) == EVERY
    for stage in ("train", "adapt"):
        (log,) = clone.bytes_of(f"logs/{stage}/*.log").values()
        assert b"step" not in log
        assert b"step" in next(iter(pipeline.bytes_of(f"logs/{stage}/*.log").values()))
    assert clone.bytes_of("runs/**/*.safetensors") | results(clone) == before != {}
    assert clone.bytes_of("data/ready/**/stats.json") == pipeline.bytes_of("data/ready/**/stats.json") != {}
    assert clone.jobs(*REPRO) == NOTHING
    assert "up to date" in clone.run("dvc", "status")


@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_a_conflict_in_the_record_ends_right_whichever_side_is_taken(pipeline: Pipeline, side: str) -> None:
    """One branch changed the adaptation, the other the page: together, the new runs with the new page."""
    made = {}
    for branch, edit in (("runs", LOWER), ("page", {"report__title": "Streets"})):
        pipeline.run("git", "checkout", "--quiet", "-b", branch, "main")
        pipeline.run("dvc", "checkout", "--quiet", "--force")
        pipeline.set(**edit)
        pipeline.run(*REPRO)
        pipeline.commit(branch)
        made[branch] = results(pipeline)
    trained = pipeline.trained()
    pipeline.run("git", "merge", "runs", fails=True)
    assert pipeline.run("git", "diff", "--name-only", "--diff-filter=U").split() == ["dvc.lock"]
    pipeline.run("git", "checkout", "--quiet", f"--{side}", "--", "dvc.lock")
    pipeline.commit("Merge")
    jobs = pipeline.jobs(*REPRO)
    assert jobs - ADAPTATION == NOTHING
    assert pipeline.trained() == trained
    assert results(pipeline) == made["runs"] != made["page"]
    assert "Streets" in (pipeline.folder / "reports/index.html").read_text()
    assert "up to date" in pipeline.run("dvc", "status")
    assert pipeline.jobs(*SNAKEMAKE) == NOTHING


def test_two_workers_on_a_queue_of_two_end_right(pipeline: Pipeline, tmp_path: Path) -> None:
    before, alone = results(pipeline), pipeline.copy(tmp_path / "alone")
    for name, setting in (("lower", "adapt.threshold=0.5"), ("titled", "report.title=Streets")):
        pipeline.run("dvc", "exp", "run", "--queue", "--name", name, "--set-param", setting)
    pipeline.run("dvc", "queue", "start", "--jobs", "2")
    for _ in range(300):
        time.sleep(1)
        status = pipeline.run("dvc", "queue", "status")
        if not re.search("Queued|Running", status.partition("Worker status")[0]):
            break
    assert status.count("Success") == 2, status
    alone.set(adapt__threshold=0.5)
    alone.run(*SNAKEMAKE)
    for name, expected in (("titled", before), ("lower", results(alone))):
        pipeline.run("dvc", "exp", "apply", name)
        assert results(pipeline) == expected
        assert ("Streets" in (pipeline.folder / "reports/index.html").read_text()) == (name == "titled")
        assert pipeline.jobs(*SNAKEMAKE) == NOTHING


def test_values_of_another_branch_are_found_in_the_cache(pipeline: Pipeline) -> None:
    pipeline.run("git", "checkout", "--quiet", "-b", "other")
    pipeline.set(**LOWER)
    assert pipeline.jobs(*REPRO) == ADAPTATION
    pipeline.commit("Other")
    other, trained = results(pipeline), pipeline.trained()
    pipeline.run("git", "checkout", "--quiet", "main")
    pipeline.run("dvc", "checkout", "--quiet")
    assert results(pipeline) != other
    pipeline.set(**LOWER)
    assert pipeline.jobs(*SNAKEMAKE) == ADAPTATION
    assert pipeline.trained() == trained
    assert results(pipeline) == other


def test_ctrl_c_in_dvc_at_a_checkpoint_is_resumed_from_there_and_recorded(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.set(scales__smoke__train={"steps": 150}, scales__smoke__adapt={"steps": 4})
    straight = pipeline.copy(tmp_path / "straight")
    finished = pipeline.trained()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # else a command ignores it as its parent does
    running = start(pipeline, *REPRO)
    signal.signal(signal.SIGINT, before)
    checkpoints = ".cache/runs/*/checkpoint.pt"
    wait_for(lambda: any(path.parent.name not in finished for path in pipeline.folder.glob(checkpoints)), running)
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait(60) != 0
    assert re.search(r"checkpoint of step [1-9]\d* of 150", (pipeline.folder / "killed.out").read_text())
    pipeline.run(*REPRO)
    log = (pipeline.folder / "logs/train/gta5-cityscapes-source-seed0.log").read_text()
    assert re.search(r"resuming from the checkpoint at step [1-9]", log), log
    assert "up to date" in pipeline.run("dvc", "status")
    straight.run(*REPRO)
    for pattern in ("runs/**/*.safetensors", "runs/**/log.csv", "reports/tables/*", "dvc.lock"):
        assert pipeline.bytes_of(pattern) == straight.bytes_of(pattern) != {}
