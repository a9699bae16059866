"""What is said of a run that the memory of a GPU does not hold. It is that of DeepLab-v2, learning from crops."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch

from dacs.training.fit import what_fits

STEP = {2: 3_907, 1: 2_058}  # MiB, of a step with two crops of 512x512, by the bytes of a number: measured on an H200
NETWORKS = 670 + 16  # MiB: networks, gradients and momentum in float32 (docs/performance.md), and the crops


@pytest.fixture(autouse=True)
def _gpu_of_4_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    small = SimpleNamespace(total_memory=4 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device=None: small)


def found(**changes: Any) -> list[str]:
    given: dict[str, Any] = {"network": "deeplab_resnet101", "optimizer": "sgd", "batch": 2, "crop": (512, 512)}
    return what_fits(tiny.run(method="dacs", **given | changes)).splitlines()


def mib(line: str) -> int:
    (number,) = re.findall(r"([\d,]+) MiB", line)
    return int(number.replace(",", ""))


def test_what_would_fit_is_counted() -> None:
    """One crop of 512x512 at a time fits, and two do not."""
    _, asked, half, _ = found()
    assert [line.endswith(", fits") for line in (asked, half)] == [False, True]
    assert "loop.batch 1, accumulate 2, crop 512x512, fp32" in half
    assert mib(asked) == pytest.approx(STEP[2] + NETWORKS, rel=0.03)


def test_each_of_several_processes_holds_its_part_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four crops of two processes take what two crops of one take, and a batch is never too small to be shared."""
    alone = [mib(line) for line in found()[1:]]
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    head, asked, half, bf16 = found(batch=4)
    assert "for each of 2 processes" in head
    assert [mib(line) for line in (asked, half, bf16)] == alone
    assert "loop.batch 2, accumulate 2" in half
    smallest = found(batch=2, crop=(1024, 1024))
    assert [re.findall(r"batch (\d), .* crop (\d+)x", line) for line in smallest[1:3]] == [
        [("2", "1024")],
        [("2", "512")],
    ]


def test_bf16_needs_about_half_of_the_activations() -> None:
    *_, line = found()
    assert "loop.batch 2, accumulate 1, crop 512x512, bf16" in line
    assert mib(line) == pytest.approx(STEP[1] + NETWORKS, rel=0.03)
    asked = found(precision="bf16")
    assert mib(asked[1]) == mib(line)
    assert not [each for each in asked if "fp32" in each]


def test_graphs_are_said_to_need_more() -> None:
    small = {"network": "small", "crop": (32, 32)}
    assert "cuda_graphs" in found(**small, cuda_graphs=True)[-1]
    assert "cuda_graphs" not in found(**small)[-1]
    assert "cuda_graphs" not in found(**small, cuda_graphs=True, processes=2)[-1]
