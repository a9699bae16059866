"""The whole river at `scale: smoke`, from an empty folder through both doors; then (slow) all that can befall it.

These tests are the contract between Snakemake, DVC and us: each says what must not run again, and what must.
"""

import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from river import ADAPTATION, EVERY, REPRO, SNAKEMAKE, TOOLS, River, environment, spring

NOTHING: Counter[str] = Counter()
DURABLE = ("data/receipts", "data/ready", "runs", "reports")

# --------------------------------------------------------------------------------------------------------------------
# Both doors, as shipped


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> River:
    """The shipped tasks and methods, run by Snakemake from an empty folder."""
    river = spring(tmp_path_factory.mktemp("shipped"))
    river.run(*SNAKEMAKE)
    return river


def test_snakemake_makes_all_that_the_contract_names(shipped: River) -> None:
    runs = yaml.safe_load((shipped.folder / "params.yaml").read_text())["runs"]
    for task in runs["tasks"]:
        for method in runs["methods"]:
            folder = shipped.folder / "runs" / task / method / "seed0"
            for name in ("weights.safetensors", "teacher.safetensors", "settings.json", "log.csv"):
                assert (folder / name).stat().st_size > 0
            for name in ("confusion.json", "metrics.json"):
                assert json.loads((folder / "evaluation" / name).read_text())
    metrics = json.loads((shipped.folder / "reports/metrics.json").read_text())
    assert [*metrics] == runs["tasks"]
    assert all({*metrics[task]} == {*runs["methods"]} for task in metrics)
    assert (shipped.folder / "reports/index.html").stat().st_size > 10_000


def test_every_table_is_an_output_of_the_workflow(shipped: River) -> None:
    summary = shipped.run("snakemake", "--summary")
    for path in shipped.bytes_of("reports/tables/*"):
        assert path in summary


def test_snakemake_again_has_nothing_to_do(shipped: River) -> None:
    assert shipped.jobs(*SNAKEMAKE) == NOTHING


def test_dvc_takes_over_what_snakemake_made_and_runs_nothing(shipped: River) -> None:
    before = shipped.bytes_of("reports/metrics.json")
    assert shipped.jobs(*REPRO) == NOTHING
    assert "up to date" in shipped.run("dvc", "status")
    assert shipped.bytes_of("reports/metrics.json") == before
    assert "Running stage" not in shipped.run(*REPRO)


def test_an_edit_of_one_method_redoes_its_runs_and_an_undone_edit_trains_nothing(shipped: River) -> None:
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


def test_snakemake_tells_its_own_report(shipped: River) -> None:
    shipped.run("snakemake", "--report", "report.html")
    assert (shipped.folder / "report.html").stat().st_size > 100_000


def test_wrong_params_are_refused_by_name_before_anything_runs(shipped: River) -> None:
    params = (shipped.folder / "params.yaml").read_text()
    (shipped.folder / "params.yaml").write_text(params.replace("  threshold:", "  thresold:"))
    said = shipped.run(*SNAKEMAKE, fails=True)
    shipped.undo()
    assert "adapt.thresold is not known; did you mean 'threshold'?" in said
    assert "Traceback" not in said


# --------------------------------------------------------------------------------------------------------------------
# What can befall it: one task, source-only training and DACS


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> River:
    """One task and two methods, run and committed, with a DVC remote. Tests copy it."""
    folder = tmp_path_factory.mktemp("small")
    river = spring(folder / "river", runs__tasks=["gta5-cityscapes"], runs__methods=["source", "dacs"])
    assert river.jobs(*REPRO) == EVERY
    river.run("dvc", "remote", "add", "--default", "store", str(folder / "store"))
    river.commit("Record")
    river.run("dvc", "push", "--quiet")
    return river


@pytest.fixture
def river(small: River, tmp_path: Path) -> River:
    """The small river, free to be spoilt."""
    return small.copy(tmp_path / "river")


@pytest.mark.slow
def test_dvc_in_a_fresh_clone_makes_the_same_bytes(small: River, tmp_path: Path) -> None:
    clone = small.clone(tmp_path / "clone")
    (clone.folder / "reports/metrics.json").unlink()
    assert clone.jobs(*REPRO) == EVERY
    for pattern in ("reports/metrics.json", "reports/tables/*", "runs/**/*.safetensors", "runs/**/*.json"):
        assert clone.bytes_of(pattern) == small.bytes_of(pattern)


@pytest.mark.slow
def test_a_clone_that_pulls_runs_nothing_and_redoes_only_what_is_edited(small: River, tmp_path: Path) -> None:
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
def test_another_branch_and_back_runs_nothing_and_mixes_nothing(river: River) -> None:
    home = river.bytes_of("data/ready/*/*/card.json")
    river.run("git", "checkout", "--quiet", "-b", "other")
    river.set(world__seed=1)
    assert river.jobs(*REPRO) == EVERY
    river.commit("Another city")
    river.run("git", "checkout", "--quiet", "main")
    river.run("dvc", "checkout", "--quiet")
    assert river.jobs(*SNAKEMAKE) == NOTHING
    assert river.jobs(*REPRO) == NOTHING
    # Raw frames are those of the other branch still. A job that needs them has them made again.
    river.set(remap__resample="bilinear")
    assert river.jobs(*SNAKEMAKE) == EVERY
    river.undo()
    river.run(*SNAKEMAKE)
    assert river.bytes_of("data/ready/*/*/card.json") == home
    river.run("git", "checkout", "--quiet", "--force", "other")
    river.run("dvc", "checkout", "--quiet", "--force")
    assert river.jobs(*SNAKEMAKE) == NOTHING


@pytest.mark.slow
def test_an_experiment_runs_what_it_varies_and_leaves_the_rest(river: River) -> None:
    assert river.jobs("dvc", "exp", "run", "--set-param", "adapt.threshold=0.5") == ADAPTATION
    assert river.jobs(*SNAKEMAKE) == NOTHING
    said = river.run("dvc", "exp", "show", "--csv")
    assert "0.5" in said


@pytest.mark.slow
def test_edits_of_code_redo_what_uses_it_and_words_redo_nothing(river: River) -> None:
    page = river.folder / "dacs/reporting/page.py"
    page.write_text(page.read_text() + "\n# A remark.\n")
    assert river.jobs(*REPRO) == NOTHING
    page.write_text(page.read_text() + "\nNEW = 1\n")
    assert river.jobs(*REPRO) == Counter(report=1)
    style = river.folder / "dacs/reporting/page.css"
    style.write_text(style.read_text() + "\n")
    assert river.jobs(*REPRO) == Counter(report=1)


@pytest.mark.slow
def test_settings_that_change_places_and_lists_that_grow_are_noticed(river: River) -> None:
    river.set(runs__seeds=[0, 1])
    assert river.jobs(*REPRO) == Counter(train=1, adapt=1, evaluate=2, figures=1, report=1)
    river.set(figures__dpi=90)
    assert river.jobs(*SNAKEMAKE) == Counter(figures=1, report=1)
    assert river.jobs(*REPRO) == NOTHING
    river.set(loop__head_lr_factor=2, loop__backbone_lr_factor=3)
    river.run(*SNAKEMAKE)
    river.set(loop__head_lr_factor=3, loop__backbone_lr_factor=2)
    assert river.jobs(*SNAKEMAKE)["train"] == 2


@pytest.mark.slow
def test_a_failed_job_leaves_no_mixture_behind(river: River) -> None:
    page = river.folder / "dacs/reporting/figures.py"
    whole = page.read_text()
    page.write_text("raise SystemExit(1)\n" + whole.replace('"""', "#", 1))
    river.set(methods__dacs={"threshold": 0.5})
    river.run(*SNAKEMAKE, fails=True)
    page.write_text(whole)
    assert river.jobs(*SNAKEMAKE) == Counter(figures=1, report=1)
    assert river.jobs(*REPRO) == NOTHING


# Trains nothing, but notes when it would have begun and ended.
STAND_IN = """
import json, sys, time
from pathlib import Path
verb, options = sys.argv[1], dict(zip(sys.argv[2::2], sys.argv[3::2]))
out, begun = Path(options["--out"]), time.time()
names = {
    "world": ["manifest.json"],
    "remap": ["contract.json"]
    + [f"{split}/{name}" for split in ("train", "val", "oracle") for name in ("index.csv", "card.json")],
    "train": ["weights.safetensors", "teacher.safetensors", "settings.json", "log.csv"],
}[verb]
time.sleep(verb == "train")
for path in [out / name for name in names] + [Path(options[o]) for o in ("--receipt",) if o in options]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
if verb == "train":
    with open("when.txt", "a") as notes:
        print(begun, time.time(), file=notes)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "at_once"), [("paper", False), ("demo", True)])
def test_trainings_take_turns_on_the_gpu_without_being_told(tmp_path: Path, scale: str, at_once: bool) -> None:
    river = spring(tmp_path)
    (river.folder / "dacs/__main__.py").write_text(STAND_IN)
    targets = [f"runs/gta5-cityscapes/source/seed{seed}/settings.json" for seed in range(3)]
    river.run("snakemake", "--workflow-profile", "none", "--cores", "32", *targets, "--config", f"scale={scale}")
    spans = sorted(tuple(map(float, line.split())) for line in (river.folder / "when.txt").read_text().splitlines())
    assert len(spans) == 3
    assert any(later[0] < earlier[1] for earlier, later in pairwise(spans)) == at_once


# --------------------------------------------------------------------------------------------------------------------
# Killed


LONG = {"scales__smoke__train": {"steps": 150}, "scales__smoke__adapt": {"steps": 4}}


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["the training", "Snakemake"])
def test_a_killed_run_goes_on_from_its_checkpoint_and_ends_with_the_same_bytes(
    small: River, tmp_path: Path, victim: str
) -> None:
    straight = small.copy(tmp_path / "straight")
    straight.set(**LONG)
    straight.commit("Longer")
    cut = straight.copy(tmp_path / "cut")
    straight.run(*SNAKEMAKE)

    with subprocess.Popen(
        [TOOLS / SNAKEMAKE[0], *SNAKEMAKE[1:]],
        cwd=cut.folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as snakemake:
        begun = _checkpoint(cut)
        if victim == "Snakemake":
            os.killpg(snakemake.pid, signal.SIGKILL)
        for process in _trainings(cut):
            os.kill(process, signal.SIGKILL)
        snakemake.communicate()
    assert snakemake.returncode != 0
    assert begun.exists()

    if victim == "Snakemake":
        cut.run("snakemake", "--unlock")
    cut.run(*REPRO)
    log = (cut.folder / "logs/train/gta5-cityscapes-source-seed0.log").read_text()
    assert re.search(r"going on from the checkpoint at step [1-9]", log)
    for pattern in ("runs/**/*.safetensors", "runs/**/log.csv", "reports/metrics.json"):
        assert cut.bytes_of(pattern) == straight.bytes_of(pattern)


def _checkpoint(river: River) -> Path:
    """Wait for the first checkpoint of the source-only run that is under way."""
    finished = river.trained()
    for _ in range(1200):
        for path in (river.folder / ".cache/runs").glob("*/checkpoint.pt"):
            if path.parent.name not in finished:
                return path
        time.sleep(0.1)
    raise AssertionError("no checkpoint within two minutes")


def _trainings(river: River) -> list[int]:
    """The processes that train in this river's folder."""
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
            here = Path(f"/proc/{process}/cwd").resolve() == river.folder.resolve()
        except OSError:  # it has ended meanwhile
            continue
        if here and b"dacs" in words and b"train" in words:
            found.append(int(process))
    return found
