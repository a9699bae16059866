"""Random numbers from the CPU, where they are drawn, to the device of the images."""

import torch
from torch import Tensor


def to_device_async(draws: Tensor, device: torch.device) -> Tensor:
    """Copy to a device; through pinned memory to a GPU, so that the host does not wait for the copy."""
    if device.type == "cuda":
        draws = draws.pin_memory()
    return draws.to(device, non_blocking=True)
