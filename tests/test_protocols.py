"""Scores by protocol: every count against a loop over pixels, and nothing measured twice."""

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from dacs.errors import RunFailed
from dacs.evaluation import protocols
from dacs.evaluation.confusion import count
from dacs.evaluation.counts import Counts, read_counts
from dacs.evaluation.evaluate import evaluate_run
from dacs.evaluation.protocols import count_by_torch
from dacs.files import read_json, write_json
from dacs.layout import EvaluationDir, PreparedDomain, RunDir
from dacs.loading.split import Split
from dacs.models.build import build
from dacs.models.segmenter import Segmenter

NETWORKS = ("student", "teacher", "student_adabn", "teacher_adabn")
LAST = [f"last/{network}/{size}" for network in NETWORKS for size in ("full", "prepared")]


@pytest.fixture(scope="module")
def target(ready: Path) -> PreparedDomain:
    return PreparedDomain(ready / "cityscapes")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run whose last student predicts nothing, so that the criterion chooses another; its teacher does."""
    run = tiny.run_with_snapshots(tmp_path_factory.mktemp("runs") / "seed0")
    weights = load_file(run.weights)
    save_file({name: 0 * value if name.startswith("head") else value for name, value in weights.items()}, run.weights)
    return run


@pytest.fixture(scope="module")
def evaluation(run: RunDir, target: PreparedDomain) -> EvaluationDir:
    evaluate(run, target, run.evaluation, labels="full")
    return run.evaluation


def evaluate(run: RunDir, target: PreparedDomain, out: EvaluationDir, **changes: Any) -> Counts:
    evaluate_run(run, target.split("val"), target.train, out, tiny.evaluate_job(**changes))
    return read_counts(out.counts)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def network(weights: Path, target: PreparedDomain, *, adabn: bool) -> Segmenter:
    """A network, with BatchNorm statistics of one batch of all training images of the target or with its own."""
    found = build(tiny.model())
    found.load_state_dict(load_file(weights))
    if adabn:
        for layer in found.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = 1.0
        with torch.no_grad():
            found.train()(Split(target.train).spread_images(tiny.FRAMES) / 255)
    return found.eval()


def by_pixel(found: Segmenter, target: PreparedDomain, size: str) -> np.ndarray:
    """The confusion matrix of each validation frame, pixel by pixel."""
    data = Split(target.split("val"))
    matrices = np.zeros((len(data), 19, 19), int)
    for number, matrix in enumerate(matrices):
        truth = data.full(number) if size == "full" else data.label(number)
        with torch.no_grad():
            logits = found(data.image(number)[None] / 255)
        logits = F.interpolate(logits, size=tuple(truth.shape), mode="bilinear", align_corners=True)
        for wanted, given in zip(truth.flatten().tolist(), logits.argmax(1).flatten().tolist(), strict=True):
            if wanted != 255:
                matrix[wanted, given] += 1
    return matrices


@pytest.mark.parametrize("checkpoint", ["last", "chosen"])
@pytest.mark.parametrize("name", NETWORKS)
def test_counts_of_every_protocol_are_those_of_a_loop_over_pixels(
    checkpoint: str, name: str, run: RunDir, target: PreparedDomain, evaluation: EvaluationDir
) -> None:
    found, metrics = read_counts(evaluation.counts), read_json(evaluation.metrics)
    chosen = metrics["choice"]["chosen"]
    assert chosen in (2, 4)
    role, _, adabn = name.partition("_")
    kept = run.weights if role == "student" else run.teacher
    weights = kept if checkpoint == "last" else run.snapshot(chosen, role)
    for size in ("full", "prepared"):
        expected = by_pixel(network(weights, target, adabn=bool(adabn)), target, size)
        key = f"{checkpoint}/{name}/{size}"
        assert np.array_equal(found.by_frame(key), expected)
        assert np.array_equal(found.matrix(key), expected.sum(0))
        row = next(row for row in metrics["protocols"] if f"{row['checkpoint']}/{row['network']}/{row['size']}" == key)
        matrix = expected.sum(0)
        hits, truth = np.diag(matrix), matrix.sum(1)
        iou = hits[truth > 0] / (truth + matrix.sum(0) - hits)[truth > 0]
        assert row["labels"] == {"full": "full 72x144", "prepared": "prepared 36x72"}[size]
        assert row["miou19"] == pytest.approx(100 * iou.mean())
        assert row["accuracy"] == pytest.approx(100 * hits.sum() / matrix.sum())


def test_protocols_are_listed_once_each_and_the_headline_is_one_of_them(evaluation: EvaluationDir) -> None:
    metrics, found = read_json(evaluation.metrics), read_counts(evaluation.counts)
    listed = [f"{row['checkpoint']}/{row['network']}/{row['size']}" for row in metrics["protocols"]]
    assert listed == [*LAST, *(key.replace("last", "chosen") for key in LAST)] == [*found.protocols]
    assert metrics["labels"] == "full 72x144"
    assert metrics["student"]["miou19"] == metrics["protocols"][0]["miou19"]
    for name in ("student", "teacher"):
        assert read_json(evaluation.confusion)[name] == found.matrix(f"last/{name}/full").tolist()


def test_the_same_bytes_come_out_again(
    run: RunDir, target: PreparedDomain, evaluation: EvaluationDir, tmp_path: Path
) -> None:
    evaluate(run, target, out := EvaluationDir(tmp_path), labels="full", batch=1)
    assert tiny.contents(tmp_path) == tiny.contents(evaluation.path)
    assert [row["step"] for row in rows(out.checkpoints)] == ["2", "4", "6"]


def frames_seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many frames each forward pass over the measured frames, and each enlargement, has."""
    seen: list[int] = []
    for name in ("forward", "likeliest"):
        original = getattr(protocols, name)

        def counted(*given: Any, original: Any = original, name: str = name, **options: Any) -> Any:
            seen.append(len(given[1]) if name == "forward" else 0)
            return original(*given, **options)

        monkeypatch.setattr(protocols, name, counted)
    return seen


def test_a_choice_that_is_the_last_is_listed_with_its_numbers_and_not_measured_again(
    run: RunDir, target: PreparedDomain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = tiny.run_with_snapshots(tmp_path / "run")
    for step in (2, 4):  # all equal: the latest is chosen
        shutil.copy(same.weights, same.snapshot(step, "student"))
        shutil.copy(same.teacher, same.snapshot(step, "teacher"))
    seen = frames_seen(monkeypatch)
    found = evaluate(same, target, out := EvaluationDir(tmp_path / "out"))
    assert sum(seen) == tiny.FRAMES * (3 * 2 + 2)  # both networks of three states, and AdaBN of one
    assert read_json(out.metrics)["choice"]["chosen"] == 6
    for key in LAST:
        assert np.array_equal(found.by_frame(key), found.by_frame(key.replace("last", "chosen")))


def test_raw_labels_of_the_prepared_size_are_measured_once(
    run: RunDir, target: PreparedDomain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = PreparedDomain(shutil.copytree(target.path, tmp_path / "cityscapes"))
    for path in (copied.split("val").path / "full").iterdir():
        shutil.copy(copied.split("val").path / "labels" / path.name, path)
    seen = frames_seen(monkeypatch)
    found = evaluate(run, copied, out := EvaluationDir(tmp_path / "out"))
    networks = 3 * 2 + 2 * 2
    assert len([number for number in seen if number == 0]) == tiny.FRAMES * networks + 3  # and three pictures
    assert {row["labels"] for row in read_json(out.metrics)["protocols"]} == {"full 36x72", "prepared 36x72"}
    assert np.array_equal(found.by_frame("last/teacher/full"), found.by_frame("last/teacher/prepared"))


def test_a_network_without_batchnorm_has_one_result_with_and_without_adabn(
    target: PreparedDomain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny.finished_run(tmp_path / "run", "small_gn")
    seen = frames_seen(monkeypatch)
    found = evaluate(run, target, EvaluationDir(tmp_path / "out"))
    assert sum(seen) == 2 * tiny.FRAMES
    assert [*found.protocols] == LAST
    for name in ("student", "teacher"):
        assert np.array_equal(found.by_frame(f"last/{name}_adabn/full"), found.by_frame(f"last/{name}/full"))


def test_numbers_that_are_not_finite_are_no_classes(target: PreparedDomain, tmp_path: Path) -> None:
    run = tiny.finished_run(tmp_path / "run")
    weights = load_file(run.weights)
    save_file({name: value + float("nan") * name.endswith("bias") for name, value in weights.items()}, run.weights)
    with pytest.raises(RunFailed, match="not finite"):
        evaluate(run, target, EvaluationDir(tmp_path / "out"))
    assert not EvaluationDir(tmp_path / "out").metrics.exists()


def test_predictions_of_merged_classes_count_as_the_other_in_every_protocol(
    run: RunDir, target: PreparedDomain, evaluation: EvaluationDir, tmp_path: Path
) -> None:
    before = read_counts(evaluation.counts)
    most = int(before.matrix("last/teacher/full").sum(0).argmax())
    other = (most + 1) % 19
    after = evaluate(run, target, EvaluationDir(tmp_path), merged={tiny.NAMES[most]: tiny.NAMES[other]})
    for key in before.protocols:
        expected = before.by_frame(key)
        expected[:, :, other] += expected[:, :, most]
        expected[:, :, most] = 0
        assert np.array_equal(after.by_frame(key), expected)


def test_a_run_without_snapshots_has_one_state_and_no_choice(target: PreparedDomain, tmp_path: Path) -> None:
    run = tiny.finished_run(tmp_path / "run")
    found = evaluate(run, target, out := EvaluationDir(tmp_path / "out"))
    metrics, (row,) = read_json(out.metrics), rows(out.checkpoints)
    assert [*found.protocols] == LAST
    assert metrics["choice"] is None
    assert float(row["student"]) == pytest.approx(metrics["student"]["miou19"])
    assert (row["step"], row["confident_share"]) == ("0", "")  # these settings have no schedule
    spec = read_json(run.spec)
    write_json(run.spec, {"settings": {**spec["settings"], "train": tiny.train().model_dump()}})
    evaluate(run, target, out)
    assert [(row["step"], row["confident_share"] != "") for row in rows(out.checkpoints)] == [(str(tiny.STEPS), True)]


def test_without_labels_there_are_no_protocols_and_still_a_choice(
    run: RunDir, target: PreparedDomain, evaluation: EvaluationDir, tmp_path: Path
) -> None:
    out = EvaluationDir(tmp_path)
    evaluate_run(run, target.train, target.train, out, tiny.evaluate_job(labels="full"))
    metrics, labelled = read_json(out.metrics), read_json(evaluation.metrics)
    assert metrics["protocols"] == []
    assert metrics["choice"] == {**labelled["choice"], "best": None, "regret": None}
    assert (read_counts(out.counts).frames, read_counts(out.counts).protocols) == ((), ())
    assert [row["student"] for row in rows(out.checkpoints)] == ["", "", ""]


@pytest.mark.parametrize("classes", [2, 19, 255])
def test_both_ways_of_counting_are_a_loop_over_pixels(classes: int) -> None:
    generator = torch.Generator().manual_seed(classes)
    labels, predictions = (torch.randint(classes, (31, 40), generator=generator).byte() for _ in range(2))
    labels[torch.rand(31, 40, generator=generator) < 0.2] = 255
    expected = np.zeros((classes, classes), int)
    for truth, given in zip(labels.flatten().tolist(), predictions.flatten().tolist(), strict=True):
        if truth != 255:
            expected[truth, given] += 1
    assert np.array_equal(count(labels.numpy(), predictions.numpy(), classes), expected)
    assert np.array_equal(count_by_torch(labels, predictions, classes), expected)
