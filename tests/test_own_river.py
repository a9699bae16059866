"""Data sets of one's own through the whole river at `scale: smoke`: one that nobody labelled, one with all labels."""

import csv
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import street
from PIL import Image
from river import SNAKEMAKE, River, spring

from dacs.labels import CLASSES, IGNORE, palette

TASKS = ["gta5-dashcam", "gta5-fleet", "fleet-cityscapes"]
METHODS = ["source", "dacs"]
ABSENT = ["train", "terrain"]


def write_frame(image: Path, label: Path | None, seed: int, size: tuple[int, int]) -> None:
    """A street as JPEG, and its label as a PNG of Cityscapes' ids."""
    generator = np.random.default_rng(seed)
    truth = street(generator, size)
    truth[np.isin(truth, [9, 16])] = 8  # what is absent
    noisy = palette()[truth] * 0.6 + generator.normal(60, 12, (*size, 3))
    image.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(image)
    if label:
        ids = np.zeros(256, np.uint8)
        ids[[label.train_id for label in CLASSES]] = [label.id for label in CLASSES]
        ids[IGNORE] = 0
        label.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(ids[truth]).save(label)


def domains(folder: Path) -> dict[str, Any]:
    """Raw files of two data sets in `folder`, and the tables that tell of them."""
    for number in range(5):
        write_frame(folder / f"dashcam/monday/{number}.jpg", None, number, (80, 150))
        for split in ("train", "val"):
            place = folder / "fleet" / split
            seed = 10 * number + (split == "val")
            write_frame(place / f"{number}.jpg", place / f"{number}_ids.png", seed, (100 + number % 2, 200))
    fleet = {
        name: {"images": f"{folder}/fleet/{name}/*.jpg", "labels": f"{folder}/fleet/{name}/*_ids.png"}
        for name in ("train", "val")
    }
    classes = {"0": "ignore", **{str(label.id): label.name for label in CLASSES if label.name not in ABSENT}}
    return {
        "dashcam": {"train": {"images": f"{folder}/dashcam/**/*.jpg"}, "size": [64, 120]},
        "fleet": {**fleet, "classes": classes, "absent": ABSENT, "size": [64, 128]},
    }


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> River:
    folder = tmp_path_factory.mktemp("own")
    values = {"runs__tasks": TASKS, "runs__methods": METHODS, "domains": domains(folder / "raw")}
    river = spring(folder / "river", **values)
    assert river.jobs(*SNAKEMAKE) == Counter(
        world=2, download=2, remap=2, remap_target=2, train=3, adapt=3, evaluate=6, figures=1, report=1
    )
    return river


def content(river: River, path: str) -> Any:
    return json.loads((river.folder / path).read_text())


def rows(river: River, table: str) -> list[dict[str, str]]:
    with (river.folder / f"reports/tables/{table}.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_a_target_that_nobody_labelled_gets_predictions_and_no_number(own: River) -> None:
    for method in METHODS:
        folder = f"runs/gta5-dashcam/{method}/seed0"
        verdict = content(own, f"{folder}/evaluation/metrics.json")
        assert verdict["unmeasured"] == (
            "No labels came with the train frames of dashcam, so nothing could be measured on them."
        )
        assert verdict["student"]["miou19"] is verdict["teacher"]["iou"]["road"] is None
        assert len(own.bytes_of(f"{folder}/evaluation/predictions/*.png")) == 2
        assert not np.any(content(own, f"{folder}/evaluation/confusion.json")["student"])
        log = csv.DictReader((own.folder / folder / "log.csv").read_text().splitlines())
        last = list(log)[-1]
        assert last["confident_share"]
        assert not last["pseudo_accuracy"]
    report = content(own, "reports/metrics.json")
    assert all(report["gta5-dashcam"][method]["miou19"] is None for method in METHODS)
    assert all(report["gta5-fleet"][method]["miou19"] is not None for method in METHODS)


def test_the_page_says_that_nothing_was_measured_and_still_shows_pictures(own: River) -> None:
    text = (own.folder / "reports/index.html").read_text()
    assert "GTA5 → dashcam: nothing was measured" in text
    assert "GTA5 → dashcam, percent" not in text
    assert 'alt="mixed frame (DACS, GTA5 → dashcam)"' in text
    assert 'alt="Frame monday_0 of the target"' in text
    assert 'alt="True label of monday_0' not in text
    assert "nan" not in re.sub(r"base64,[^\"]*", "", text).lower()


def test_means_leave_out_what_the_target_does_not_have(own: River) -> None:
    verdict = content(own, "runs/gta5-fleet/dacs/seed0/evaluation/metrics.json")
    assert verdict["absent"] == ABSENT
    assert all(verdict["student"]["iou"][name] is None for name in ABSENT)
    assert verdict["labels"] == "prepared 64x128"
    text = (own.folder / "reports/index.html").read_text()
    assert "fleet has no train, terrain: means leave them out" in text
    assert "fleet has no train, terrain: what nobody taught counts as 0" in text


def test_the_data_of_ones_own_are_told_of_as_found(own: River) -> None:
    facts = {(row["domain"], row["fact"], row["name"]): row["count"] for row in rows(own, "contract")}
    assert facts["fleet", "frames", "val"] == facts["dashcam", "frames", "train"] == "5"
    assert facts["fleet", "size", "200x101"] == "4"
    assert ("fleet", "origin", "own") in facts
    assert not [name for domain, fact, name in facts if (domain, fact) == ("dashcam", "id")]
    splits = {(row["domain"], row["split"]) for row in rows(own, "data")}
    assert splits == {
        ("gta5", "train"), ("dashcam", "train"), ("fleet", "train"), ("fleet", "val"), ("fleet", "oracle"),
        ("cityscapes", "train"), ("cityscapes", "val"),
    }  # fmt: skip


def test_tools_cope_with_what_was_not_measured(own: River) -> None:
    assert "gta5-dashcam" in own.run("dvc", "metrics", "show", "reports/metrics.json")
    own.run("dacs", "compare", "reports/metrics.json", "reports/metrics.json")
    runs = [f"runs/gta5-dashcam/{method}/seed0" for method in METHODS]
    assert "No labels came with the train frames of dashcam" in own.run("dacs", "compare", *runs, fails=True)
    assert "done" in own.run("dacs", "plan")


def test_labels_at_full_size_are_a_new_verdict_and_no_new_training(own: River) -> None:
    assert own.jobs(*SNAKEMAKE) == Counter()
    own.set(evaluate__labels="full")
    assert own.jobs(*SNAKEMAKE) == Counter(evaluate=6, figures=1, report=1)
    verdict = content(own, "runs/gta5-fleet/dacs/seed0/evaluation/metrics.json")
    assert verdict["labels"] == "full, 2 sizes"
    assert content(own, "runs/fleet-cityscapes/dacs/seed0/evaluation/metrics.json")["labels"] == "full 128x256"


def test_another_frame_is_noticed_and_flows_through(own: River, tmp_path: Path) -> None:
    river = own.copy(tmp_path / "river")
    folder = own.folder.parent / "raw"
    write_frame(folder / "dashcam/tuesday/0.jpg", None, 99, (80, 150))
    assert river.jobs(*SNAKEMAKE) == Counter(download=1, remap=1, train=1, adapt=1, evaluate=2, figures=1, report=1)
    assert content(river, "data/ready/dashcam/train/card.json")["frames"] == 6
