"""What is said of a run that the memory of a GPU does not hold."""

from types import SimpleNamespace

import pytest
import tiny
import torch

from dacs.training.fit import what_fits


def test_what_would_fit_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU of 4 GiB holds DeepLab-v2 with one crop of 256x256 at a time, and not with one of 512x512."""
    small = SimpleNamespace(total_memory=4 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: small)
    lines = what_fits(tiny.run(method="dacs", network="deeplab_resnet101", batch=2, crop=(512, 512))).splitlines()
    assert ["fits" in line for line in lines[1:]] == [False, True]
    assert "loop.batch 1, accumulate 2, crop 512x512" in lines[2]
