"""Laws of the tables of the report: protocols, intervals, the expected order, and the states of runs."""

import re
from pathlib import Path
from typing import Any

import fake_runs
import numpy as np
import pandas as pd
import pytest

from dacs.errors import RunFailed
from dacs.evaluation.counts import read_counts
from dacs.files import read_json, write_json
from dacs.labels import CITYSCAPES, LabelSet
from dacs.layout import RunDir
from dacs.reporting import figures, order, tables
from dacs.reporting.data import ReportData, list_runs, read_table
from dacs.reporting.rows import TABLES, task_rows
from dacs.settings import Figures, FiguresJob, Runs, label_set

TASK = "gta5-cityscapes"
SECTION = Runs(tasks=[TASK, "synthia-cityscapes"], methods=["source", "naive", "dacs", "oracle"], seeds=[0, 1])
ALONE = Runs(tasks=[TASK], methods=["source", "dacs", "oracle"], seeds=[0])


def read(root: Path, section: Runs = SECTION, labels: LabelSet = CITYSCAPES) -> ReportData:
    return tables.read(list_runs(root / "runs", section), root / "data/ready", 1, labels)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    fake_runs.project(folder, SECTION, images=8)
    job = FiguresJob(runs=SECTION, figures=Figures(frames=1))
    figures.make(job, folder / "runs", folder / "data/ready", folder / "reports")
    return folder


@pytest.fixture(scope="module")
def data(root: Path) -> ReportData:
    return read(root)


@pytest.fixture(scope="module")
def shown(root: Path) -> dict[str, Any]:
    return task_rows(TASK, {name: read_table(root / f"reports/tables/{name}.csv") for name in TABLES}, CITYSCAPES)


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """Three runs, to be changed."""
    fake_runs.project(tmp_path, ALONE, images=3)
    return tmp_path


def run_of(root: Path, method: str, seed: int = 0) -> RunDir:
    return RunDir.of(root / "runs", TASK, method, seed)


def counts_of(root: Path, method: str, seed: int) -> np.ndarray:
    return read_counts(run_of(root, method, seed).evaluation.counts).by_frame("last/student/prepared")


def miou(matrix: np.ndarray) -> float:
    hits, pixels, predicted = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    found = pixels > 0
    return float(100 * (hits[found] / (pixels + predicted - hits)[found]).mean())


# ---- scores by protocol


def test_each_score_has_its_protocol(root: Path, data: ReportData) -> None:
    found = data.table("scores", TASK)
    about = ["task", "method", "seed", "checkpoint", "network", "size", "labels", "headline", "miou"]
    assert list(found) == [*about, "miou19", "miou16", "miou13", "accuracy"]
    assert len(found) == 8 * 16
    protocols = read_json(run_of(root, "dacs", 1).evaluation.metrics)["protocols"]
    of_run = found.query("method == 'dacs' and seed == 1").set_index(["checkpoint", "network", "size"])
    for row in protocols:
        key = row["checkpoint"], row["network"], row["size"]
        for name in ("miou19", "miou16", "miou13", "accuracy", "labels"):
            assert of_run.loc[key, name] == row[name]
    assert list(of_run.index[of_run["headline"]]) == [("last", "student", "prepared")]


def test_the_summary_has_mean_deviation_and_number_of_seeds_by_protocol(data: ReportData) -> None:
    key = ["task", "checkpoint", "network", "size", "method"]
    summary = data.tables["summary"].set_index(key)
    for name, rows in data.tables["scores"].groupby(key):
        assert summary.loc[name, ["n", "miou16"]].tolist() == [2, pytest.approx(rows["miou16"].mean())]
        assert summary.loc[name, "miou16_std"] == pytest.approx(abs(np.diff(rows["miou16"])[0]) / np.sqrt(2))


def test_the_page_switches_between_protocols_the_main_one_first(shown: dict[str, Any], data: ReportData) -> None:
    assert [row["id"] for row in shown["protocols"]] == [
        *("last/student/prepared", "last/teacher/prepared"),
        *("last/student_adabn/prepared", "chosen/student/prepared"),
    ]
    main, chosen = shown["protocols"][0], shown["protocols"][-1]
    assert main["title"].endswith("(as the authors of DACS)")
    assert "the input size of the networks (96 × 48)" in main["caption"]
    assert main["scores"]["dacs"]["headline"] == shown["scores"]["dacs"]["headline"]
    scores = data.table("scores", TASK).query("method == 'dacs' and checkpoint == 'chosen' and network == 'student'")
    assert chosen["scores"]["dacs"]["headline"] == round(scores.loc[scores["size"] == "prepared", "miou19"].mean(), 2)
    assert chosen["iou"]["road"]["dacs"] != main["iou"]["road"]["dacs"] == pytest.approx(shown["iou"]["road"]["dacs"])


def test_full_size_is_beside_the_protocol_of_the_authors(alone: Path) -> None:
    for method in ALONE.methods:
        folder = run_of(alone, method)
        counts = read_counts(folder.evaluation.counts)
        fake_runs.evaluation(folder, {key: counts.by_frame(key) for key in counts.protocols}, counts.frames, "full")
    found = read(alone, ALONE)
    keys = found.tables["intervals"][["checkpoint", "network", "size", "headline"]].drop_duplicates()
    assert keys.query("headline").to_numpy().tolist() == [["last", "student", "full", True]]
    assert {*keys["size"]} == {"full", "prepared"}
    students = found.tables["iou_by_protocol"].query("network == 'student'")
    assert students["size"].unique().tolist() == ["full", "prepared"]


# ---- intervals


def test_intervals_are_of_the_means_over_seeds(root: Path, data: ReportData) -> None:
    found = data.intervals(TASK)
    for method in SECTION.methods:
        mean = np.mean([miou(counts_of(root, method, seed).sum(0)) for seed in SECTION.seeds])
        assert found.loc[method, "miou"] == pytest.approx(mean)
        assert found.loc[method, "miou_low"] < mean < found.loc[method, "miou_high"]
    assert found["baseline"].unique().tolist() == ["source"]
    assert found["other"].to_dict() == {"source": "dacs", "naive": "dacs", "dacs": "naive", "oracle": "dacs"}
    assert found.loc["dacs", "gain"] == pytest.approx(found.loc["dacs", "miou"] - found.loc["source", "miou"])
    assert found.loc["dacs", "gain_high"] - found.loc["dacs", "gain_low"] < 5
    assert found[["seeds", "images"]].drop_duplicates().to_numpy().tolist() == [[2, 8]]


def test_equal_predictions_are_not_distinguishable(alone: Path) -> None:
    for name in ("counts.npz", "metrics.json", "confusion.json"):
        (run_of(alone, "dacs").evaluation.path / name).write_bytes(
            (run_of(alone, "source").evaluation.path / name).read_bytes()
        )
    job = FiguresJob(runs=ALONE, figures=Figures(frames=1))
    figures.make(job, alone / "runs", alone / "data/ready", alone / "reports")
    found = task_rows(TASK, {name: read_table(alone / f"reports/tables/{name}.csv") for name in TABLES}, CITYSCAPES)
    assert sorted(found["best"]) == ["dacs", "source"]
    assert found["bold"] == []
    assert found["intervals"]["dacs"]["difference"] == (0, 0, 0)
    assert "not distinguishable from the best baseline, source only" in found["claim"]["sentence"]
    assert all(sorted(best) == ["dacs", "source"] for best in found["class_best"].values())
    verdicts = {row["text"]: row["holds"] for row in found["order"]}
    assert verdicts == {
        "DACS ≥ best baseline + 5": False,
        "oracle ≥ DACS + 5": True,
        "DACS loses less sidewalk to road than source only": False,
    }


def test_one_image_gives_no_interval_and_a_group_without_pixels_no_row(tmp_path: Path) -> None:
    labels = fake_runs.numbered(4, groups={"rare": ["class 4"], "few": ["class 1", "class 2"]})
    fake_runs.project(tmp_path, ALONE, labels=label_set(labels))
    for method in ALONE.methods:
        counts = np.diag([5, 6, 7, 0]) + np.eye(4, k=1, dtype=int) * 2
        counts[3] = 0
        fake_runs.measure(run_of(tmp_path, method), counts, counts, labels=label_set(labels))
    found = read(tmp_path, ALONE, label_set(labels)).tables
    assert found["intervals"]["group"].unique().tolist() == ["4", "few"]
    assert found["intervals"][["miou_low", "gain_high", "lead_low"]].isna().all(axis=None)
    assert found["class_intervals"]["class"].unique().tolist() == ["class 1", "class 2", "class 3"]
    assert found["order"].empty


def test_intervals_of_classes_are_those_of_their_iou(data: ReportData) -> None:
    found = data.table("class_intervals", TASK).set_index(["method", "class"])
    means = data.table("iou", TASK).groupby(["method", "class"])["iou"].mean().dropna()
    assert found["iou"].sort_index().to_dict() == pytest.approx(means.sort_index().to_dict())
    road = found.loc["dacs", "road"]
    assert road["iou_low"] < road["iou"] < road["iou_high"]


def test_best_classes_are_bold_only_where_the_interval_allows(shown: dict[str, Any]) -> None:
    assert shown["best"] == shown["bold"] == ["dacs"]
    assert shown["class_best"]["road"] == ["dacs"]
    assert all(best[0] == "dacs" for best in shown["class_best"].values())


# ---- the expected order


def test_the_order_is_measured_and_only_for_what_was_run(data: ReportData, shown: dict[str, Any]) -> None:
    found = data.tables["order"].set_index(["task", "line"])
    means = data.intervals(TASK)["miou"]
    row = found.loc[(TASK, "naive mixing ≤ DACS − 3")]
    assert row["value"] == pytest.approx(means["dacs"] - means["naive"])
    assert row["value_low"] < row["value"] < row["value_high"]
    assert row["verdict"] == order.HOLDS
    assert not [line for _, line in found.index if "pseudo" in line]
    assert found.loc[("synthia-cityscapes", "DACS ≥ best baseline + 3"), "least"] == 3
    lost = data.table("pair", TASK).query("`class` == 'sidewalk'").groupby("method")["percent"].mean()
    row = found.loc[(TASK, "naive mixing loses more sidewalk to road than source only")]
    assert (row["value"], row["verdict"]) == (pytest.approx(lost["naive"] - lost["source"]), order.HOLDS)
    assert [line["verdict"] for line in shown["order"]] == found.loc[TASK, "verdict"].tolist()
    assert all(line["source"] for line in shown["order"])


def test_numbers_that_the_order_quotes_are_published_ones() -> None:
    known = {f"{iou:.1f}" for iou in tables.published()["iou"]}
    quoted = {number for line in order.EXPECTED for number in re.findall(r"\d+\.\d", line.source)}
    assert len(quoted) > 10
    assert quoted <= known


def test_there_is_no_expected_order_of_other_targets(tmp_path: Path) -> None:
    section = Runs(tasks=["gta5-camvid"], methods=["source", "dacs"], seeds=[0])
    fake_runs.project(tmp_path, section)
    assert read(tmp_path, section).tables["order"].empty


# ---- states


def test_states_are_marked_and_cost_what_they_are_below_the_best(data: ReportData, shown: dict[str, Any]) -> None:
    found = data.table("checkpoints", TASK).query("method == 'dacs' and seed == 1").set_index("step")
    assert list(found.index) == [300, 600, 900, 1200]
    assert found["regret"].tolist() == pytest.approx([5, 0, 1, 1.5])
    assert found.index[found["chosen"]].tolist() == found.index[found["best"]].tolist() == [600]
    choice = data.table("choice", TASK)
    assert len(choice) == 4 * 8
    assert {row["rule"]: (row["regret"], row["used"]) for row in shown["checkpoints"]} == {
        "last": (1.5, False),
        "agreement": (5.0, False),
        "entropy": (1.0, False),
        "information": (0.0, True),
    }


def test_tables_of_the_pseudo_labels_are_gathered_of_all_runs(root: Path, data: ReportData) -> None:
    for name, rows in (("calibration", 4 * 10), ("confident", 4 * 19)):
        found = data.table(name, TASK)
        assert len(found) == 8 * rows
        one = read_table(getattr(run_of(root, "naive", 1).evaluation, name))
        of_run = found.query("method == 'naive' and seed == 1").drop(columns=["task", "method", "seed"])
        pd.testing.assert_frame_equal(of_run.reset_index(drop=True), one)


# ---- errors


@pytest.mark.parametrize("old", ["no counts", "no protocols"])
def test_runs_that_were_evaluated_before_are_to_be_evaluated_again(alone: Path, old: str) -> None:
    evaluation = run_of(alone, "dacs").evaluation
    if old == "no counts":
        evaluation.counts.unlink()
    else:
        metrics = read_json(evaluation.metrics)
        del metrics["protocols"]
        write_json(evaluation.metrics, metrics)
    with pytest.raises(RunFailed, match=r"dacs/seed0/evaluation: made by an earlier .*\nEvaluate the run again"):
        read(alone, ALONE)


def test_runs_of_a_task_are_measured_on_the_same_images(alone: Path) -> None:
    folder = run_of(alone, "dacs")
    counts = read_counts(folder.evaluation.counts)
    other = [*counts.frames[:-1], "another"]
    fake_runs.evaluation(folder, {key: counts.by_frame(key) for key in counts.protocols}, other)
    with pytest.raises(RunFailed, match=r"dacs/seed0/evaluation: measured on other images"):
        read(alone, ALONE)
