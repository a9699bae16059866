"""Which weights learn how fast, and when."""

from typing import Any

import pytest
import tiny
import torch
from torch import nn

from dacs.models.build import build
from dacs.training import loop
from dacs.training.schedule import rate, set_rate

CPU = torch.device("cpu")


def started(method: str = "source", model: dict[str, Any] | None = None, **changes: Any) -> loop.State:
    """A run before its first step, by settings of the loop."""
    settings = tiny.settings(method, changes)
    settings["model"] |= model or {}
    return loop._start(settings, settings.get("adapt") or settings["train"], 0, None, CPU)


@pytest.mark.parametrize("step", [0, 1, 5_000, 125_000, 249_999])
def test_the_rate_falls_as_the_authors_polynomial(step: int) -> None:
    lr = 2.5e-4 * rate(step, steps=250_000, power=0.9, warmup=0)
    assert lr == pytest.approx(2.5e-4 * (1 - step / 250_000) ** 0.9, rel=1e-12)


def test_the_rate_rises_in_a_line_and_falls_ever_after() -> None:
    rates = [rate(step, steps=100, power=1.0, warmup=9) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert all(0 < value <= 1 for value in rates)
    assert [value / (1 - step / 100) for step, value in enumerate(rates[:10])] == pytest.approx(
        [(step + 1) / 10 for step in range(10)]
    )


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
@pytest.mark.parametrize("affine", ["trained", "frozen"])
def test_each_trained_weight_is_listed_once_and_no_other(kind: str, affine: str) -> None:
    state = started(model={"bn_affine": affine}, optimizer=kind)
    listed = [weight for group in state.optimizer.param_groups for weight in group["params"]]
    trained = [weight for weight in state.student.parameters() if weight.requires_grad]
    assert len({id(weight) for weight in listed}) == len(listed)
    assert {id(weight) for weight in listed} == {id(weight) for weight in trained}
    norms = {
        id(weight)
        for module in state.student.modules()
        if isinstance(module, nn.BatchNorm2d)
        for weight in module.parameters()
    }
    assert bool(norms & {id(weight) for weight in listed}) == (affine == "trained")


def test_factors_reach_backbone_and_head() -> None:
    state = started(backbone_lr_factor=3.0, head_lr_factor=10.0)
    backbone, head = state.optimizer.param_groups
    lr = tiny.settings()["train"]["lr"]
    assert backbone["lr"] == pytest.approx(3 * lr)
    assert head["lr"] == pytest.approx(10 * lr)
    assert {id(weight) for weight in head["params"]} == {id(weight) for weight in state.student.head.parameters()}


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_weight_decay_and_nesterov_reach_sgd(nesterov: bool) -> None:
    optimizer = started(optimizer="sgd", momentum=0.8, weight_decay=0.03, nesterov=nesterov).optimizer
    assert isinstance(optimizer, torch.optim.SGD)
    for group in optimizer.param_groups:
        assert (group["momentum"], group["weight_decay"], group["nesterov"]) == (0.8, 0.03, nesterov)
        assert group["dampening"] == 0


def test_weight_decay_reaches_adamw() -> None:
    optimizer = started(optimizer="adamw", weight_decay=0.03).optimizer
    assert isinstance(optimizer, torch.optim.AdamW)
    assert all(group["weight_decay"] == 0.03 for group in optimizer.param_groups)


def test_a_share_is_of_each_groups_own_rate() -> None:
    optimizer = started(backbone_lr_factor=1.0, head_lr_factor=10.0).optimizer
    first = [group["lr"] for group in optimizer.param_groups]
    for share in (0.5, 0.25, 1.0):
        set_rate(optimizer, share)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([share * lr for lr in first])


def test_branches_and_seed_reach_the_network() -> None:
    assert len(started(model={"aspp_branches": 2}).student.head.branches) == 2
    one, other = started().student, build("small", aspp_branches=4, seed=1)
    assert not torch.equal(one.head.branches[0].weight, other.head.branches[0].weight)


@pytest.mark.parametrize(("batch_norm", "training"), [("running", False), ("batch", True)])
def test_the_teachers_settings_reach_the_teacher(batch_norm: str, training: bool) -> None:
    settings = tiny.settings("dacs", teacher_bn=batch_norm, ema=0.7)
    state = loop._start(settings, settings["adapt"], 0, None, CPU)
    assert state.teacher.network.training == training
    assert state.teacher.ema == 0.7
    assert state.student.training


def test_the_student_is_its_own_teacher_when_the_paper_is_read_so() -> None:
    settings = tiny.settings("dacs", pseudo_labels="student", ema=0.99)
    assert loop._start(settings, settings["adapt"], 0, None, CPU).teacher.ema == 0


def test_a_gpu_that_is_not_there_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert loop.device_for("auto", 1, True) == CPU
    with pytest.raises(loop.RunFailed, match=r"loop\.device"):
        loop.device_for("cuda", 1, True)
