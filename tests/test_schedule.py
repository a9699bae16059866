"""Which weights learn how fast, and when; settings reach the optimizer, the network and the teacher."""

from typing import Any

import pytest
import tiny
import torch
from torch import nn

from dacs.models.build import build
from dacs.training.checkpoint import State
from dacs.training.loop import initial_state
from dacs.training.schedule import ListedSGD, rate, set_rate


def start(method: str = "source", **changes: Any) -> State:
    """The state before the first step."""
    return initial_state(tiny.run(method=method, **changes), torch.device("cpu"))


def ids(weights: Any) -> set[int]:
    return {id(weight) for weight in weights}


@pytest.mark.parametrize("step", [0, 1, 5_000, 125_000, 249_999])
def test_the_rate_falls_as_the_authors_polynomial(step: int) -> None:
    lr = 2.5e-4 * rate(step, steps=250_000, power=0.9, warmup=0, warmup_ratio=0.0)
    assert lr == pytest.approx(2.5e-4 * (1 - step / 250_000) ** 0.9, rel=1e-12)


def test_the_rate_rises_linearly_and_falls_ever_after() -> None:
    rates = [rate(step, steps=100, power=1.0, warmup=9, warmup_ratio=0.1) for step in range(100)]
    assert [value / (1 - step / 100) for step, value in enumerate(rates[:10])] == pytest.approx(
        [(step + 1) / 10 for step in range(10)]
    )
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert all(0 < value <= 1 for value in rates)


@pytest.mark.parametrize(
    ("step", "lr"),
    [
        *((0, 6.0e-11), (1, 4.005896e-08), (750, 2.943753e-05), (1499, 5.7713e-05)),
        *((1500, 5.775e-05), (20_000, 3.0e-05), (39_999, 1.5e-09)),
    ],
)
def test_the_rate_of_the_encoder_is_that_of_daformers_code(step: int, lr: float) -> None:
    assert 6e-5 * rate(step, steps=40_000, power=1.0, warmup=1500, warmup_ratio=1e-6) == pytest.approx(lr, rel=1e-6)


def test_the_rate_starts_anew_where_adaptation_starts_from_the_weights() -> None:
    """The steps before and after are each as those of a run of their own, whose rate rises and falls."""
    changes = {"warmup": 2, "poly_power": 0.9, "lr": 0.1, "head_lr_factor": 3.0}
    whole, before, after = (
        (start(**changes, **steps), tiny.settings(**changes, **steps))
        for steps in ({"steps": 10, "start": 4}, {"steps": 4}, {"steps": 6})
    )
    for step in range(10):
        part, of_part = (before, step) if step < 4 else (after, step - 4)
        for (state, settings), at in ((whole, step), (part, of_part)):
            set_rate(state.optimizer, at, settings)
        found, expected = ([group["lr"] for group in each.optimizer.param_groups] for each in (whole[0], part[0]))
        assert found == expected
    assert whole[0].optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * (1 / 6) ** 0.9)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("affine", ["trained", "frozen"])
def test_each_trained_weight_is_listed_once_and_no_other(optimizer: str, affine: str) -> None:
    state = start(bn_affine=affine, optimizer=optimizer)
    listed = [weight for group in state.optimizer.param_groups for weight in group["params"]]
    assert len(ids(listed)) == len(listed)
    assert ids(listed) == ids(weight for weight in state.student.parameters() if weight.requires_grad)
    norms = [module for module in state.student.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    of_norms = ids(weight for module in norms for weight in module.parameters())
    assert bool(of_norms & ids(listed)) == (affine == "trained")


def test_factors_reach_backbone_and_head_and_the_schedule_scales_both() -> None:
    changes = {"lr": 0.01, "backbone_lr_factor": 3.0, "head_lr_factor": 10.0}
    state, run = start(**changes), tiny.run(steps=10, warmup=0, poly_power=1.0, **changes)
    backbone, head = state.optimizer.param_groups
    assert ids(backbone["params"]) == ids(state.student.backbone.parameters())
    assert ids(head["params"]) == ids(state.student.head.parameters())
    for step in (0, 5, 2):
        set_rate(state.optimizer, step, run.settings)
        assert (backbone["lr"], head["lr"]) == pytest.approx((0.03 * (1 - step / 10), 0.1 * (1 - step / 10)))


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_weight_decay_and_nesterov_reach_sgd(nesterov: bool) -> None:
    optimizer = start(optimizer="sgd", momentum=0.8, weight_decay=0.03, nesterov=nesterov).optimizer
    assert isinstance(optimizer, torch.optim.SGD)
    for group in optimizer.param_groups:
        assert (group["momentum"], group["weight_decay"], group["nesterov"]) == (0.8, 0.03, nesterov)
        assert group["dampening"] == 0


def test_weight_decay_reaches_adamw() -> None:
    optimizer = start(optimizer="adamw", weight_decay=0.03).optimizer
    assert isinstance(optimizer, torch.optim.AdamW)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.03, 0.03]


def test_branches_and_seed_reach_the_network() -> None:
    assert len(start(aspp_branches=2).student.head.branches) == 2
    one, other = start(seed=0).student, start(seed=1).student
    assert not torch.equal(one.head.branches[0].weight, other.head.branches[0].weight)


@pytest.mark.parametrize(("batch_norm", "training"), [("running", False), ("batch", True)])
def test_the_teachers_settings_reach_the_teacher(batch_norm: str, training: bool) -> None:
    state = start("dacs", teacher_bn=batch_norm, ema=0.7)
    assert state.teacher.network.training == training
    assert state.teacher.ema == 0.7
    assert state.student.training


def test_pseudo_labels_of_the_student_are_those_of_a_teacher_that_keeps_nothing() -> None:
    assert start("dacs", pseudo_labels="student", ema=0.99).teacher.ema == 0


def test_channels_last_is_the_layout_of_both_networks() -> None:
    state = start("dacs", channels_last=True)
    for network in (state.student, state.teacher.network, build(tiny.model())):
        weights = [weight for weight in network.parameters() if weight.dim() == 4 and min(weight.shape[1:]) > 1]
        layout = {weight.is_contiguous(memory_format=torch.channels_last) for weight in weights}
        assert layout == {network is state.student or network is state.teacher.network}


def test_weights_of_norms_are_decayed_or_not() -> None:
    """PVT v2 names them as MiT does; those of the head decay in any case (DAFormer's code)."""
    # In each of 3 stages 3 norms in both blocks, one after the embedding, one at the end; 2 tensors each.
    for norm_decay, without in ((True, 0), (False, 48)):
        changes = {"network": "pyramid", "backbone": "timm/pvt_v2_b0", "norm_decay": norm_decay, "weight_decay": 0.01}
        state = start(optimizer="adamw", **changes)
        decayed, free = ([group for group in state.optimizer.param_groups if bool(group["weight_decay"]) == decays]
                         for decays in (True, False))  # fmt: skip
        assert sum(len(group["params"]) for group in free) == without
        named = {id(weight): name for name, weight in state.student.backbone.named_parameters()}
        assert all("norm" in named[id(weight)] for group in free for weight in group["params"])
        assert ids(state.student.head.parameters()) <= ids(weight for group in decayed for weight in group["params"])


def test_listed_weights_move_as_by_the_authors_optimizer() -> None:
    """Against the loop of that torch version over a list in which weights stand 1, 3 or 4 times, written out."""
    changes = {"network": "deeplab_resnet50", "bn_affine": "frozen", "optimizer": "sgd", "weight_decay": 0.0005}
    state = start(backbone_lr_factor="listed", lr=0.01, momentum=0.9, nesterov=False, **changes)
    backbone = dict(state.student.backbone.named_parameters())
    chosen = {"0.weight": 1, "4.1.conv2.weight": 3, "5.0.conv1.weight": 3, "4.0.downsample.0.weight": 4}
    listings = {
        name: group["listings"]
        for group in state.optimizer.param_groups
        for weight in group["params"]
        for name in chosen
        if weight is backbone[name]
    }
    assert listings == chosen
    # 53 convolutions of a ResNet-50: the first, 4 at the shortcuts, 3 in each of 16 blocks.
    assert sorted(len(group["params"]) for group in state.optimizer.param_groups) == [1, 4, 8, 48]
    expected = {name: backbone[name].detach().double().clone() for name in chosen}
    momentum = {name: torch.zeros_like(value) for name, value in expected.items()}
    for step in range(3):
        for name, weight in backbone.items():
            weight.grad = torch.full_like(weight, 0.5 + step) if name in chosen else None
        state.optimizer.step()
        for name, times in chosen.items():
            for _ in range(times):
                momentum[name] = 0.9 * momentum[name] + (0.5 + step) + 0.0005 * expected[name]
                expected[name] -= 0.01 * momentum[name]
    for name, value in expected.items():
        assert torch.allclose(backbone[name].double(), value, atol=1e-6, rtol=1e-5)


def test_one_step_of_three_listings_has_the_closed_form_of_the_reference() -> None:
    """p' = p - lr (2.439 b + 5.61 g) of a momentum b and a gradient g without decay; b' = 0.729 b + 2.71 g."""
    weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = ListedSGD([{"params": [weight], "listings": 3}], lr=1.0, momentum=0.9)
    weight.grad = torch.full_like(weight, 2.0)
    optimizer.step()
    assert weight.item() == pytest.approx(-5.61 * 2)
    momentum, before = 2.71 * 2, weight.item()
    weight.grad = torch.full_like(weight, -1.0)
    optimizer.step()
    assert weight.item() == pytest.approx(before - (2.439 * momentum + 5.61 * -1.0))
