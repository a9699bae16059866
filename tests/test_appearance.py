"""Appearance is a distance of mean features by their spread; it reads images alone, and needs pretrained weights."""

import math
from pathlib import Path

import pytest
import tiny
import torch
from torch import Tensor

from dacs.evaluation import appearance as module
from dacs.evaluation.appearance import appearance, feature_distance, pooled_features
from dacs.layout import PreparedSplit
from dacs.loading.split import Split
from dacs.models.segmenter import Segmenter
from dacs.settings import AppearanceJob


def job(weights: str = "imagenet", **changes: object) -> AppearanceJob:
    given = {"model": tiny.model(weights=weights), "frames": 3, "batch": 2, "device": "cpu"}
    return AppearanceJob.model_validate({**given, **changes})


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreparedSplit, PreparedSplit]:
    ready = tiny.prepare(tmp_path_factory.mktemp("ready"))
    return PreparedSplit(ready / "gta5/train"), PreparedSplit(ready / "cityscapes/train")


def normal(mean: float, deviation: float) -> Tensor:
    """Two images whose one feature has this mean and deviation."""
    return torch.tensor([[mean - deviation], [mean + deviation]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (normal(3, 2), normal(3, 1), 0),
        (normal(0, 0), normal(0, 0), 0),
        (normal(0, 0), normal(5, 0), 1),
        (normal(0, 1), normal(2, 1), math.sqrt(1 / 2)),  # 2 deviations apart: d² / (d² + 4)
        (normal(0, 10), normal(20, 10), math.sqrt(1 / 2)),
        (normal(0, 1), normal(4, 1), math.sqrt(4 / 5)),
    ],
)
def test_the_distance_is_0_for_equal_means_and_1_without_spread(first: Tensor, second: Tensor, expected: float) -> None:
    assert feature_distance(first, second) == pytest.approx(expected)
    assert feature_distance(second, first) == pytest.approx(expected)


def test_the_distance_is_measured_on_spread_images_with_pretrained_features(
    splits: tuple[PreparedSplit, PreparedSplit], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The features are as `load_pretrained` left them; a batch of another size gives the same."""
    loaded = list[Segmenter]()
    monkeypatch.setattr(module, "load_pretrained", lambda network, model: loaded.append(network))
    found = appearance(*splits, job())
    assert (found["weights"], len(loaded)) == ("imagenet", 1)
    network, data = loaded[0], Split(splits[0])
    assert not network.training
    with torch.inference_mode():
        one = [network.features(data.image(i)[None].float() / 255).mean((2, 3))[0] for i in (0, 1, 2)]
    assert torch.allclose(pooled_features(network, data, job()), torch.stack(one).double(), atol=1e-6)
    assert 0 < found["distance"] < 1
    assert appearance(*splits, job(batch=1)) == found
    assert appearance(splits[0], splits[0], job())["distance"] == 0


def test_random_weights_have_no_distance(tmp_path: Path) -> None:
    missing = PreparedSplit(tmp_path)
    assert appearance(missing, missing, job("none"))["distance"] is None
