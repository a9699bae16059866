"""The examples of docs/own-data.md through the whole pipeline at `scale: smoke`."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_data import example, project, scene, write_frame
from PIL import Image
from pipeline import SNAKEMAKE, Pipeline

PAGE = "reports/index.html"


def content(pipeline: Pipeline, path: str) -> Any:
    return json.loads((pipeline.folder / path).read_text())


def words(pipeline: Pipeline) -> str:
    """The text of the page."""
    return re.sub(
        r"\s+",
        " ",
        re.sub(r"<(style|svg|script)\b.*?</\1>|<[^>]*>", " ", pipeline.folder.joinpath(PAGE).read_text(), flags=re.S),
    )


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Example 3: two classes, a source labelled by colours, a target by ids of 16 bits."""
    folder = tmp_path_factory.mktemp("two")
    void, ground, obstacle = (0, 0, 0), (30, 60, 90), (30, 30, 200)  # blue, green, red
    for number in range(6):
        colors = scene([void, obstacle, ground], number, (120, 160))
        write_frame(folder / f"simulator/images/{number}.png", folder / f"simulator/masks/{number}.png", colors)
        write_frame(folder / f"drone/flight_{number}/a.jpg", None, scene([0, 2000, 1000], 10 + number, (110, 150)))
        ids = scene([0, 2000, 2001, 1000], 20 + number, (110, 150))
        write_frame(folder / f"drone/measured/{number}.jpg", folder / f"drone/measured/{number}.png", ids)
    pipeline = project(folder / "project", example("example-3", folder))
    pipeline.run(*SNAKEMAKE)
    return pipeline


def test_two_classes_are_all_that_networks_scores_and_the_page_know(two: Pipeline) -> None:
    from safetensors import safe_open

    run = two.folder / "runs/simulator-drone/dacs/seed0"
    with safe_open(run / "weights.safetensors", "pt") as weights:
        last = [name for name in weights.keys() if weights.get_slice(name).get_shape()[:1] == [2]]  # noqa: SIM118
    assert last
    metrics = content(two, "runs/simulator-drone/dacs/seed0/evaluation/metrics.json")
    assert set(metrics["student"]) == {"miou2", "accuracy", "iou"}
    assert set(metrics["student"]["iou"]) == {"ground", "obstacle"}
    assert set(content(two, "reports/metrics.json")["simulator-drone"]) == {"source", "dacs"}
    text = words(two)
    assert "mIoU over 2 classes" in text or "mIoU2" in text
    for foreign in ("mIoU19", "19 classes", "sidewalk", "Cityscapes"):
        assert foreign not in text, foreign


def test_ids_of_16_bits_and_colours_are_counted_to_the_pixel(two: Pipeline) -> None:
    ready = two.folder / "data/ready"
    stats = content(two, "data/ready/drone/val/stats.json")
    labels = [np.array(Image.open(path)) for path in sorted((ready / "drone/val/labels").glob("*.png"))]
    assert stats["pixels"] == [int(sum((label == train_id).sum() for label in labels)) for train_id in (0, 1)]
    full = [np.array(Image.open(path)) for path in sorted((ready / "drone/val/full").glob("*.png"))]
    raw = [scene([0, 2000, 2001, 1000], 20 + number, (110, 150)) for number in range(6)]
    for ids, label in zip(raw, full, strict=True):
        assert np.array_equal(label, np.select([ids == 1000, ids >= 2000], [0, 1], 255))


def test_predictions_are_in_the_classes_of_the_run(two: Pipeline) -> None:
    run, out = "runs/simulator-drone/dacs/seed0", two.folder / "predicted"
    images = two.folder.parent / "drone/measured/0.jpg"
    two.run("python", "-m", "dacs", "predict", "--weights", run, str(images), "--out", str(out))
    assert np.array(Image.open(out / "ids/0.png")).max() <= 1
    assert (out / "classes.csv").read_text().splitlines()[1].startswith("0,ground,128,64,128")
    refused = two.run(
        "python", "-m", "dacs", "predict", "--weights", run, str(images), "--out", str(out), "--ids", "raw", fails=True
    )
    assert "Cityscapes" in refused
    assert "Traceback" not in refused


@pytest.fixture(scope="module")
def twenty(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Example 4: the 19 and rail track, in the frames of the built-in world."""
    folder = tmp_path_factory.mktemp("twenty")
    pipeline = project(folder / "project", example("example-4", folder))
    pipeline.run(*SNAKEMAKE)
    return pipeline


def test_the_19_and_one_keep_their_means_and_get_one_more(twenty: Pipeline) -> None:
    metrics = content(twenty, "runs/gta5-cityscapes/dacs/seed0/evaluation/metrics.json")
    assert [name for name in metrics["student"] if name.startswith("miou")] == [
        "miou20", "miou19", "miou16", "miou13", "miou_flat",
    ]  # fmt: skip
    assert list(metrics["student"]["iou"])[19:] == ["rail track"]
    assert "mIoU20" in words(twenty)
    ready = twenty.folder / "data/ready/gta5/train"
    pixels = sum((np.array(Image.open(path)) == 19).sum() for path in (ready / "labels").glob("*.png"))
    assert content(twenty, "data/ready/gta5/train/stats.json")["pixels"][19] == pixels > 0


def test_another_colour_draws_again_and_another_class_trains_again(twenty: Pipeline, tmp_path: Path) -> None:
    other = twenty.copy(tmp_path / "other")
    other.set(labels={"base": "cityscapes", "classes": {}})
    planned = other.planned()
    assert planned["train_start"] == planned["adapt"] == planned["remap"] == planned["remap_target"] == 1
