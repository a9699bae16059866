"""A part of a published data set on purpose, and what is said of folders that hold something else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import trees
from PIL import Image

from dacs.config import load
from dacs.datasets.find import find
from dacs.datasets.registry import DATASETS
from dacs.download.download import bring
from dacs.errors import BadRequest, RunFailed
from dacs.jobs import job_of
from dacs.labels import CITYSCAPES
from dacs.prepare.remap import remap
from dacs.settings import DownloadJob, RemapJob


def job(domain: str, folder: Path, subset: list[str]) -> Any:
    data = tiny.changed("data.subset", subset, tiny.changed(f"data.sources.{domain}", str(folder)))
    return job_of(load(data), "download", domain=domain)


@pytest.mark.parametrize("domain", DATASETS)
def test_a_part_is_refused_with_the_line_that_uses_it_and_then_read_by_the_rules_of_its_data_set(
    domain: str, tmp_path: Path
) -> None:
    written = trees.write_tree(domain, tmp_path / "copy", size=DATASETS[domain].sizes and min(DATASETS[domain].sizes))
    with pytest.raises(RunFailed, match=rf"add to `data:` in params\.yaml:  subset: \[{domain}\]"):
        bring(job(domain, tmp_path / "copy", []), tmp_path / "raw", tmp_path / "trusted.json")
    asked = job(domain, tmp_path / "copy", [domain])
    assert isinstance(asked, DownloadJob)
    manifest = bring(asked, tmp_path / "raw", tmp_path / "trusted.json")
    assert set(manifest["frames"].values()) == {3}
    size = (38, 64)
    remap(RemapJob(domain=domain, size=size, resample="bicubic", images="png"), tmp_path / "raw", tmp_path / "out", 1)
    labelled = tmp_path / "out" / DATASETS[domain].labelled_split
    for path in sorted(labelled.glob("labels/*.png")):
        raw = next(ids for name, ids in written.items() if name.startswith(path.stem))
        expected = {DATASETS[domain].train_ids(CITYSCAPES)[raw_id] for raw_id in np.unique(raw).tolist()}
        with Image.open(path) as label:
            assert set(np.unique(np.asarray(label)).tolist()) <= expected


@pytest.mark.parametrize(
    ("source", "subset", "words"),
    [
        ("world", ["gta5"], "data.sources.gta5 is world"),
        ("/copy", ["gta"], "data.subset names 'gta'; did you mean"),
    ],
)
def test_only_a_folder_can_hold_a_part(source: str, subset: list[str], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        load(tiny.changed("data.subset", subset, tiny.changed("data.sources.gta5", source)))


def test_files_of_other_names_are_named_beside_those_that_are_sought(tmp_path: Path) -> None:
    trees.write_tree("cityscapes", tmp_path / "city", frames=2)
    for path in (tmp_path / "city").glob("gtFine/*/*/*_labelIds.png"):
        path.rename(str(path).replace("labelIds", "color"))
    with pytest.raises(RunFailed, match=r"gtFine/train: \*_gtFine_labelIds\.png sought, found .*_gtFine_color\.png"):
        find("cityscapes", tmp_path / "city")
    trees.write_tree("gta5", tmp_path / "gta")
    for path in (tmp_path / "gta").glob("images/*.png"):
        path.rename(path.with_suffix(".jpg"))
    with pytest.raises(RunFailed, match=r"images: names like \\d\{5\}\.png sought, found 00001\.jpg"):
        find("gta5", tmp_path / "gta")


def test_one_file_of_another_name_is_named_with_its_place(tmp_path: Path) -> None:
    trees.write_tree("cityscapes", tmp_path)
    _, label = trees.paths("cityscapes", tmp_path, "train", 2)
    label.rename(str(label).replace("labelIds", "labelTrainIds"))
    for path in label.parent.glob("*instanceIds.png"):
        path.unlink()
    with pytest.raises(RunFailed, match=rf"without label; sought: {label}, found: .*_gtFine_labelTrainIds\.png"):
        find("cityscapes", tmp_path)
