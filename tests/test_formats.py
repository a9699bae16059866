"""Finding and decoding the published data sets: the ids that were written, and a message for whatever is wrong."""

import io
import json
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import trees
from PIL import Image

from dacs.datasets.decode import BadFrame, decode_file, decode_image, read_whole
from dacs.datasets.find import find
from dacs.datasets.registry import DATASETS
from dacs.datasets.storage import File
from dacs.errors import BadRequest, RunFailed

DOMAINS = tuple(trees.RAW_IDS)


def read_label(domain: str, path: Path) -> np.ndarray:
    return decode_file(path, read_whole(File(path)), DATASETS[domain].decode)


def test_the_golden_synthia_label_holds_all_classes_which_pillow_does_not_see() -> None:
    """Nine rows of classes 0..22 from left to right, the tenth from right to left; instances in green."""
    path = Path(__file__).with_name("golden") / "synthia_label.png"
    found = read_label("synthia", path)
    with Image.open(path) as image:
        assert not np.asarray(image)[..., 0].any()
    assert np.array_equal(found[:9], np.tile(np.arange(23), (9, 1)))
    assert np.array_equal(found[9], np.arange(23)[::-1])


# ---- finding


def test_frames_come_in_the_order_of_names_and_only_from_files_of_the_data_set(tmp_path: Path) -> None:
    trees.write_tree("cityscapes", tmp_path, frames=4)
    (tmp_path / "leftImg8bit/train/aachen/.hidden_leftImg8bit.png").write_bytes(b"")
    (tmp_path / "leftImg8bit/train/notes.txt").write_text("not a frame")
    found = find("cityscapes", tmp_path).frames
    names = [frame.name for frame in found["train"]]
    assert names == sorted(names)
    assert (len(names), len(found["val"])) == (4, 4)
    for frame in found["train"]:
        assert frame.image.path.name == f"{frame.name}_leftImg8bit.png"
        assert frame.label.path.name == f"{frame.name}_gtFine_labelIds.png"


def test_known_defects_of_gta5_are_found_by_name_and_blank_frames_are_dropped(tmp_path: Path) -> None:
    trees.write_tree("gta5", tmp_path, frames=1)
    for number in (15188, 15617, 17705, 17706, 20801, 20860, 20861):
        for path, kind in zip(trees.paths("gta5", tmp_path, "train", number), ("images", "labels"), strict=True):
            path.write_bytes((tmp_path / kind / "00001.png").read_bytes())
    found = find("gta5", tmp_path)
    known = {"15188": "dropped", "15617": "kept", "17705": "dropped", "20801": "mended", "20860": "mended"}
    assert {name: defect.remedy for name, defect in found.defects.items()} == known
    assert [frame.name for frame in found.frames["train"]] == ["00001", "15617", "17706", "20801", "20860", "20861"]


@pytest.mark.parametrize(("which", "words"), [(0, "label without image"), (1, "image without label")])
@pytest.mark.parametrize("domain", DOMAINS)
def test_a_file_without_its_partner_is_named(domain: str, which: int, words: str, tmp_path: Path) -> None:
    trees.write_tree(domain, tmp_path)
    gone, left = trees.paths(domain, tmp_path, "train", 2)[:: 1 - 2 * which]
    gone.unlink()
    with pytest.raises(RunFailed, match=words) as caught:
        find(domain, tmp_path)
    assert str(left) in str(caught.value)


def test_a_split_without_usable_frames_is_named(tmp_path: Path) -> None:
    trees.write_tree("gta5", tmp_path, frames=1)
    for kind in ("images", "labels"):
        (tmp_path / kind / "00001.png").rename(tmp_path / kind / "15188.png")  # a blank one
    with pytest.raises(RunFailed, match="split 'train' is empty"):
        find("gta5", tmp_path)


@pytest.mark.parametrize("change", [{"frames": {"train": 4}}, {"domain": "synthia"}, {"domain": None}])
def test_a_manifest_that_describes_something_else_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    trees.write_tree("gta5", tmp_path)
    path, manifest = tmp_path / "manifest.json", {"domain": "gta5", "frames": {"train": 3}}
    path.write_text(json.dumps(manifest | change))
    with pytest.raises(RunFailed, match=f"{path}: describes .*, found .*'gta5', 'frames': {{'train': 3}}"):
        find("gta5", tmp_path)
    path.write_text(json.dumps(manifest))
    assert len(find("gta5", tmp_path).frames["train"]) == 3


def test_an_unknown_data_set_is_a_bad_request(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="'cityscape' is not a data set; did you mean 'cityscapes'"):
        find("cityscape", tmp_path)


# ---- archives


def test_the_archives_are_as_published() -> None:
    gta5, rest = DATASETS["gta5"].archives, [*DATASETS["cityscapes"].archives, *DATASETS["synthia"].archives]
    assert sum(archive.bytes for archive in gta5 if "images" in archive.name) == 60_557_008_558
    assert sum(archive.bytes for archive in gta5 if "labels" in archive.name) == 738_508_110
    archives = [*gta5, *rest, *DATASETS["gta5"].parts["official"].archives]
    assert len({archive.name for archive in archives}) == len({archive.address for archive in archives}) == 24
    unpublished = {archive.name for archive in archives if archive.bytes is None}
    assert unpublished == {"read_mapping.zip", "SYNTHIA_RAND_CITYSCAPES.rar"}
    checksums = [archive.checksum for archive in archives if archive.name not in unpublished]
    assert len(set(checksums)) == 22
    assert all(re.fullmatch("md5:[0-9a-f]{32}", checksum) for checksum in checksums)
    assert all(archive.address.startswith("https://") for archive in archives if archive.login or archive.bytes)
    assert all(archive.unpacked_limit > (archive.bytes or 0) for archive in archives)
    assert all(row.terms and row.terms.address.startswith("http") for row in DATASETS.values())


# ---- damaged files


@pytest.mark.parametrize(
    ("domain", "kind"),
    sorted({*product(DOMAINS, ["RGB", "L", "I;16", "P"])} - {("gta5", "P"), ("cityscapes", "L"), ("camvid", "L")}),
)
def test_a_label_in_another_encoding_is_refused(domain: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "label.png"
    gray = Image.fromarray(np.full((6, 8), 7, np.uint16 if kind == "I;16" else np.uint8))
    (gray.convert(kind) if kind != "I;16" else gray).save(path)
    with pytest.raises(BadFrame, match=re.escape(str(path)) + ".*expected"):
        read_label(domain, path)


def test_a_synthia_label_without_a_class_is_refused_and_no_high_class_turns_into_a_low_one(tmp_path: Path) -> None:
    path = tmp_path / "label.png"
    trees.write_red16(path, np.zeros((4, 5), np.uint16))
    with pytest.raises(BadFrame, match="every pixel is class 0"):
        read_label("synthia", path)
    trees.write_red16(path, np.full((4, 5), 256 + 7, np.uint16))
    assert (read_label("synthia", path) == 255).all()


def test_wherever_a_png_is_cut_or_changed_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    trees.write_image(path, np.random.default_rng(0), (9, 11))
    whole = path.read_bytes()
    assert read_whole(File(path)) == whole
    for place in range(len(whole)):
        for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]):
            path.write_bytes(damaged)
            with pytest.raises(BadFrame, match=r"image\.png"):
                read_whole(File(path))


def test_a_png_that_is_whole_outside_and_short_inside_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(buffer, "PNG")
    start = buffer.getvalue()[: buffer.getvalue().index(b"IDAT") - 4]
    short = trees.chunk(b"IDAT", b"\x78\x9c\x03\x00") + trees.chunk(b"IEND", b"")
    (tmp_path / "image.png").write_bytes(start + short)
    with pytest.raises(BadFrame, match=r"image\.png"):
        decode_file(Path("image.png"), read_whole(File(tmp_path / "image.png")), decode_image)
