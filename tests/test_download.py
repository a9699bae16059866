"""From servers and folders of the tests' own to a manifest, and on to prepared frames, in every way there is."""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import archives
import numpy as np
import pytest
import tiny
import trees
from PIL import Image
from scipy.io import savemat
from servers import Members, Server, running

from dacs.datasets.base import Archive
from dacs.datasets.find import find
from dacs.datasets.gta5 import PARTS
from dacs.datasets.registry import DATASETS
from dacs.demo_world.write import write_world
from dacs.download.download import bring, files_now
from dacs.download.fetch import RetryPolicy
from dacs.errors import BadRequest, RunFailed
from dacs.files import read_json
from dacs.prepare.remap import remap
from dacs.settings import CustomDomain, DownloadJob, RemapJob

FRAMES = 3
USER, PASSWORD = "me@example.org", "open sesame"
QUICK = RetryPolicy(attempts=2, first_s=0.01, longest_s=0.02, silence_s=1)
ARCHIVES = {  # name → folder of the tree that it holds
    "gta5": {"01_images.zip": "images", "01_labels.zip": "labels"},
    "synthia": {"SYNTHIA_RAND_CITYSCAPES.rar": "RAND_CITYSCAPES"},
    "cityscapes": {"gtFine_trainvaltest.zip": "gtFine", "leftImg8bit_trainvaltest.zip": "leftImg8bit"},
}
Change = Callable[..., None]
pytestmark = pytest.mark.usefixtures("no_settings_of_the_person")


@pytest.fixture(autouse=True)
def change(monkeypatch: pytest.MonkeyPatch) -> Change:
    """Changes a row; all are as if they had been published with three frames a split, of one size."""

    def change(domain: str, **changes: Any) -> None:
        monkeypatch.setitem(DATASETS, domain, dataclasses.replace(DATASETS[domain], **changes))

    for domain in trees.RAW_IDS:
        published = dict.fromkeys(DATASETS[domain].published, FRAMES)
        change(domain, published=published, sizes=frozenset({(32, 48)}))
    return change


def job_of(domain: str, source: str, **changes: Any) -> DownloadJob:
    options = tiny.params().data.model_dump(exclude={"sources", "accept_terms"})
    return DownloadJob.model_validate({"domain": domain, "source": source} | options | changes)


class Site:
    """A folder of a person, a data set on a server in archives like the real ones, and the job to download it."""

    def __init__(self, server: Server, domain: str, folder: Path) -> None:
        self.server, self.domain, self.folder = server, domain, folder
        trees.write_tree(domain, folder / "tree", frames=FRAMES)
        self.archives = tuple(self.serve(name, top) for name, top in ARCHIVES[domain].items())

    def serve(self, name: str, top: str) -> Archive:
        files = sorted((self.folder / "tree" / top).rglob("*.png"))
        relative = [path.relative_to(self.folder / "tree").as_posix().encode() for path in files]
        items = [archives.Item(name, path.read_bytes()) for name, path in zip(relative, files, strict=True)]
        body = archives.rar(items) if name.endswith(".rar") else archives.zipped(items)
        self.server.files[f"/{name}"] = body
        known = (None, "") if self.domain == "synthia" else (len(body), f"md5:{hashlib.md5(body).hexdigest()}")
        login = "cityscapes" if self.domain == "cityscapes" else ""
        return Archive(name, self.server.address(f"/{name}"), *known, 10**6, login, "a test")

    def download(self, **changes: Any) -> dict[str, Any]:
        usual = {"accepted": True, "archives": str(self.folder / "archives"), "parallel": 2}
        job = job_of(self.domain, "download", **(usual | changes))
        trusted, site = self.folder / "first-use.json", self.server.address("")
        return bring(job, self.folder / "raw", trusted, site=site, retry=QUICK)


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path, change: Change) -> Iterator[Site]:
    """Of gta5, or of the domain that a test names."""
    domain = getattr(request, "param", "gta5")
    with running(Members(USER, PASSWORD) if domain == "cityscapes" else Server()) as server:
        started = Site(server, domain, tmp_path)
        change(domain, archives=started.archives)
        yield started


def prepared(domain: str, raw: Path) -> dict[str, bytes]:
    out = raw.with_name(f"{raw.name}-prepared")
    remap(RemapJob(domain=domain, size=(20, 30), resample="bicubic", images="png"), raw, out, 1)
    found = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*.png")}
    assert found
    return found


def adopt(domain: str, raw: Path, copy: Path) -> dict[str, Any]:
    return bring(job_of(domain, str(copy)), raw, raw.parent / "first-use.json")


unpacked_or_not = [("gta5", True), ("gta5", False), ("synthia", True), ("cityscapes", True)]


@pytest.mark.parametrize(("site", "unpack"), unpacked_or_not, indirect=["site"])
def test_a_download_prepares_the_same_frames_as_the_tree_it_was_packed_from(
    unpack: bool, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CITYSCAPES_USERNAME", USER)
    monkeypatch.setenv("CITYSCAPES_PASSWORD", PASSWORD)
    write_world(site.domain, tmp_path / "raw", seed=0, scale=0.06, frames={"train": 5}, workers=1)  # which is replaced
    manifest = site.download(unpack=unpack)
    assert manifest == read_json(tmp_path / "raw/manifest.json")
    assert set(manifest["frames"].values()) == {FRAMES}
    assert bool([*tmp_path.glob("raw/**/*.png")]) == unpack
    assert prepared(site.domain, tmp_path / "raw") == prepared(site.domain, tmp_path / "tree")
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*.json"))
    assert PASSWORD.encode() not in kept
    assert USER.encode() not in kept


def test_what_has_been_unpacked_is_not_asked_for_again(site: Site) -> None:
    first = site.download(keep_archives=False, parallel=1)
    asked = len(site.server.log)
    assert not [*(site.folder / "archives").rglob("*.zip")]
    assert site.download(keep_archives=False) == first
    assert len(site.server.log) == asked


def test_frames_that_were_lost_are_noticed_and_restored(site: Site, tmp_path: Path) -> None:
    site.download()
    for kind in ("images", "labels"):
        (tmp_path / "raw" / kind / "00002.png").unlink()
    with pytest.raises(RunFailed, match="2 frames of gta5 in split 'train', 3 are published"):
        site.download()
    assert not (tmp_path / "raw/manifest.json").exists()
    site.download()
    assert (tmp_path / "raw/images/00002.png").exists()


def test_terms_must_be_accepted_before_the_first_byte(site: Site) -> None:
    with pytest.raises(BadRequest, match=r"(?s)terms of gta5.*research and educational.*data\.accept_terms"):
        site.download(accepted=False)
    assert not site.server.log


def test_a_mirror_replaces_a_dead_host(site: Site, change: Change) -> None:
    change("gta5", archives=tuple(row._replace(address=f"http://dead.invalid/{row.name}") for row in site.archives))
    mirrors = {"http://dead.invalid/": site.server.address("/"), "http://dead": site.server.address("/no/")}
    assert site.download(mirrors=mirrors)["frames"] == {"train": FRAMES}


def test_what_may_not_be_unpacked_is_not_read_in_place_either(site: Site, tmp_path: Path, change: Change) -> None:
    change("gta5", archives=tuple(row._replace(unpacked_limit=100) for row in site.archives))
    with pytest.raises(RunFailed, match="would unpack to"):
        site.download(unpack=False)
    assert not (tmp_path / "raw/manifest.json").exists()


@pytest.mark.parametrize("site", ["synthia"], indirect=True)
def test_a_rar_cannot_be_read_without_unpacking(site: Site) -> None:
    with pytest.raises(BadRequest, match="must be unpacked"):
        site.download(unpack=False)


def test_the_list_of_the_official_split_is_unpacked_even_where_frames_are_not(site: Site, change: Change) -> None:
    official = DATASETS["gta5"].parts["official"]
    site.server.files["/read_mapping.zip"] = archives.zipped([archives.Item(b"code/split.mat", b"a list")])
    listed = official.archives[0]._replace(address=site.server.address("/read_mapping.zip"))
    change("gta5", parts={"official": official._replace(archives=(listed,))})
    assert "read_mapping.zip" not in site.download(unpack=False)["checksums"]
    assert site.download(unpack=False, gta5_frames="official")["checksums"]["read_mapping.zip"].startswith("sha256:")
    assert (site.folder / "raw/code/split.mat").read_bytes() == b"a list"


# ---- copies on a disk

LAYOUTS = [  # domain, where the folders of the true layout are in the copy
    ("gta5", {"images": "GTA5/images", "labels": "GTA5/labels"}),  # AdaptSegNet
    ("synthia", {"RAND_CITYSCAPES/RGB": "synthia/RGB", "RAND_CITYSCAPES/GT": "synthia/GT"}),  # DAFormer
    ("cityscapes", {top: f"CityScapes/{top}_trainvaltest/{top}" for top in ("leftImg8bit", "gtFine")}),  # DACS
    ("cityscapes", {top: f"Cityscapes/data/{top}" for top in ("leftImg8bit", "gtFine")}),  # AdaptSegNet
]


@pytest.mark.parametrize(("domain", "where"), LAYOUTS)
def test_known_layouts_are_adopted_where_they_are_and_only_read(
    domain: str, where: dict[str, str], tmp_path: Path
) -> None:
    trees.write_tree(domain, tmp_path / "tree", frames=FRAMES)
    expected = prepared(domain, tmp_path / "tree")
    for true, place in where.items():
        (tmp_path / "copy" / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / true).rename(tmp_path / "copy" / place)
    for label in [*tmp_path.glob("copy/**/labels/*.png"), *tmp_path.glob("copy/**/LABELS/*.png")]:
        label.with_name(f"{label.stem}_labelTrainIds.png").write_bytes(label.read_bytes())  # as DAFormer does
    before = sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "copy").rglob("*"))
    adopt(domain, tmp_path / "raw", tmp_path / "copy")
    assert prepared(domain, tmp_path / "raw") == expected
    assert sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "copy").rglob("*")) == before
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["manifest.json"]


def test_labels_of_synthia_that_others_have_re_encoded_are_read_by_their_raw_ids(tmp_path: Path) -> None:
    written = trees.write_tree("synthia", tmp_path / "copy", frames=FRAMES)
    expected = prepared("synthia", tmp_path / "copy")
    home = tmp_path / "copy/RAND_CITYSCAPES"
    (home / "GT").rename(tmp_path / "lost")
    (home / "synthia_mapped_to_cityscapes").mkdir()
    for name, ids in written.items():
        Image.fromarray(ids).save(home / "synthia_mapped_to_cityscapes" / name)
    adopt("synthia", tmp_path / "raw", tmp_path / "copy")
    assert prepared("synthia", tmp_path / "raw") == expected


@pytest.mark.parametrize(
    ("domain", "lost", "words"),
    [
        ("synthia", "RAND_CITYSCAPES/GT", "RAND_CITYSCAPES/RGB without RAND_CITYSCAPES/GT/LABELS"),
        ("cityscapes", "gtFine/val", "without gtFine/val"),
        ("gta5", "labels/00002.png", "image without label"),
        ("gta5", ".", "no such folder"),
    ],
)
def test_what_is_missing_from_a_copy_is_named(domain: str, lost: str, words: str, tmp_path: Path) -> None:
    trees.write_tree(domain, tmp_path / "copy", frames=FRAMES)
    (tmp_path / "copy" / lost).rename(tmp_path / "lost")
    with pytest.raises(RunFailed, match=words):
        adopt(domain, tmp_path / "raw", tmp_path / "copy")
    assert not (tmp_path / "raw/manifest.json").exists()


def test_a_frame_of_an_unpublished_size_stops_synthia_and_is_named(tmp_path: Path) -> None:
    trees.write_tree("synthia", tmp_path / "copy", frames=FRAMES)
    trees.write_image(trees.paths("synthia", tmp_path / "copy", "train", 2)[0], np.random.default_rng(0), (38, 64))
    adopt("synthia", tmp_path / "raw", tmp_path / "copy")
    with pytest.raises(RunFailed, match=r"0000002\.png: is 64x38, 48x32 is published"):
        prepared("synthia", tmp_path / "raw")


def test_the_official_split_of_gta5_keeps_its_training_frames(tmp_path: Path, change: Change) -> None:
    trees.write_tree("gta5", tmp_path / "copy", frames=30)
    change("gta5", published={"train": 30})
    adopt("gta5", tmp_path / "raw", tmp_path / "copy")
    order = np.random.default_rng(0).permutation(np.arange(1, 24967)).astype(np.uint16)
    groups = np.split(order, np.cumsum(list(PARTS.values()))[:-1])
    parts = {f"{part}Ids": ids[:, None] for part, ids in zip(PARTS, groups, strict=True)}
    (tmp_path / "copy/code").mkdir()
    savemat(tmp_path / "copy/code/split.mat", parts, do_compression=True)
    found = [int(frame.name) for frame in find("gta5", tmp_path / "raw", part="official").frames["train"]]
    assert found == sorted(set(range(1, 31)) & set(parts["trainIds"].ravel().tolist()))
    savemat(tmp_path / "copy/code/split.mat", parts | {"valIds": parts["valIds"][1:]})
    with pytest.raises(RunFailed, match=r"12403.*are published"):
        find("gta5", tmp_path / "raw", part="official")


def test_a_changed_file_of_a_custom_domain_changes_its_manifest(tmp_path: Path) -> None:
    image = tmp_path / "images/0001.png"
    trees.write_image(image, np.random.default_rng(0), (8, 12))
    custom = CustomDomain.model_validate({"train": {"images": f"{tmp_path}/images/*.png"}, "size": (8, 12)})
    job = job_of("fleet", "custom", custom=custom)
    first = bring(job, tmp_path / "raw", tmp_path / "first-use.json")
    assert bring(job, tmp_path / "raw", tmp_path / "first-use.json") == first
    assert read_json(tmp_path / "raw/manifest.json") == first
    assert files_now("fleet", custom) == first["sha256"]
    os.utime(image, ns=(1, 1))
    assert bring(job, tmp_path / "raw", tmp_path / "first-use.json")["sha256"] != first["sha256"]
