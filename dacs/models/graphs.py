"""CUDA graphs: the kernels of a pass are recorded once, then started by one call instead of one call each.

A step of DeepLab-v2 has thousands of small kernels; a fast GPU computes them sooner than the host starts them.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from dacs.types import Images

WARM = 3  # passes before the recording: cuDNN chooses its kernels, a compiler makes its own


class Recorded:
    """A pass of a network, with its backward pass where weights are trained, recorded at the first call.

    On a CPU, for images of another shape, and where no gradients of trained weights are wanted, it is the pass itself.
    The next call overwrites the outputs, so they must be used, and gradients taken, before it. Gradients are added to
    those that are there, which must not be set to None. A recording changes no statistics, gradients or random numbers.
    """

    def __init__(self, network: nn.Module, function: Callable[[Images], Any]) -> None:
        self.network, self.function = network, function
        self._trained = any(weight.requires_grad for weight in network.parameters())
        self._shape: torch.Size | None = None
        self._replay = function

    def __call__(self, images: Images) -> Any:
        if not images.is_cuda or torch.is_grad_enabled() != self._trained:
            return self.function(images)
        if self._shape is None:
            self._record(images)
        return (self._replay if images.shape == self._shape else self.function)(images)

    def _record(self, images: Images) -> None:
        self._shape = images.shape
        buffers, random = [buffer.clone() for buffer in self.network.buffers()], torch.cuda.get_rng_state(images.device)
        self._replay = self._with_backward(images) if self._trained else self._forward_alone(images)
        for buffer, before in zip(self.network.buffers(), buffers, strict=True):
            buffer.copy_(before)
        torch.cuda.set_rng_state(random, images.device)

    def _with_backward(self, images: Images) -> Callable[[Images], Any]:
        pass_ = _Pass(self.network, self.function)
        replay: Any = torch.cuda.make_graphed_callables(pass_, (images.clone(),), WARM, allow_unused_input=True)
        weights = list(self.network.parameters())
        before = [weight.grad for weight in weights]
        for weight in weights:
            weight.grad = None
        torch.stack([output.float().sum() for output in tree_leaves(replay(images))]).sum().backward()
        # Gradients that are not there yet would be those of the graph itself, and the next pass would overwrite them.
        for weight, earlier in zip(weights, before, strict=True):
            weight.grad = earlier if earlier is not None or weight.grad is None else torch.zeros_like(weight)
        return replay

    def _forward_alone(self, images: Images) -> Callable[[Images], Any]:
        given, graph, side = images.clone(), torch.cuda.CUDAGraph(), torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM):
                self.function(given)
        torch.cuda.current_stream().wait_stream(side)
        with torch.cuda.graph(graph):
            outputs = self.function(given)

        def replay(images: Images) -> Any:
            given.copy_(images)
            graph.replay()
            return outputs

        return replay


class _Pass(nn.Module):
    """A function of a network's, as a module that has its weights."""

    def __init__(self, network: nn.Module, function: Callable[[Images], Any]) -> None:
        super().__init__()
        self.network, self.function = network, function

    def forward(self, images: Images) -> Any:
        return self.function(images)
