"""The first two examples of docs/own-data.md at `scale: smoke`: a target without labels, a data set with all labels."""

import csv
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_data import example, scene, write_frame
from pipeline import FINISHED, SNAKEMAKE, Pipeline, create

TASKS = ["gta5-dashcam", "gta5-fleet", "fleet-cityscapes"]
METHODS = ["source", "dacs"]
IDS = range(8)  # of fleet: void, road, sidewalk, building, vegetation, sky, car, cyclist
LACKS = "wall, fence, pole, traffic light, traffic sign, terrain, person, truck, bus, train, motorcycle, bicycle"


class First(Pipeline):
    """A project, and what its first run printed."""

    def __init__(self, folder: Path, first: str) -> None:
        super().__init__(folder)
        self.first = first


def domains(folder: Path) -> dict[str, Any]:
    """Raw files of two data sets in `folder`, and the tables of the examples that describe them."""
    for number in range(5):
        write_frame(folder / f"dashcam/monday/{number}.jpg", None, scene([*IDS], number, (80, 150)))
        for split in ("train", "val"):
            ids = scene([*IDS], 10 * number + (split == "val"), (100 + number % 2, 200))
            image, label = (folder / "fleet" / split / f"{number}{end}" for end in (".jpg", "_ids.png"))
            write_frame(image, label, ids)
    tables = [example(f"example-{number}", folder) for number in (1, 2)]
    assert [task for table in tables for task in table["runs"]["tasks"]] == TASKS
    return {**tables[0]["domains"], **tables[1]["domains"]}


@pytest.fixture(scope="module")
def custom(tmp_path_factory: pytest.TempPathFactory) -> First:
    folder = tmp_path_factory.mktemp("custom")
    values = {"runs__tasks": TASKS, "runs__methods": METHODS, "domains": domains(folder / "raw")}
    pipeline = create(folder / "project", **values)
    printed = pipeline.run(*SNAKEMAKE)
    assert Counter(FINISHED.findall(printed)) == Counter(
        world=2,
        download=2,
        remap=2,
        remap_target=2,
        train_start=3,
        adapt=3,
        evaluate=6,
        appearance=3,
        record=3,
        figures=1,
        report=1,
        all=1,
    )
    return First(pipeline.folder, printed)


def content(pipeline: Pipeline, path: str) -> Any:
    return json.loads((pipeline.folder / path).read_text())


def rows(pipeline: Pipeline, table: str) -> list[dict[str, str]]:
    with (pipeline.folder / f"reports/tables/{table}.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_an_unlabelled_target_gets_predictions_and_no_number(custom: Pipeline) -> None:
    for method in METHODS:
        folder = f"runs/gta5-dashcam/{method}/seed0"
        metrics = content(custom, f"{folder}/evaluation/metrics.json")
        assert metrics["unmeasured"] == "The train frames of dashcam have no labels, so nothing was measured."
        assert metrics["student"]["miou19"] is metrics["teacher"]["iou"]["road"] is None
        assert len(custom.bytes_of(f"{folder}/evaluation/predictions/*.png")) == 2
        assert not np.any(content(custom, f"{folder}/evaluation/confusion.json")["student"])
        states = (custom.folder / folder / "evaluation/checkpoints.csv").read_text().splitlines()
        last = list(csv.DictReader(states))[-1]
        assert last["confident_share"]
        assert last["information"]
        assert last["student"] == last["pseudo_accuracy"] == last["ece"] == ""
    report = content(custom, "reports/metrics.json")
    assert all(report["gta5-dashcam"][method]["miou"] is None for method in METHODS)
    assert all(report["gta5-fleet"][method]["miou"] is not None for method in METHODS)


def test_the_page_says_that_nothing_was_measured_and_still_shows_pictures(custom: Pipeline) -> None:
    text = (custom.folder / "reports/index.html").read_text()
    assert "GTA5 → dashcam: no scores" in text
    assert "GTA5 → dashcam, percent" not in text
    assert re.search(r'alt="Mixed image[^"]*\(DACS, GTA5 → dashcam\)"', text)
    assert 'alt="Image monday_0 of the target"' in text
    assert 'alt="Ground truth of monday_0' not in text
    plain = re.sub(r"base64,[^\"]*|<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"\bnan\b", plain, re.IGNORECASE)


def test_means_leave_out_what_the_target_does_not_have(custom: Pipeline) -> None:
    metrics = content(custom, "runs/gta5-fleet/dacs/seed0/evaluation/metrics.json")
    assert metrics["absent"] == LACKS.split(", ")
    assert [name for name, iou in metrics["student"]["iou"].items() if iou is None] == metrics["absent"]
    assert "miou7" in metrics["student"]
    assert metrics["labels"] == "full, 2 sizes"
    assert content(custom, "runs/fleet-cityscapes/dacs/seed0/evaluation/metrics.json")["labels"] == "full 128x256"
    text = (custom.folder / "reports/index.html").read_text()
    assert f"fleet does not have {LACKS}: means are over the other classes" in text
    absent = content(custom, "runs/fleet-cityscapes/dacs/seed0/evaluation/metrics.json")["without_pixels"]
    assert absent == ["train", "motorcycle"]  # said of the frames, so not again of the source
    untaught = LACKS.replace("train, motorcycle, ", "")
    assert f"fleet does not have {untaught}: included in the means, mostly with an IoU of 0" in text
    assert "No pixel of the measured images of Cityscapes is train, motorcycle: the means of all methods" in text


def test_what_labels_cannot_teach_is_said_before_anything_runs(custom: First) -> None:
    lacks = LACKS.removesuffix(", bicycle")  # which counts as the rider on it
    assert f"gta5-fleet: fleet has no {lacks}; means are over 7 of 19 classes." in custom.first
    assert "gta5-fleet: the labels of fleet do not distinguish bicycle from rider: both count as rider" in custom.first
    assert f"fleet-cityscapes: fleet has no {LACKS}, which no method can learn from it." in custom.first


def test_custom_data_are_reported_as_found(custom: Pipeline) -> None:
    facts = {(row["domain"], row["fact"], row["name"]): row["count"] for row in rows(custom, "data_report")}
    assert facts["fleet", "frames", "val"] == facts["dashcam", "frames", "train"] == "5"
    assert facts["fleet", "size", "200x101"] == "4"
    assert ("fleet", "origin", "custom") in facts
    assert not [name for domain, fact, name in facts if (domain, fact) == ("dashcam", "id")]
    splits = {(row["domain"], row["split"]) for row in rows(custom, "data")}
    assert splits == {
        ("gta5", "train"), ("dashcam", "train"), ("fleet", "train"), ("fleet", "val"), ("fleet", "oracle"),
        ("cityscapes", "train"), ("cityscapes", "val"),
    }  # fmt: skip


def test_tools_cope_with_what_was_not_measured(custom: Pipeline) -> None:
    assert "gta5-fleet" in custom.run("dvc", "metrics", "show", "reports/metrics.json")
    custom.run("python", "-m", "dacs", "compare", "reports/metrics.json", "reports/metrics.json")
    runs = [f"runs/gta5-dashcam/{method}/seed0" for method in METHODS]
    assert "The train frames of dashcam have no labels" in custom.run(
        "python", "-m", "dacs", "compare", *runs, fails=True
    )
    assert "finished" in custom.run("python", "-m", "dacs", "plan")


def test_labels_at_another_size_are_evaluated_again_and_not_trained_again(custom: Pipeline) -> None:
    assert custom.jobs(*SNAKEMAKE) == Counter()
    custom.set(evaluate__labels="prepared")
    assert custom.jobs(*SNAKEMAKE) == Counter(evaluate=6, figures=1, report=1)
    metrics = content(custom, "runs/gta5-fleet/dacs/seed0/evaluation/metrics.json")
    assert metrics["labels"] == "prepared 96x192"


def test_another_frame_is_noticed_and_all_that_depends_on_it_is_made_again(custom: Pipeline, tmp_path: Path) -> None:
    pipeline = custom.copy(tmp_path / "project")
    folder = custom.folder.parent / "raw"
    write_frame(folder / "dashcam/tuesday/0.jpg", None, scene([*IDS], 99, (80, 150)))
    assert pipeline.jobs(*SNAKEMAKE) == Counter(
        download=1, remap=1, train_start=1, adapt=1, evaluate=2, appearance=1, figures=1, report=1
    )
    assert content(pipeline, "data/ready/dashcam/train/stats.json")["frames"] == 6


def test_what_is_wrong_stands_at_the_end_without_a_traceback(tmp_path: Path) -> None:
    write_frame(tmp_path / "raw/0.png", tmp_path / "raw/0_label.jpg", scene([0], 0, (80, 96)))  # a label with losses
    files = {"images": f"{tmp_path}/raw/*.png", "labels": f"{tmp_path}/raw/*_label.jpg"}
    fleet = {"train": files, "classes": {"0": "road"}, "size": [64, 64]}
    pipeline = create(tmp_path / "project", runs__tasks=["gta5-fleet"], domains={"fleet": fleet})
    command = *SNAKEMAKE[:1], "--cores", "1", "data/ready/fleet/data_report.json"
    *_, end = pipeline.run(*command, fails=True).split("ends with:")
    assert "0_label.jpg: a label as JPEG" in end
    assert "Traceback" not in end
    pipeline.set(domains={"fleet": fleet | {"train": files | {"images": f"{tmp_path}/nothing/*.png"}}})
    printed = pipeline.run(*command, fails=True)
    assert f"there is no folder {tmp_path}/nothing.\nCorrect the pattern, or add files." in printed
    assert "Traceback" not in printed
