"""The teacher is a moving average of the student, and what it says of a frame depends on how it normalises."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Generator, Tensor, nn

from dacs.adaptation.teacher import Teacher, label
from dacs.models.build import build

NETWORK = {"network": "small", "aspp_branches": 4}


def images(seed: int = 0, batch: int = 2) -> Tensor:
    return torch.rand(batch, 3, 24, 32, generator=Generator().manual_seed(seed))


def student(seed: int = 0) -> nn.Module:
    return build(**NETWORK, seed=seed).double()


def shaken(network: nn.Module, seed: int) -> nn.Module:
    """The network with other numbers everywhere, statistics included."""
    draw = Generator().manual_seed(seed)
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=draw, dtype=torch.float64) + 0.1)
        else:
            value.add_(seed)
    return network


def changed_by(act: Callable[[], object], network: nn.Module) -> set[str]:
    before = copy.deepcopy(network.state_dict())
    act()
    return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("ema", [0.99, 0.5, 0.0])
def test_following_has_a_closed_form(ema: float) -> None:
    """θ' after n steps = Σ (1 - αᵢ) Π_{j>i} αⱼ θᵢ, α = min(1 - 1/(i + 1), ema)."""
    network = student()
    teacher = Teacher(network, ema=ema, batch_norm="running")
    states = []
    for step in range(6):
        shaken(network, step)
        states.append(copy.deepcopy(network.state_dict()))
        teacher.follow(network, step)
    alphas = [min(1 - 1 / (step + 1), ema) for step in range(6)]
    weights = [1 - alpha for alpha in alphas]
    for step, alpha in enumerate(alphas):
        weights[:step] = [weight * alpha for weight in weights[:step]]
    assert sum(weights) == pytest.approx(1)
    for name, value in teacher.network.state_dict().items():
        if value.is_floating_point():
            wanted = sum(weight * state[name] for weight, state in zip(weights, states, strict=True))
            assert torch.allclose(value, wanted, atol=1e-12, rtol=0), name
        else:
            assert torch.equal(value, states[-1][name])


def test_alpha_grows_to_the_ceiling_and_reaches_it_at_step_99() -> None:
    network = student()
    for step, alpha in ((1, 0.5), (9, 0.9), (98, 98 / 99), (99, 0.99), (100_000, 0.99)):
        teacher = Teacher(shaken(network, 1), ema=0.99, batch_norm="running")
        old = copy.deepcopy(teacher.network.state_dict()["head.branches.0.weight"])
        teacher.follow(shaken(network, 2), step)
        new = network.state_dict()["head.branches.0.weight"]
        found = teacher.network.state_dict()["head.branches.0.weight"]
        assert torch.allclose(found, alpha * old + (1 - alpha) * new, atol=1e-12, rtol=0)


def test_at_step_0_the_teacher_becomes_the_student() -> None:
    network = student()
    teacher = Teacher(network, ema=0.99, batch_norm="running")
    shaken(network, 3)
    teacher.follow(network, 0)
    for name, value in teacher.network.state_dict().items():
        assert torch.equal(value, network.state_dict()[name])


def test_a_still_student_has_an_equal_teacher() -> None:
    network = shaken(student(), 4)
    teacher = Teacher(network, ema=0.99, batch_norm="running")
    for step in range(5):
        teacher.follow(network, step)
    for name, value in teacher.network.state_dict().items():
        assert torch.allclose(value.double(), network.state_dict()[name].double(), atol=1e-15, rtol=1e-15)


def test_a_teacher_that_keeps_nothing_is_the_student() -> None:
    """How `pseudo_labels: student` is made: the paper's algorithm 1."""
    network = student()
    teacher = Teacher(network, ema=0.0, batch_norm="running")
    for step in range(3):
        teacher.follow(shaken(network, step), step)
    network.eval()
    of_teacher, of_student = label(teacher.network, images().double()), label(network, images().double())
    assert torch.equal(of_teacher.label, of_student.label)
    assert torch.equal(of_teacher.confidence, of_student.confidence)


def test_teacher_and_student_share_no_memory_and_the_student_is_left_alone() -> None:
    network = student().train()
    before = copy.deepcopy(network.state_dict())
    teacher = Teacher(network, ema=0.99, batch_norm="running")
    shaken(teacher.network, 5)
    teacher.follow(network, 3)
    assert network.training
    assert all(weight.requires_grad for weight in network.parameters())
    assert not any(weight.requires_grad for weight in teacher.network.parameters())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_labels_are_the_most_probable_class_and_its_probability() -> None:
    network = student().eval()
    found = label(network, images().double())
    probabilities = torch.softmax(network(images().double()), 1)
    assert torch.equal(found.label, probabilities.argmax(1))
    assert torch.equal(found.confidence, probabilities.gather(1, found.label[:, None])[:, 0])
    assert torch.equal(found.image, images().double())
    assert not found.confidence.requires_grad


def test_a_teacher_on_running_statistics_changes_nothing_and_sees_each_frame_alone() -> None:
    teacher = Teacher(student().train(), ema=0.99, batch_norm="running")
    batch = images().double()
    assert not changed_by(lambda: label(teacher.network, batch), teacher.network)
    alone = label(teacher.network, batch[:1])
    together = label(teacher.network, batch)
    assert torch.allclose(alone.confidence, together.confidence[:1], atol=1e-12, rtol=0)


def test_a_teacher_on_batch_statistics_normalises_frames_by_each_other() -> None:
    network = student().eval()
    teacher = Teacher(network, ema=0.99, batch_norm="batch")
    batch = images().double()
    by_batch = label(teacher.network, batch)
    plain = copy.deepcopy(network).train()
    assert torch.equal(by_batch.confidence, torch.softmax(plain(batch), 1).amax(1))
    other = label(teacher.network, torch.cat([batch[:1], images(9, 1).double()]))
    assert not torch.allclose(other.confidence[0], by_batch.confidence[0])
    # Its own running statistics do not matter to what it says.
    again = label(shaken_statistics(teacher.network), batch)
    assert torch.allclose(again.confidence, by_batch.confidence, atol=1e-12, rtol=0)


def shaken_statistics(network: nn.Module) -> nn.Module:
    for name, value in network.state_dict().items():
        if "running" in name:
            value.mul_(3)
    return network


@pytest.mark.parametrize(("batch_norm", "training"), [("running", False), ("batch", True)])
def test_the_mode_of_the_teacher_is_its_setting_whatever_the_students(batch_norm: str, training: bool) -> None:
    for of_student in (True, False):
        teacher = Teacher(student().train(of_student), ema=0.9, batch_norm=batch_norm)
        teacher.follow(student().train(), 5)
        assert teacher.network.training == training
