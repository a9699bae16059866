"""The stages of dvc.yaml are Snakemake's graph, and DVC's record is of what is there."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
import tiny
import yaml
from pipeline import ADAPTATION, EVERY, REPRO, ROOT, SNAKEMAKE, Pipeline, create

from dacs.config import load
from dacs.fields import identity
from dacs.jobs import domains_of, job_of
from dacs.methods import supervised
from dacs.settings import Params

NOTHING: Counter[str] = Counter()
STAGES = {
    "data": ("world", "download", "remap"),
    "train": ("train",),
    "adapt": ("adapt", "adabn"),
    "evaluate": ("evaluate",),
    "report": ("figures", "report"),
}


def stage_of(rule: str) -> str:
    """The stage of a rule; remap_target is a remap, and train_start a train."""
    return next((stage for stage, rules in STAGES.items() if rule.partition("_")[0] in rules), "")


def edges(dot: str) -> set[tuple[str, str]]:
    """Pairs of the labels or names of the nodes that a dot file joins, the earlier one first."""
    names = dict(re.findall(r"^\s*(\d+)\[label = \"(\w+)", dot, re.M))
    found = re.findall(r'^\s*"?(\w+)"?\s*->\s*"?(\w+)"?', dot, re.M)
    return {(names.get(one, one), names.get(other, other)) for one, other in found}


def closed(pairs: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """With each two pairs that follow each other, the pair of their ends."""
    more = pairs | {(one, last) for one, mid in pairs for first, last in pairs if mid == first}
    return more if more == pairs else closed(more)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """The shipped tasks and methods, of which nothing is made."""
    return create(tmp_path_factory.mktemp("project"))


def test_tables_of_git_alone_are_not_taken_for_those_of_params(tmp_path: Path) -> None:
    """In a fresh clone nothing says what made them."""
    clone = create(tmp_path, runs__tasks=["gta5-cityscapes"], runs__methods=["source", "dacs"])
    for name in ("reports/metrics.json", "reports/tables/summary.csv"):
        path = clone.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("of another commit")
    made = EVERY - Counter(report=1)
    assert clone.planned("reports/metrics.json") == clone.planned("reports/tables/summary.csv") == made
    assert clone.planned("data/manifests/gta5.json") == Counter(world=1)


def test_the_stages_of_dvc_are_those_of_the_graph(project: Pipeline) -> None:
    rules = edges(project.run("snakemake", "--forceall", "--rulegraph", "dot", "all"))
    pairs = {(stage_of(one), stage_of(other)) for one, other in rules}
    graph = {(one, other) for one, other in pairs if one and other and one != other}
    assert {stage for pair in graph for stage in pair} == {*STAGES}
    stages = yaml.safe_load((project.folder / "dvc.yaml").read_text())["stages"]
    assert [*stages] == [*STAGES]
    recorded = edges(project.run("dvc", "dag", "--dot"))
    assert recorded <= graph <= closed(recorded)


def test_every_durable_file_belongs_to_one_stage(project: Pipeline) -> None:
    made = [line.split("\t")[0] for line in project.run("snakemake", "--summary", "all").splitlines() if "\t" in line]
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values()
    outs = [name for stage in stages for out in [*stage["outs"], *stage.get("metrics", [])] for name in out]
    assert len(made) > 100
    for name in (name for name in made[1:] if not name.startswith("data/raw/")):
        assert len([out for out in outs if name == out or name.startswith(f"{out}/")]) == 1, name
    assert all(options["persist"] for stage in stages for out in stage["outs"] for options in out.values())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *(("world.seed", 1), ("remap.resample", "bilinear"), ("data.gta5_frames", "official"), ("data.unpack", False)),
        *(("model.aspp_branches", 2), ("loop.batch", 3), ("train.lr", 0.1), ("adapt.steps", 700), ("adapt.lr", 0.1)),
        *(("methods.dacs", {"threshold": 0.5}), ("adabn.frames", 3), ("evaluate.labels", "prepared")),
        *(("figures.frames", 3), ("report.title", "Streets"), ("runs.seeds", [1]), ("scale", "smoke")),
        *(("scales.demo", {"train": {"lr": 0.1}}), ("recipe", "official-code"), ("recipes.shipped.loop", {"batch": 3})),
    ],
)
def test_a_stage_depends_on_the_sections_that_its_jobs_read(path: str, value: object) -> None:
    """A stage whose jobs have other settings after the change of a section depends on this section."""
    before, after = (settings_of_stages(load(params)) for params in (tiny.content(), tiny.changed(path, value)))
    concerned = {stage for stage in STAGES if before[stage] != after[stage]}
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    section = path.partition(".")[0]
    assert concerned or section == "runs"
    for stage in concerned:
        assert section in stages[stage]["params"] or stages[stage]["params"] == [{"params.yaml": None}], stage


def settings_of_stages(params: Params) -> dict[str, list[object]]:
    """The settings that have an effect, of all jobs of each stage."""
    domains, methods = domains_of(params), params.runs.methods
    jobs = {
        "data": [job_of(params, verb, domain=domain) for verb in ("world", "download", "remap") for domain in domains],
        "train": [job_of(params, "train", method=method) for method in supervised(methods)],
        "adapt": [job_of(params, "adapt", method=method) for method in methods if method not in supervised(methods)],
        "evaluate": [job_of(params, verb, domain=domain) for verb in ("evaluate", "appearance") for domain in domains],
        "report": [job_of(params, verb) for verb in ("figures", "report")],
    }
    return {stage: [identity(job) for job in listed] for stage, listed in jobs.items()}


# --------------------------------------------------------------------------------------------------------------------
# One task, source-only training and DACS, recorded by DVC


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    pipeline = create(
        tmp_path_factory.mktemp("recorded") / "project",
        runs__tasks=["gta5-cityscapes"],
        runs__methods=["source", "dacs"],
    )
    assert pipeline.jobs(*REPRO) == EVERY
    pipeline.commit("Record")
    return pipeline


@pytest.fixture
def pipeline(recorded: Pipeline, tmp_path: Path) -> Pipeline:
    return recorded.copy(tmp_path / "project")


@pytest.fixture
def elsewhere(recorded: Pipeline, tmp_path: Path) -> Pipeline:
    """A clone in another folder."""
    return recorded.clone(tmp_path / "clone")


@pytest.mark.slow
def test_the_same_results_have_the_same_lock(recorded: Pipeline, elsewhere: Pipeline) -> None:
    (elsewhere.folder / "dvc.lock").unlink()
    assert elsewhere.jobs(*REPRO) == EVERY
    assert elsewhere.bytes_of("dvc.lock") == recorded.bytes_of("dvc.lock") != {}


@pytest.mark.slow
def test_an_undone_edit_has_the_lock_of_before(pipeline: Pipeline, recorded: Pipeline) -> None:
    pipeline.set(scales__smoke__adapt={"steps": 8, "rare_class_frame": 0.0}, runs__seeds=[0, 1])
    pipeline.run(*REPRO)
    assert pipeline.bytes_of("dvc.lock") != recorded.bytes_of("dvc.lock")
    pipeline.undo()
    pipeline.run(*REPRO)
    assert pipeline.bytes_of("dvc.lock") == recorded.bytes_of("dvc.lock")


@pytest.mark.slow
def test_a_stage_by_its_name_is_made_with_what_it_needs_and_no_more(pipeline: Pipeline) -> None:
    pipeline.set(methods__dacs={"threshold": 0.5})
    assert pipeline.jobs("dvc", "repro", "train") == NOTHING
    assert pipeline.jobs("dvc", "repro", "evaluate") == Counter(adapt=1, evaluate=1)
    assert pipeline.jobs(*REPRO) == Counter(figures=1, report=1)
    assert "up to date" in pipeline.run("dvc", "status")


@pytest.mark.slow
def test_a_partly_recorded_commit_is_not_taken_for_whole(pipeline: Pipeline, tmp_path: Path) -> None:
    """Runs of one commit beside Snakemake's records of another: the records are not of these files."""
    before = pipeline.bytes_of("reports/metrics.json") | pipeline.bytes_of("runs/**/metrics.json")
    pipeline.run("git", "checkout", "--quiet", "-b", "other")
    pipeline.set(methods__dacs={"threshold": 0.5})
    pipeline.run("dvc", "repro", "evaluate")
    pipeline.commit("Half")
    pipeline.run("dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    pipeline.commit("A remote")
    pipeline.run("dvc", "push", "--quiet")
    clone = pipeline.clone(tmp_path / "clone")
    clone.run("dvc", "pull", "--quiet")
    clone.run("git", "checkout", "--quiet", "origin/main", "--", "params.yaml")
    assert clone.jobs(*SNAKEMAKE)["adapt"] == 1
    assert clone.bytes_of("reports/metrics.json") | clone.bytes_of("runs/**/metrics.json") == before


@pytest.mark.slow
def test_runs_no_longer_asked_for_leave_and_come_back_untrained(pipeline: Pipeline) -> None:
    before, trained = pipeline.bytes_of("runs/**/*.*"), pipeline.trained()
    pipeline.set(runs__methods=["source"])
    printed = pipeline.run(*REPRO)
    assert "runs/gta5-cityscapes/dacs/seed0" in printed
    assert not (pipeline.folder / "runs/gta5-cityscapes/dacs").exists()
    assert "dacs" not in json.dumps([*pipeline.bytes_of(".snakemake/metadata/**/*.*")])
    pipeline.undo()
    assert pipeline.jobs(*REPRO) == ADAPTATION
    assert pipeline.trained() == trained
    assert pipeline.bytes_of("runs/**/*.*") == before
    assert pipeline.jobs("snakemake", "--cores", "2", "all", "--config", "scale=smoke") == NOTHING


@pytest.mark.slow
def test_damaged_results_are_made_again_by_dvc(pipeline: Pipeline) -> None:
    weights = pipeline.folder / "runs/gta5-cityscapes/dacs/seed0/weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    pipeline.run(*REPRO)
    assert weights.read_bytes() == whole
    assert "up to date" in pipeline.run("dvc", "status")


@pytest.mark.slow
@pytest.mark.parametrize("change", ["a bit of an image", "the folder of images"])
def test_changed_frames_are_not_recorded(pipeline: Pipeline, change: str) -> None:
    """Where every run is there, nothing reads them but the stage that has them as its output."""
    split = "data/ready/cityscapes/val/images"
    frames, lock = pipeline.bytes_of(f"{split}/*"), pipeline.bytes_of("dvc.lock")
    if change == "a bit of an image":
        name, content = next(iter(frames.items()))
        (pipeline.folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        shutil.rmtree(pipeline.folder / split)
    assert pipeline.jobs(*REPRO) == Counter(remap_target=1)
    assert pipeline.bytes_of(f"{split}/*") == frames
    assert pipeline.bytes_of("dvc.lock") == lock
    assert "up to date" in pipeline.run("dvc", "status")


@pytest.mark.slow
@pytest.mark.parametrize("place", ["--temp", "--queue"])
def test_an_experiment_beside_the_workspace_leaves_it_and_is_applied_at_will(pipeline: Pipeline, place: str) -> None:
    before = pipeline.bytes_of("reports/metrics.json") | pipeline.bytes_of("params.yaml")
    pipeline.run("dvc", "exp", "run", place, "--name", "lower", "--set-param", "adapt.threshold=0.5")
    if place == "--queue":
        pipeline.run("dvc", "exp", "run", "--run-all")
    assert pipeline.bytes_of("reports/metrics.json") | pipeline.bytes_of("params.yaml") == before
    assert "lower" in pipeline.run("dvc", "exp", "show", "--csv")
    assert re.search(r"adapt\.threshold +0\.968 +0\.5", pipeline.run("dvc", "exp", "diff", "main", "lower"))
    pipeline.run("dvc", "exp", "apply", "lower")
    assert pipeline.jobs(*SNAKEMAKE) == NOTHING
    assert pipeline.jobs(*REPRO) == NOTHING


@pytest.mark.slow
def test_nothing_to_do_starts_no_snakemake(pipeline: Pipeline) -> None:
    printed = pipeline.run(*REPRO)
    assert "Running stage" not in printed
    assert printed.count("didn't change") == len(STAGES)
