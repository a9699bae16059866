"""The readers of the three raw layouts: right ids from each, and words for whatever is wrong."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import trees
from PIL import Image

from dacs.datasets.decode import BadFrame, decode_image, decoded, read_png
from dacs.datasets.formats import FORMATS, Frame, find
from dacs.datasets.storage import File
from dacs.errors import BadRequest, RunFailed

DOMAINS = tuple(FORMATS)


def frames(domain: str, raw: Path) -> dict[str, list[Frame]]:
    return find(domain, raw).frames


def read_label(domain: str, path: Path) -> np.ndarray:
    return decoded(path, read_png(File(path)), FORMATS[domain].decode)


def read_image(path: Path) -> np.ndarray:
    return decoded(path, read_png(File(path)), decode_image)


@pytest.mark.parametrize("domain", DOMAINS)
def test_labels_are_read_as_the_ids_that_were_written(domain: str, tmp_path: Path) -> None:
    written = trees.write_tree(domain, tmp_path)
    for listed in frames(domain, tmp_path).values():
        for frame in listed:
            found = read_label(domain, frame.label.path)
            assert found.dtype == np.uint8
            assert np.array_equal(found, written[frame.label.name])


@pytest.mark.parametrize("domain", DOMAINS)
def test_images_are_read_as_rgb(domain: str, tmp_path: Path) -> None:
    image, _ = trees.paths(domain, tmp_path, "train", 1)
    written = trees.write_image(image, np.random.default_rng(0), (20, 30))
    assert np.array_equal(np.asarray(read_image(image)), written)


def test_pillow_would_read_class_zero_everywhere_in_a_synthia_label(tmp_path: Path) -> None:
    written = np.arange(23, dtype=np.uint8).repeat(10).reshape(23, 10)
    trees.write_red16(tmp_path / "label.png", written)
    with Image.open(tmp_path / "label.png") as opened:
        naive = np.asarray(opened)
    assert naive.max() <= 3
    assert not naive[..., 0].any()
    assert np.array_equal(read_label("synthia", tmp_path / "label.png"), written)


def test_gta5_ids_survive_a_palette_whose_colours_coincide(tmp_path: Path) -> None:
    written = np.arange(35, dtype=np.uint8).reshape(5, 7)
    trees.write_palette(tmp_path / "label.png", written)
    with Image.open(tmp_path / "label.png") as opened:
        colours = np.asarray(opened.convert("RGB")).reshape(-1, 3)
    assert len(np.unique(colours, axis=0)) < 35
    assert np.array_equal(read_label("gta5", tmp_path / "label.png"), written)


def test_frames_come_in_the_order_of_names_and_only_from_their_own_files(tmp_path: Path) -> None:
    trees.write_tree("cityscapes", tmp_path, frames=4)
    (tmp_path / "leftImg8bit/train/aachen/.hidden_leftImg8bit.png").write_bytes(b"")
    (tmp_path / "leftImg8bit/train/notes.txt").write_text("not a frame")
    found = frames("cityscapes", tmp_path)
    names = [frame.name for frame in found["train"]]
    assert names == sorted(names)
    assert len(names) == 4
    assert len(found["val"]) == 4
    for frame in found["train"]:
        assert frame.image.name == f"{frame.name}_leftImg8bit.png"
        assert frame.label.name == f"{frame.name}_gtFine_labelIds.png"


def test_the_two_blank_frames_of_gta5_are_dropped_by_name(tmp_path: Path) -> None:
    trees.write_tree("gta5", tmp_path, frames=1)
    for number in (15188, 17705, 17706):
        for path, like in zip(trees.paths("gta5", tmp_path, "train", number), ("images", "labels"), strict=True):
            path.write_bytes((tmp_path / like / "00001.png").read_bytes())
    assert [frame.name for frame in frames("gta5", tmp_path)["train"]] == ["00001", "17706"]


def test_a_split_of_dropped_frames_alone_is_empty(tmp_path: Path) -> None:
    trees.write_tree("gta5", tmp_path, frames=1)
    for kind in ("images", "labels"):
        (tmp_path / kind / "00001.png").rename(tmp_path / kind / "15188.png")
    with pytest.raises(RunFailed, match="split 'train' is empty"):
        frames("gta5", tmp_path)


@pytest.mark.parametrize(("which", "words"), [(0, "label without image"), (1, "image without label")])
@pytest.mark.parametrize("domain", DOMAINS)
def test_a_file_without_its_partner_is_named(domain: str, which: int, words: str, tmp_path: Path) -> None:
    trees.write_tree(domain, tmp_path)
    gone, left = trees.paths(domain, tmp_path, "train", 2)[:: 1 - 2 * which]
    gone.unlink()
    with pytest.raises(RunFailed, match=words) as caught:
        frames(domain, tmp_path)
    assert str(left) in str(caught.value)


def test_of_many_faults_the_first_ten_and_the_total_are_told(tmp_path: Path) -> None:
    trees.write_tree("gta5", tmp_path, frames=13, size=(8, 8))
    for path in (tmp_path / "labels").iterdir():
        path.unlink()
    with pytest.raises(RunFailed) as caught:
        frames("gta5", tmp_path)
    message = str(caught.value)
    assert message.count("image without label") == 10
    assert "13 in all" in message


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_missing_folder_is_named(domain: str, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="no such folder") as caught:
        frames(domain, tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in str(caught.value)


def test_an_empty_split_is_named(tmp_path: Path) -> None:
    trees.write_tree("cityscapes", tmp_path)
    for path in [*tmp_path.glob("*/val/*/*.png")]:
        path.unlink()
    with pytest.raises(RunFailed, match="split 'val' is empty"):
        frames("cityscapes", tmp_path)


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ({"domain": "gta5", "frames": {"train": 4}}, "promises"),
        ({"domain": "synthia", "frames": {"train": 3}}, "promises synthia"),
        ({"frames": {"train": 3}}, "not a manifest"),
        ([], "not a manifest"),
    ],
)
def test_a_manifest_is_held_to_its_word(manifest: object, words: str, tmp_path: Path) -> None:
    trees.write_tree("gta5", tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunFailed, match=words) as caught:
        frames("gta5", tmp_path)
    assert str(tmp_path / "manifest.json") in str(caught.value)


def test_a_manifest_that_tells_the_truth_is_welcome(tmp_path: Path) -> None:
    trees.write_tree("cityscapes", tmp_path)
    manifest = {"domain": "cityscapes", "origin": "world", "frames": {"train": 3, "val": 3}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert len(frames("cityscapes", tmp_path)["train"]) == 3


@pytest.mark.parametrize("kind", ["RGB", "L", "I;16", "P"])
@pytest.mark.parametrize("domain", DOMAINS)
def test_a_label_in_another_encoding_is_refused(domain: str, kind: str, tmp_path: Path) -> None:
    if kind == {"gta5": "P", "cityscapes": "L"}.get(domain):
        return
    path = tmp_path / "label.png"
    gray = Image.fromarray(np.full((6, 8), 7, np.uint16 if kind == "I;16" else np.uint8))
    (gray.convert(kind) if kind != "I;16" else gray).save(path)
    with pytest.raises(BadFrame, match="expected") as caught:
        read_label(domain, path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("value", "words"), [(23, "id 23"), (300, "id 300"), (0, "every pixel is class 0")])
def test_a_synthia_label_with_impossible_classes_is_refused(value: int, words: str, tmp_path: Path) -> None:
    trees.write_red16(tmp_path / "label.png", np.full((4, 5), value, np.uint16))
    with pytest.raises(BadFrame, match=words):
        read_label("synthia", tmp_path / "label.png")


def test_wherever_a_png_is_cut_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    trees.write_image(path, np.random.default_rng(0), (9, 11))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(BadFrame, match=r"image\.png: (truncated|not a) PNG"):
            read_png(File(path))
    path.write_bytes(whole)
    assert read_png(File(path)) == whole


def test_whichever_byte_of_a_png_is_wrong_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    trees.write_image(path, np.random.default_rng(0), (9, 11))
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(BadFrame, match=r"image\.png"):
            read_image(path)


def test_a_png_that_is_whole_outside_and_short_inside_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(buffer, "PNG")
    content = buffer.getvalue()
    data = content.index(b"IDAT") - 4
    (tmp_path / "image.png").write_bytes(
        content[:data] + trees.chunk(b"IDAT", b"\x78\x9c\x03\x00") + trees.chunk(b"IEND", b"")
    )
    with pytest.raises(BadFrame, match=r"image\.png"):
        read_image(tmp_path / "image.png")


def test_an_unknown_domain_is_a_bad_request(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="gta5, synthia, cityscapes"):
        frames("kitti", tmp_path)


def test_the_golden_synthia_label_holds_all_classes_which_pillow_does_not_see() -> None:
    """Nine rows of classes 0..22 from left to right, the tenth from right to left; instances in green."""
    path = Path(__file__).with_name("golden") / "synthia_label.png"
    found = read_label("synthia", path)
    assert np.array_equal(found[:9], np.tile(np.arange(23), (9, 1)))
    assert np.array_equal(found[9], np.arange(23)[::-1])
    with Image.open(path) as opened:
        assert not np.asarray(opened)[..., 0].any()
