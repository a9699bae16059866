"""Masked image consistency: which pixels the student sees, which labels it learns from, and what stays as it was."""

from typing import Any

import pytest
import tiny
import torch
import torch.nn.functional as F
from test_objectives import CPU, start, step_batch
from torch import Tensor

from dacs.adaptation.masks import block_mask
from dacs.adaptation.teacher import pseudo_label
from dacs.layout import RunDir
from dacs.training.checkpoint import State
from dacs.training.loop import networks_of, train_run
from dacs.training.run import Run

PLAIN = {"jitter_probability": 0.0, "blur_probability": 0.0, "mask_block": 8}


def masked_step(**changes: Any) -> tuple[Run, State, dict[str, Tensor], list[Tensor]]:
    """The losses of a step of MIC, and what the student was given in each of its forward passes."""
    run, state = start("mic", **PLAIN | changes)
    for network in (state.student, state.teacher.network):
        network.double()
    seen: list[Tensor] = []
    state.student.register_forward_pre_hook(lambda module, given: seen.append(given[0].detach().clone()))
    networks, batch = networks_of(state, run), step_batch(dtype=torch.float64)
    losses = {name: loss for term in state.terms for name, loss in term(networks, batch).items()}
    return run, state, losses, seen


def test_the_student_sees_target_images_with_blocks_that_are_zero_where_it_normalises_them() -> None:
    _, state, _, seen = masked_step()
    assert len(seen) == 3  # source, mixed, masked
    target, normalised = step_batch(dtype=torch.float64).target, (seen[2] - state.student.mean) / state.student.std
    masked = (normalised == 0).all(1)
    assert 0.3 < masked.double().mean() < 0.95
    assert torch.equal(masked.reshape(2, 6, 8, 8, 8).any(4).any(2), masked.reshape(2, 6, 8, 8, 8).all(4).all(2))
    assert torch.equal(seen[2][:, 0][~masked], target[:, 0][~masked])
    assert not torch.equal(masked[0], masked[1])


@pytest.mark.parametrize("margins", [[0.0, 0.0], [0.25, 0.25]])
def test_the_loss_is_that_of_the_teachers_labels_of_whole_images_with_the_weights_before_mixing(
    margins: list[float],
) -> None:
    changes = {"threshold": 0.06, "lambda_counts": "target", "lambda_applies_to": "target", "masked_weight": 0.5}
    _, state, losses, seen = masked_step(margins=margins, lambda_scope="batch", **changes)
    found = pseudo_label(state.teacher.network, step_batch(dtype=torch.float64).target)
    share = (found.confidence >= 0.06).double().mean()
    assert 0.05 < share < 1
    weights = share.expand(2, 48, 64).clone()
    if any(margins):
        weights[:, :12] = weights[:, -12:] = 0
    state.student.train()
    expected = (weights * F.cross_entropy(state.student(seen[2]), found.labels, reduction="none")).mean()
    assert losses["loss_masked"].item() == pytest.approx(0.5 * expected.item(), rel=1e-9)


def test_its_augmentation_and_mask_are_drawn_after_those_of_the_mixed_images() -> None:
    _, _, with_masks, seen = masked_step(jitter_probability=0.5, blur_probability=0.5)
    _, _, without, seen_without = masked_step(jitter_probability=0.5, blur_probability=0.5, masked_weight=0.0)
    assert [*without] == ["loss_source", "loss_mixed", "lambda"]
    assert len(seen_without) == 2
    assert all(torch.equal(one, other) for one, other in zip(seen, seen_without, strict=False))
    assert all(torch.equal(with_masks[name], without[name]) for name in without)


def test_the_mask_differs_between_steps_and_follows_from_their_generator() -> None:
    images, adapt = torch.zeros(2, 3, 48, 64), tiny.adapt(mask_block=8)
    first, again, other = (block_mask(images, torch.Generator().manual_seed(seed), adapt) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


OFF = {"rare_class_sampling": False, "feature_distance": 0.0}


@pytest.mark.parametrize(
    ("method", "changes", "host"),
    [
        ("mic", {"masked_weight": 0.0}, "dacs"),
        ("mic_daformer", {"masked_weight": 0.0}, "daformer"),
        ("daformer", OFF, "dacs"),
        ("mic_daformer", OFF, "mic"),
    ],
)
def test_with_its_parts_off_a_run_is_its_host_bit_for_bit(
    method: str, changes: dict[str, Any], host: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ready, made = tiny.prepare(tmp_path_factory.mktemp("ready")), []
    for name, off in ((host, {}), (method, changes)):
        folder = RunDir(tmp_path_factory.mktemp(name))
        train_run(folder, tiny.run(ready, name, rare_class_frame=0.0, **off), "key")
        folder.checkpoint.unlink()  # it counts the terms
        made.append(tiny.contents(folder.path))
    assert made[0] == made[1]
    assert {"weights.safetensors", "teacher.safetensors", "log.csv"} <= made[0].keys()


def test_the_gradient_reaches_masked_pixels_too() -> None:
    run, state = start("mic", **PLAIN, threshold=0.0)
    kept: list[Tensor] = []

    def keep(module: Any, given: Any, logits: Tensor) -> None:
        logits.register_hook(lambda gradient: kept.append(gradient.clone()))

    state.student.register_forward_hook(keep)
    batch = step_batch(CPU)
    state.terms[2](networks_of(state, run), batch._replace(generator=torch.Generator().manual_seed(4)))
    generator = torch.Generator().manual_seed(4)
    torch.rand(2, generator=generator)  # the decisions on jitter and blur
    mask = block_mask(batch.target, generator, run.settings.adapt)
    assert len(kept) == 1
    size = kept[0].abs().sum(1)
    assert mask.any()
    assert size[mask].min() > 0
    assert size[~mask].min() > 0
