"""The device that networks run on, and the numbers they compute in."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dacs.errors import MemoryFull, RunFailed
from dacs.fields import Device
from dacs.models.graphs import Recorded
from dacs.types import Images, Logits

Precision = Literal["fp32", "tf32", "bf16"]


def device_for(name: Device) -> torch.device:
    """The device of this name; auto is the GPU where there is one. Raises RunFailed where there is none for cuda."""
    if name == "cuda" and not torch.cuda.is_available():
        raise RunFailed(
            "The device 'cuda' was asked for, but torch finds no GPU here.\n"
            "Set loop.device in params.yaml, or --device of predict, to 'auto' or 'cpu'."
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def set_numerics(*, threads: int, deterministic: bool, precision: Precision) -> None:
    """Set the CPU threads, and whether a run gives the same bytes each time; tf32 is float32 in 19 bits, on a GPU."""
    if threads:
        torch.set_num_threads(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else a GPU's matrix products have no fixed order
    torch.use_deterministic_algorithms(deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # none is read here
    torch.backends.cudnn.benchmark = not deterministic  # crops are of one size: time the ways to convolve them once
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


def describe(device: torch.device) -> str:
    """The name of a GPU, or the widest instructions of the CPU: another model rounds differently."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.backends.cpu.get_cpu_capability()}"


class Forward:
    """The forward pass of a network in a precision; logits have the type of the images, so losses are taken in it.

    With `graphs`, on a GPU, as `dacs.models.graphs` says: its outputs last until the next call.
    """

    def __init__(
        self, network: nn.Module, precision: Precision, *, compiled: bool = False, graphs: bool = False
    ) -> None:
        self.network, self.precision = network, precision

        def as_set(function: Callable[[Images], Any], compiled: bool = compiled) -> Callable[[Images], Any]:
            made = partial(self._run, torch.compile(function) if compiled else function)
            return Recorded(network, made) if graphs else made

        self._logits = as_set(network)
        self._features = as_set(getattr(network, "features", network), compiled=False)
        self._both = as_set(getattr(network, "logits_and_features", network))

    def __call__(self, images: Images) -> Logits:
        return self._logits(images)

    def features(self, images: Images) -> Tensor:
        """The coarsest features of the backbone."""
        return self._features(images)

    def with_features(self, images: Images) -> tuple[Logits, Tensor]:
        """Logits and features, of one forward pass."""
        return self._both(images)

    def _run(self, function: Callable[[Images], Any], images: Images) -> Any:
        if self.precision != "bf16":
            return function(images)
        with torch.autocast(images.device.type, torch.bfloat16, cache_enabled=False):  # each weight is used once
            found = function(images)
        return found.to(images.dtype) if isinstance(found, Tensor) else tuple(each.to(images.dtype) for each in found)


@contextmanager
def memory_errors(what: str, advice: str) -> Iterator[None]:
    """Raise RunFailed where the memory of the GPU is full, or an operation has no deterministic implementation."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        if isinstance(error, torch.OutOfMemoryError):
            raise MemoryFull(f"The memory of the GPU does not hold {what} ({reason}).\n{advice}") from error
        if "deterministic" in str(error):
            next_step = "Set it to false in params.yaml; then two runs may differ in rounding."
            raise RunFailed(f"loop.deterministic is true, but {reason}\n{next_step}") from error
        raise
