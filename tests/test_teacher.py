"""The teacher is a moving average of the student; its pseudo-labels depend on how it normalises."""

import copy

import pytest
import tiny
import torch
from timm.layers import DropPath
from torch import Generator, Tensor, nn

from dacs.adaptation.teacher import Teacher, pseudo_label
from dacs.models.build import build


def images(seed: int = 0, batch: int = 2) -> Tensor:
    return torch.rand(batch, 3, 24, 32, generator=Generator().manual_seed(seed), dtype=torch.float64)


def student(seed: int = 0) -> nn.Module:
    return build(tiny.model(network="small"), seed).double()


def randomize(network: nn.Module, seed: int) -> nn.Module:
    """Other numbers everywhere, in statistics too."""
    draw = Generator().manual_seed(seed)
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=draw, dtype=torch.float64) + 0.1)
        else:
            value.add_(seed)
    return network


def equal(one: nn.Module, other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("ema", [0.99, 0.5, 0.0])
def test_the_average_has_a_closed_form(ema: float) -> None:
    """θ' after n steps = Σ (1 - αᵢ) Π_{j>i} αⱼ θᵢ, α = min(1 - 1/(i + 1), ema)."""
    network = student()
    teacher = Teacher(network, ema=ema, batch_norm="running")
    states = []
    for step in range(6):
        states.append(copy.deepcopy(randomize(network, step).state_dict()))
        teacher.update(network, step)
    alphas = [min(1 - 1 / (step + 1), ema) for step in range(6)]
    weights = [1 - alpha for alpha in alphas]
    for step, alpha in enumerate(alphas):
        weights[:step] = [weight * alpha for weight in weights[:step]]
    assert sum(weights) == pytest.approx(1)
    for name, value in teacher.network.state_dict().items():
        if value.is_floating_point():
            expected = sum(weight * state[name] for weight, state in zip(weights, states, strict=True))
            assert torch.allclose(value, expected, atol=1e-12, rtol=0), name
        else:
            assert torch.equal(value, states[-1][name])


def test_alpha_rises_to_its_limit_and_reaches_it_at_step_99() -> None:
    network, weight = student(), "head.branches.0.weight"
    for step, alpha in ((1, 0.5), (9, 0.9), (98, 98 / 99), (99, 0.99), (100_000, 0.99)):
        teacher = Teacher(randomize(network, 1), ema=0.99, batch_norm="running")
        old = teacher.network.state_dict()[weight].clone()
        teacher.update(randomize(network, 2), step)
        expected = alpha * old + (1 - alpha) * network.state_dict()[weight]
        assert torch.allclose(teacher.network.state_dict()[weight], expected, atol=1e-12, rtol=0)


def test_teacher_and_student_share_no_memory_and_the_student_is_left_alone() -> None:
    network = student().train()
    before = copy.deepcopy(network.state_dict())
    teacher = Teacher(network, ema=0.99, batch_norm="running")
    randomize(teacher.network, 5)
    teacher.update(network, 3)
    assert network.training
    assert all(weight.requires_grad for weight in network.parameters())
    assert not any(weight.requires_grad for weight in teacher.network.parameters())
    assert equal(network, before)


def test_pseudo_labels_are_the_most_probable_class_and_its_probability() -> None:
    network = student().eval()
    found = pseudo_label(network, images())
    probabilities = torch.softmax(network(images()), 1)
    assert torch.equal(found.labels, probabilities.argmax(1))
    assert torch.equal(found.confidence, probabilities.gather(1, found.labels[:, None])[:, 0])
    assert torch.equal(found.images, images())
    assert not found.confidence.requires_grad


def test_a_teacher_on_running_statistics_changes_nothing_and_labels_each_image_by_itself() -> None:
    teacher = Teacher(student().train(), ema=0.99, batch_norm="running")
    before = copy.deepcopy(teacher.network.state_dict())
    together, alone = pseudo_label(teacher.network, images()), pseudo_label(teacher.network, images()[:1])
    assert equal(teacher.network, before)
    assert torch.allclose(alone.confidence, together.confidence[:1], atol=1e-12, rtol=0)


def test_a_teacher_on_batch_statistics_normalises_images_by_each_other() -> None:
    network = student().eval()
    teacher = Teacher(network, ema=0.99, batch_norm="batch")
    by_batch = pseudo_label(teacher.network, images())
    plain = copy.deepcopy(network).train()
    assert torch.equal(by_batch.confidence, torch.softmax(plain(images()), 1).amax(1))
    other = pseudo_label(teacher.network, torch.cat([images()[:1], images(9, 1)]))
    assert not torch.allclose(other.confidence[0], by_batch.confidence[0])
    for name, value in teacher.network.state_dict().items():
        if "running" in name:
            value.mul_(3)
    again = pseudo_label(teacher.network, images())  # whatever its running statistics are
    assert torch.allclose(again.confidence, by_batch.confidence, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("batch_norm", "training"), [("running", False), ("batch", True)])
def test_the_mode_of_the_teacher_is_its_setting_whatever_the_students(batch_norm: str, training: bool) -> None:
    for of_student in (True, False):
        teacher = Teacher(student().train(of_student), ema=0.9, batch_norm=batch_norm)
        teacher.update(student().train(), 5)
        assert teacher.network.training == training


@pytest.mark.parametrize("batch_norm", ["running", "batch"])
def test_dropout_of_the_teacher_is_off(batch_norm: str) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), DropPath(0.5), nn.Dropout2d(0.5)).double()
    teacher = Teacher(network.train(), ema=0.9, batch_norm=batch_norm)
    found = [pseudo_label(teacher.network, images()).confidence for _ in range(2)]
    assert torch.equal(*found)
    torch.manual_seed(1)  # not 0, with which both draws drop everything
    assert not torch.equal(*(network(images()) for _ in range(2)))


@pytest.mark.parametrize(("moves", "expected"), [("before", 0 + 1 + 4 + 9 + 16), ("after", 1 + 4 + 9 + 16 + 25)])
def test_until_the_cap_the_teacher_is_the_mean_of_the_students_before_or_after_each_step(
    moves: str, expected: int
) -> None:
    """A student of one weight that is the square of the number of steps done (DAFormer's code, or that of DACS)."""
    network = nn.Linear(1, 1, bias=False).double()
    teacher = Teacher(network, ema=0.999, batch_norm="running")
    for step in range(5):
        nn.init.constant_(network.weight, float(step**2))
        if moves == "before":
            teacher.update(network, step)
        nn.init.constant_(network.weight, float((step + 1) ** 2))
        if moves == "after":
            teacher.update(network, step)
    assert teacher.network.weight.item() == pytest.approx(expected / 5)
