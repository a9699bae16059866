"""The memory of tensors that a step takes beyond those before it, counted on any device.

Counts the live storages at each operation; what a kernel takes while it works is not seen.
"""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Live(TorchDispatchMode):
    """Bytes of the live storages: those given, and those that operations make."""

    def __init__(self, given: Iterable[Tensor]) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._sizes: dict[int, int] = {}  # by address
        for tensor in given:
            self._add(tensor.untyped_storage())
        self.before = self.now

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._add(leaf.untyped_storage())
        return made

    def _add(self, storage: UntypedStorage) -> None:
        address = storage._cdata
        if address not in self._sizes:
            self._sizes[address] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._remove, address)

    def _remove(self, address: int) -> None:
        self.now -= self._sizes.pop(address)


def peak_memory(step: Callable[[], Any], given: Iterable[Tensor]) -> int:
    """Bytes at the peak of `step` beyond those of `given`: all tensors that are there before it."""
    with _Live(given) as live:
        step()
    return live.peak - live.before
