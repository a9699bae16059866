"""Forward passes of networks over the frames of a split, a batch at a time, so that memory does not grow with them."""

from collections.abc import Iterator, Sequence

import torch

from dacs.errors import RunFailed
from dacs.loading.split import Split
from dacs.models.device import memory_errors
from dacs.models.segmenter import Segmenter
from dacs.types import Images, Logits


def batches(
    data: Split, numbers: Sequence[int], size: int, device: torch.device
) -> Iterator[tuple[Sequence[int], Images]]:
    """The numbers of up to `size` frames, and their images."""
    for first in range(0, len(numbers), size):
        some = numbers[first : first + size]
        yield some, torch.stack([data.image(i) for i in some]).to(device).float() / 255


def forward(network: Segmenter, images: Images) -> Logits:
    """The logits of a batch. Raises RunFailed where they are not finite, or the memory of the GPU is full."""
    advice = f"Set evaluate.batch to {max(1, len(images) // 2)} in params.yaml; it has no effect on the result."
    with memory_errors(f"{len(images)} frames at a time", advice), torch.inference_mode():
        logits = network(images)
    if not logits.sum().isfinite() and not logits.isfinite().all():  # to sum is faster
        raise RunFailed(
            "The network predicts numbers that are not finite, so there are no classes to count.\n"
            "Its training diverged, or its weights are damaged: lower lr in params.yaml, or run 'dacs verify --remake'."
        )
    return logits
