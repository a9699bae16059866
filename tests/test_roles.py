"""Which part each domain may play: what is prepared of it, what is learnt from, what is measured on."""

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from dacs.config import domains_of, labelled_split, load, measured_split, settings_for, splits_of
from dacs.errors import BadRequest, RunFailed
from dacs.files import read_json, write_json
from dacs.loading.splits import measured
from dacs.models.build import build
from dacs.training.loop import train_run
from dacs.training.monitor import Monitor

IMAGES, LABELS = {"images": "/fleet/*.jpg"}, {"images": "/fleet/*.jpg", "labels": "/fleet/*.png"}
CLASSES = {"0": "road"}
TABLES = {  # what the tables of a domain say, and what is prepared of it
    "blind": ({"train": IMAGES}, ["train"]),
    "labelled": ({"train": LABELS, "classes": CLASSES}, ["train", "oracle"]),
    "judged": ({"train": IMAGES, "val": LABELS, "classes": CLASSES}, ["train", "val"]),
    "whole": ({"train": LABELS, "val": LABELS, "classes": CLASSES}, ["train", "val", "oracle"]),
}


def params(tasks: list[str], **changes: Any) -> Any:
    content = tiny.changed("runs.tasks", tasks)
    content["domains"] = {name: {**table, "size": [120, 200]} for name, (table, _) in TABLES.items()}
    for path, value in changes.items():
        content = tiny.changed(path.replace("__", "."), value, content)
    return load(content)


@pytest.mark.parametrize(
    ("domain", "splits"),
    [
        ("gta5", ["train"]),
        ("synthia", ["train"]),
        ("cityscapes", ["train", "val", "oracle"]),
        *((name, splits) for name, (_, splits) in TABLES.items()),
    ],
)
def test_what_is_prepared_follows_from_the_table(domain: str, splits: list[str]) -> None:
    assert splits_of(params(["gta5-blind"]), domain) == splits


def test_labels_and_measurements_come_from_where_they_are() -> None:
    found = params(["gta5-blind"])
    assert [labelled_split(found, name) for name in ("gta5", "cityscapes", "whole")] == ["train", "oracle", "oracle"]
    assert [measured_split(found, name) for name in ("cityscapes", "judged", "blind", "labelled")] == [
        "val", "val", "train", "train",
    ]  # fmt: skip


@pytest.mark.parametrize("task", ["gta5-blind", "cityscapes-judged", "labelled-cityscapes", "whole-blind"])
def test_every_domain_but_its_own_target_may_be_a_source(task: str) -> None:
    assert domains_of(params([task])) == sorted(task.split("-"))


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        (["gta5-synthia"], "names target 'synthia'"),
        (["blind-cityscapes"], r"domains\.blind\.train has no labels; a source needs them"),
        (["whole-whole"], "adapts 'whole' to itself"),
    ],
)
def test_parts_that_cannot_be_played_are_refused(tasks: list[str], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        params(tasks)


def test_an_oracle_without_labels_is_refused_before_anything_runs() -> None:
    with pytest.raises(BadRequest, match=r"names oracle, but domains\.judged\.train has no labels") as caught:
        params(["gta5-judged"], runs__methods=["source", "oracle"])
    assert "Leave oracle out" in str(caught.value).splitlines()[-1]
    assert params(["gta5-whole"], runs__methods=["source", "oracle"])


def test_the_verdict_depends_on_the_size_of_labels_and_on_absent_classes_and_training_does_not() -> None:
    plain = params(["gta5-whole"])
    full = params(["gta5-whole"], evaluate__labels="full")
    absent = params(["gta5-whole"], domains__whole__absent=["train"])
    verdicts = [settings_for(one, "evaluate", domain="whole") for one in (plain, full, absent)]
    assert len({str(verdict) for verdict in verdicts}) == 3
    assert verdicts[2]["absent"] == ["train"]
    assert settings_for(absent, "evaluate", domain="cityscapes")["absent"] == []
    for verb in ("train", "adapt"):
        assert len({str(settings_for(one, verb, method="dacs")) for one in (plain, full, absent)}) == 1


def test_frames_of_ones_own_must_hold_the_crop_of_the_scale_that_is_chosen_alone() -> None:
    assert params(["gta5-blind"]).loop.crop <= (120, 200)  # scale paper has larger ones
    with pytest.raises(BadRequest, match=r"frames of blind, domains\.blind\.size = \[120, 200\]"):
        params(["gta5-blind"], loop__crop=[121, 96])


# ---- measured while training


def test_a_target_is_measured_on_what_was_prepared_not_on_what_lies_there(ready: Path, tmp_path: Path) -> None:
    assert measured(ready / "cityscapes") == ready / "cityscapes/val"
    (tmp_path / "val").mkdir()
    write_json(tmp_path / "contract.json", {"frames": {"train": 3}})
    assert measured(tmp_path) == tmp_path / "train"
    (tmp_path / "contract.json").unlink()
    with pytest.raises(RunFailed, match=r"contract\.json: not found"):
        measured(tmp_path)


def test_without_labels_the_monitor_tells_how_much_is_confident_and_no_more(ready: Path) -> None:
    network, device = build("small", aspp_branches=4, seed=0).eval(), torch.device("cpu")
    blind = Monitor(ready / "cityscapes/train", frames=2, threshold=0.06)
    with torch.no_grad():
        confidence = network(blind.images / 255).softmax(1).amax(1)
    expected = 100 * (confidence >= 0.06).double().mean().item()
    assert 0 < expected < 100
    assert blind.measure(network, device) == {"confident_share": pytest.approx(expected, abs=0.01)}
    seeing = Monitor(ready / "cityscapes/val", frames=2, threshold=0.06).measure(network, device)
    assert set(seeing) == {"pseudo_accuracy", "confident_accuracy", "confident_share"}


def test_a_run_of_an_unlabelled_target_logs_no_accuracy(ready: Path, tmp_path: Path) -> None:
    shutil.copytree(ready, tmp_path / "ready")
    contract = tmp_path / "ready/cityscapes/contract.json"
    write_json(contract, {**read_json(contract), "frames": {"train": 4}})
    target = tmp_path / "ready/cityscapes"
    train_run(tmp_path / "run", tiny.card("dacs"), source=ready / "gta5/train", target=target, init=None)
    rows = list(csv.DictReader((tmp_path / "run/log.csv").read_text().splitlines()))
    assert [row["pseudo_accuracy"] + row["confident_accuracy"] for row in rows] == [""] * len(rows)
    assert rows[-1]["confident_share"]
