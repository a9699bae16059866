"""Checkpoints are chosen without labels: criteria against closed forms, and what a choice costs."""

import csv
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from torch import Tensor

from dacs.evaluation.counts import read_counts
from dacs.evaluation.evaluate import evaluate_run, load
from dacs.evaluation.selection import Criteria, choice, criteria_of, highest
from dacs.files import read_json
from dacs.layout import EvaluationDir, PreparedDomain, RunDir
from dacs.loading.split import Split
from dacs.prepare.pixels import png_of_label

SIZE = (6, 8)
LARGE = 200.0  # a logit beside which a probability of 0 logits is 0 in float32


def logits(*probabilities: list[float]) -> Tensor:
    """Logits of one image whose columns have these probabilities of the classes in turn."""
    columns = torch.tensor(probabilities)[torch.arange(SIZE[1]) % len(probabilities)]
    return columns.log().clamp_min(-LARGE).T[None, :, None, :].expand(1, -1, *SIZE)


def criteria(student: Tensor, teacher: Tensor | None = None, images: int = 1) -> Criteria:
    given = torch.zeros(images, 3, *SIZE)
    return criteria_of(
        lambda images: student.expand(len(images), -1, -1, -1),
        lambda images: (student if teacher is None else teacher).expand(len(images), -1, -1, -1),
        given.split(2),
    )


# ---- closed forms


@pytest.mark.parametrize(
    ("probabilities", "entropy", "information"),
    [
        ([[0.25] * 4], -1, 0),  # uniform everywhere
        ([[1.0, 0, 0, 0]], 0, 0),  # certain of one class everywhere
        ([[1.0, 0, 0, 0], [0, 1.0, 0, 0]], 0, 0.5),  # certain, of two of four classes: log 2 / log 4
        ([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0]], 0, 1),
        ([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]], -0.5, 0.5),  # torn between two, all four in the mean
        ([[0.9, 0.1, 0, 0]], (0.9 * math.log(0.9) + 0.1 * math.log(0.1)) / math.log(4), 0),
    ],
)
def test_entropy_and_information_have_their_closed_forms(
    probabilities: list[list[float]], entropy: float, information: float
) -> None:
    found = criteria(logits(*probabilities))
    assert found.entropy == pytest.approx(entropy, abs=1e-5)
    assert found.information == pytest.approx(information, abs=1e-5)
    assert found.agreement == 1


def test_agreement_is_the_share_of_pixels_with_one_class_for_both() -> None:
    student = logits([0.6, 0.4], [0.6, 0.4], [0.6, 0.4], [0.4, 0.6])
    teacher = logits([0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1])
    assert criteria(student, teacher).agreement == 0.75
    assert criteria(teacher, student).agreement == 0.75


def test_entropy_alone_prefers_a_network_that_predicts_one_class_and_information_does_not() -> None:
    collapsed, useful = criteria(logits([1.0, 0, 0])), criteria(logits([0.9, 0.1, 0], [0.0, 0.1, 0.9]))
    assert collapsed.entropy > useful.entropy
    assert collapsed.information < useful.information


def test_pixels_of_all_images_count_alike_in_whatever_batches_they_come() -> None:
    student = logits([0.7, 0.2, 0.1], [0.1, 0.1, 0.8])
    assert len({criteria(student, images=images) for images in (1, 2, 5)}) == 1


# ---- the choice


def test_the_highest_is_chosen_and_of_equal_ones_the_latest() -> None:
    assert highest({200: 0.1, 400: 0.3, 600: 0.2}) == 400
    assert highest({400: 0.3, 200: 0.3, 100: 0.1}) == 400


def test_regret_is_how_far_a_choice_is_below_the_best_on_labels() -> None:
    found = {200: Criteria(0.9, -0.1, 0.3), 400: Criteria(0.8, -0.3, 0.5), 600: Criteria(0.9, -0.2, 0.4)}
    made = choice(found, {200: 40.0, 400: 43.0, 600: 44.5}, "information")
    assert (made.criterion, made.chosen, made.best) == ("information", 400, 600)
    assert made.regret == {"last": 0.0, "agreement": 0.0, "entropy": 4.5, "information": 1.5}
    assert choice(found, {200: 45.0, 400: 43.0, 600: 44.5}, "agreement").regret["last"] == 0.5
    assert choice(found, dict.fromkeys(found), "entropy") == ("entropy", 200, None, None)


# ---- of a run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return tiny.run_with_snapshots(tmp_path_factory.mktemp("runs") / "seed0")


def rows(out: EvaluationDir) -> list[dict[str, str]]:
    with out.checkpoints.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize(("wanted", "frames"), [(2, [0, 2]), (3, [0, 1, 2]), (99, [0, 1, 2, 3])])
def test_criteria_are_those_of_evenly_spread_training_images(
    wanted: int, frames: list[int], run: RunDir, ready: Path, tmp_path: Path
) -> None:
    target, out = PreparedDomain(ready / "cityscapes"), EvaluationDir(tmp_path)
    evaluate_run(run, target.split("val"), target.train, out, tiny.evaluate_job(criteria_frames=wanted))
    images = torch.stack([Split(target.train).image(i) for i in frames]) / 255
    for row, student, teacher in zip(
        rows(out),
        [run.snapshot(2, "student"), run.snapshot(4, "student"), run.weights],
        [run.snapshot(2, "teacher"), run.snapshot(4, "teacher"), run.teacher],
        strict=True,
    ):
        with torch.no_grad():
            of_student, of_teacher = (
                load(path, run)(images).double().softmax(1).numpy() for path in (student, teacher)
            )
        entropy = -(of_student * np.log(of_student)).sum(1).mean() / np.log(19)
        mean = of_student.mean((0, 2, 3))
        information = -(mean * np.log(mean)).sum() / np.log(19) - entropy
        assert float(row["agreement"]) == pytest.approx((of_student.argmax(1) == of_teacher.argmax(1)).mean(), abs=1e-5)
        assert float(row["entropy"]) == pytest.approx(-entropy, abs=2e-5)
        assert float(row["information"]) == pytest.approx(information, abs=2e-5)


def test_no_label_changes_a_criterion_or_the_choice_and_regrets_are_those_of_the_table(
    run: RunDir, ready: Path, tmp_path: Path
) -> None:
    target, other = PreparedDomain(ready / "cityscapes"), PreparedDomain(tmp_path / "cityscapes")
    shutil.copytree(target.path, other.path)
    for path in (other.split("val").path / "labels").iterdir():
        with Image.open(path) as image:
            path.write_bytes(png_of_label(np.where(np.asarray(image) == 3, 4, 3).astype(np.uint8)))
    found = []
    for name, each in (("one", target), ("two", other)):
        out = EvaluationDir(tmp_path / name)
        evaluate_run(run, each.split("val"), each.train, out, tiny.evaluate_job(choose_by="agreement"))
        table, made = rows(out), read_json(out.metrics)["choice"]
        students = {int(row["step"]): float(row["student"]) for row in table}
        assert made["best"] == max(students, key=lambda step: students[step])
        picks = {"last": 6} | {
            name: max(table, key=lambda row: (float(row[name]), int(row["step"])))["step"] for name in Criteria._fields
        }
        assert made["chosen"] == int(picks["agreement"])
        for name, step in picks.items():
            assert made["regret"][name] == pytest.approx(max(students.values()) - students[int(step)])
        found.append((made["chosen"], [[row[name] for name in Criteria._fields] for row in table], students))
    assert found[0][:2] == found[1][:2]
    assert found[0][2] != found[1][2]


def test_the_table_has_the_students_and_teachers_at_the_size_of_the_headline(
    run: RunDir, ready: Path, tmp_path: Path
) -> None:
    target = PreparedDomain(ready / "cityscapes")
    for size in ("full", "prepared"):
        out = EvaluationDir(tmp_path / size)
        evaluate_run(run, target.split("val"), target.train, out, tiny.evaluate_job(labels=size))
        last, metrics = rows(out)[-1], read_json(out.metrics)
        for name in ("student", "teacher"):
            matrix = read_counts(out.counts).matrix(f"last/{name}/{size}")
            truth, hits = matrix.sum(1), np.diag(matrix)
            iou = hits[truth > 0] / (truth + matrix.sum(0) - hits)[truth > 0]
            assert float(last[name]) == metrics[name]["miou19"] == pytest.approx(100 * iou.mean())
