"""The feature distance: which cells count, how far features are, and where its gradient goes."""

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import save_file
from test_objectives import META, step_batch
from torch import Tensor
from torchvision.models import resnet18

from dacs.errors import BadRequest
from dacs.labels import CITYSCAPES, IGNORE
from dacs.training import feature_distance as module
from dacs.training.checkpoint import State
from dacs.training.feature_distance import feature_distance, thing_cells
from dacs.training.loop import initial_state, networks_of
from dacs.training.run import Run

CPU = torch.device("cpu")


def start(weights: Path, method: str = "daformer", device: torch.device = CPU, **changes: Any) -> tuple[Run, State]:
    """A run from a file of weights, and its state before the first step."""
    settings = {"network": "deeplab_resnet18", "weights": str(weights), "feature_distance": 0.005} | changes
    run = tiny.run(method=method, optimizer="sgd", **settings)
    return run, initial_state(run, device)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a ResNet-18 that are not those that a seed gives."""
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    save_file({name: value.contiguous() for name, value in resnet18().state_dict().items()}, path)
    return path


# ---- cells


def test_the_things_are_the_ten_of_daformer() -> None:
    assert CITYSCAPES.things == (6, 7, 11, 12, 13, 14, 15, 16, 17, 18)
    assert CITYSCAPES.names.index("pole") not in CITYSCAPES.things


@pytest.mark.parametrize(
    ("rows", "rest", "counts"),
    [(24, 0, True), (23, 0, False), (24, IGNORE, True), (8, IGNORE, False), (32, 0, True)],
)
def test_a_cell_counts_where_a_thing_has_three_quarters_of_it(rows: int, rest: int, counts: bool) -> None:
    labels = torch.full((1, 64, 96), 10)
    labels[:, :32, 32:64] = rest
    labels[:, :rows, 32:64] = 11
    cells = thing_cells(labels, torch.zeros(1, 5, 2, 3))
    assert cells.tolist() == [[[False, counts, False], [False, False, False]]]


@pytest.mark.parametrize(("length", "positions", "cells"), [(512, 65, 64), (80, 3, 2), (100, 4, 3), (96, 6, 6)])
def test_cells_have_the_size_of_the_stride_where_the_map_has_a_position_more(
    length: int, positions: int, cells: int
) -> None:
    labels = torch.zeros(1, length, length, dtype=torch.int64)
    stride = {65: 8, 3: 32, 4: 32, 6: 16}[positions]
    labels[:, stride : 2 * stride, :stride] = 13
    features = torch.zeros(1, 2, positions, positions)
    found = thing_cells(labels, features)
    assert found.shape == (1, cells, cells)
    assert found.nonzero().tolist() == [[0, 1, 0]]
    assert feature_distance(features + 3, features, found).item() == pytest.approx(3 * 2**0.5)


def test_two_things_of_less_than_three_quarters_each_do_not_count() -> None:
    labels = torch.full((1, 32, 32), 11)
    labels[:, 20:] = 13
    assert not thing_cells(labels, torch.zeros(1, 1, 1, 1)).any()


def test_the_distance_is_the_mean_of_the_cells_that_count() -> None:
    """Of a map of 2x2 cells with 2 channels, two of them counted: distances 5 and 13."""
    features = torch.tensor([[[[3.0, 100.0], [5.0, -1.0]], [[4.0, 100.0], [12.0, 7.0]]]], requires_grad=True)
    cells = torch.tensor([[[True, False], [True, False]]])
    distance = feature_distance(features, torch.zeros(1, 2, 2, 2), cells)
    assert distance.item() == pytest.approx(9)
    distance.backward()
    expected = torch.tensor([[[[3 / 10, 0], [5 / 26, 0]], [[4 / 10, 0], [12 / 26, 0]]]])
    assert torch.allclose(features.grad, expected)


def test_without_a_thing_the_distance_and_its_gradient_are_0_and_nothing_is_nan() -> None:
    features = torch.ones(1, 2, 2, 2, requires_grad=True)
    distance = feature_distance(features, features.detach(), torch.zeros(1, 2, 2, dtype=torch.bool))
    distance.backward()
    assert distance.item() == 0
    assert torch.equal(features.grad, torch.zeros_like(features))
    same = torch.ones(1, 2, 2, 2, requires_grad=True)
    feature_distance(same, same.detach(), torch.ones(1, 2, 2, dtype=torch.bool)).backward()
    assert torch.equal(same.grad, torch.zeros_like(same))


# ---- the term


def losses_of(run: Run, state: State) -> dict[str, Tensor]:
    batch = step_batch()
    batch.source.labels[:, :16, :16] = 13  # cars in whole cells
    state.optimizer.zero_grad()
    return state.terms[0](networks_of(state, run), batch)


def gradients(state: State) -> dict[str, Tensor]:
    return {name: value.grad.clone() for name, value in state.student.named_parameters() if value.grad is not None}


def test_it_is_0_at_the_first_step_in_evaluation_mode_and_grows_with_the_weights(weights: Path) -> None:
    run, state = start(weights, bn_statistics="frozen")
    assert losses_of(run, state)["feature_distance"].item() < 1e-6
    with torch.no_grad():
        state.student.backbone[0].weight.mul_(1.2)
    assert losses_of(run, state)["feature_distance"].item() > 0.1


def test_its_gradient_is_added_to_that_of_the_loss_and_reaches_the_backbone_alone(weights: Path) -> None:
    found, moved = [], []
    for changes in ({"feature_distance": 0.0}, {"feature_distance": 0.005}, {"feature_distance": 1.0}):
        run, state = start(weights, bn_statistics="frozen", **changes)
        with torch.no_grad():
            state.student.backbone[0].weight.mul_(1.2)
        losses = losses_of(run, state)
        assert ("feature_distance" in losses) == (changes["feature_distance"] > 0)
        found.append(gradients(state))
        moved.append(losses["loss_source"])
    assert moved[0] == moved[1] == moved[2]
    for name, plain in found[0].items():
        small, large = (each[name] - plain for each in found[1:])
        if name.startswith("head"):
            assert torch.equal(large, torch.zeros_like(large))
        else:
            assert torch.allclose(small, 0.005 * large, atol=2e-5 * plain.abs().max().item() + 1e-6)
    assert (found[2]["backbone.0.weight"] - found[0]["backbone.0.weight"]).abs().max() > 1e-3


def test_the_reference_has_the_pretrained_weights_whatever_the_student_starts_from(
    weights: Path, tmp_path: Path
) -> None:
    source = tiny.finished_run(tmp_path / "source", network="deeplab_resnet18", seed=3)
    settings = {"network": "deeplab_resnet18", "weights": str(weights), "feature_distance": 0.005}
    run = tiny.run(method="daformer", init=source, **settings)
    reference = initial_state(run, CPU).terms[0].reference.network
    expected, found = resnet18().state_dict(), reference.backbone[0].weight
    assert expected.keys()
    torch.manual_seed(7)
    assert torch.equal(found, resnet18().conv1.weight)
    assert not reference.training
    assert not any(weight.requires_grad for weight in reference.parameters())


def test_without_pretrained_weights_it_is_refused() -> None:
    with pytest.raises(BadRequest, match="needs pretrained weights"):
        initial_state(tiny.run(method="daformer", feature_distance=0.005), CPU)


def test_it_reads_nothing_from_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "load_pretrained", lambda network, model: None)
    run = tiny.run(method="daformer", network="deeplab_resnet18", feature_distance=0.005)
    model = run.settings.model.model_copy(update={"weights": "given"})
    settings = run.settings.model_copy(update={"model": model})
    monkeypatch.setattr("dacs.training.loop.load_pretrained", lambda network, model: None)
    state = initial_state(Run("daformer", 0, settings, run.source, run.target), META)
    found = state.terms[0](networks_of(state, run), step_batch(META))
    assert {value.device.type for value in found.values()} == {"meta"}
