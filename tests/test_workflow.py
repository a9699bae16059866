"""The whole pipeline at `scale: smoke`, from an empty folder by Snakemake and DVC; then (slow) all that can befall it.

These tests are the contract between Snakemake, DVC and us: each says what must not run again, and what must.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from pipeline import (
    ADAPTATION,
    EVERY,
    FINISHED,
    REPRO,
    SNAKEMAKE,
    TOOLS,
    Pipeline,
    create,
    create_recorded,
    environment,
)

NOTHING: Counter[str] = Counter()

# --------------------------------------------------------------------------------------------------------------------
# Snakemake and DVC, as shipped


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """The shipped tasks and methods, run by Snakemake from an empty folder."""
    pipeline = create(tmp_path_factory.mktemp("shipped"))
    pipeline.run(*SNAKEMAKE)
    return pipeline


@pytest.fixture
def edited(shipped: Pipeline) -> Iterator[Pipeline]:
    """The same, to be edited: its files in Git are restored at the end."""
    yield shipped
    shipped.undo()


def test_snakemake_makes_all_that_the_contract_names(shipped: Pipeline) -> None:
    runs = yaml.safe_load((shipped.folder / "params.yaml").read_text())["runs"]
    for task in runs["tasks"]:
        for method in runs["methods"]:
            folder = shipped.folder / "runs" / task / method / "seed0"
            for name in ("weights.safetensors", "teacher.safetensors", "settings.json", "log.csv"):
                assert (folder / name).stat().st_size > 0
            assert (folder / "start.safetensors").exists() == (method == "source")
            for name in ("confusion.json", "metrics.json"):
                assert json.loads((folder / "evaluation" / name).read_text())
    metrics = json.loads((shipped.folder / "reports/metrics.json").read_text())
    assert [*metrics] == runs["tasks"]
    assert all({*metrics[task]} == {*runs["methods"]} for task in metrics)
    assert (shipped.folder / "reports/index.html").stat().st_size > 10_000


def test_the_oracle_is_trained_once_and_is_a_run_of_both_tasks(shipped: Pipeline) -> None:
    runs = yaml.safe_load((shipped.folder / "params.yaml").read_text())["runs"]
    one, other = (shipped.bytes_of(f"runs/{task}/oracle/seed0/*.*") for task in runs["tasks"])
    assert list(one.values()) == list(other.values()) != []
    assert len(shipped.trained()) == len(runs["tasks"]) * len(runs["methods"]) - 1


def test_every_table_is_an_output_of_the_workflow(shipped: Pipeline) -> None:
    summary, tables = shipped.run("snakemake", "--summary"), shipped.bytes_of("reports/tables/*")
    assert len(tables) >= 8
    assert [path for path in tables if path not in summary] == []


def test_snakemake_again_has_nothing_to_do(shipped: Pipeline) -> None:
    assert shipped.jobs(*SNAKEMAKE) == NOTHING


def test_dvc_records_what_snakemake_made_and_runs_nothing(shipped: Pipeline) -> None:
    before = shipped.bytes_of("reports/metrics.json")
    assert shipped.jobs(*REPRO) == NOTHING
    assert "up to date" in shipped.run("dvc", "status")
    assert shipped.bytes_of("reports/metrics.json") == before
    assert "Running stage" not in shipped.run(*REPRO)


def test_an_edit_of_one_method_redoes_its_runs_and_an_undone_edit_trains_nothing(shipped: Pipeline) -> None:
    shipped.commit("Record")
    before, trained = shipped.bytes_of("reports/metrics.json"), shipped.trained()
    shipped.set(methods__dacs={"threshold": 0.5})
    assert shipped.jobs(*REPRO) == Counter(adapt=2, evaluate=2, figures=1, report=1)
    assert len(shipped.trained() - trained) == 2
    trained = shipped.trained()
    shipped.undo()
    assert shipped.jobs(*REPRO) == Counter(adapt=2, evaluate=2, figures=1, report=1)
    assert shipped.trained() == trained
    assert shipped.bytes_of("reports/metrics.json") == before


def test_settings_without_effect_redo_nothing(edited: Pipeline) -> None:
    """And those of a section redo what reads it: nothing is drawn again for a method that is not run."""
    edited.set(evaluate__batch=3, model__weights_folder="elsewhere", methods__cutmix={"jitter_strength": 0.5})
    edited.set(loop__workers=1, loop__device="cpu", scales__smoke__loop__checkpoint_every=3)
    edited.set(data__parallel=5, data__mirrors={"https://a/": "https://b/"})
    assert edited.planned() == NOTHING
    edited.set(report__title="Streets")
    assert edited.planned() == Counter(report=1)
    edited.set(scales__smoke__figures={"frames": 3})
    assert edited.planned() == Counter(evaluate=12, figures=1, report=1)


def test_an_edit_of_code_redoes_what_uses_it(edited: Pipeline) -> None:
    edited.edit("dacs/training/progress.py", "step", "stage")
    edited.edit("dacs/config.py", "not found", "missing")
    edited.edit(
        "dacs/adaptation/mixing.py", "\nimport torch\n", "\nimport torch\n\n\ndef unused() -> None:\n    pass\n"
    )
    assert edited.planned() == NOTHING
    edited.edit("dacs/evaluation/confusion.py", "100 *", "100.0 *")
    assert edited.planned() == Counter(evaluate=12, figures=1, report=1)
    edited.edit("dacs/adaptation/mixing.py", "torch.where(", "torch.where(True & ")
    assert edited.planned() == Counter(adapt=4, evaluate=12, figures=1, report=1)


@pytest.fixture
def forgotten(edited: Pipeline) -> Iterator[Pipeline]:
    """The same without what Snakemake knows of it, which comes back at the end."""
    known, kept = edited.folder / ".snakemake", edited.folder / ".known"
    known.rename(kept)
    yield edited
    shutil.rmtree(known)
    kept.rename(known)


def test_each_result_carries_what_it_was_made_with(forgotten: Pipeline) -> None:
    """Snakemake without its records goes by times alone; the page may be older than figures that were drawn anew."""
    assert forgotten.planned() <= Counter(report=1)
    for section, value, expected in (
        ("report__title", "Streets", Counter(report=1)),
        ("evaluate__choose_by", "entropy", Counter(evaluate=12, figures=1, report=1)),
        ("methods__dacs", {"threshold": 0.5}, Counter(adapt=2, evaluate=2, figures=1, report=1)),
        ("adabn__frames", 3, Counter(adabn=2, evaluate=12, appearance=2, figures=1, report=1)),
        ("remap__images", "ppm", None),
        ("world__seed", 1, None),
    ):
        forgotten.set(**{section: value})
        planned = forgotten.planned()
        if expected is None:
            whole = Counter(train=2, train_start=2, adapt=4, adapt_unmixed=2, adabn=2, evaluate=12)
            whole += Counter(appearance=2, figures=1, report=1)
            assert planned - Counter(world=3, remap=2, remap_target=1) == whole, section
            assert planned["remap"] == 2
        else:
            assert planned == expected, section
        forgotten.undo()
        if section == "methods__dacs":
            forgotten.edit("dacs/evaluation/confusion.py", "100 *", "100.0 *")
            assert forgotten.planned() == Counter(evaluate=12, figures=1, report=1)
            forgotten.undo()
    assert forgotten.planned() <= Counter(report=1)  # a dry run moves nothing


def test_a_result_of_other_settings_without_a_record_of_snakemake_is_named_and_made_again(forgotten: Pipeline) -> None:
    before = forgotten.bytes_of("reports/metrics.json")
    forgotten.set(report__title="Streets")
    printed = forgotten.run(*SNAKEMAKE)
    assert "reports/index.html: made with other settings or code" in printed
    assert "Streets" in (forgotten.folder / "reports/index.html").read_text()
    assert Counter(FINISHED.findall(printed)) - Counter(all=1, record=3) == Counter(report=1)
    assert forgotten.bytes_of("reports/metrics.json") == before
    assert forgotten.jobs(*SNAKEMAKE) == NOTHING


def test_snakemakes_own_report_is_written(edited: Pipeline) -> None:
    edited.run("snakemake", "--report", "report.html")
    assert (edited.folder / "report.html").stat().st_size > 100_000


def test_wrong_params_are_refused_by_name_before_anything_runs(edited: Pipeline) -> None:
    edited.edit("params.yaml", "  threshold:", "  thresold:")
    printed = edited.run(*SNAKEMAKE, fails=True)
    assert "adapt.thresold is not known; did you mean 'threshold'?" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("command", [SNAKEMAKE, REPRO])
def test_what_is_no_yaml_is_refused_with_its_line(edited: Pipeline, command: tuple[str, ...]) -> None:
    edited.edit("params.yaml", "recipe: shipped", "recipe: [shipped")
    line = 1 + (edited.folder / "params.yaml").read_text().splitlines().index("recipe: [shipped")
    printed = edited.run(*command, fails=True)
    assert "params.yaml" in printed
    assert re.search(rf"line {line + 1}\b|line {line}\b", printed)
    assert "Traceback" not in printed


# --------------------------------------------------------------------------------------------------------------------
# How many jobs run at a time

TRAININGS = """
configfile: "params.yaml"
include: "workflow/rules/common.smk"
rule train:
    output: "trained{seed}"
    resources: mem_mb=2500
    shell: "echo begin >> when.txt; sleep 1; echo end >> when.txt; touch {output}"
"""
MEMORY = "memory_mb() * 9 // 10"


@pytest.mark.parametrize(
    ("memory", "profile", "at_once"),
    [("8000", "none", True), ("4000", "none", False), ("2000", "none", False), ("99000", "profiles/gpu", False)],
)
def test_no_more_trainings_run_at_a_time_than_memory_and_the_gpu_hold(
    tmp_path: Path, memory: str, profile: str, at_once: bool
) -> None:
    """A training that asks for more than there is runs alone."""
    pipeline = create(tmp_path)
    (tmp_path / "Snakefile").write_text(TRAININGS)
    pipeline.edit("workflow/rules/common.smk", MEMORY, memory)
    pipeline.run("snakemake", "--workflow-profile", profile, "--cores", "8", "trained1", "trained2")
    in_turns = ["begin", "end"] * 2
    assert ((tmp_path / "when.txt").read_text().split() == in_turns) != at_once


# --------------------------------------------------------------------------------------------------------------------
# What can befall it: one task, source-only training and DACS


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """One task and two methods, run and committed, with a DVC remote. Tests copy it."""
    return create_recorded(tmp_path_factory.mktemp("small"))


@pytest.fixture
def pipeline(small: Pipeline, tmp_path: Path) -> Pipeline:
    """A copy of the small pipeline, to be changed."""
    return small.copy(tmp_path / "project")


@pytest.mark.slow
def test_dvc_in_a_fresh_clone_makes_the_same_bytes(small: Pipeline, tmp_path: Path) -> None:
    clone = small.clone(tmp_path / "clone")
    (clone.folder / "reports/metrics.json").unlink()
    assert clone.jobs(*REPRO) == EVERY
    for pattern in ("reports/metrics.json", "reports/tables/*", "runs/**/*.safetensors", "runs/**/*.json"):
        assert clone.bytes_of(pattern) == small.bytes_of(pattern) != {}


@pytest.mark.slow
def test_a_clone_that_pulls_runs_nothing_and_redoes_only_what_is_edited(small: Pipeline, tmp_path: Path) -> None:
    clone = small.clone(tmp_path / "clone")
    clone.run("dvc", "pull", "--quiet")
    assert clone.jobs(*SNAKEMAKE) == NOTHING
    assert clone.jobs(*REPRO) == NOTHING
    assert not (clone.folder / "data/raw").exists()
    clone.set(methods__dacs={"threshold": 0.5})
    assert clone.jobs(*REPRO) == ADAPTATION
    trained = clone.trained()
    clone.undo()
    assert clone.jobs(*REPRO) == ADAPTATION
    assert clone.trained() == trained  # the pulled run was kept before the edit replaced it
    assert clone.bytes_of("reports/metrics.json") == small.bytes_of("reports/metrics.json")
    clone.set(remap__resample="bilinear")
    assert clone.jobs(*SNAKEMAKE) == EVERY  # now raw frames are needed, and made


@pytest.mark.slow
def test_another_branch_and_back_runs_nothing_and_mixes_nothing(pipeline: Pipeline) -> None:
    home = pipeline.bytes_of("data/ready/*/*/stats.json")
    pipeline.run("git", "checkout", "--quiet", "-b", "other")
    pipeline.set(world__seed=1)
    assert pipeline.jobs(*REPRO) == EVERY
    pipeline.commit("Another city")
    pipeline.run("git", "checkout", "--quiet", "main")
    pipeline.run("dvc", "checkout", "--quiet")
    assert pipeline.jobs(*SNAKEMAKE) == NOTHING
    assert pipeline.jobs(*REPRO) == NOTHING
    # Raw frames are those of the other branch still. A job that needs them has them made again.
    pipeline.set(remap__resample="bilinear")
    assert pipeline.jobs(*SNAKEMAKE) == EVERY
    pipeline.undo()
    pipeline.run(*SNAKEMAKE)
    assert pipeline.bytes_of("data/ready/*/*/stats.json") == home != {}
    pipeline.run("git", "checkout", "--quiet", "--force", "other")
    pipeline.run("dvc", "checkout", "--quiet", "--force")
    assert pipeline.jobs(*SNAKEMAKE) == NOTHING


@pytest.mark.slow
def test_an_experiment_runs_what_it_varies_and_leaves_the_rest(pipeline: Pipeline) -> None:
    assert pipeline.jobs("dvc", "exp", "run", "--set-param", "adapt.threshold=0.5") == ADAPTATION
    assert pipeline.jobs(*SNAKEMAKE) == NOTHING
    assert "0.5" in pipeline.run("dvc", "exp", "show", "--csv")


@pytest.mark.slow
def test_edits_of_the_page_redo_the_page_and_comments_redo_nothing(pipeline: Pipeline) -> None:
    pipeline.edit("dacs/reporting/page.py", "\n\n\ndef ", "\n\n\n# A remark.\ndef ")
    assert pipeline.jobs(*REPRO) == NOTHING
    pipeline.edit("dacs/reporting/page.css", "{", " {")
    assert pipeline.jobs(*REPRO) == Counter(report=1)


@pytest.mark.slow
def test_values_that_are_exchanged_and_lists_that_grow_are_noticed(pipeline: Pipeline) -> None:
    pipeline.set(runs__seeds=[0, 1])
    assert pipeline.jobs(*REPRO) == Counter(train_start=1, adapt=1, evaluate=2, figures=1, report=1)
    pipeline.set(report__title="Streets")
    assert pipeline.jobs(*SNAKEMAKE) == Counter(report=1)
    assert pipeline.jobs(*REPRO) == NOTHING
    pipeline.set(loop__head_lr_factor=2, loop__backbone_lr_factor=3)
    pipeline.run(*SNAKEMAKE)
    pipeline.set(loop__head_lr_factor=3, loop__backbone_lr_factor=2)
    assert pipeline.jobs(*SNAKEMAKE)["train_start"] == 2


@pytest.mark.slow
def test_a_failed_job_leaves_no_mixture_behind(pipeline: Pipeline) -> None:
    figures = pipeline.folder / "dacs/reporting/figures.py"
    whole = figures.read_text()
    figures.write_text("raise SystemExit(1)\n" + whole.replace('"""', "#", 1))
    pipeline.set(methods__dacs={"threshold": 0.5})
    pipeline.run(*SNAKEMAKE, fails=True)
    figures.write_text(whole)
    assert pipeline.jobs(*SNAKEMAKE) == Counter(figures=1, report=1)
    assert pipeline.jobs(*REPRO) == NOTHING


# --------------------------------------------------------------------------------------------------------------------
# Killed


LONG = {"scales__smoke__train": {"steps": 150}, "scales__smoke__adapt": {"steps": 4}}


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["the training", "Snakemake"])
def test_a_killed_run_resumes_from_its_checkpoint_and_ends_with_the_same_bytes(
    small: Pipeline, tmp_path: Path, victim: str
) -> None:
    straight = small.copy(tmp_path / "straight")
    straight.set(**LONG)
    straight.commit("Longer")
    killed = straight.copy(tmp_path / "killed")
    straight.run(*SNAKEMAKE)

    finished = killed.trained()
    command = [TOOLS / SNAKEMAKE[0], *SNAKEMAKE[1:]]
    with subprocess.Popen(command, cwd=killed.folder, env=environment(), start_new_session=True) as snakemake:
        for _ in range(1200):
            begun = [
                path for path in killed.folder.glob(".cache/runs/*/checkpoint.pt") if path.parent.name not in finished
            ]
            if begun:
                break
            time.sleep(0.1)
        processes = psutil.Process(snakemake.pid).children(recursive=True)
        trainings = [process for process in processes if "train" in process.cmdline()]
        if victim == "Snakemake":
            os.killpg(snakemake.pid, signal.SIGKILL)
        for process in trainings:
            process.kill()
    assert snakemake.returncode != 0
    assert len(begun) == 1
    assert begun[0].exists()

    printed = killed.run(*REPRO)
    assert ("An earlier Snakemake was killed in this folder" in printed) == (victim == "Snakemake")
    log = (killed.folder / "logs/train/gta5-cityscapes-source-seed0.log").read_text()
    assert re.search(r"checkpoint at step [1-9]", log)
    for pattern in ("runs/**/*.safetensors", "runs/**/log.csv", "reports/metrics.json"):
        assert killed.bytes_of(pattern) == straight.bytes_of(pattern) != {}
