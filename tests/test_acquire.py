"""From servers and folders of the tests' own to a manifest, and on to prepared frames, in every way there is."""

import csv
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import archives
import numpy as np
import pytest
import servers
import trees
from PIL import Image
from servers import Members, Server, running

from dacs.datasets.formats import FORMATS, GTA5_PARTS, find, official_parts
from dacs.demo_world.write import write_world
from dacs.download.acquire import Wishes, adopt, download, survey
from dacs.download.archives import Archive
from dacs.download.fetch import Patience
from dacs.errors import BadRequest, RunFailed
from dacs.files import read_json
from dacs.prepare.remap import remap

FRAMES = 3
pytestmark = pytest.mark.usefixtures("no_settings_of_the_person")
QUICK = Patience(attempts=2, first_s=0.01, longest_s=0.02, silence_s=1, connect_s=5)


@pytest.fixture(autouse=True)
def small_data_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The three data sets as if they had been published with three frames a split."""
    for domain, form in FORMATS.items():
        published = dict.fromkeys(form.published, FRAMES)
        monkeypatch.setitem(FORMATS, domain, form._replace(published=published, sizes=frozenset({(32, 48)})))
    for name in ("CITYSCAPES_USERNAME", "CITYSCAPES_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    with running(Server()) as started:
        yield started


def packed(tree: Path, chosen: Callable[[str], bool], pack: Any = archives.zipped) -> bytes:
    """An archive of the chosen files of a tree, their names as in the tree."""
    files = {path.relative_to(tree).as_posix(): path for path in sorted(tree.rglob("*.png"))}
    return bytes(
        pack([archives.Item(name.encode(), path.read_bytes()) for name, path in files.items() if chosen(name)])
    )


def serve(server: Server, domain: str, tree: Path) -> list[Archive]:
    """Put a data set on a server, in archives as the real ones; returns their rows."""
    if domain == "synthia":
        bodies = {"SYNTHIA_RAND_CITYSCAPES.rar": packed(tree, lambda _: True, archives.rar5)}
    elif domain == "gta5":
        bodies = {
            f"01_{kind}.zip": packed(tree, lambda name, kind=kind: name.startswith(kind))
            for kind in ("images", "labels")
        }
    else:
        bodies = {
            f"{kind}_trainvaltest.zip": packed(tree, lambda name, kind=kind: name.startswith(kind))
            for kind in ("gtFine", "leftImg8bit")
        }
    return [_row(server, domain, name, body) for name, body in bodies.items()]


def _row(server: Server, domain: str, name: str, body: bytes) -> Archive:
    server.files[f"/{name}"] = body
    known = (None, "") if domain == "synthia" else (len(body), f"md5:{hashlib.md5(body).hexdigest()}")
    login = "cityscapes" if domain == "cityscapes" else ""
    return Archive(domain, name, server.address(f"/{name}"), *known, 10**6, login, "a test")


def table(folder: Path, rows: list[Archive]) -> Path:
    path = folder / "archives.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(Archive._fields)
        writer.writerows(["" if cell is None else cell for cell in row] for row in rows)
    return path


def wishes(folder: Path, rows: list[Archive], **changes: Any) -> Wishes:
    plain = Wishes(
        archives=folder / "archives",
        keep_archives=True,
        unpack=True,
        official_split=False,
        parallel=2,
        mirrors={},
        unverified_hosts=(),
        table=table(folder, rows),
        patience=QUICK,
    )
    return plain._replace(**changes)


def bring(domain: str, folder: Path, wish: Wishes, accepted: bool = True) -> dict[str, Any]:
    return download(domain, folder / "raw", wish, accepted=accepted, trusted=folder / "first-use.json")


def prepared(domain: str, raw: Path, out: Path) -> dict[str, bytes]:
    remap(find(domain, raw), out, size=(20, 30), resample="bicubic", images="png", workers=1)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*.png")}


# ---- downloads


@pytest.mark.parametrize("unpack", [True, False])
def test_a_download_prepares_the_same_frames_as_the_tree_it_was_packed_from(
    unpack: bool, server: Server, tmp_path: Path
) -> None:
    trees.write_tree("gta5", tmp_path / "tree", frames=FRAMES)
    manifest = bring("gta5", tmp_path, wishes(tmp_path, serve(server, "gta5", tmp_path / "tree"), unpack=unpack))
    assert manifest == read_json(tmp_path / "raw/manifest.json")
    assert manifest["frames"] == {"train": FRAMES}
    assert bool([*tmp_path.glob("raw/images/*.png")]) == unpack
    expected = prepared("gta5", tmp_path / "tree", tmp_path / "expected")
    assert prepared("gta5", tmp_path / "raw", tmp_path / "ready") == expected
    assert read_json(tmp_path / "ready/contract.json")["verdict"] == "as published"


def test_what_has_been_unpacked_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    trees.write_tree("gta5", tmp_path / "tree", frames=FRAMES)
    wish = wishes(tmp_path, serve(server, "gta5", tmp_path / "tree"), keep_archives=False)
    first = bring("gta5", tmp_path, wish)
    asked = len(server.log)
    assert not [*(tmp_path / "archives").rglob("*.zip")]
    assert bring("gta5", tmp_path, wish) == first
    assert len(server.log) == asked


def test_frames_that_were_lost_are_noticed_and_brought_again(server: Server, tmp_path: Path) -> None:
    trees.write_tree("gta5", tmp_path / "tree", frames=FRAMES)
    wish = wishes(tmp_path, serve(server, "gta5", tmp_path / "tree"))
    bring("gta5", tmp_path, wish)
    for kind in ("images", "labels"):
        (tmp_path / "raw" / kind / "00002.png").unlink()
    with pytest.raises(RunFailed, match="2 frames of gta5 in split 'train', 3 are published"):
        bring("gta5", tmp_path, wish)
    assert not (tmp_path / "raw/manifest.json").exists()
    bring("gta5", tmp_path, wish)
    assert (tmp_path / "raw/images/00002.png").exists()


def test_a_first_download_is_trusted_and_a_later_one_held_to_it(server: Server, tmp_path: Path) -> None:
    trees.write_tree("synthia", tmp_path / "tree", frames=FRAMES)
    wish = wishes(tmp_path, serve(server, "synthia", tmp_path / "tree"))
    bring("synthia", tmp_path, wish)
    noted = read_json(tmp_path / "first-use.json")["SYNTHIA_RAND_CITYSCAPES.rar"]
    body = server.files["/SYNTHIA_RAND_CITYSCAPES.rar"]
    assert noted["sha256"] == hashlib.sha256(body).hexdigest()
    assert prepared("synthia", tmp_path / "raw", tmp_path / "ready") == prepared(
        "synthia", tmp_path / "tree", tmp_path / "expected"
    )
    (tmp_path / "archives/synthia/SYNTHIA_RAND_CITYSCAPES.rar").unlink()
    (tmp_path / "raw/.archives/SYNTHIA_RAND_CITYSCAPES.rar.json").unlink()
    server.files["/SYNTHIA_RAND_CITYSCAPES.rar"] = body[:-1] + b"?"
    with pytest.raises(RunFailed, match="sha256"):
        bring("synthia", tmp_path, wish)


def test_cityscapes_comes_by_a_login_that_is_kept_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trees.write_tree("cityscapes", tmp_path / "tree", frames=FRAMES)
    monkeypatch.setenv("CITYSCAPES_USERNAME", "me@example.org")
    monkeypatch.setenv("CITYSCAPES_PASSWORD", "open sesame")
    with running(Members("me@example.org", "open sesame")) as server:
        rows = serve(server, "cityscapes", tmp_path / "tree")
        bring("cityscapes", tmp_path, wishes(tmp_path, rows, site=server.address("")))
    assert prepared("cityscapes", tmp_path / "raw", tmp_path / "ready").keys() >= {"val/full/lindau_000001_000019.png"}
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*.json"))
    assert b"sesame" not in kept
    assert b"example.org" not in kept


def test_terms_are_shown_and_must_be_accepted_before_the_first_byte(server: Server, tmp_path: Path) -> None:
    trees.write_tree("gta5", tmp_path / "tree", frames=FRAMES)
    wish = wishes(tmp_path, serve(server, "gta5", tmp_path / "tree"))
    with pytest.raises(BadRequest, match=r"(?s)terms of gta5.*research and educational.*data\.accept_terms"):
        bring("gta5", tmp_path, wish, accepted=False)
    assert not server.log


def test_a_mirror_serves_in_the_place_of_a_dead_host(server: Server, tmp_path: Path) -> None:
    trees.write_tree("gta5", tmp_path / "tree", frames=FRAMES)
    rows = [row._replace(address=f"http://dead.invalid/{row.name}") for row in serve(server, "gta5", tmp_path / "tree")]
    wish = wishes(tmp_path, rows, mirrors={"http://dead.invalid/": server.address("/")})
    assert bring("gta5", tmp_path, wish)["frames"] == {"train": FRAMES}


def test_half_an_archive_ends_in_one_line_and_no_manifest(server: Server, tmp_path: Path) -> None:
    trees.write_tree("gta5", tmp_path / "tree", frames=FRAMES)
    rows = serve(server, "gta5", tmp_path / "tree")
    server.script.extend([servers.html] * 9)
    with pytest.raises(RunFailed, match="web page"):
        bring("gta5", tmp_path, wishes(tmp_path, rows))
    assert not (tmp_path / "raw/manifest.json").exists()


def test_what_the_world_has_drawn_makes_way(server: Server, tmp_path: Path) -> None:
    write_world("gta5", tmp_path / "raw", seed=0, scale=0.06, frames={"train": 5}, workers=1)
    trees.write_tree("gta5", tmp_path / "tree", frames=FRAMES)
    bring("gta5", tmp_path, wishes(tmp_path, serve(server, "gta5", tmp_path / "tree")))
    assert len([*(tmp_path / "raw/images").iterdir()]) == FRAMES


def test_an_archive_that_would_burst_is_not_read_either(server: Server, tmp_path: Path) -> None:
    trees.write_tree("gta5", tmp_path / "tree", frames=FRAMES)
    rows = [row._replace(unpacked_limit=100) for row in serve(server, "gta5", tmp_path / "tree")]
    with pytest.raises(RunFailed, match="would unpack to"):
        bring("gta5", tmp_path, wishes(tmp_path, rows, unpack=False))
    assert not (tmp_path / "raw/manifest.json").exists()


def test_a_rar_cannot_be_read_without_unpacking(server: Server, tmp_path: Path) -> None:
    trees.write_tree("synthia", tmp_path / "tree", frames=FRAMES)
    wish = wishes(tmp_path, serve(server, "synthia", tmp_path / "tree"), unpack=False)
    with pytest.raises(BadRequest, match="must be unpacked"):
        bring("synthia", tmp_path, wish)


# ---- copies on a disk

LAYOUTS = [  # domain, where the folders of the true layout lie in the copy
    ("gta5", {"images": "gta/images", "labels": "gta/labels"}),  # DAFormer, DACS
    ("gta5", {"images": "GTA5/images", "labels": "GTA5/labels"}),  # AdaptSegNet
    ("synthia", {"RAND_CITYSCAPES/RGB": "synthia/RGB", "RAND_CITYSCAPES/GT": "synthia/GT"}),  # DAFormer
    ("cityscapes", {"leftImg8bit": "cityscapes/leftImg8bit", "gtFine": "cityscapes/gtFine"}),  # DAFormer
    (
        "cityscapes",  # DACS
        {
            "leftImg8bit": "CityScapes/leftImg8bit_trainvaltest/leftImg8bit",
            "gtFine": "CityScapes/gtFine_trainvaltest/gtFine",
        },
    ),
    ("cityscapes", {"leftImg8bit": "Cityscapes/data/leftImg8bit", "gtFine": "Cityscapes/data/gtFine"}),  # AdaptSegNet
]


def copy_of(domain: str, folder: Path, places: dict[str, str]) -> Path:
    """A tree whose folders lie where others keep them, with the files that DAFormer writes beside the labels."""
    trees.write_tree(domain, folder / "true", frames=FRAMES)
    for true, place in places.items():
        (folder / "copy" / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / "true" / true).rename(folder / "copy" / place)
    for label in [*folder.glob("copy/**/labels/*.png"), *folder.glob("copy/**/LABELS/*.png")]:
        label.with_name(f"{label.stem}_labelTrainIds.png").write_bytes(label.read_bytes())
    (folder / "copy/sample_class_stats.json").write_text("[]")
    return folder / "copy"


@pytest.mark.parametrize(("domain", "places"), LAYOUTS)
def test_known_layouts_are_adopted_where_they_lie(domain: str, places: dict[str, str], tmp_path: Path) -> None:
    copy = copy_of(domain, tmp_path, places)
    before = sorted((path, path.stat().st_mtime_ns) for path in copy.rglob("*"))
    trees.write_tree(domain, tmp_path / "same", frames=FRAMES)
    expected = prepared(domain, tmp_path / "same", tmp_path / "expected")
    for path in sorted(copy.rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    adopt(domain, tmp_path / "raw", copy)
    assert prepared(domain, tmp_path / "raw", tmp_path / "ready") == expected
    for path in copy.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert sorted((path, path.stat().st_mtime_ns) for path in copy.rglob("*")) == before
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["manifest.json"]


def test_labels_of_synthia_that_others_have_re_encoded_are_read_by_their_raw_ids(tmp_path: Path) -> None:
    written = trees.write_tree("synthia", tmp_path / "true", frames=FRAMES)
    expected = prepared("synthia", tmp_path / "true", tmp_path / "expected")
    home = tmp_path / "copy/RAND_CITYSCAPES"
    for name, ids in written.items():
        (home / "synthia_mapped_to_cityscapes").mkdir(parents=True, exist_ok=True)
        Image.fromarray(ids).save(home / "synthia_mapped_to_cityscapes" / name)
    (tmp_path / "true/RAND_CITYSCAPES/RGB").rename(home / "RGB")
    adopt("synthia", tmp_path / "raw", tmp_path / "copy")
    assert prepared("synthia", tmp_path / "raw", tmp_path / "ready") == expected


@pytest.mark.parametrize(
    ("domain", "lost", "words"),
    [
        ("gta5", "labels", r"images without labels"),
        ("synthia", "RAND_CITYSCAPES/GT", "RAND_CITYSCAPES/RGB without RAND_CITYSCAPES/GT/LABELS"),
        ("cityscapes", "gtFine/val", "without gtFine/val"),
        ("gta5", "labels/00002.png", "image without label"),
    ],
)
def test_what_is_missing_from_a_copy_is_named(domain: str, lost: str, words: str, tmp_path: Path) -> None:
    trees.write_tree(domain, tmp_path / "copy", frames=FRAMES)
    (tmp_path / "copy" / lost).rename(tmp_path / "lost")
    with pytest.raises(RunFailed, match=words):
        adopt(domain, tmp_path / "raw", tmp_path / "copy")
    assert not (tmp_path / "raw/manifest.json").exists()


def test_a_folder_without_the_data_set_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    with pytest.raises(RunFailed, match=r"no gta5 there\.\nExpected images with labels"):
        adopt("gta5", tmp_path / "raw", tmp_path / "copy")
    with pytest.raises(RunFailed, match="no such folder"):
        adopt("gta5", tmp_path / "raw", tmp_path / "elsewhere")


def test_a_part_of_a_published_data_set_is_refused(tmp_path: Path) -> None:
    trees.write_tree("synthia", tmp_path / "copy", frames=FRAMES - 1)
    with pytest.raises(RunFailed, match="2 frames of synthia in split 'train', 3 are published"):
        adopt("synthia", tmp_path / "raw", tmp_path / "copy")


def test_a_frame_of_an_unpublished_size_stops_synthia_and_is_named(tmp_path: Path) -> None:
    trees.write_tree("synthia", tmp_path / "copy", frames=FRAMES)
    for path in trees.paths("synthia", tmp_path / "copy", "train", 2)[:1]:
        trees.write_image(path, np.random.default_rng(0), (38, 64))
    adopt("synthia", tmp_path / "raw", tmp_path / "copy")
    with pytest.raises(RunFailed, match=r"0000002\.png: is 64x38, 48x32 is published"):
        prepared("synthia", tmp_path / "raw", tmp_path / "ready")


# ---- what prepared data say of their origin


def test_known_defects_are_told_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, "gta5", FORMATS["gta5"]._replace(published={"train": 5}))
    trees.write_tree("gta5", tmp_path / "copy", frames=2)
    for number, size in ((15188, (16, 24)), (20801, (32, 48)), (15617, (32, 48))):
        image, label = trees.paths("gta5", tmp_path / "copy", "train", number)
        trees.write_image(image, np.random.default_rng(0), size)
        trees.write_palette(
            label, np.full((24, 30), 7, np.uint8) if number == 20801 else np.full((32, 48), 7, np.uint8)
        )
    adopt("gta5", tmp_path / "raw", tmp_path / "copy")
    prepared("gta5", tmp_path / "raw", tmp_path / "ready")
    found = read_json(tmp_path / "ready/contract.json")
    assert (found["dropped"], found["mended"], found["kept"]) == (["15188"], ["20801"], ["15617"])
    assert found["verdict"] == "as published, 1 frames dropped, 1 frames mended"
    assert found["frames"] == {"train": 4}
    assert sum(found["ids"].values()) == 4 * 32 * 48


def test_the_official_split_of_gta5_keeps_its_training_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.io import savemat

    order = np.random.default_rng(0).permutation(np.arange(1, 24967)).astype(np.uint16)
    ends = np.cumsum(list(GTA5_PARTS.values()))
    parts = {f"{part}Ids": ids[:, None] for part, ids in zip(GTA5_PARTS, np.split(order, ends[:-1]), strict=True)}
    trees.write_tree("gta5", tmp_path / "copy", frames=30)
    monkeypatch.setitem(FORMATS, "gta5", FORMATS["gta5"]._replace(published={"train": 30}))
    (tmp_path / "copy/code").mkdir()
    savemat(tmp_path / "copy/code/split.mat", parts, do_compression=True)
    adopt("gta5", tmp_path / "raw", tmp_path / "copy")
    found = [int(frame.name) for frame in find("gta5", tmp_path / "raw", part="train").frames["train"]]
    assert found == sorted(set(range(1, 31)) & set(parts["trainIds"].ravel().tolist()))
    parts["valIds"] = parts["valIds"][1:]
    savemat(tmp_path / "copy/code/split.mat", parts)
    with pytest.raises(RunFailed, match=r"12403.*are published"):
        official_parts(tmp_path / "copy/code/split.mat")


def test_without_its_file_the_official_split_is_not_guessed(tmp_path: Path) -> None:
    trees.write_tree("gta5", tmp_path / "copy", frames=FRAMES)
    adopt("gta5", tmp_path / "raw", tmp_path / "copy")
    with pytest.raises(RunFailed, match=r"split\.mat: not found.*\n.*read_mapping\.zip"):
        find("gta5", tmp_path / "raw", part="train")


def test_a_changed_file_of_ones_own_changes_the_manifest(tmp_path: Path) -> None:
    image = tmp_path / "images/0001.png"
    trees.write_image(image, np.random.default_rng(0), (8, 12))
    own = {"train": {"images": f"{tmp_path}/images/*.png", "labels": ""}, "val": None, "classes": {}}
    first = survey("fleet", tmp_path / "raw", own)
    assert survey("fleet", tmp_path / "raw", own) == first == json.loads((tmp_path / "raw/manifest.json").read_text())
    os.utime(image, ns=(1, 1))
    assert survey("fleet", tmp_path / "raw", own)["sha256"] != first["sha256"]
