"""What a step costs: counted without data, and the same as what a step on the CPU takes."""

from typing import Any

import pytest
import tiny
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dacs.config import load
from dacs.jobs import run_settings
from dacs.layout import PreparedSplit
from dacs.loading.split import MEMORY
from dacs.loading.stream import Batch
from dacs.models.build import build
from dacs.settings import RunSettings
from dacs.training import cost
from dacs.training.cost import (
    META,
    NOWHERE,
    Cost,
    cost_table,
    forward_operations,
    operations_of,
    peak_memory,
    step_cost,
    without_weights,
)
from dacs.training.estimate import KEPT, Device, jobs_of
from dacs.training.loop import initial_state, networks_of
from dacs.training.objectives import StepBatch
from dacs.training.run import Run

CROP = (512, 512)
GIGA = 1e9


def demo(method: str, **changes: Any) -> RunSettings:
    """The shipped settings of a method, as the step is counted: every augmentation in each batch."""
    settings = run_settings(tiny.params(), "", method)
    always = {"jitter_probability": 1.0, "blur_probability": 1.0}
    adapt = settings.adapt.model_copy(update=always | changes) if settings.adapt else None
    return settings.model_copy(update={"adapt": adapt})


# ---- published numbers


def test_the_forward_pass_of_dacs_is_that_of_its_network() -> None:
    """185.3 GMAC at 512x512, without the upsampling of the logits."""
    with META:
        network = build(tiny.model(network="deeplab_resnet101", aspp_branches=2, convention="caffe"))
    logits = 2 * 19 * (65 * 65 * 512 + 65 * 512 * 512)  # along rows, then along columns, as matrix products
    assert forward_operations(network, CROP) / GIGA == pytest.approx(2 * 185.3 + logits / GIGA, rel=1e-3)


def test_the_forward_pass_of_daformer_is_that_of_mit_b5_and_its_head() -> None:
    """118.5 GFLOP of the encoder and 232.3 of the network were counted without attention and upsampling."""
    with META:
        network = build(tiny.model(network="daformer", backbone="mit_b5", head_width=256))
    tokens = [(512 // stride) ** 2 for stride in (4, 8, 16, 32)]
    stages = zip(tokens, (64, 128, 320, 512), (3, 6, 40, 3), strict=True)
    attention = sum(blocks * 2 * 2 * count * tokens[-1] * width for count, width, blocks in stages)
    sides = [(have, 128, 256) for have in (64, 32, 16)] + [(128, 512, 19)]
    upsampling = sum(2 * channels * (have * have * want + have * want * want) for have, want, channels in sides)
    encoder = forward_operations(network.backbone, CROP)
    assert encoder / GIGA == pytest.approx(118.5 + attention / GIGA, rel=2e-3)
    whole = 232.3 + (attention + upsampling) / GIGA
    assert forward_operations(network, CROP) / GIGA == pytest.approx(whole, rel=2e-3)


@pytest.mark.parametrize("network", ["deeplab_resnet18", "small"])
def test_operations_are_those_that_torch_counts_where_no_convolution_has_groups(network: str) -> None:
    model, images = build(tiny.model(network=network)), torch.rand(2, 3, 64, 64)
    with FlopCounterMode(display=False) as counter:
        model(images).sum().backward()
    assert operations_of(lambda: model(images).sum().backward()) == counter.get_total_flops()


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_each_gradient_of_a_convolution_costs_as_much_as_the_convolution(
    kind: type[nn.Conv2d] | type[nn.ConvTranspose2d], groups: int
) -> None:
    layer, images = kind(6, 12, 3, stride=2, groups=groups, bias=False), torch.rand(2, 6, 9, 11, requires_grad=True)
    positions = 9 * 11 if kind is nn.ConvTranspose2d else 4 * 5  # at each the kernel is applied once
    once = 2 * len(images) * positions * (6 * 12 // groups) * 9
    outputs = layer(images)
    assert operations_of(lambda: outputs.sum().backward()) == 2 * once


@pytest.mark.parametrize(("method", "passes"), [("source", 3), ("adabn_trained", 4), ("dacs", 8), ("mic", 11)])
def test_a_backward_costs_as_much_as_two_forwards(method: str, passes: int) -> None:
    """Of the student; the teacher has a forward, and so has an average of the statistics on the target."""
    settings = demo(method)
    with META:
        network = build(without_weights(settings).model)
    forwards = settings.loop.batch * passes * forward_operations(network, settings.loop.crop)
    assert step_cost(method, settings).operations == pytest.approx(forwards, rel=0.03)


# ---- what a step on the CPU takes


def measured(method: str, settings: RunSettings) -> tuple[int, int]:
    """Operations of a step, and the largest memory of a term, on the CPU; gradients are there before."""
    device, loop = torch.device("cpu"), settings.loop
    run = Run(method, 0, settings, PreparedSplit(NOWHERE), PreparedSplit(NOWHERE))
    state = initial_state(run, device, resumed=True)
    source, target = torch.rand(2, loop.batch, 3, *loop.crop)
    source, target = source.clone(), target.clone()
    labels = torch.randint(0, 19, (loop.batch, *loop.crop))
    batch = StepBatch(Batch(source, labels), target, torch.Generator().manual_seed(0), share=1.0, pictures=False)
    networks = networks_of(state, run)
    operations = operations_of(lambda: [term(networks, batch) for term in state.terms])
    frozen = [term.reference.network for term in state.terms if getattr(term, "reference", None)]
    there: list[Tensor] = [source, labels, target]
    for network in (state.student, state.teacher.network, *frozen):
        there += [*network.parameters(), *network.buffers()]
    there += [weight.grad for weight in state.student.parameters() if weight.grad is not None]
    memory = [peak_memory(lambda term=term: term(networks, batch), there) for term in state.terms]  # type: ignore[misc]
    return operations, max(memory)


@pytest.mark.parametrize("method", ["dacs", "mic", "mic_daformer"])
def test_the_count_is_what_a_step_on_the_cpu_takes(method: str) -> None:
    settings = demo(method)
    counted, (operations, memory) = step_cost(method, settings), measured(method, settings)
    assert counted.operations == pytest.approx(operations, rel=1e-3)
    assert counted.step == pytest.approx(memory, rel=0.02)


def test_the_memory_of_attention_is_that_of_a_kernel_that_keeps_no_matrix() -> None:
    """As on the CPU; the operations are not, where torch counts none for its attention on CPUs."""
    settings = tiny.settings("dacs", network="daformer", backbone="mit_b0", head_width=32, crop=[128, 128])
    assert step_cost("dacs", settings).step == pytest.approx(measured("dacs", settings)[1], rel=0.02)


# ---- laws


def parts(method: str, **changes: Any) -> Cost:
    return step_cost(method, tiny.settings(method, **changes))


def test_optimizers_keep_one_or_two_numbers_a_weight() -> None:
    adamw, sgd = (parts("dacs", optimizer=name) for name in ("adamw", "sgd"))
    assert sgd.optimizer == sgd.gradients
    assert adamw.optimizer == pytest.approx(2 * adamw.gradients, rel=1e-3)  # and the number of the step
    assert adamw.teacher == adamw.weights


def test_accumulation_costs_operations_and_no_memory() -> None:
    one, three = parts("dacs"), parts("dacs", accumulate=3)
    assert three == one._replace(operations=3 * one.operations)


def test_masked_images_cost_a_forward_and_a_backward_more_and_no_further_labels() -> None:
    source, dacs, mic = (step_cost(name, demo(name)) for name in ("source", "dacs", "mic"))
    assert mic.operations - dacs.operations == pytest.approx(source.operations, rel=0.01)
    assert mic.step == dacs.step


def test_the_feature_distance_keeps_one_more_network() -> None:
    with_it, without = (step_cost("daformer", demo("daformer", feature_distance=weight)) for weight in (0.005, 0.0))
    assert with_it.other - without.other == pytest.approx(with_it.weights, rel=0.01)
    assert with_it.operations > without.operations


def test_the_table_has_a_line_for_each_method_that_trains() -> None:
    content = tiny.changed("scale", "smoke", tiny.changed("runs.methods", ["source", "adabn", "mic"]))
    content["recipe"] = "shipped"
    lines = cost_table(load(content)).splitlines()
    assert [line.split()[0] for line in lines] == ["method", "source", "mic", "Counted"]


def test_equal_terms_of_two_methods_are_counted_once() -> None:
    cost._part.cache_clear()
    for name in ("dacs", "mic"):
        step_cost(name, demo(name))
    assert cost._part.cache_info().misses == 3


@pytest.mark.parametrize("method", ["source", "adabn_trained", "dacs", "mic"])
@pytest.mark.parametrize("scale", ["demo", "paper"])
def test_a_plan_states_about_what_is_counted(scale: str, method: str) -> None:
    """Also where the method tracks statistics of the target, which takes one more forward pass."""
    content = tiny.changed("scale", scale)
    content["scales"][scale] = {**content["scales"][scale], "runs": {"tasks": ["gta5-cityscapes"], "methods": [method]}}
    params = load(content)
    stated = [job for job in jobs_of(params, Device(True, 1.0, ""), {}) if job.rule in ("train", "adapt")][-1]
    counted = step_cost(method, run_settings(params, "", method))
    assert stated.stated == pytest.approx(stated.amount * counted.operations, rel=0.03)
    assert stated.room == pytest.approx(counted.memory, rel=0.05)


def test_a_plan_knows_how_many_decoded_frames_are_kept() -> None:
    """It imports no torch, and so not the constant."""
    assert KEPT == MEMORY
