"""Predictions at the scale of a run's frames, and what is written of them."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from dacs.cli import main
from dacs.errors import BadRequest, RunFailed
from dacs.evaluation import likeliest, tiles
from dacs.evaluation.confusion import count
from dacs.evaluation.evaluate import evaluate_run
from dacs.evaluation.results import Form, Picture, find, write
from dacs.evaluation.scale import Scale, describe_scale, scale_of
from dacs.files import read_json, write_json
from dacs.labels import CITYSCAPES
from dacs.layout import EvaluationDir, PreparedDomain, RunDir
from dacs.loading.split import Split
from dacs.models.segmenter import Segmenter
from dacs.prepare.remap import remap
from dacs.settings import RemapJob
from dacs.training.run_cache import make_run

SIZE, RAW = (48, 64), (60, 100)  # height, width: prepared frames do not have the proportions of raw ones
RESAMPLES = ("bicubic", "bilinear", "opencv")
Patch = pytest.MonkeyPatch


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three raw frames with labels."""
    folder, rng = tmp_path_factory.mktemp("raw"), np.random.default_rng(0)
    for number in range(3):
        tiny.save(tiny.photo(rng, RAW), folder / f"images/{number}.png")
        label = tiny.label(rng, RAW)
        (folder / "labels").mkdir(exist_ok=True)
        Image.fromarray(np.where(label < 19, label, 19).astype(np.uint8)).save(folder / f"labels/{number}.png")
    return folder


def domain_of(raw: Path, out: Path, resample: str = "bicubic") -> PreparedDomain:
    """The raw frames, prepared as a target."""
    files = {"images": f"{raw}/images/*.png", "labels": f"{raw}/labels/*.png"}
    classes = {str(number): name for number, name in enumerate([*CITYSCAPES.names, "ignore"])}
    custom = {"train": files, "val": files, "classes": classes, "size": list(SIZE)}
    given = {"domain": "own", "size": list(SIZE), "resample": resample, "images": "png", "custom": custom}
    remap(RemapJob.model_validate(given, strict=False), raw, out / "own", 1)
    return PreparedDomain(out / "own")


def run_for(target: PreparedDomain, path: Path, network: str = "small", **frames: Any) -> RunDir:
    """A finished run for a target, with untrained weights."""
    run = tiny.finished_run(path, network)
    write_json(run.spec, {**read_json(run.spec), "frames": {**describe_scale(target.train), **frames}})
    return run


def predictions(run: RunDir, images: Path, out: Path, *options: str) -> list[np.ndarray]:
    arguments = ["predict", "--weights", str(run.path), str(images), "--out", str(out), "--device", "cpu", *options]
    assert main(arguments) == 0
    return [np.asarray(Image.open(path)) for path in sorted((out / "ids").rglob("*.png"))]


@pytest.mark.parametrize(("network", "resample"), [("pyramid", "bicubic"), *(("small", each) for each in RESAMPLES)])
def test_predictions_of_the_validation_images_have_the_confusion_matrix_of_evaluate(
    network: str, resample: str, raw: Path, tmp_path: Path
) -> None:
    """From raw images at the size of raw labels, and from prepared ones at theirs."""
    target = domain_of(raw, tmp_path, resample)
    run, split = run_for(target, tmp_path / "run", network, resample=resample), Split(target.measured)
    for labels, images in {"full": raw / "images", "prepared": target.measured.path / "images"}.items():
        found = predictions(run, images, tmp_path / labels)
        truth = [split.full(number) if labels == "full" else split.label(number) for number in range(3)]
        matrix = sum(count(each.numpy(), ids) for each, ids in zip(truth, found, strict=True) if each is not None)
        out = EvaluationDir(tmp_path / f"evaluation_{labels}")
        evaluate_run(run, target.measured, target.train, out, tiny.evaluate_job(labels=labels))
        assert read_json(out.confusion)["student"] == matrix.tolist()
        assert matrix.sum() > 0.7 * len(split) * found[0].size


def test_a_run_keeps_the_scale_of_its_target_beside_its_key(raw: Path, tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.chdir(tmp_path)
    run = tiny.run(tiny.prepare(tmp_path / "ready"), steps=2)
    make_run(RunDir(tmp_path / "out"), run)
    frames = read_json(tmp_path / "out/settings.json")["frames"]
    assert frames == {"size": [36, 72], "proportions": [2.0], "resample": "bicubic"}
    assert scale_of(RunDir(tmp_path / "out")) == Scale((36, 72), (2.0,), "bicubic")
    assert describe_scale(domain_of(raw, tmp_path).train)["proportions"] == [1.67]


@pytest.mark.parametrize(
    ("given", "expected"),
    [((1024, 2048), (512, 1024)), ((512, 1024), (512, 1024)), ((360, 480), (627, 836)), ((1, 1), (724, 724))],
)
def test_images_of_other_proportions_keep_them_at_as_many_pixels(
    given: tuple[int, int], expected: tuple[int, int]
) -> None:
    scale = Scale((512, 1024), (2.0,), "bilinear")
    assert scale.fit(np.zeros((*given, 3), np.uint8)).shape[:2] == expected


def test_a_size_can_be_named_and_an_earlier_run_has_that_of_its_evaluation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tiny.finished_run(tmp_path / "run")
    assert scale_of(run) is None
    assert "--size" in capsys.readouterr().err
    tiny.save(np.zeros((30, 50), np.uint8), run.evaluation.predictions / "a.png")
    assert scale_of(run) == Scale((30, 50), (1.67,), "bicubic")
    assert scale_of(run, "20x40") == Scale((20, 40), (2.0,), "bicubic")
    assert scale_of(run, "native") is None
    for wrong in ("20", "20X40", "0x40", "large"):
        with pytest.raises(BadRequest, match=f"--size {wrong}: HEIGHTxWIDTH"):
            scale_of(run, wrong)


class Pointwise(Segmenter):
    """Logits that are the channels of the pixel itself, so that tiles have no seams."""

    def __init__(self) -> None:
        super().__init__(nn.Identity(), nn.Linear(1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 9 * torch.cat([images, images.flip(1)[:, :2] * 0.9], dim=1)


@pytest.mark.parametrize("limit", [10**6, tiles.LEAST])
@pytest.mark.parametrize("together", [2**26, 1])
def test_logits_are_enlarged_as_a_whole_whatever_fits_into_memory(
    limit: int, together: int, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(likeliest, "ENLARGED", together)
    images = [tiny.photo(np.random.default_rng(seed), (700, 900)) for seed in (0, 1)]
    found = tiles.predict(Pointwise(), images, limit, (90, 130), confidence=True)
    logits = Pointwise()(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255)
    likely = F.interpolate(logits, size=(90, 130), mode="bilinear", align_corners=True).softmax(1).max(1)
    assert (found.ids == likely.indices.numpy()).mean() > 0.9999  # a tie may be rounded either way
    assert (tiles.predict(Pointwise(), images, limit, (90, 130)).ids == found.ids).mean() > 0.9999
    assert found.confidence is not None
    assert np.abs(found.confidence - 255 * likely.values.numpy()).max() < 0.51


def test_raw_ids_are_those_of_the_cityscapes_test_server(tmp_path: Path) -> None:
    ids = np.arange(19, dtype=np.uint8)[None]
    form, picture = Form("raw", confidence=True), Picture("berlin/berlin_000000_000019_leftImg8bit", Path("x.png"))
    write(picture, np.zeros((1, 19, 3), np.uint8), ids, ids, tmp_path, form)
    with Image.open(tmp_path / "ids/berlin/berlin_000000_000019_leftImg8bit.png") as image:
        assert image.mode == "L"
        expected = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
        assert np.asarray(image)[0].tolist() == expected
    confidence = Image.open(tmp_path / f"confidence/{picture.name}.png")
    assert (confidence.mode, np.asarray(confidence).tolist()) == ("L", ids.tolist())


def test_ids_size_and_confidence_are_options_and_the_record_tells(raw: Path, tmp_path: Path) -> None:
    run, out = tiny.finished_run(tmp_path / "run"), tmp_path / "out"
    options = ["--size", "30x50"]
    train = predictions(run, raw / "images", out, *options)
    assert not (out / "confidence").exists()
    predictions(run, raw / "images", out, *options, "--confidence")
    assert len(list((out / "confidence").iterdir())) == 3
    arguments = [
        "predict",
        "--weights",
        str(run.path),
        str(raw / "images"),
        "--out",
        str(out),
        *options,
        "--ids",
        "raw",
    ]
    assert main([*arguments, *options]) == 2
    raw_ids = predictions(run, raw / "images", out, *options, "--ids", "raw", "--again")
    table = {
        CITYSCAPES.names.index("road"): 7,
        CITYSCAPES.names.index("sky"): 23,
        CITYSCAPES.names.index("bicycle"): 33,
    }
    for ours, theirs in zip(train, raw_ids, strict=True):
        assert all(np.array_equal(ours == train_id, theirs == raw_id) for train_id, raw_id in table.items())
    record = read_json(out / "predictions.json")
    assert (record["size"], record["ids"]) == ("30x50", "raw")


def test_both_images_of_one_name_are_named_before_anything_is_predicted(tmp_path: Path) -> None:
    for name in ("x.jpg", "x.png", "y.png"):
        tiny.save(np.zeros((4, 4, 3), np.uint8), tmp_path / name)
    with pytest.raises(BadRequest, match=r"1 names occur more than once[^$]*x\.jpg and [^ ]*x\.png"):
        find([tmp_path], tmp_path / "out")


def test_a_video_is_refused_with_what_makes_images_of_it(tmp_path: Path) -> None:
    (film := tmp_path / "my film.MP4").write_bytes(b"\0")
    for given in (film, tmp_path):
        with pytest.raises(BadRequest, match=rf"ffmpeg -i '{film}' frames/%06d\.png"):
            find([given], tmp_path / "out")
    tiny.save(np.zeros((4, 4, 3), np.uint8), tmp_path / "a.png")
    assert find([tmp_path], tmp_path / "out").videos == [film]


def test_weights_without_a_run_are_refused(tmp_path: Path) -> None:
    torch.save({"model": {}}, tmp_path / "others.pth")
    tiny.save(np.zeros((4, 4, 3), np.uint8), tmp_path / "a.png")
    arguments = ["predict", "--weights", str(tmp_path / "others.pth"), str(tmp_path / "a.png"), "--out", str(tmp_path)]
    assert main(arguments) == 2


def test_a_killed_loader_process_ends_the_run_in_one_line(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.chdir(tmp_path)
    image, parent, shown = Split.image, os.getpid(), list[int]()

    def dies(split: Split, index: int) -> Any:
        if os.getpid() != parent:
            shown.append(index)
        if len(shown) == 6:
            os.kill(os.getpid(), signal.SIGKILL)
        return image(split, index)

    monkeypatch.setattr(Split, "image", dies)
    with pytest.raises(RunFailed, match=r"process that loads frames was ended.*\nLower loop\.workers"):
        make_run(RunDir(tmp_path / "out"), tiny.run(tiny.prepare(tmp_path / "ready"), steps=6, workers=1))
