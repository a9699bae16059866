"""AdaBN: statistics of the target in place of those of the source, and nothing else of the source-only run changes."""

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from dacs.evaluation.counts import read_counts
from dacs.evaluation.evaluate import evaluate_run
from dacs.layout import PreparedDomain, RunDir
from dacs.loading.split import Split
from dacs.models.build import build
from dacs.models.segmenter import Segmenter
from dacs.models.statistics import BATCH, re_estimate
from dacs.training.adabn import adabn
from dacs.training.run_cache import make_run

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
Statistics = dict[str, tuple[Tensor, Tensor]]  # mean and variance by the name of a layer


def made(folder: Path, ready: Path, network: str = "small", **changes: Any) -> tuple[RunDir, RunDir]:
    """A source-only run, and what AdaBN makes of it."""
    init, out = tiny.finished_run(folder / "init", network), RunDir(folder / "out")
    adabn(out, tiny.run(ready, "adabn", init=init, network=network, **changes), "key")
    return init, out


def norms(network: nn.Module) -> dict[str, nn.BatchNorm2d]:
    return {name: module for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}


def of_one_batch(network: Segmenter, images: Tensor) -> Statistics:
    """Mean and variance of what reaches each layer, when each layer normalises by the batch."""
    found: Statistics = {}
    observed = copy.deepcopy(network)
    for name, norm in norms(observed).items():
        norm.train()
        norm.register_forward_pre_hook(
            lambda layer, given, name=name: found.update(
                {name: (given[0].mean((0, 2, 3)), given[0].flatten(2).transpose(0, 1).flatten(1).var(1))}
            )
        )
    with torch.no_grad():
        observed(images.float() / 255)
    return found


def images(number: int, seed: int = 0) -> Tensor:
    """Images of different brightness, so that no two batches have the same mean."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(number, 3, 24, 40, generator=generator) * torch.linspace(0.2, 1, number)[:, None, None, None]
    return (255 * noise).to(torch.uint8)


def double(network: str = "small") -> Segmenter:
    return build(tiny.model(network=network)).double().eval()


@pytest.mark.parametrize("network", ["small", "deeplab_mobilenet"])
@pytest.mark.parametrize("frames", [2, 3, 4, 9])
def test_statistics_are_those_of_the_chosen_target_images(
    network: str, frames: int, ready: Path, tmp_path: Path
) -> None:
    """Of unlabelled training images, evenly spread; of student and teacher, each by its own weights."""
    init, out = made(tmp_path, ready, network, frames=frames)
    split = Split(tiny.run(ready, "adabn").target)
    chosen = {2: [0, 2], 3: [0, 1, 2], 4: [0, 1, 2, 3], 9: [0, 1, 2, 3]}[frames]
    found_images = torch.stack([split.image(i) for i in chosen])
    for before, after in ((init.weights, out.weights), (init.teacher, out.teacher)):
        observed = double(network=network)
        observed.load_state_dict(load_file(before))
        found, expected = load_file(after), of_one_batch(observed, found_images)
        assert len(expected) > 4
        for name, (mean, var) in expected.items():
            assert torch.allclose(found[f"{name}.running_mean"].double(), mean, rtol=1e-3, atol=1e-4), name
            assert torch.allclose(found[f"{name}.running_var"].double(), var, rtol=1e-3, atol=1e-5), name
    assert out.log.read_text() == f"step,images,layers\n0,{len(chosen)},{len(expected)}\n"


@pytest.mark.parametrize("number", [1, 5, BATCH, 3 * BATCH])
@pytest.mark.parametrize("statistics", ["live", "frozen"])
def test_statistics_are_exact_means_over_the_batches(number: int, statistics: str) -> None:
    network, given = double(), images(number)
    network.frozen_statistics = statistics == "frozen"
    found, momenta = copy.deepcopy(network), [norm.momentum for norm in norms(network).values()]
    assert re_estimate(found, given) == len(momenta)
    parts = [of_one_batch(network, part) for part in given.split(BATCH)]
    for name, norm in norms(found).items():
        for ours, index in (("running_mean", 0), ("running_var", 1)):
            assert torch.allclose(
                getattr(norm, ours), torch.stack([part[name][index] for part in parts]).mean(0), rtol=1e-12
            ), name
    assert not any(module.training for module in found.modules())
    assert [norm.momentum for norm in norms(found).values()] == momenta


def test_each_image_counts_alike_where_the_last_batch_is_smaller() -> None:
    network, given = double(), images(BATCH + 1)
    first = next(iter(norms(network)))
    expected = torch.stack([of_one_batch(network, image[None])[first][0] for image in given]).mean(0)
    re_estimate(network, given)
    assert torch.allclose(network.state_dict()[f"{first}.running_mean"], expected, rtol=1e-6)


def test_earlier_statistics_leave_no_trace() -> None:
    one, other = double(), double()
    for norm in norms(other).values():
        for name, value in zip(STATISTICS, (7, 0.1, 100), strict=True):
            getattr(norm, name).fill_(value)
    for network in (one, other):
        re_estimate(network, images(4))
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_no_trained_weight_changes_and_all_statistics_do(ready: Path, tmp_path: Path) -> None:
    init, out = made(tmp_path, ready)
    for before, after in ((init.weights, out.weights), (init.teacher, out.teacher)):
        old, new = load_file(before), load_file(after)
        assert list(old) == list(new)
        changed = {name for name in old if not torch.equal(old[name], new[name])}
        assert changed == {name for name in old if name.endswith(STATISTICS)} != set()


def test_a_network_without_batchnorm_stays_as_it_is_and_the_log_says_so(ready: Path, tmp_path: Path) -> None:
    init, out = made(tmp_path, ready, "small_gn")
    for before, after in ((init.weights, out.weights), (init.teacher, out.teacher)):
        old, new = load_file(before), load_file(after)
        assert list(old) == list(new)
        assert all(torch.equal(value, new[name]) for name, value in old.items())
    assert out.log.read_text() == "step,images,layers\n0,0,0\n"


def test_it_reads_unlabelled_training_images_of_the_target_and_nothing_else(ready: Path, tmp_path: Path) -> None:
    assert "label" not in (ready / "cityscapes/train/index.csv").read_text().splitlines()[0]
    _, expected = made(tmp_path / "expected", ready)
    alone = tmp_path / "ready"
    shutil.copytree(ready / "cityscapes/train", alone / "cityscapes/train")
    _, found = made(tmp_path / "found", alone)
    assert tiny.contents(found.path) == tiny.contents(expected.path)


def test_it_is_a_run_as_others_are(ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made once, found again, and evaluated by the network that its settings describe."""
    monkeypatch.chdir(tmp_path)
    init = RunDir(Path("init"))
    make_run(init, tiny.run(ready, steps=2))
    run = tiny.run(ready, "adabn", init=init)
    for name in ("one", "two"):
        make_run(RunDir(Path(name)), run)
    one = tiny.contents(Path("one"))
    assert one == tiny.contents(Path("two"))
    assert {*one} == {"weights.safetensors", "teacher.safetensors", "settings.json", "log.csv"}
    assert one["weights.safetensors"] != init.weights.read_bytes()
    assert len([path for path in Path(".cache/runs").iterdir() if path.is_dir()]) == 2  # besides the files of locks


def test_evaluation_measures_it_for_source_only_too_and_a_second_time_changes_nothing(
    ready: Path, tmp_path: Path
) -> None:
    init, out = made(tmp_path, ready)
    shutil.copy(init.spec, out.spec)
    target, found = PreparedDomain(ready / "cityscapes"), {}
    for run in (init, out):
        evaluate_run(run, target.split("val"), target.train, run.evaluation, tiny.evaluate_job())
        found[run] = read_counts(run.evaluation.counts)
    for network in ("student", "teacher"):
        for size in ("full", "prepared"):
            plain, recalibrated = f"last/{network}/{size}", f"last/{network}_adabn/{size}"
            assert np.array_equal(found[out].by_frame(plain), found[init].by_frame(recalibrated))
            assert np.array_equal(found[out].by_frame(plain), found[out].by_frame(recalibrated))
            assert not np.array_equal(found[init].by_frame(plain), found[init].by_frame(recalibrated))


def trained(ready: Path, method: str, **changes: Any) -> tuple[dict[str, Tensor], str]:
    """The weights of a run, and the columns of its log."""
    out = RunDir(Path(method))
    make_run(out, tiny.run(ready, method, **changes))
    return load_file(out.weights), out.log.read_text().splitlines()[0]


def test_trained_it_is_pseudo_labels_without_their_loss(
    ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Margins as large as the image leave no pixel of the pseudo-labels a weight."""
    monkeypatch.chdir(tmp_path)
    found, columns = trained(ready, "adabn_trained")
    expected, _ = trained(ready, "pseudo", bn_statistics="target", margins=(0.5, 0.5))
    assert {*found} == {*expected}
    assert all(torch.equal(value, expected[name]) for name, value in found.items())
    assert "loss_source" in columns
    assert "loss_mixed" not in columns
    source, _ = trained(ready, "source")
    first = next(name for name in source if name.endswith("running_mean"))
    assert not torch.allclose(source[first], found[first], rtol=0.05)
