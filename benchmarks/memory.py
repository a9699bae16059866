"""The memory of tensors that a step takes beyond what it found, counted on any device.

Counts what lies in tensors, live storages at each operation; what a kernel takes while it works is not seen.
"""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Live(TorchDispatchMode):
    """Bytes of the storages that operations made, and of those found before, that somebody still holds."""

    def __init__(self, found: Iterable[Tensor]) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: dict[int, int] = {}
        for tensor in found:
            self._see(tensor.untyped_storage())
        self.before = self.now

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._see(leaf.untyped_storage())
        return made

    def _see(self, storage: UntypedStorage) -> None:
        place = storage._cdata
        if place not in self._known:
            self._known[place] = storage.nbytes()
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._forget, place)

    def _forget(self, place: int) -> None:
        self.now -= self._known.pop(place)


def counted(step: Callable[[], Any], found: Iterable[Tensor]) -> int:
    """Bytes at the peak of `step` beyond those of `found`: all tensors that are there before it."""
    with _Live(found) as live:
        step()
    return live.most - live.before
