"""Reports of any label set: what they call their means, what they say of missing classes, and what they draw."""

import re
from html import unescape
from pathlib import Path
from typing import Any

import fake_runs
import numpy as np
import pandas as pd
import pytest
from fake_runs import numbered

from dacs.datasets.registry import DATASETS
from dacs.files import read_json, write_json
from dacs.labels import CITYSCAPES
from dacs.layout import PreparedDomain, RunDir
from dacs.reporting import conflation, figures, page, rows
from dacs.reporting.data import read_table
from dacs.reporting.groups import groups_of
from dacs.settings import Figures, FiguresJob, LabelClass, Labels, Report, ReportJob, Runs, label_set

METHODS = ["source", "naive", "dacs", "oracle"]
LANE = Labels(
    base="cityscapes",
    classes={"lane marking": LabelClass(color=(9, 9, 9))},
    groups={"small_things": ["pole", "traffic light", "traffic sign", "lane marking"]},
)


def project(
    root: Path, labels: Labels | None, tasks: str = "gta5-cityscapes", absent: tuple[str, ...] = (), seeds: int = 1
) -> Runs:
    section = Runs(tasks=tasks.split(), methods=METHODS, seeds=list(range(seeds)))
    fake_runs.project(root, section, labels=label_set(labels), absent=absent)
    return section


def report(root: Path, section: Runs, labels: Labels | None) -> str:
    """The text of the page, after its style, by the protocol of the main numbers."""
    reports, runs = root / "reports", root / "runs"
    drawn = FiguresJob(runs=section, labels=labels, figures=Figures(frames=1))
    figures.make(drawn, runs, root / "data/ready", reports)
    written = ReportJob(runs=section, labels=labels, report=Report(title="A title"), scale="smoke")
    page.write(written, reports, runs, reports / "index.html")
    text = (reports / "index.html").read_text()
    return re.sub(r'(?s)base64,[^"]*|<tbody[^>]*\shidden.*?</tbody>', "", text[text.index("<body>") :])


def words(text: str) -> str:
    """What a person reads."""
    return re.sub(r"\s+", " ", unescape(re.sub("<[^>]*>", "", text)))


def metrics(root: Path) -> dict[str, Any]:
    return dict(read_json(root / "reports/metrics.json"))


def means(root: Path, task: str) -> set[str]:
    """The means over groups of classes that the table of scores has of a task."""
    table = read_table(root / "reports/tables/summary.csv").query(f"task == '{task}'").dropna(axis=1, how="all")
    return {name for name in table if re.fullmatch(r"miou(?!_std$)((?!_std).)+", name)}


def labels_of_plot(text: str, figure: str) -> list[str]:
    (svg,) = re.findall(rf'<svg[^>]*aria-label="{figure}.*?</svg>', text, re.S)
    return [unescape(found) for found in re.findall(r"<text[^>]*>(.*?)</text>", svg)]


@pytest.mark.parametrize(
    "names",
    [("driveable", "other"), ("1", "nan"), ("a<b>&amp;", "$x^{$ ü$"), ("地面" * 20, "a rather long name indeed")],
)
def test_a_report_of_two_classes_speaks_of_them_alone(tmp_path: Path, names: tuple[str, str]) -> None:
    labels = Labels(classes={name: LabelClass(color=(90 * i, 200, 7)) for i, name in enumerate(names)})
    text = report(tmp_path, project(tmp_path, labels), labels)
    read, a, b = words(text), *names
    assert "% mIoU over 2 classes" in read
    assert re.search(rf"Confusion of ({re.escape(a)} and {re.escape(b)}|{re.escape(b)} and {re.escape(a)})", read)
    assert not re.search('class="paper|All published|sidewalk|mIoU(19|16|13)|SYNTHIA has|19 classes', text)
    assert means(tmp_path, "gta5-cityscapes") == {"miou2"}
    shown = [found if len(found) <= 24 else f"{found[: 11 if '地' in found else 23]}…" for found in names]
    assert {*shown, "IoU, %"} <= {*labels_of_plot(text, "IoU of each class")}
    assert "<b>&" not in text
    cells = re.findall(r'<tr><th scope="row"><span class="swatch" [^>]*></span>(.*?)</th>', text)
    assert [unescape(cell) for cell in cells] == [*names, *names]  # results by class, and what is taken for what


def test_nineteen_classes_and_one_are_reported_with_all_groups(tmp_path: Path) -> None:
    section = project(tmp_path, LANE, "gta5-cityscapes synthia-cityscapes")
    for domain in ("gta5", "synthia"):
        fake_runs.data_report(PreparedDomain(tmp_path / "data/ready" / domain), absent=["lane marking"])
    text = report(tmp_path, section, LANE)
    read = words(text)
    assert means(tmp_path, "gta5-cityscapes") == {"miou20", "miou19", "miou16", "miou13", "miou_small_things"}
    summary = (
        read_table(tmp_path / "reports/tables/summary.csv").query("headline and method == 'dacs'").set_index("task")
    )
    for task, score in (("gta5-cityscapes", "miou20"), ("synthia-cityscapes", "miou16")):
        assert metrics(tmp_path)[task]["dacs"]["miou"] == pytest.approx(summary.loc[task, score], abs=0.0051)
    results = text[text.index('id="results"') : text.index('id="classes"')]
    heads = re.findall(r'<th scope="col"[^>]*>(mIoU.*?)</th>', results)
    assert heads == 2 * ["mIoU20", "mIoU19", "mIoU16", "mIoU13", "mIoU small things (4 classes)"]
    for sentence in (
        r"DACS reaches [\d.]+\s% mIoU over 20 classes",
        r"DACS reaches [\d.]+\s% mIoU over 16 classes",  # those that SYNTHIA has
        "mIoU16 is over all classes but terrain, truck, train, lane marking. mIoU13",
        "mIoU small things.* is over pole, traffic light, traffic sign, lane marking.",
        "GTA5 does not have lane marking: included in the means, mostly with an IoU of 0.",
        "points of mIoU16",
        "Confusion of road and sidewalk",
    ):
        assert re.search(sentence, read), sentence
    assert 'class="paper' not in text
    assert text.count("</span>lane marking</th>") == 4  # of both tasks: results by class, and what it is taken for


def test_150_classes_are_shown_in_part(tmp_path: Path) -> None:
    labels = numbered(150, groups={"few": ["class 1", "class 2"]})
    absent = tuple(f"class {number}" for number in range(101, 151))
    text = report(tmp_path, project(tmp_path, labels, absent=absent, seeds=2), labels)
    drawn = [found for found in labels_of_plot(text, "IoU of each class") if found.startswith("class ")]
    assert len({*drawn}) == len(drawn) == 20
    iou = read_table(tmp_path / "reports/tables/iou.csv").groupby(["class", "method"])["iou"].mean().unstack().dropna()
    gain = (iou["dacs"] - iou["source"]).abs()
    assert gain[drawn].min() >= gain.drop(drawn).max()
    assert text.count("The 20 of 100 classes that change most.") == 2  # below it and for screen readers
    legends = re.findall(r'<ul class="legend" aria-label="Colours of the classes">.*?</ul>', text, re.S)
    assert [legend.count("<li") for legend in legends] == [101, 102]  # with ignored pixels; class 150 is predicted
    (details,) = re.findall(r"<details>\s*<summary>IoU of all 100 classes.*?</details>", text, re.S)
    assert details.count("<tr><th") == 101  # with that of titles
    read = words(text)
    assert "mIoU over 100 classes" in read
    assert "Cityscapes does not have class 101, " in read
    assert "class 120 and 30 more: means are over the other classes." in read
    assert "mIoU few (2 classes) is over class 1, class 2." in read
    assert means(tmp_path, "gta5-cityscapes") == {"miou100", "miou_few"}


def test_camvid_has_eleven_classes(tmp_path: Path) -> None:
    absent = DATASETS["camvid"].lacks(CITYSCAPES)
    text = report(tmp_path, project(tmp_path, None, "gta5-camvid synthia-camvid", absent), None)
    read = words(text)
    assert len(re.findall(r"DACS reaches [\d.]+\s% mIoU over 11 classes", read)) == 2
    assert "points of mIoU11" in read
    assert "mIoU9 is over all classes but fence, pole." in read
    for path in (tmp_path / "reports").rglob("*"):
        if path.suffix in (".svg", ".csv", ".json", ".html"):
            assert not re.search("(?i)miou.?(over )?(19|16|13)|19 classes", path.read_text()), path
    missing = [name for name in absent if name != "bicycle"]  # which CamVid has, as one with its rider
    assert read.count(f"CamVid does not have {', '.join(missing)}:") == 2
    assert read.count("The labels of CamVid do not distinguish bicycle from rider") == 2
    assert "does not have {absent[0]}: their" not in read
    assert means(tmp_path, "synthia-camvid") == {"miou11", "miou9"}


def test_tasks_of_different_targets_have_their_own_groups(tmp_path: Path) -> None:
    absent = DATASETS["camvid"].lacks(CITYSCAPES)
    project(tmp_path, None, "gta5-camvid", absent)
    project(tmp_path, None, "synthia-cityscapes")
    section = Runs(tasks=["synthia-cityscapes", "gta5-camvid"], methods=METHODS, seeds=[0])
    read = words(report(tmp_path, section, None))
    assert means(tmp_path, "synthia-cityscapes") == {"miou19", "miou16", "miou13"}
    assert means(tmp_path, "gta5-camvid") == {"miou11", "miou9"}
    assert "mIoU16 is over the classes that SYNTHIA has (not terrain, truck, train)" in read
    assert "Not listed: terrain, truck, train, which the source does not have." in read
    missing = [name for name in absent if name != "bicycle"]
    assert f"Not listed: {', '.join(missing)}, which CamVid does not have." in read
    assert "Not listed: bicycle, which the labels of CamVid do not distinguish from rider." in read


def test_one_thing_is_said_of_each_missing_class(tmp_path: Path) -> None:
    section = project(tmp_path, None, absent=("sky", "train", "bus"))
    fake_runs.data_report(PreparedDomain(tmp_path / "data/ready/gta5"), absent=["rider", "train", "bus"])
    stats = PreparedDomain(tmp_path / "data/ready/gta5").train.stats
    found = read_json(stats)
    found["pixels"][CITYSCAPES.names.index("wall")] = 0
    write_json(stats, found)
    for method in METHODS:  # the target has buses, but not in these frames
        run = RunDir.of(tmp_path / "runs", "gta5-cityscapes", method, 0)
        counts = np.array(read_json(run.evaluation.confusion)["student"])
        counts[0, CITYSCAPES.names.index("bus")] += 5
        fake_runs.measure(run, counts, counts, absent=["sky", "train"])
    text = report(tmp_path, section, None)
    read = words(text)
    for sentence in (
        "Cityscapes does not have sky, train: means are over the other classes.",
        "No pixel of the measured images of Cityscapes is bus: the means of all methods are over the other classes.",
        "GTA5 does not have wall, rider: included in the means, mostly with an IoU of 0.",
        "% mIoU over 17 classes",
    ):
        assert sentence in read, sentence
    said = re.findall(r"(?:does not have|images of \w+ is) ([a-z, ]+): ", read)
    classes = ", ".join(said).split(", ")
    assert len(classes) == len({*classes}) == 5
    (row,) = re.findall(r"</span>bus</th>(.*?)</tr>", re.sub(r"\s", "", text))
    assert re.findall(">(.*?)</td>", row) == ["–"] * len(METHODS)
    iou = read_table(tmp_path / "reports/tables/iou.csv").query("method == 'dacs'")["iou"].dropna()
    assert len(iou) == 16
    assert metrics(tmp_path)["gta5-cityscapes"]["dacs"]["miou"] == round(iou.mean(), 2)


def test_an_unlabelled_target_of_own_classes_has_no_pair(tmp_path: Path) -> None:
    labels = numbered(7)
    section = project(tmp_path, labels)
    fake_runs.remove_labels(tmp_path, "cityscapes", label_set(labels))
    read = words(report(tmp_path, section, labels))
    assert "Confusion of classes" in read
    assert "There is no ground truth to measure it with." in read
    assert not re.search("predicted as|most taken for|sidewalk|mIoU over", read)
    assert set(metrics(tmp_path)["gta5-cityscapes"]["dacs"].values()) == {None}


def test_the_pair_that_is_shown_is_the_one_most_confused_of_frequent_classes() -> None:
    labels = label_set(numbered(4))
    counts = np.array([[900, 90, 10, 0], [0, 800, 0, 200], [0, 0, 996, 4], [5, 0, 0, 3]])
    pair = conflation.conflated_pair(counts, labels, groups_of("a-b", labels, []))
    assert pair == ("class 2", "class 4")  # class 4, taken for class 1, has 0.3 % of the pixels
    assert conflation.conflated_pair(0 * counts, labels, groups_of("a-b", labels, [])) is None
    assert conflation.taken_for(counts, labels) == [
        ("class 1", "class 2", 9.0),
        ("class 2", "class 4", 20.0),
        ("class 3", "class 4", 0.4),
        ("class 4", "class 1", 62.5),
    ]


def test_what_a_class_is_taken_for_is_said_of_several_seeds() -> None:
    found = [(0, "pole", "sky", 30.0), (1, "pole", "sky", 20.0), (2, "pole", "road", 40.0), (0, "sky", np.nan, 0.0)]
    table = pd.DataFrame(found, columns=["seed", "class", "taken_for", "percent"]).assign(method="dacs")
    expected = {"pole": {"dacs": "sky 25.0\u00a0% (2 of 3 seeds)"}, "sky": {"dacs": "none"}}
    assert rows.taken_for(table, ["dacs"]) == expected
    assert rows.taken_for(table, ["source"]) == {}
