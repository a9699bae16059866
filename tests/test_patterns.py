"""Patterns and lists of files of custom data sets: which files they find, and the names of the frames."""

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dacs.datasets.base import Raw
from dacs.datasets.custom import find_custom
from dacs.datasets.storage import Tree
from dacs.errors import BadRequest, RunFailed
from dacs.layout import PreparedSplit
from dacs.loading.split import Split
from dacs.prepare.remap import remap
from dacs.settings import CustomDomain, RemapJob


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def table(images: Any, labels: Any = "") -> CustomDomain:
    content = {"train": {"images": images, "labels": labels}, "classes": {"0": "road"}, "size": (8, 12)}
    return CustomDomain.model_validate(content)


def find(images: Any, labels: Any = "") -> Raw:
    return find_custom("fleet", table(images, labels))


def names(images: Any, labels: Any = "") -> list[str]:
    return [frame.name for frame in find(images, labels).frames["train"]]


@pytest.mark.parametrize(
    ("files", "pattern", "expected"),
    [
        (["run[2024]/1.png"], "run[2024]/*.png", ["1"]),
        (["run[2024]/a1.png", "run2/a2.png"], "run[2024]/*.png", ["a1"]),  # as it is written, if there is such a folder
        (["run1/a.png", "run2/a.png", "run3/a.png"], "run[1-2]/*.png", ["1_a", "2_a"]),
        (["run1/a.png", "run2/a.png", "run3/a.png"], "run[!1-2]/*.png", ["3_a"]),
        (["[a]_1.png"], "[a]_*.png", ["1"]),
        (["{x}/1.png"], "{x}/*.png", ["1"]),
        (["left/1.png", "right/1.png", "rear/1.png"], "{left,right}/*.png", ["left_1", "right_1"]),
        (["1.png", "2.jpg", "3.JPG", "4.txt"], "*.{png,jpg,JPG}", ["1", "2", "3"]),
        (["1.png", "2.JPG"], "*.[pJ]*", ["1", "2"]),
        (["1.png", "2.jpg"], "*{.png,.jpg}", ["1", "2"]),
        (["1.png", "2.jpg"], "*", ["1", "2"]),
        (["my fleet/ä ö.png", "my fleet/日本.png"], "my fleet/*.png", ["ä ö", "日本"]),
        (["a/b/1.png", "2.png", ".hidden/3.png", ".4.png"], "**/*.png", ["2", "a_b_1"]),
        ([".hidden/3.png"], ".hidden/*.png", ["3"]),
        (["1/image.png", "2/image.png"], "*/image.png", ["1", "2"]),
    ],
)
def test_a_pattern_finds_what_it_says(files: list[str], pattern: str, expected: list[str], tmp_path: Path) -> None:
    touch(tmp_path, *files)
    assert names(f"{tmp_path}/{pattern}") == expected


def test_relative_patterns_and_those_of_the_home_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "fleet/1.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert (names("fleet/*.png"), names("**/*.png")) == (["1"], ["fleet_1"])
    assert names("~/fleet/*.png") == ["1"]


def test_labels_pair_by_what_wildcards_stand_for_whatever_the_ending(tmp_path: Path) -> None:
    touch(tmp_path, "left/1.jpg", "right/1.png", "left_mask/1.png", "right_mask/1.png")
    frames = find(f"{tmp_path}/{{left,right}}/*.{{jpg,png}}", f"{tmp_path}/{{left,right}}_mask/*.png").frames["train"]
    assert [(frame.name, frame.label and frame.label.path.parent.name) for frame in frames] == [
        ("left_1", "left_mask"),
        ("right_1", "right_mask"),
    ]


def test_several_patterns_are_one_set_and_a_file_of_two_of_them_counts_once(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/2.png")
    patterns = [f"{tmp_path}/a/*.png", f"{tmp_path}/b/*.png", f"{tmp_path}/a/../b/[2-3].png"]
    assert names(patterns) == ["1", "2"]
    touch(tmp_path, "b/1.png")
    with pytest.raises(RunFailed, match=r"b/1\.png would be called 1, as .*a/1\.png is"):
        find(patterns)


def test_links_to_folders_above_give_no_frame_twice(tmp_path: Path) -> None:
    touch(tmp_path, "data/seq/1.png", "data/other/2.png")
    (tmp_path / "data/seq/up").symlink_to(tmp_path / "data")
    (tmp_path / "data/seq/here").symlink_to(".")
    (tmp_path / "data/again").symlink_to("seq")
    assert sorted(name.rpartition("_")[2] for name in names(f"{tmp_path}/data/**/*.png")) == ["1", "2"]
    assert len(Tree(tmp_path).files("data/seq")) == 1


def test_only_regular_files_are_frames(tmp_path: Path) -> None:
    touch(tmp_path, "1.png")
    os.mkfifo(tmp_path / "2.png")
    (tmp_path / "3.png").mkdir()
    (tmp_path / "4.png").symlink_to("nowhere")
    assert names(f"{tmp_path}/*.png") == ["1"]
    assert [*Tree(tmp_path).files(".")] == ["1.png"]


# --------------------------------------------------------------------------------------------------------------------
# Names


def test_frames_of_any_name_are_prepared_and_read_back(tmp_path: Path) -> None:
    long = "/".join(f"recording_{number}_of_a_camera_in_the_city" for number in range(9))
    odd = ["left,right", 'a "quoted" one', "two\nlines", "it's", "50 %", "é", os.fsdecode(b"latin\xe9"), f"{long}/1"]
    for name in odd:
        for path in (tmp_path / f"images/{name}.png", tmp_path / f"labels/{name}.png"):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((8, 12), np.uint8)).save(path)
    custom = table(f"{tmp_path}/images/**/*.png", f"{tmp_path}/labels/**/*.png")
    job = RemapJob(domain="fleet", size=(8, 12), resample="bicubic", images="png", custom=custom)
    remap(job, tmp_path / "unused", tmp_path / "out", workers=1)
    split = Split(PreparedSplit(tmp_path / "out/oracle"))
    assert len(split) == len(set(split.names)) == len(odd)
    assert {"left%2Cright", "two%0Alines", "it's", "50 %", "é", "latin%E9"} < set(split.names)
    assert split.class_counts()[:, 0].tolist() == [96] * len(odd)
    assert all(split.image(number).shape == (3, 8, 12) for number in range(len(odd)))
    with (tmp_path / "out/oracle/index.csv").open(newline="") as stream:
        assert {*next(csv.reader(stream))} == {"image", "label"}


def test_long_names_that_end_alike_stay_apart(tmp_path: Path) -> None:
    end = "/".join(["folder_of_forty_characters_in_its_name___"] * 6)
    touch(tmp_path, f"monday/{end}/1.png", f"tuesday/{end}/1.png")
    found = names(f"{tmp_path}/**/*.png")
    assert len(set(found)) == 2
    assert all(len(name) <= 200 and name.endswith("_1") for name in found)


# --------------------------------------------------------------------------------------------------------------------
# Lists


def test_a_list_of_images_takes_its_labels_from_a_list_a_second_column_or_a_pattern(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{kind}/{name}.png" for kind in ("images", "labels", "masks") for name in ("a b", "c", "d")))
    (tmp_path / "train.txt").write_text("# images\nimages/a b.png\nimages/c.png\n\n")
    (tmp_path / "labels.txt").write_text(f"labels/d.png\n{tmp_path}/labels/c.png\n")
    (tmp_path / "both.csv").write_text("images/c.png,labels/d.png\nimages/d.png labels/c.png\n")
    images, both = f"{tmp_path}/train.txt", f"{tmp_path}/both.csv"

    def pairs(*given: str) -> list[tuple[str, str]]:
        return [(frame.name, frame.label.path.stem) for frame in find(*given).frames["train"] if frame.label]

    assert names(images) == ["a b", "c"]
    assert pairs(images, f"{tmp_path}/labels.txt") == [("a b", "d"), ("c", "c")]
    assert pairs(both, both) == [("c", "d"), ("d", "c")]
    (tmp_path / "twice.txt").write_text("images/c.png\nimages/c.png\nimages/d.png\n")
    (tmp_path / "shared.txt").write_text("labels/d.png\nlabels/d.png\nlabels/d.png\n")
    assert pairs(f"{tmp_path}/twice.txt", f"{tmp_path}/shared.txt") == [("c", "d"), ("d", "d")]
    with pytest.raises(RunFailed, match="2 images and 3 labels are listed"):
        find(images, f"{tmp_path}/shared.txt")
    assert pairs(images, f"{tmp_path}/masks/*.png") == [("a b", "a b"), ("c", "c")]
    (tmp_path / "train.txt").write_text("images/a b.png\nimages/e.png\n")
    with pytest.raises(RunFailed, match=r"1 files that are not there, of 2:\n  line 2: no file 'images/e\.png'"):
        find(images)


# --------------------------------------------------------------------------------------------------------------------
# Errors


def test_a_missing_partner_is_named_with_what_lies_there_instead(tmp_path: Path) -> None:
    touch(tmp_path, "images/1.png", "images/2.png", "masks/1_ids.png", "masks/2_color.png")
    with pytest.raises(RunFailed) as caught:
        find(f"{tmp_path}/images/*.png", f"{tmp_path}/masks/*_ids.png")
    line = f"{tmp_path}/images/2.png: image without label; sought: {tmp_path}/masks/2_ids.png, found: 2_color.png"
    assert line in str(caught.value)
    (tmp_path / "masks/2_ids.png").symlink_to("nowhere")
    with pytest.raises(RunFailed, match=r"image without label; \S+/masks/2_ids\.png is a link to nothing"):
        find(f"{tmp_path}/images/*.png", f"{tmp_path}/masks/*_ids.png")


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("images/*.jpg", r"no file matches .*; \S+/images holds 1.png, 2.png and 1 more"),
        ("pictures/*.png", r"there is no folder \S+/pictures"),
    ],
)
def test_where_nothing_matches_the_folder_is_described(pattern: str, words: str, tmp_path: Path) -> None:
    touch(tmp_path, *(f"images/{number}.png" for number in (1, 2, 3)))
    with pytest.raises(RunFailed, match=words):
        find(f"{tmp_path}/{pattern}")


def test_a_range_that_is_none_and_one_pattern_for_both_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "1.png")
    with pytest.raises(BadRequest, match=r"'\[9-0\]\.png' is no pattern"):
        find(f"{tmp_path}/[9-0].png")
    with pytest.raises(RunFailed, match=r"1\.png is named as image and as label"):
        find(f"{tmp_path}/*.png", f"{tmp_path}/*.png")
