"""On a GPU: a step gives the numbers of the CPU, a run the same bytes each time, and full memory one clear line."""

import signal
from pathlib import Path
from typing import Any

import pytest
import test_objectives as steps
import tiny
import torch
import torch.distributed as dist
from test_distributed import ADAPT, SMALL, check_same_results, train
from torch.multiprocessing import spawn
from torch.nn.utils import parameters_to_vector

from dacs.errors import Interrupted, MemoryFull
from dacs.layout import RunDir
from dacs.training import loop

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")

GPU = torch.device("cuda")
LONG: dict[str, Any] = {"steps": 12, "checkpoint_every": 5, "device": GPU.type, "deterministic": True}


def losses_and_gradients(method: str, device: torch.device) -> tuple[dict[str, float], torch.Tensor]:
    """Those of the first step of a run in float64."""
    run, state = steps.start(method, device)
    for network in (state.student, state.teacher.network):
        network.double()
    losses = steps.gradients(run, state, device)
    gradients = [weight.grad for weight in state.student.parameters() if weight.grad is not None]
    return {name: loss.item() for name, loss in losses.items()}, parameters_to_vector(gradients).cpu()


@pytest.mark.parametrize("method", ["source", *steps.ADAPTING])
def test_a_step_is_that_of_the_cpu(method: str) -> None:
    expected, expected_gradients = losses_and_gradients(method, steps.CPU)
    losses, gradients = losses_and_gradients(method, GPU)
    assert losses == pytest.approx(expected, rel=1e-9)
    assert (gradients - expected_gradients).norm() <= 1e-9 * expected_gradients.norm()


def trained(folder: Path, ready: Path, method: str = "dacs", **changes: Any) -> dict[str, bytes]:
    """The bytes of the results of a run on the GPU, which resumes what there is in its folder."""
    folder.mkdir(exist_ok=True)
    found = RunDir(folder)
    loop.train_run(found, tiny.run(ready, method, **LONG | changes), "key")
    return {path.name: path.read_bytes() for path in (found.weights, found.teacher, found.log)}


@pytest.mark.parametrize("network", ["small", "deeplab_mobilenet", "small_gn"])
@pytest.mark.parametrize("method", ["source", "dacs", "mic_daformer"])
@pytest.mark.parametrize("teacher_bn", ["running", "batch"])
def test_recorded_kernels_give_the_same_bytes(
    tmp_path: Path, ready: Path, method: str, network: str, teacher_bn: str
) -> None:
    given: dict[str, Any] = {"network": network, "precision": "bf16"}
    given |= {"teacher_bn": teacher_bn} if method != "source" else {}
    as_they_are = trained(tmp_path / "one", ready, method, **given)
    assert trained(tmp_path / "two", ready, method, **given, cuda_graphs=True) == as_they_are


def test_recorded_kernels_use_the_statistics_of_the_target(tmp_path: Path, ready: Path) -> None:
    given = {"bn_statistics": "target", "bn_frames": tiny.FRAMES}
    for method in ("adabn_trained", "dacs"):
        as_they_are = trained(tmp_path / f"{method} one", ready, method, **given)
        assert trained(tmp_path / f"{method} two", ready, method, **given, cuda_graphs=True) == as_they_are


def test_recorded_kernels_draw_dropout_as_others_do(tmp_path: Path, ready: Path) -> None:
    given = {"network": "daformer", "backbone": "timm/pvt_v2_b0", "drop_path": 0.5, "head_width": 32}
    as_they_are = trained(tmp_path / "one", ready, "mic", **given)
    assert trained(tmp_path / "two", ready, "mic", **given, cuda_graphs=True) == as_they_are


@pytest.mark.parametrize("method", ["source", "adabn_trained", "dacs", "mic_daformer"])
def test_a_run_gives_the_same_bytes_each_time(tmp_path: Path, ready: Path, method: str) -> None:
    assert trained(tmp_path / "one", ready, method) == trained(tmp_path / "two", ready, method)


def test_an_interrupted_run_ends_with_the_same_bytes(
    tmp_path: Path, ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_rate = loop.set_rate

    def stopping(optimizer: torch.optim.Optimizer, step: int, *others: Any) -> None:
        if step == 6:
            signal.raise_signal(signal.SIGTERM)
        set_rate(optimizer, step, *others)

    monkeypatch.setattr(loop, "set_rate", stopping)
    with pytest.raises(Interrupted, match="stopped at step 7 of 12"):
        trained(tmp_path / "cut", ready)
    monkeypatch.undo()
    assert trained(tmp_path / "cut", ready) == trained(tmp_path / "whole", ready)


def member(rank: int, backend: str, folder: Path, ready: Path, method: str) -> None:
    """One of two processes that train together, on the GPUs that there are."""
    torch.cuda.set_device(rank % torch.cuda.device_count())
    dist.init_process_group(backend, init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    train(folder / "two", tiny.run(ready, method, **SMALL | ADAPT, device=GPU.type))
    dist.destroy_process_group()


@pytest.mark.parametrize("method", ["dacs", "mic_daformer"])
@pytest.mark.parametrize("backend", ["gloo", "cpu:gloo,cuda:nccl"])
def test_two_processes_compute_what_one_does(backend: str, method: str, tmp_path: Path, ready: Path) -> None:
    if "nccl" in backend and torch.cuda.device_count() == 1:
        pytest.skip("NCCL wants a GPU for each process")
    spawn(member, (backend, tmp_path, ready, method), nprocs=2)
    train(tmp_path / "one", tiny.run(ready, method, **SMALL | ADAPT, device=GPU.type))
    check_same_results(tmp_path / "two", tmp_path / "one", method)


def test_full_memory_says_what_to_change(tmp_path: Path, ready: Path) -> None:
    held = torch.empty(torch.cuda.mem_get_info()[0] - 2**28, dtype=torch.uint8, device=GPU)
    with pytest.raises(MemoryFull, match="memory of the GPU does not hold the networks"):
        trained(tmp_path, ready, network="deeplab_resnet101")
    del held
    torch.cuda.empty_cache()
