"""Laws of the plots: what is drawn of intervals, curves, checkpoints and the confidence of pseudo-labels."""

from pathlib import Path

import fake_runs
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from dacs.files import read_json, write_json
from dacs.labels import CITYSCAPES
from dacs.layout import RunDir
from dacs.methods import METHODS
from dacs.reporting import calibration, curves, plots, tables
from dacs.reporting.data import ReportData, list_runs
from dacs.settings import Runs

TASK = "gta5-cityscapes"
FROM_START = [600, 900, 1200, 1500]  # the steps of states of runs that start after the 300th of source-only
SECTION = Runs(tasks=[TASK], methods=["source", "adabn", "dacs", "oracle"], seeds=[0, 1])


def read(root: Path) -> ReportData:
    return tables.read(list_runs(root / "runs", SECTION), root / "data/ready", 1, CITYSCAPES)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    fake_runs.project(folder, SECTION, images=4)
    return folder


@pytest.fixture(scope="module")
def data(root: Path) -> ReportData:
    return read(root)


def lines(axes: Axes, method: str, style: str = "-") -> list[tuple[list[float], list[float]]]:
    """The points of the lines of a method."""
    of_method = [line for line in axes.lines if line.get_color() == METHODS[method].color]
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in of_method if line.get_linestyle() == style]


def test_scores_are_drawn_with_their_intervals_and_seeds(data: ReportData) -> None:
    (plot,) = plots.miou(data)
    axes, found = plot.figure.axes[0], data.intervals(TASK)
    for row, name in enumerate(SECTION.methods):
        drawn = [xs for xs, ys in lines(axes, name) if set(ys) == {row} and len(xs) == 2]
        assert found.loc[name, ["miou_low", "miou_high"]].tolist() in drawn
        seeds = data.scores(TASK).query("method == @name")["miou"]
        assert [seeds.min(), seeds.max()] in drawn
        left, right = axes.get_xlim()
        assert left < found.loc[name, "miou_low"] < found.loc[name, "miou_high"] < right
    assert plot.caption == "Thin line: 95 % interval."


def test_curves_are_of_logs_and_of_the_states_that_were_kept(data: ReportData) -> None:
    (plot,) = curves.curves(data)
    axes = {each.get_title(): each for each in plot.figure.axes}
    assert list(axes) == [each.title for each in curves.TRAINING]
    states = data.table("checkpoints", TASK).query("method == 'dacs'").groupby("step")
    miou = axes["mIoU of the student over all classes, %"]
    assert lines(miou, "source")[0][0] == [300, 600, 900, 1200]
    assert lines(miou, "dacs") == [(FROM_START, states["student"].mean().tolist())]
    assert lines(miou, "dacs", "--") == [(FROM_START, states["teacher"].mean().tolist())]
    assert lines(miou, "source", "--") == []
    assert lines(miou, "adabn") == []  # it has no steps
    accuracy = axes["accuracy of the pseudo-labels, %"]
    assert lines(accuracy, "dacs") == [(FROM_START, [60, 65, 70, 75])]
    assert lines(accuracy, "dacs", "--") == [(FROM_START, [70, 75, 80, 85])]
    assert len(lines(axes["loss on labelled images"], "dacs")[0][0]) == 50
    assert plot.caption == "DACS, last step: 75 % of the pseudo-labels are correct, of the confident ones 85 %."


def test_the_confidence_is_drawn_over_the_steps(data: ReportData) -> None:
    (plot,) = curves.confidence(data)
    shares, errors = plot.figure.axes
    assert lines(shares, "dacs") == [(FROM_START, [40, 41, 42, 43])]
    assert lines(errors, "source") == [([300, 600, 900, 1200], [12, 11, 10, 9])]
    for axes in (shares, errors):
        low, high = axes.get_ylim()
        assert low == 0
        assert high > max(max(ys) for _, ys in lines(axes, "dacs"))


def test_reliability_is_that_of_the_last_state_and_bins_weigh_as_many_pixels_as_they_have(data: ReportData) -> None:
    (plot,) = calibration.reliability(data)
    axes = plot.figure.axes[0]
    assert lines(axes, "dacs") == [([10 * i + 5 for i in range(1, 10)], [9 * i for i in range(1, 10)])]
    assert len(lines(axes, "adabn")) == 1
    assert "DACS 9.0" in plot.caption
    assert "AdaBN 12.0" in plot.caption
    bins = pd.DataFrame({"low": [0, 0, 10], "pixels": [1, 3, 5], "confidence": [2.0, 6, 15], "accuracy": [0.0, 8, 20]})
    assert calibration.binned(bins).to_numpy().tolist() == [[5, 6], [15, 20]]


def test_confident_labels_are_beside_the_ground_truth(data: ReportData) -> None:
    (plot,) = calibration.confident(data)
    axes = plot.figure.axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == list(CITYSCAPES.names[::-1])  # the most frequent one on top
    last = data.table("confident", TASK).query("method == 'dacs' and step == 1200")
    shares = last.groupby("class").mean(numeric_only=True)
    (truth, given) = [line for line in axes.lines if line.get_marker() == "o"]
    assert list(truth.get_xdata())[:5] == shares["truth_share"][names[:5]].tolist()
    assert list(given.get_xdata())[1:] == shares["confident_share"][names[1:]].tolist()
    assert min(given.get_xdata()) == calibration.LEAST
    assert [text.get_text() for text in axes.texts][9] == "× 1.00"
    assert "confident pseudo-labels of DACS after the last step" in plot.caption
    assert plot.caption.endswith("×: their ratio. Less than 0.01 % is drawn at 0.01 %.")


def test_checkpoints_are_marked_and_the_caption_says_what_each_choice_costs(data: ReportData) -> None:
    (plot,) = curves.checkpoints(data)
    axes = plot.figure.axes[0]
    first = data.table("checkpoints", TASK).query("method == 'dacs' and seed == 0").set_index("step")["student"]
    marks = {
        line.get_marker(): line
        for line in axes.lines
        if line.get_color() == METHODS["dacs"].color and len(line.get_xdata()) == 1
    }
    found = {marker: (line.get_xdata()[0], line.get_ydata()[0]) for marker, line in marks.items()}
    assert found == {"D": (900, first[600]), "*": (900, first[600]), "o": (1500, first[1200])}
    assert plot.caption == (
        "Points of mIoU over all classes below the best state, mean of 6 runs: last 1.5, agreement 5.0, entropy 1.0,"
        " information (chosen) 0.0."
    )


def test_without_ground_truth_only_what_needs_none_is_drawn(tmp_path: Path) -> None:
    fake_runs.project(tmp_path, SECTION)
    fake_runs.remove_labels(tmp_path, "cityscapes")
    found = read(tmp_path)
    assert [*calibration.reliability(found), *calibration.confident(found), *curves.checkpoints(found)] == []
    (losses,), (shares,) = curves.curves(found), curves.confidence(found)
    assert [len(losses.figure.axes), len(shares.figure.axes), losses.caption] == [3, 1, ""]


def test_runs_of_a_single_state_have_points_and_no_choice(tmp_path: Path) -> None:
    fake_runs.project(tmp_path, SECTION)
    for folder in map(RunDir, tmp_path.glob("runs/*/*/*")):
        path = folder.evaluation.checkpoints
        pd.read_csv(path)[-1:].to_csv(path, index=False)
        metrics = folder.evaluation.metrics
        text = metrics.read_text()
        metrics.write_text(text[: text.index('"choice"')] + '"choice": null\n}\n')
    found = read(tmp_path)
    assert found.tables["choice"].empty
    assert list(curves.checkpoints(found)) == []
    (plot,) = curves.confidence(found)
    assert np.shape(lines(plot.figure.axes[0], "dacs")) == (1, 2, 1)


def test_conflation_is_drawn_over_the_steps_of_each_class(data: ReportData) -> None:
    """Of each class the students take 20 % / (1 + place of the step) and its train id more for the class before it."""
    plots = {plot.facts["class"]: plot for plot in curves.conflation_steps(data)}
    assert [*plots][:2] == ["sidewalk", "bicycle"]  # that of the pair, then the most confused one
    assert {*plots} == {*CITYSCAPES.names}
    axes = plots["bus"].figure.axes[0]
    train_id = CITYSCAPES.names.index("bus")
    expected = [round(20 / place + train_id, 6) for place in (1, 2, 3, 4)]
    ((steps, percent),) = lines(axes, "dacs")
    assert (steps, [round(value, 6) for value in percent]) == (FROM_START, expected)
    assert len({plot.name for plot in plots.values()}) == 19
    title = plots["bus"].figure.get_suptitle()
    assert title.endswith("bus as truck")


def test_class_frequencies_are_those_of_the_statistics_and_an_absent_class_has_no_dot(tmp_path: Path) -> None:
    fake_runs.project(tmp_path, SECTION)
    pixels = {"gta5/train": [30, 0, *[10] * 17], "cityscapes/val": [*range(1, 20)]}
    for split, counts in pixels.items():
        stats = tmp_path / f"data/ready/{split}/stats.json"
        write_json(stats, read_json(stats) | {"pixels": counts})
    (plot,) = plots.frequency(read(tmp_path))
    axes = plot.figure.axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == list(CITYSCAPES.names[::-1])  # by the target, which has most pixels of the last one
    source, target = (list(line.get_xdata()) for line in axes.lines)
    assert target == pytest.approx([100 * number / 190 for number in range(19, 0, -1)])
    assert source[-1] == pytest.approx(15)
    assert np.isnan(source[-2])
    assert plot.alt.endswith("GTA5: road 15.0; Cityscapes: bicycle 10.0.")


def test_runs_of_one_method_may_start_at_different_steps(tmp_path: Path) -> None:
    fake_runs.project(tmp_path, SECTION)
    spec = RunDir(tmp_path / f"runs/{TASK}/source/seed1").spec
    write_json(spec, {**read_json(spec), "settings": {"train": {"steps": 2000, "start": 900}}})
    found = read(tmp_path)
    states = found.table("checkpoints", TASK).query("method == 'dacs'")
    assert states.groupby("seed")["steps"].max().tolist() == [1500, 2100]
    rows = found.table("conflation_steps", TASK).query("`class` == 'bus' and method == 'dacs'")
    assert rows["steps"].tolist() == [1200, 1500, 1800, 2100]


def test_adabn_stands_where_the_weights_of_source_only_end(data: ReportData) -> None:
    for name in ("checkpoints", "conflation_steps"):
        states = data.table(name, TASK).query("method == 'adabn'")
        assert not states.empty
        assert (states["steps"] - states["step"] == 1500).all(), name


def test_a_share_too_small_to_be_listed_counts_as_none(tmp_path: Path) -> None:
    fake_runs.project(tmp_path, SECTION)
    for folder in map(RunDir, tmp_path.glob("runs/*/*/*")):
        path = folder.evaluation.conflation
        table = pd.read_csv(path)
        if folder.path.name == "seed0":
            table = table[(table["class"] != "bus") | (table["step"] != 600)]
        table.to_csv(path, index=False)
    rows = read(tmp_path).table("conflation_steps", TASK).query("`class` == 'bus' and method == 'dacs'")
    train_id = CITYSCAPES.names.index("bus")
    assert rows.set_index("step")["percent"].round(6).loc[600] == round((20 / 2 + train_id) / 2, 6)  # of two seeds
