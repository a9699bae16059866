"""DVC on the tables and metrics of a report: what it prints fits a terminal, plots need no remote and no network."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import fake_runs
import pytest
import yaml
from dvc.utils.flatten import flatten
from pipeline import ROOT, Pipeline

from dacs.methods import METHODS
from dacs.reporting import dvc_page, figures
from dacs.settings import Figures, FiguresJob, Runs

SECTION = Runs(tasks=["gta5-cityscapes", "synthia-cityscapes"], methods=["source", "dacs", "oracle"], seeds=[0])
COLUMNS = 100


def numbers(change: float) -> dict[str, Any]:
    """Metrics of all methods and both tasks, of which those of DACS are changed."""
    known = {"miou": 40.0, "std": 0.5, "teacher": 41.0, "gain": 2.0}
    changed = {name: round(value + change, 2) for name, value in known.items()}
    return {task: {name: changed if name == "dacs" else known for name in METHODS} for task in SECTION.tasks}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A repository with the shipped dvc.yaml, whose stage copies a report; the report is recorded and committed."""
    folder = tmp_path_factory.mktemp("dvc")
    fake_runs.project(folder, SECTION, images=3)
    job, made = FiguresJob(runs=SECTION, figures=Figures(frames=1)), folder / "made"
    figures.make(job, folder / "runs", folder / "data/ready", made)
    project = folder / "project"
    for name in (".dvc/plots", "made"):
        shutil.copytree(made if name == "made" else ROOT / name, project / name)
    for name in (".dvc/config", ".dvcignore", ".gitignore", "params.yaml"):
        shutil.copy(ROOT / name, project / name)
    shipped = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    stage = shipped["stages"]["report"]
    shipped["stages"] = {"report": stage}
    stage |= {
        "cmd": "cp -r made/. reports",
        "deps": ["made"],
        "outs": [each for each in stage["outs"] if "reports/tables" in each],
    }
    (project / "dvc.yaml").write_text(yaml.safe_dump(shipped, sort_keys=False))
    pipeline = Pipeline(project)
    pipeline.run("git", "init", "--quiet", "--initial-branch", "main")
    for name, value in (("name", "A person"), ("email", "person@example.org")):
        pipeline.run("git", "config", f"user.{name}", value)
    (project / "made/metrics.json").write_text(json.dumps(numbers(0)))
    pipeline.run("dvc", "repro", "--quiet")
    pipeline.commit("Record")
    return pipeline


@pytest.fixture
def clone(recorded: Pipeline, tmp_path: Path) -> Pipeline:
    """A fresh clone: no remote and no cache of DVC."""
    return recorded.clone(tmp_path / "clone")


def test_metrics_of_every_method_fit_a_terminal(clone: Pipeline) -> None:
    (clone.folder / "reports/metrics.json").write_text(json.dumps(numbers(1.25)))
    lines = clone.run("dvc", "metrics", "diff").splitlines()
    assert len(lines) == 1 + 2 * 4
    assert any(re.search(r"synthia-cityscapes\.dacs\.teacher +41\.0 +42\.25 +1\.25", line) for line in lines)
    lines += clone.run("dvc", "metrics", "diff", "--all").splitlines()
    assert len(lines) > 2 * 4 * len(METHODS)
    assert max(map(len, lines)) <= COLUMNS


def left_out() -> str:
    """The pattern of the columns that `make experiments` leaves out, as the documentation shows it."""
    (pattern,) = re.findall(r"`dvc exp show --only-changed --drop '([^']*)'`", (ROOT / "docs/workflow.md").read_text())
    return pattern


def test_experiments_fit_a_terminal_as_the_documentation_shows_them(
    recorded: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = recorded.copy(tmp_path / "copy")
    copy.edit("params.yaml", "threshold: 0.968  # a pixel", "threshold: 0.9  # a pixel")
    copy.edit("params.yaml", "warmup: 50", "warmup: 60")
    (copy.folder / "made/metrics.json").write_text(json.dumps(numbers(1.25)))
    copy.run("dvc", "exp", "run", "--quiet", "--name", "lower-rate")
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    shown = copy.run("dvc", "exp", "show", "--no-pager", "--only-changed", "--drop", f"{left_out()}|made$")
    assert max(map(len, shown.splitlines())) <= COLUMNS
    header = next(line for line in shown.splitlines() if "Experiment" in line)
    assert header.split()[1:4] == ["gta5-cityscapes.dacs.miou", "loop.warmup", "adapt.threshold"]
    assert re.search(r"\[lower-rate\] +41\.25 +60 +0\.9", shown)


def test_of_the_columns_of_experiments_one_number_and_all_parameters_are_shown() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values()
    dependencies = {name for stage in stages for name in stage["deps"]}
    metrics = flatten(json.loads((ROOT / "reports/metrics.json").read_text()))
    parameters = flatten(yaml.safe_load((ROOT / "params.yaml").read_text()))
    shown = [name for name in (*dependencies, *metrics, *parameters) if not re.match(left_out(), name)]
    assert len(dependencies) == 8
    assert shown == ["gta5-cityscapes.dacs.miou", *parameters]
    command = (ROOT / "Makefile").read_text().replace("$(NUMBERS)", r"gta5-\w+\.dacs\.miou").replace("$$", "$")
    assert f"dvc exp show --only-changed --drop '{left_out()}'\n" in command


def test_an_experiment_changes_the_values_of_params_that_it_sets_and_no_other_line(clone: Pipeline) -> None:
    """So lists are blocks, mappings on a line are short, and no blank line follows a list: DVC writes them all anew."""
    for setting, lines in (("adapt.threshold=0.9", 1), ("loop.crop=[64,128]", 3)):
        clone.run("dvc", "exp", "run", "--quiet", "--set-param", setting)
        added, removed, _ = clone.run("git", "diff", "--numstat", "HEAD", "params.yaml").split(maxsplit=2)
        assert (int(added), int(removed)) == (lines, lines)


def test_plots_of_a_fresh_clone_compare_with_what_is_committed(clone: Pipeline) -> None:
    table = clone.folder / "reports/tables/checkpoints.csv"
    table.write_text(table.read_text().replace(",300,", ",301,"))
    clone.run("dvc", "plots", "diff", "HEAD", "--quiet", "--out", "plots")
    page = (clone.folder / "plots/index.html").read_text()
    specs = [json.loads(found) for found in re.findall(r"var spec = (\{.*?\});\s*vegaEmbed", page, re.S)]
    titles = {json.dumps(spec["title"]) for spec in specs}
    assert len(titles) == len(specs) == 5
    for spec in specs:
        assert {row["rev"] for row in spec["data"]["values"]} == {"workspace", "HEAD"}
        fields = set(re.findall(r'"(?:field|as)": "(\w+)"', json.dumps({**spec, "data": {}})))
        assert fields <= {*spec["data"]["values"][0]}
        assert "<DVC" not in json.dumps(spec)


def test_the_page_of_plots_loads_nothing(clone: Pipeline, tmp_path: Path) -> None:
    dvc_page.write(tmp_path / "template.html")
    clone.run("dvc", "config", "--local", "plots.html_template", str(tmp_path / "template.html"))
    clone.run("dvc", "plots", "diff", "HEAD", "--quiet", "--out", "plots")
    page = (clone.folder / "plots/index.html").read_text()
    assert not re.search(r"<script[^>]*\ssrc|<link|cdn\.", page)
    assert page.count("vegaEmbed('#") + page.count('vegaEmbed("#') == 5
    for name in ("vega", "vegaLite", "vegaEmbed"):
        assert re.search(rf"global\.{name} ?=|\.{name} = ", page), name


def test_tables_are_in_git_and_what_they_are_made_from_is_not(clone: Pipeline) -> None:
    tracked = clone.run("git", "ls-files", "reports").splitlines()
    assert {"reports/metrics.json", "reports/tables/intervals.csv", "reports/tables/checkpoints.csv"} < {*tracked}
    assert [name for name in tracked if "figures" in name or name.endswith(".html")] == []
    assert sum((clone.folder / name).stat().st_size for name in tracked) < 500_000
