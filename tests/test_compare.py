"""Laws of `dacs compare`: parameters, scores, intervals and classes of two results, as text and as a page."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import fake_runs
import pytest
import yaml

from dacs.cli import main
from dacs.errors import BadRequest, RunFailed
from dacs.evaluation.counts import read_counts
from dacs.evaluation.intervals import Bootstrap
from dacs.files import read_json, write_json
from dacs.layout import EvaluationDir, RunDir
from dacs.reporting.compare import compare
from dacs.settings import Runs

SECTION = Runs(tasks=["gta5-cityscapes"], methods=["naive", "dacs"], seeds=[0])
NAIVE, DACS = (f"runs/gta5-cityscapes/{name}/seed0" for name in SECTION.methods)
METRICS = {"gta5-cityscapes": {"dacs": {"miou": 40.0, "std": 0.5, "teacher": 41.0, "gain": None}}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    fake_runs.project(folder, SECTION, images=6)
    return folder


@pytest.fixture
def here(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of two runs, in the working directory."""
    shutil.copytree(runs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def git(*arguments: str) -> None:
    settings = ("-c", "user.name=A person", "-c", "user.email=person@example.org")
    subprocess.run(["git", *settings, *arguments], check=True, capture_output=True)


def record(threshold: float, miou: float, message: str) -> None:
    """Commit parameters and metrics."""
    params = {"adapt": {"threshold": threshold, "ema": 0.99}, "runs": {"seeds": [0]}, "note": "a" * 150}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    found = json.loads(json.dumps(METRICS))
    found["gta5-cityscapes"]["dacs"]["miou"] = miou
    write_json(Path("reports/metrics.json"), found)
    git("add", "params.yaml", "reports")
    git("commit", "--quiet", "--message", message)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two commits of other parameters and metrics, after one without any; the project is a part of the repository."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    git("init", "--quiet", "..")
    git("checkout", "--quiet", "-b", "main")
    git("commit", "--quiet", "--allow-empty", "--message", "Begin")
    record(0.968, 40.0, "One")
    record(0.9, 42.25, "Another")
    return tmp_path


def table(title: str, *sides: str) -> list[list[str]]:
    """The rows of a part of the comparison."""
    (found,) = [each for each in compare(*sides).tables if each.title.startswith(title)]
    return [list(row) for row in found.rows]


def test_scores_of_runs_are_compared_with_paired_intervals(here: Path) -> None:
    naive, dacs = (read_json(RunDir(Path(name)).evaluation.metrics)["student"]["miou19"] for name in (NAIVE, DACS))
    assert ["student.miou19", f"{naive:.2f}", f"{dacs:.2f}", f"{dacs - naive:+.2f}"] in table("Scores", NAIVE, DACS)
    counts = {
        name: [read_counts(EvaluationDir(Path(path, "evaluation")).counts).by_frame("last/student/prepared")]
        for name, path in (("naive", NAIVE), ("dacs", DACS))
    }
    expected = Bootstrap(counts, range(19)).difference("dacs", "naive")
    mean, change, interval = table("Change of mIoU", NAIVE, DACS)[0]
    assert (mean, change) == ("mIoU over 19 classes", f"{expected.value:+.2f}")
    assert interval == f"{expected.low:+.2f} to {expected.high:+.2f}"
    assert len(table("Change of mIoU", NAIVE, DACS)) == 3
    assert "(includes 0)" in table("Change of mIoU", DACS, DACS)[0][2]


def test_the_classes_that_change_most_are_named(here: Path) -> None:
    first, second = (read_json(RunDir(Path(name)).evaluation.metrics)["student"]["iou"] for name in (NAIVE, DACS))
    changes = {name: second[name] - value for name, value in first.items() if value is not None}
    rows = table("Classes", NAIVE, DACS)
    assert [row[0] for row in rows] == sorted(changes, key=lambda name: -abs(changes[name]))[:8]
    assert rows[0][:4] == ["sidewalk", "0.00", f"{second['sidewalk']:.2f}", f"{changes['sidewalk']:+.2f}"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("old", "evaluated by an earlier version, which kept no counts of single images: evaluate it again"),
        ("frames", "the runs were not measured on the same images"),
        ("size", "not measured by the same protocol (ground truth: prepared 48x96 and full 96x192)"),
        ("classes", "the runs have different classes"),
    ],
)
def test_why_there_is_no_interval_is_said(here: Path, change: str, said: str) -> None:
    run = RunDir(Path(DACS))
    counts = read_counts(run.evaluation.counts)
    dense = {key: counts.by_frame(key) for key in counts.protocols}
    if change == "old":
        run.evaluation.counts.unlink()
    elif change == "frames":
        fake_runs.evaluation(run, dense, [*counts.frames[1:], "another"])
    elif change == "size":
        fake_runs.evaluation(run, dense, counts.frames, "full")
    else:
        spec = read_json(run.spec)
        spec["settings"]["labels"] = {"base": "cityscapes", "classes": [["kerb", {"color": [1, 2, 3]}]], "groups": {}}
        write_json(run.spec, spec)
    text = re.sub(r"\s+", " ", compare(NAIVE, DACS).text)
    assert said in text
    assert "student.miou19" in text
    assert "Classes that change most" not in text


def test_parameters_that_differ_are_listed_by_dotted_name(here: Path) -> None:
    spec = read_json(RunDir(Path(DACS)).spec)
    spec["settings"]["loop"] |= {"crop": [64, 64], "precision": "bf16"}
    write_json(RunDir(Path(DACS)).spec, spec)
    assert table("Parameters", NAIVE, DACS) == [
        ["loop.crop", "[96, 96]", "[64, 64]"],
        ["loop.precision", "–", "bf16"],
    ]
    assert "Parameters that differ\nNone." in compare(NAIVE, NAIVE).text


def test_revisions_are_compared_by_parameters_and_metrics(repository: Path) -> None:
    assert table("Parameters", "HEAD~1", "main") == [["adapt.threshold", "0.968", "0.9"]]
    assert ["gta5-cityscapes.dacs.miou", "40.00", "42.25", "+2.25"] in table("Scores", "HEAD~1", "main")
    write_json(Path("one.json"), METRICS)
    assert ["gta5-cityscapes.dacs.miou", "42.25", "42.25", "+0.00"] in table("Scores", "HEAD", "reports")
    found = compare("HEAD", "one.json")
    assert "Not known of one.json." in found.text


def test_reports_are_compared_with_the_intervals_of_each_and_the_classes(repository: Path) -> None:
    Path("reports/tables").mkdir()
    rows = {"True": "40.0,38.5,41.5", "False": "30.0,28.0,31.0"}  # of the main number or not
    columns = "task,method,headline,miou,miou_low,miou_high"
    for low, message in ((40.0, "Three"), (20.0, "Four")):
        text = "\n".join(f"gta5-cityscapes,dacs,{main},{values}" for main, values in rows.items())
        Path("reports/tables/intervals.csv").write_text(f"{columns}\n{text}\n")
        classes = [
            f"gta5-cityscapes,{name},dacs,{low + n},{low},{low + 2 * n}" for n, name in enumerate(("sky", "car"))
        ]
        header = "task,class,method,iou,iou_low,iou_high"
        of_one = "gta5-cityscapes,bus,dacs,50.0,,\ngta5-cityscapes,train,dacs,,,"  # of one image, of none
        Path("reports/tables/class_intervals.csv").write_text("\n".join([header, *classes, of_one, ""]))
        record(0.9, 42.25, message)
    main = [["gta5-cityscapes.dacs", "40.00 [38.50, 41.50]", "40.00 [38.50, 41.50]", "+0.00"]]
    assert table("Main numbers", "HEAD~1", "HEAD") == table("Main numbers", "HEAD", "reports") == main
    assert table("Classes", "HEAD~1", "HEAD") == [
        ["gta5-cityscapes.dacs.sky", "40.00 [40.00, 40.00]", "20.00 [20.00, 20.00]", "−20.00"],
        ["gta5-cityscapes.dacs.car", "41.00 [40.00, 42.00]", "21.00 [20.00, 22.00]", "−20.00"],
    ]
    assert "None changes." in compare("HEAD", "reports").text
    assert "Main numbers" not in compare("HEAD~2", "HEAD").text  # whose first has no tables
    assert max(map(len, compare("HEAD~1", "HEAD").text.splitlines())) <= 100


@pytest.mark.parametrize(
    ("sides", "said"),
    [
        (("HEAD", "no-such"), "no-such: neither a file or folder, nor a Git revision of this repository.\nGive a run"),
        (("--all", "HEAD"), "--all: neither a file or folder, nor a Git revision"),
        (("HEAD~2", "HEAD"), "HEAD~2: this revision has no params.yaml.\nGive one in which it was recorded"),
    ],
)
def test_a_wrong_side_is_refused_and_named(repository: Path, sides: tuple[str, str], said: str) -> None:
    with pytest.raises(BadRequest) as caught:
        compare(*sides)
    assert str(caught.value).startswith(said)


def test_a_folder_without_git_knows_no_revision(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(here))
    with pytest.raises(BadRequest, match=r"^main: neither a file or folder, nor a Git revision"):
        compare("main", NAIVE)


def test_what_has_nothing_in_common_is_refused(here: Path) -> None:
    write_json(Path("one.json"), METRICS)
    with pytest.raises(BadRequest, match="have no score in common"):
        compare("one.json", NAIVE)
    Path("list.json").write_text("[1, 2]")
    with pytest.raises(RunFailed, match=r"list\.json: .*an object was expected, list was found"):
        compare("list.json", NAIVE)


def test_runs_without_ground_truth_are_refused(here: Path) -> None:
    run = RunDir(Path(DACS))
    write_json(run.evaluation.metrics, read_json(run.evaluation.metrics) | {"unmeasured": "No labels."})
    with pytest.raises(BadRequest, match=r"No labels\.\nCompare runs whose target has labelled"):
        compare(NAIVE, DACS)


def test_the_text_fits_a_terminal(here: Path) -> None:
    spec = read_json(RunDir(Path(DACS)).spec)
    spec["settings"]["loop"] |= {"long": "word " * 60, "longer": "x" * 150, "y" * 70: list(range(60))}
    write_json(RunDir(Path(DACS)).spec, spec)
    lines = compare(NAIVE, DACS).text.splitlines()
    assert max(map(len, lines)) <= 100
    shown = "".join(re.findall("x+", "\n".join(lines)))
    assert shown.count("x") >= 150  # nothing is cut


def test_the_page_is_escaped_and_loads_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec: dict[str, Any] = read_json(RunDir(Path(DACS)).spec)
    spec["settings"]["loop"]["<b>key"] = "<script>alert(1)</script>"
    write_json(RunDir(Path(DACS)).spec, spec)
    shutil.copytree(DACS, "a <i>run")
    assert main(["compare", NAIVE, "a <i>run", "--html", "out/page.html"]) == 0
    page, text = Path("out/page.html").read_text(), capsys.readouterr().out
    assert "student.miou19" in text
    assert not re.search(r"<script|<i>run|<b>key|<link|\ssrc=|@import|url\(", page)
    for shown in ("a &lt;i&gt;run", "loop.&lt;b&gt;key", "&lt;script&gt;alert(1)", "Classes that change most"):
        assert shown in page
    assert [tag for tag in ("table", "tr", "td", "div") if page.count(f"<{tag}") != page.count(f"</{tag}>")] == []
    assert page.count('<th scope="row">sidewalk</th>') == 1
