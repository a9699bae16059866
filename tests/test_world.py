"""The built-in world: true formats, same seed same bytes, near before far, and shares of classes as published."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from dacs.demo_world import write
from dacs.demo_world.camera import Camera
from dacs.demo_world.frame import render
from dacs.demo_world.looks import LOOKS
from dacs.demo_world.materials import IDS, LANE_MARKING, MATERIALS, SLOTS
from dacs.demo_world.models import models
from dacs.demo_world.paint import Light, order, paint, pose
from dacs.demo_world.rates import DOMAINS
from dacs.demo_world.street import GREY, STANDING, Thing
from dacs.demo_world.write import ids_on_disk, paths, write_world
from dacs.errors import BadRequest
from dacs.labels import LABELS, NAMES, cityscapes_to_train, gta5_to_train, synthia_to_train

SMALL = 0.05  # of the real size: 102 x 51 for Cityscapes
TO_TRAIN = {"cityscapes": cityscapes_to_train(), "gta5": gta5_to_train(), "synthia": synthia_to_train()}

# Percent of valid pixels in the real sets: shared/reference/class_frequency.csv, columns *_norm19 and *_norm16.
# fmt: off
PUBLISHED = {
    #                 cityscapes gta5   synthia
    "road":          (36.98,     36.14, 19.02),
    "sidewalk":      (5.99,      9.32,  19.95),
    "building":      (22.73,     19.02, 30.29),
    "wall":          (0.67,      2.08,  0.28),
    "fence":         (0.87,      0.71,  0.28),
    "pole":          (1.27,      1.19,  1.08),
    "traffic light": (0.21,      0.15,  0.04),
    "traffic sign":  (0.57,      0.09,  0.10),
    "vegetation":    (16.17,     8.55,  10.65),
    "terrain":       (1.11,      2.48,  0),
    "sky":           (3.96,      15.20, 7.13),
    "person":        (1.24,      0.41,  4.45),
    "rider":         (0.15,      0.03,  0.49),
    "car":           (6.79,      2.83,  4.24),
    "truck":         (0.27,      1.27,  0),
    "bus":           (0.26,      0.41,  1.55),
    "train":         (0.22,      0.07,  0),
    "motorcycle":    (0.10,      0.04,  0.22),
    "bicycle":       (0.46,      0.006, 0.23),
}
# fmt: on


def train_ids(domain: str, label: np.ndarray) -> np.ndarray:
    """Train ids of a label as drawn; an id outside the domain's table is a KeyError."""
    on_disk = ids_on_disk(domain, label)
    table = np.full(256, 255, dtype=np.uint8)
    for id in np.unique(on_disk):
        table[id] = TO_TRAIN[domain][int(id)]
    return table[on_disk]


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.png"))}


def make(domain: str, out: Path, *, seed: int = 3, workers: int = 1, **frames: int) -> dict[str, object]:
    return write_world(domain, out, seed=seed, scale=SMALL, frames=frames, workers=workers)


def test_same_seed_same_bytes_whatever_the_number_of_workers(tmp_path: Path) -> None:
    alone = make("cityscapes", tmp_path / "alone", train=9, val=4)
    shared = make("cityscapes", tmp_path / "shared", workers=2, train=9, val=4)
    assert content(tmp_path / "alone") == content(tmp_path / "shared")
    assert alone == shared


@pytest.mark.parametrize("domain", DOMAINS)
def test_another_seed_another_split_another_number_another_frame(domain: str) -> None:
    frames = [("train", 0, 1), ("train", 0, 2), ("train", 1, 1), ("val", 0, 1)]
    drawn = {render(domain, split, number, seed=seed, scale=SMALL).image.tobytes() for split, number, seed in frames}
    assert len(drawn) == len(frames)


def test_a_longer_world_begins_with_the_shorter_one(tmp_path: Path) -> None:
    make("gta5", tmp_path / "short", train=2)
    make("gta5", tmp_path / "long", train=3)
    short, long = content(tmp_path / "short"), content(tmp_path / "long")
    assert short == {name: long[name] for name in short}


def test_gta5_labels_are_palette_images_of_35_entries(tmp_path: Path) -> None:
    make("gta5", tmp_path, train=5)
    for number in range(1, 6):
        image, label = (Image.open(tmp_path / kind / f"{number:05d}.png") for kind in ("images", "labels"))
        assert (image.mode, label.mode) == ("RGB", "P")
        assert np.array_equal(np.reshape(label.getpalette(), (-1, 3)), [entry.color for entry in LABELS])
        assert np.asarray(label).max() <= 34
        # every fifth frame is a little lower, as 5,000 of the real ones are
        assert image.size == label.size == (round(1914 * SMALL), round((1046 if number == 5 else 1052) * SMALL))


def test_synthia_labels_hold_the_class_in_red_of_16_bits_and_the_instance_in_green(tmp_path: Path) -> None:
    make("synthia", tmp_path, train=2)
    for number in range(2):
        image = Image.open(tmp_path / f"RAND_CITYSCAPES/RGB/{number:07d}.png")
        label = cv2.imread(str(tmp_path / f"RAND_CITYSCAPES/GT/LABELS/{number:07d}.png"), cv2.IMREAD_UNCHANGED)
        assert label.dtype == np.uint16
        assert image.mode == "RGB"
        assert image.size == label.shape[1::-1] == (round(1280 * SMALL), round(760 * SMALL))
        drawn = render("synthia", "train", number, seed=3, scale=SMALL)
        assert np.array_equal(label[..., 2], ids_on_disk("synthia", drawn.label))
        assert np.array_equal(label[..., 1], drawn.instance)
        assert not label[..., 0].any()


def test_cityscapes_has_cities_splits_and_label_ids(tmp_path: Path) -> None:
    make("cityscapes", tmp_path, train=3, val=2)
    for split, count in (("train", 3), ("val", 2)):
        images = sorted(tmp_path.glob(f"leftImg8bit/{split}/*/*_leftImg8bit.png"))
        assert len(images) == count
        for path in images:
            city, name = path.parent.name, path.name.removesuffix("_leftImg8bit.png")
            assert name.startswith(f"{city}_")
            label = Image.open(tmp_path / f"gtFine/{split}/{city}/{name}_gtFine_labelIds.png")
            assert label.mode == "L"
            assert Image.open(path).mode == "RGB"
            assert label.size == Image.open(path).size == (round(2048 * SMALL), round(1024 * SMALL))


def test_no_two_frames_share_a_path() -> None:
    for domain in DOMAINS:
        names = [name for split in ("train", "val") for n in range(50) for name in paths(domain, split, n)]
        assert len(set(names)) == (200 if domain == "cityscapes" else 100)  # the other two know no splits


@pytest.fixture(scope="module")
def shares() -> dict[str, np.ndarray]:
    """Pixels of each train id (columns; the last is ignored) in each of 100 frames (rows) of each domain."""
    counts = {}
    for domain in DOMAINS:
        rows = []
        for number in range(100):
            trained = train_ids(domain, render(domain, "train", number, seed=11, scale=0.08).label)
            rows.append(np.bincount(np.minimum(trained, 19).ravel(), minlength=20))
        counts[domain] = np.array(rows)
    return counts


def test_all_19_classes_occur_in_the_target(shares: dict[str, np.ndarray]) -> None:
    assert (shares["cityscapes"][:60, :19].sum(axis=0) > 0).all()


def test_synthia_knows_neither_terrain_nor_truck_nor_train(shares: dict[str, np.ndarray]) -> None:
    absent = [name for name, count in zip(NAMES, shares["synthia"].sum(axis=0), strict=False) if not count]
    assert absent == ["terrain", "truck", "train"]


@pytest.mark.parametrize("domain", DOMAINS)
def test_classes_take_about_the_published_share_of_pixels(shares: dict[str, np.ndarray], domain: str) -> None:
    counts = shares[domain].sum(axis=0)[:19]
    found = dict(zip(NAMES, 100 * counts / counts.sum(), strict=True))
    for name, row in PUBLISHED.items():
        published = row[DOMAINS.index(domain)]
        factor = 1.7 if published > 1 else 6.0  # 100 frames say little about the rare; those are lifted, too
        if published > 0.1:
            assert published / factor < found[name] < published * factor, (name, found[name], published)
    assert 0.01 < shares[domain][:, 19].sum() / shares[domain].sum() < 0.2  # void


def test_the_domains_differ_as_the_real_ones_do(shares: dict[str, np.ndarray]) -> None:
    found = {domain: counts.sum(axis=0)[:19] / counts[:, :19].sum() for domain, counts in shares.items()}
    share = {domain: dict(zip(NAMES, row, strict=True)) for domain, row in found.items()}
    assert share["gta5"]["sky"] > 2 * share["cityscapes"]["sky"]
    assert share["gta5"]["bicycle"] < share["cityscapes"]["bicycle"] / 10
    assert share["synthia"]["sidewalk"] > 2.5 * share["cityscapes"]["sidewalk"]
    assert share["synthia"]["person"] > 2 * share["cityscapes"]["person"]


CAMERA = Camera(width=200, height=100, focal=200, horizon=40, aside=0, above=1.2, yaw=0, bend=0)
NOON = Light(np.array([0, 1, 0], np.float32), 0.3, np.ones(3, np.float32), 0.0, np.zeros(3, np.float32))


def stand(kind: str, z: float, x: float = 0.0) -> Thing:
    return Thing(models()[kind][0], (x, 0.0, z), 0.0, (1, 1, 1), (GREY, GREY, GREY), STANDING, z)


def seen(*things: Thing) -> np.ndarray:
    """Ids of what the camera sees."""
    materials = np.full((len(SLOTS), 3), 90, dtype=np.float32)
    parts = paint(pose(order(list(things), CAMERA.yaw), materials), CAMERA, NOON)
    return parts.labels[parts.number]


def test_near_things_cover_far_ones_in_whatever_order_they_come() -> None:
    near, far = stand("truck", 15), stand("bus", 40)
    assert np.array_equal(seen(near, far), seen(far, near))
    alone = seen(near) == IDS["truck"]
    assert np.array_equal(seen(near, far) == IDS["truck"], alone)
    assert (seen(far)[alone] == IDS["bus"]).any()  # it would have been seen there


def test_a_thing_twice_as_far_is_half_as_tall() -> None:
    heights = [np.ptp(np.flatnonzero((seen(stand("person", z)) == IDS["person"]).any(axis=1))) + 1 for z in (5, 10, 20)]
    assert heights[0] == pytest.approx(2 * heights[1], abs=2)
    assert heights[1] == pytest.approx(2 * heights[2], abs=2)


def test_the_horizon_is_as_high_as_the_eye() -> None:
    points = np.array([[x, CAMERA.above, z] for x in (-3.0, 5.0) for z in (2.0, 90.0)], dtype=np.float32)
    pixels, depth = CAMERA.see(points)
    assert np.allclose(pixels[:, 1], CAMERA.horizon)
    assert np.allclose(depth, points[:, 2])


def test_only_things_are_counted_as_instances() -> None:
    frame = render("synthia", "train", 0, seed=3, scale=SMALL)
    assert frame.instance.any()
    assert set(np.unique(frame.label[frame.instance > 0])) <= set(range(IDS["person"], IDS["license plate"] + 1))
    assert not frame.instance[frame.label == LANE_MARKING].any()


def test_every_look_has_a_colour_for_every_material() -> None:
    for look in LOOKS.values():
        assert set(MATERIALS) <= set(look.colors)


def test_the_manifest_comes_last_and_tells_the_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    receipt = make("gta5", tmp_path / "whole", train=2)
    assert json.loads((tmp_path / "whole/manifest.json").read_text()) == receipt
    assert receipt["frames"] == {"train": 2}
    assert (receipt["domain"], receipt["origin"]) == ("gta5", "world")
    assert make("gta5", tmp_path / "other", seed=4, train=2)["sha256"] != receipt["sha256"]

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(write, "_png", fail)
    with pytest.raises(Exception, match="no space left"):
        make("gta5", tmp_path / "whole", train=3)
    assert not (tmp_path / "whole/manifest.json").exists()
    assert not list((tmp_path / "whole").rglob("*partial*"))


def test_frames_of_an_earlier_larger_world_are_swept_away(tmp_path: Path) -> None:
    make("gta5", tmp_path / "again", train=3)
    assert make("gta5", tmp_path / "again", train=1) == make("gta5", tmp_path / "fresh", train=1)
    assert content(tmp_path / "again") == content(tmp_path / "fresh")


def test_what_the_world_did_not_write_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/00001.png").write_bytes(b"a real frame")
    with pytest.raises(BadRequest, match="did not write"):
        make("gta5", tmp_path, train=1)
    assert (tmp_path / "images/00001.png").read_bytes() == b"a real frame"


def test_unknown_domains_and_splits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="gta5"):
        make("gta6", tmp_path / "out", train=1)
    with pytest.raises(BadRequest, match="train and val"):
        make("gta5", tmp_path / "out", test=1)
    assert not (tmp_path / "out").exists()
