"""Random numbers on their way from the CPU, where they are drawn, to where the images lie."""

import torch
from torch import Tensor


def carry(draws: Tensor, device: torch.device) -> Tensor:
    """The same numbers on another device; from pinned memory to a GPU, which nobody then waits for."""
    if device.type == "cuda":
        draws = draws.pin_memory()
    return draws.to(device, non_blocking=True)
