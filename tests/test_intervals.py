"""Counts of frames on disk, and bootstrap intervals against closed forms and simulations."""

from pathlib import Path

import numpy as np
import pytest

from dacs.errors import RunFailed
from dacs.evaluation.confusion import count
from dacs.evaluation.counts import read_counts, write_counts
from dacs.evaluation.intervals import Bootstrap


def frames(accuracy: float, number: int, seed: int, classes: int = 2) -> np.ndarray:
    """Confusion matrices of frames of 1,000 pixels, each predicted right with the given probability."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(classes, size=(number, 1000))
    right = generator.random((number, 1000)) < np.clip(accuracy + 0.1 * generator.standard_normal((number, 1)), 0, 1)
    return np.stack([count(t, np.where(r, t, (t + 1) % classes), classes) for t, r in zip(truth, right, strict=True)])


def miou(matrix: np.ndarray) -> float:
    hits = np.diag(matrix)
    return float(100 * (hits / (matrix.sum(0) + matrix.sum(1) - hits)).mean())


# ---- on disk


def test_counts_come_back_as_they_were_written_and_take_the_space_of_their_cells(tmp_path: Path) -> None:
    of_last, of_chosen = frames(0.8, 5, 0, classes=150), frames(0.7, 5, 1, classes=150)
    names = [f"frame {number}, ü" for number in range(5)]
    write_counts(tmp_path / "counts.npz", names, 150, {"last/student/full": of_last, "chosen/teacher/full": of_chosen})
    found = read_counts(tmp_path / "counts.npz")
    assert (found.frames, found.classes) == (tuple(names), 150)
    assert found.protocols == ("last/student/full", "chosen/teacher/full")
    for protocol, expected in zip(found.protocols, (of_last, of_chosen), strict=True):
        assert np.array_equal(found.by_frame(protocol), expected)
        assert np.array_equal(found.matrix(protocol), expected.sum(0))
    assert (tmp_path / "counts.npz").stat().st_size < 2 * 8 * (np.count_nonzero(of_last) + np.count_nonzero(of_chosen))


def test_equal_counts_are_equal_bytes_and_another_file_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_counts(tmp_path / name, ["x"], 2, {"last/student/full": frames(0.8, 1, 0)})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    whole = (tmp_path / "a").read_bytes()
    for content in (b"no archive", b"", whole[:-30], whole[:200] + b"xx" + whole[202:]):
        (tmp_path / "a").write_bytes(content)
        with pytest.raises(RunFailed, match="not counts of an evaluation"):
            read_counts(tmp_path / "a")


# ---- intervals


def test_the_value_is_the_mean_over_seeds_of_the_score_of_all_frames() -> None:
    seeds = [frames(0.8, 40, seed) for seed in range(3)]
    found = Bootstrap({"dacs": seeds}, [0, 1]).mean("dacs")
    assert found.value == pytest.approx(np.mean([miou(each.sum(0)) for each in seeds]))
    assert found.low < found.value < found.high


def test_an_interval_is_as_wide_as_the_spread_over_other_frames() -> None:
    """1.96 standard deviations of scores on 400 independent sets of 60 frames, within a fifth."""
    scores = [miou(frames(0.8, 60, 100 + number).sum(0)) for number in range(400)]
    found = Bootstrap({"dacs": [frames(0.8, 60, 0)]}, [0, 1]).mean("dacs")
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * np.std(scores), rel=0.25)


def test_a_paired_difference_is_surer_than_the_scores_it_is_of() -> None:
    better = frames(0.8, 60, 0)
    worse = better.copy()
    worse[:, 0, 0] -= 20  # in each frame 20 pixels of one class are lost
    worse[:, 0, 1] += 20
    found = Bootstrap({"a": [better], "b": [worse]}, [0, 1])
    assert found.difference("a", "b").excludes_zero
    assert found.difference("a", "b").high - found.difference("a", "b").low < 0.5
    assert found.mean("a").low < found.mean("b").high  # unpaired, nothing could be said
    assert not found.difference("a", "a").excludes_zero


def test_seeds_are_drawn_too_where_there_are_several() -> None:
    same = frames(0.8, 60, 0)
    other = same.copy()
    other[:, 0, 0] -= 150
    other[:, 0, 1] += 150
    alone, several = (Bootstrap({"a": seeds}, [0, 1]).mean("a") for seeds in ([same, same], [same, other]))
    assert several.high - several.low > 2 * (alone.high - alone.low)


def test_the_mean_is_over_the_classes_that_are_asked_for_and_intervals_are_the_same_each_time() -> None:
    counts = frames(0.8, 30, 0, classes=3)
    first, again = (Bootstrap({"a": [counts]}, [0, 2]) for _ in range(2))
    assert first.mean("a") == again.mean("a")
    hits, matrix = np.diag(counts.sum(0)), counts.sum(0)
    iou = 100 * hits / (matrix.sum(0) + matrix.sum(1) - hits)
    assert first.mean("a").value == pytest.approx(iou[[0, 2]].mean())
    with pytest.raises(ValueError, match="one number of frames"):
        Bootstrap({"a": [counts], "b": [counts[:2]]}, [0])
