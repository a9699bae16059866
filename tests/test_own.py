"""A data set of one's own: patterns that find and pair, tables of ids or colours, and what goes wrong with them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dacs.datasets.custom import find_own
from dacs.errors import BadRequest, RunFailed
from dacs.files import read_json
from dacs.prepare.remap import remap

IDS = {"0": "road", "3": "car", "9": "ignore"}
COLORS = {"128,64,128": "road", "0, 0, 142": "car", "0,0,0": "ignore"}


def table(folder: Path, classes: dict[str, str], **changes: Any) -> dict[str, Any]:
    files = {"images": f"{folder}/images/**/*.jpg", "labels": f"{folder}/masks/**/*_mask.png"}
    return {"train": files, "val": None, "classes": classes, "absent": [], "size": [8, 12]} | changes


def write(folder: Path, name: str, label: np.ndarray) -> None:
    """An image as JPEG, and its mask as gray ids (two dimensions) or as colours (three)."""
    image, mask = folder / f"images/{name}.jpg", folder / f"masks/{name}_mask.png"
    for path in (image, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*label.shape[:2], 3), 90, np.uint8)).save(image)
    Image.fromarray(label).save(mask)


def prepare(own: dict[str, Any], out: Path) -> None:
    remap(find_own("fleet", own), out, size=(8, 12), resample="bicubic", images="png", workers=1)


def labels(out: Path) -> dict[str, np.ndarray]:
    return {path.stem: np.array(Image.open(path)) for path in sorted(out.glob("oracle/labels/*.png"))}


def test_ids_and_colours_of_one_scene_give_the_same_train_ids(tmp_path: Path) -> None:
    ids = np.repeat([[0, 3, 9]], 4, axis=1).repeat(8, axis=0).astype(np.uint8)
    painted = np.array([[128, 64, 128], [0, 0, 142], [0, 0, 0]], np.uint8)[np.searchsorted([0, 3, 9], ids)]
    expected = np.array([0, 13, 255])[np.searchsorted([0, 3, 9], ids)]
    for name, label, classes in (("ids", ids, IDS), ("colors", painted, COLORS)):
        write(tmp_path / name, "one/0001", label)
        prepare(table(tmp_path / name, classes), tmp_path / name / "out")
        assert np.array_equal(labels(tmp_path / name / "out")["one_0001"], expected)


def test_sequences_keep_their_names_apart(tmp_path: Path) -> None:
    for sequence in ("monday", "tuesday"):
        write(tmp_path, f"{sequence}/0001", np.zeros((8, 12), np.uint8))
    found = find_own("fleet", table(tmp_path, IDS)).frames["train"]
    assert [frame.name for frame in found] == ["monday_0001", "tuesday_0001"]
    assert all(frame.label and frame.name.split("_")[0] in str(frame.label) for frame in found)


def test_a_domain_without_labels_is_prepared_without_labels(tmp_path: Path) -> None:
    write(tmp_path, "0001", np.zeros((8, 12), np.uint8))
    prepare(table(tmp_path, {}, train={"images": f"{tmp_path}/images/*.jpg", "labels": ""}), tmp_path / "out")
    assert (tmp_path / "out/train/index.csv").read_text() == "image\nimages/0001.png\n"
    assert not (tmp_path / "out/oracle").exists()
    assert read_json(tmp_path / "out/contract.json")["verdict"] == "read whole"


def test_validation_frames_keep_their_full_labels(tmp_path: Path) -> None:
    write(tmp_path, "0001", np.zeros((16, 24), np.uint8))
    own = table(tmp_path, IDS)
    prepare(own | {"val": own["train"]}, tmp_path / "out")
    with Image.open(tmp_path / "out/val/full/0001.png") as full:
        assert full.size == (24, 16)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": {"images": "{}/none/*.jpg", "labels": ""}}, "no file fits"),
        ({"train": {"images": "{}/images/*.jpg", "labels": "{}/masks/0001*.png"}}, "no partner"),
    ],
)
def test_patterns_that_find_too_little_are_named(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    for number in (1, 2):
        write(tmp_path, f"000{number}", np.zeros((8, 12), np.uint8))
    filled = {key: {kind: text.format(tmp_path) for kind, text in files.items()} for key, files in changes.items()}
    with pytest.raises(RunFailed, match=words):
        find_own("fleet", table(tmp_path, IDS, **filled))


def test_a_pattern_without_a_wildcard_is_a_wrong_request(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="no wildcard"):
        find_own("fleet", table(tmp_path, IDS, train={"images": f"{tmp_path}/0001.jpg", "labels": ""}))


@pytest.mark.parametrize(
    ("label", "classes", "words"),
    [
        (np.full((8, 12), 4, np.uint8), IDS, r"ids outside the table \(0..9\): 4"),
        (np.full((8, 12, 3), 5, np.uint8), COLORS, "colour 5,5,5 is not in the table"),
        (np.full((8, 12, 3), 5, np.uint8), IDS, "or are these colours"),
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


def test_a_cut_jpeg_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "0001", np.zeros((8, 12), np.uint8))
    image = tmp_path / "images/0001.jpg"
    image.write_bytes(image.read_bytes()[:-30])
    with pytest.raises(RunFailed, match="truncated JPEG"):
        prepare(table(tmp_path, IDS), tmp_path / "out")
