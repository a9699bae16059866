"""Custom data sets: patterns that find and pair, tables of ids or colours, and what can be wrong with them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from PIL import Image

from dacs.config import load
from dacs.datasets.custom import find_custom
from dacs.errors import BadRequest, RunFailed
from dacs.files import read_json
from dacs.labels import CITYSCAPES
from dacs.prepare.remap import remap
from dacs.settings import CustomDomain, RemapJob

IDS = {"0": "road", "3": "car", "9": "ignore"}
COLORS = {"128,64,128": "road", "0, 0, 142": "car", "0,0,0": "ignore"}
FILES = {"images": "{}/images/**/*.jpg", "labels": "{}/masks/**/*_mask.png"}


def table(folder: Path, classes: dict[str, str], **changes: Any) -> CustomDomain:
    """Labelled training frames below a folder, with changes; {} in a pattern stands for the folder."""
    content = {"train": FILES, "classes": classes, "size": (8, 12)} | changes
    for split in {"train", "val"} & content.keys():
        content[split] = {kind: pattern.format(folder) for kind, pattern in content[split].items()}
    return CustomDomain.model_validate(content)


def write(folder: Path, name: str, label: np.ndarray) -> None:
    """An image as JPEG, and its mask as gray ids (two dimensions) or as colours (three)."""
    image, mask = folder / f"images/{name}.jpg", folder / f"masks/{name}_mask.png"
    for path in (image, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*label.shape[:2], 3), 90, np.uint8)).save(image)
    Image.fromarray(label).save(mask)


def prepare(custom: CustomDomain, out: Path) -> None:
    job = RemapJob(domain="fleet", size=(8, 12), resample="bicubic", images="png", custom=custom)
    remap(job, out / "unused", out, workers=1)


def test_ids_and_colours_of_one_scene_give_the_same_train_ids(tmp_path: Path) -> None:
    ids = np.repeat([[0, 3, 9]], 4, axis=1).repeat(8, axis=0).astype(np.uint8)
    painted = np.array([[128, 64, 128], [0, 0, 142], [0, 0, 0]], np.uint8)[np.searchsorted([0, 3, 9], ids)]
    expected = np.array([0, 13, 255])[np.searchsorted([0, 3, 9], ids)]
    for name, label, classes in (("ids", ids, IDS), ("colors", painted, COLORS)):
        write(tmp_path / name, "one/0001", label)
        prepare(table(tmp_path / name, classes), tmp_path / name / "out")
        with Image.open(tmp_path / name / "out/oracle/labels/one_0001.png") as found:
            assert np.array_equal(np.array(found), expected)
    reports = [read_json(tmp_path / name / "out/data_report.json") for name in ("ids", "colors")]
    assert [found["id_names"][raw] for found, raw in zip(reports, ("3", "1"), strict=True)] == [
        "car",
        "car, colour 0, 0, 142",
    ]


def test_sequences_keep_their_names_apart(tmp_path: Path) -> None:
    for sequence in ("monday", "tuesday"):
        write(tmp_path, f"{sequence}/0001", np.zeros((8, 12), np.uint8))
    found = find_custom("fleet", table(tmp_path, IDS)).frames["train"]
    assert [frame.name for frame in found] == ["monday_0001", "tuesday_0001"]
    assert all(frame.label and frame.name.split("_")[0] in str(frame.label) for frame in found)


def test_what_is_prepared_follows_from_where_labels_are(tmp_path: Path) -> None:
    write(tmp_path, "0001", np.zeros((16, 24), np.uint8))
    unlabelled = table(tmp_path, {}, train={"images": FILES["images"]}, absent=["train"])
    whole = table(tmp_path, IDS, val=FILES)
    headers = {"train": "image", "val": "image,label,full", "oracle": "image,label"}
    others = [name for name in CITYSCAPES.names if name not in ("road", "car")]
    more = "train and val share 1 images, no id for sidewalk, building and 15 more, no frame has car"
    for name, custom, indices, roles, summary, absent in (
        ("unlabelled", unlabelled, {"train": "image"}, ("train", "train"), "read whole", ["train"]),
        ("whole", whole, headers, ("oracle", "val"), f"read whole, {more}", others),
    ):
        prepare(custom, tmp_path / name)
        found = {path.parent.name: path.read_text().splitlines()[0] for path in tmp_path.glob(f"{name}/*/index.csv")}
        report = read_json(tmp_path / name / "data_report.json")
        assert (found, (report["labelled_split"], report["measured_split"])) == (indices, roles)
        assert (report["origin"], report["summary"], report["absent"]) == ("custom", summary, absent)
    with Image.open(tmp_path / "whole/val/full/0001.png") as full:
        assert full.size == (24, 16)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"images": "{}/none/*.jpg"}, "no file matches"),
        (FILES | {"labels": "{}/masks/0001*.png"}, "no partner"),
        ({"images": "{}/images/0001.jpg"}, "no wildcard"),
    ],
)
def test_patterns_that_find_too_little_are_named(files: dict[str, str], words: str, tmp_path: Path) -> None:
    for number in (1, 2):
        write(tmp_path, f"000{number}", np.zeros((8, 12), np.uint8))
    with pytest.raises((RunFailed, BadRequest), match=words):
        find_custom("fleet", table(tmp_path, IDS, train=files))


@pytest.mark.parametrize(
    ("label", "classes", "words"),
    [
        (np.full((8, 12), 4, np.uint8), IDS, "ids that are not in the table: 4"),
        (np.full((8, 12, 3), 5, np.uint8), COLORS, "colour 5,5,5 is not in the table"),
        (np.full((8, 12, 3), 5, np.uint8), IDS, "ids were expected"),
        (np.full((8, 12), 4, np.uint8), COLORS, "or are these ids"),
    ],
)
def test_what_the_table_does_not_know_is_named_with_its_file(
    label: np.ndarray, classes: dict[str, str], words: str, tmp_path: Path
) -> None:
    write(tmp_path, "0001", label)
    with pytest.raises(RunFailed, match=words) as caught:
        prepare(table(tmp_path, classes), tmp_path / "out")
    assert "0001_mask.png" in str(caught.value)
    assert not [*tmp_path.glob("out/*/index.csv")]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"classes": {"128,64,256": "road"}},
            r"domains\.fleet\.classes: '128,64,256' is too high; ids are",
        ),
        ({"classes": {"65536": "road"}}, r"domains\.fleet\.classes: '65536' is too high"),
        ({"classes": {"1": "road", "01": "car"}}, "'1' and '01' are the same"),
        ({"classes": {"0,0,0": "road", "0, 0, 0": "car"}}, "'0,0,0' and '0, 0, 0' are the same"),
        ({"classes": {0: "road", "0": "car"}}, "'0' is given twice"),
        ({"classes": {0: "rood"}}, r"^params.yaml: domains\.fleet\.classes\.0 names 'rood'; did you mean 'road'\?$"),
        ({"chan": "red"}, r"^params.yaml: domains\.fleet\.chan is not known; did you mean 'channel'\?$"),
        ({"train": {"image": "*.png"}}, r"domains\.fleet\.train\.image is not known; did you mean 'images'\?"),
        ({"val": {"images": "*.png", "label": ""}}, r"domains\.fleet\.val\.label is not known; did you mean 'labels'"),
        ({"train": {"images": 5}}, r"domains\.fleet\.train\.images is 5; a pattern, or a list of patterns, was"),
        ({"channel": "red", "classes": {"0,0,0": "road"}}, "channel is red, but domains.fleet.classes lists colours"),
    ],
)
def test_a_wrong_table_is_refused_before_anything_runs(changes: dict[str, Any], words: str) -> None:
    files = {"images": "/images/*.png", "labels": "/labels/*.png"}
    fleet = {"train": files, "classes": {"0": "road"}, "size": [512, 1024], **changes}
    with pytest.raises(BadRequest, match=words):
        load(tiny.changed("domains", {"fleet": fleet}))


@pytest.mark.parametrize("classes", ["{1: road, 01: car}", "{1: road, 1: car}"])
def test_an_id_that_a_file_gives_twice_is_refused(classes: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(f"domains: {{fleet: {{classes: {classes}}}}}")
    with pytest.raises(BadRequest, match="'1' is given twice"):
        load(tmp_path / "params.yaml")


def test_a_truncated_jpeg_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "0001", np.zeros((8, 12), np.uint8))
    image = tmp_path / "images/0001.jpg"
    image.write_bytes(image.read_bytes()[:-30])
    with pytest.raises(RunFailed, match="truncated"):
        prepare(table(tmp_path, IDS), tmp_path / "out")
