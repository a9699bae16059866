"""Every way of measuring the networks of a run, from one forward pass for each image and network.

A protocol is a checkpoint (last, or chosen without labels), a network (student, teacher, or either with BatchNorm
statistics of the target: student_adabn, teacher_adabn) and the size of the labels: "prepared", that of the frames
(authors' code: 512x1024), or "full", that of the raw labels, to which logits are upsampled (AdaptSegNet, DAFormer:
1024x2048). Both sizes are counted from the same logits.
"""

import copy
from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dacs.evaluation.confusion import count, mean_iou
from dacs.evaluation.counts import Cells, cells_of
from dacs.evaluation.likeliest import likeliest, top
from dacs.evaluation.passes import batches, forward
from dacs.labels import LabelSet
from dacs.loading.split import Split
from dacs.models.segmenter import Segmenter
from dacs.models.statistics import re_estimate

Ids = UInt8[Tensor, "height width"]  # train ids
OfFrame = Float[Tensor, "classes h w"]  # logits
See = Callable[[str, int, OfFrame], None]  # name of a network, number of a frame, logits


class FrameCounts:
    """The confusion counts of frames, in their order; of each frame only the cells that have pixels are kept."""

    def __init__(self, classes: int) -> None:
        self.matrix = np.zeros((classes, classes), np.int64)  # of all frames so far
        self.shapes = dict[tuple[int, ...], None]()  # of the labels
        self._frames: list[Cells] = []

    def add(self, matrix: np.ndarray, shape: tuple[int, ...]) -> None:
        """Append the matrix of the next frame, whose label has this shape."""
        self.matrix += matrix
        self.shapes[shape] = None
        self._frames.append(cells_of(matrix))

    @property
    def cells(self) -> Cells:
        """As `write_counts` takes them."""
        cells = [number * self.matrix.size + cells for number, (cells, _) in enumerate(self._frames)]
        return np.concatenate(cells), np.concatenate([pixels for _, pixels in self._frames])

    @property
    def miou(self) -> list[float]:
        """mIoU of each frame, in percent; NaN for one without ground truth."""
        found = []
        for cells, pixels in self._frames:
            dense = np.zeros_like(self.matrix)
            dense.flat[cells] = pixels
            found.append(mean_iou(dense))
        return found


Counts = dict[tuple[str, str], FrameCounts]  # by network and size of the labels


class Measured:
    """The frames that networks are measured on, and how pixels of them are counted."""

    def __init__(self, data: Split, labels: LabelSet, merged: Mapping[str, str], device: torch.device) -> None:
        """`merged`: class whose predictions count as another."""
        self.data, self.device = data, device
        self.classes, self._merges = len(labels.classes), bool(merged)
        counted_as = [labels.names.index(merged.get(name, name)) for name in labels.names]
        self._counted_as = torch.tensor(counted_as, dtype=torch.uint8, device=device)

    @property
    def sizes(self) -> list[str]:
        """The sizes at which there are labels."""
        return [size for size, column in (("full", "full"), ("prepared", "label")) if column in self.data.paths]

    def counted(self, ids: Tensor) -> Tensor:
        """Predicted train ids of any shape, those of merged classes replaced."""
        return self._counted_as[ids.int()] if self._merges else ids

    def count(self, networks: Mapping[str, Segmenter], batch: int, see: See | None = None) -> Counts:
        """The counts of all frames by network and size; `see` is shown the logits of each frame too.

        Where the raw label is the prepared one, its counts are those of the prepared one.
        """
        found = {(name, size): FrameCounts(self.classes) for name in networks for size in self.sizes}
        for numbers, images in batches(self.data, range(len(self.data)), batch, self.device):
            labels = [self._labels(number) for number in numbers]
            for name, network in networks.items():
                for number, of_frame, logits in zip(numbers, labels, forward(network, images), strict=True):
                    for size, matrix in self._confusions(network, logits, of_frame).items():
                        found[name, size].add(matrix, tuple(of_frame[size].shape))
                    if see is not None:
                        see(name, number, logits)
        return found

    def _labels(self, number: int) -> dict[str, Ids]:
        """The labels of a frame by size; the full one is the prepared one where their pixels are equal."""
        prepared = self.data.label(number)
        assert prepared is not None
        labels = {"prepared": prepared}
        if "full" in self.sizes:
            full = self.data.full(number)
            labels["full"] = prepared if full.equal(prepared) else full
        return labels

    def predicted(
        self, network: Segmenter, logits: OfFrame, size: tuple[int, ...], own: UInt8[Tensor, "h w"] | None = None
    ) -> Ids:
        """The train ids of a frame at a size (height, width), as they are counted; `own`: those of the logits."""
        given = None if own is None else own[None]
        ids, _ = likeliest(logits[None], size, align_corners=network.align_corners, confidence=False, own=given)
        return self.counted(ids[0])

    def _confusions(self, network: Segmenter, logits: OfFrame, labels: dict[str, Ids]) -> dict[str, np.ndarray]:
        """The confusion matrix of a frame by size of its labels, of which the prepared ones come first."""
        (own,), found = top(logits[None])[1], dict[str, np.ndarray]()
        for size, label in labels.items():
            if size != "prepared" and label is labels["prepared"]:
                found[size] = found["prepared"]
            else:
                found[size] = self._confusion(label, self.predicted(network, logits, label.shape, own))
        return found

    def _confusion(self, label: Ids, ids: Ids) -> np.ndarray:
        if ids.is_cuda:
            return count_by_torch(label.to(ids.device), ids, self.classes)
        return count(label.numpy(), ids.numpy(), self.classes)


def count_by_torch(labels: Ids, predictions: Ids, classes: int) -> np.ndarray:
    """The same as `confusion.count`, on the device of its arguments; on a CPU numpy is faster."""
    pairs = labels.long() * classes + predictions  # those of ignored pixels lie beyond the matrix
    return torch.bincount(pairs.flatten(), minlength=classes**2)[: classes**2].view(classes, classes).cpu().numpy()


def recalibrated(network: Segmenter, images: UInt8[Tensor, "number 3 height width"]) -> Segmenter | None:
    """A copy with BatchNorm statistics of `images` (AdaBN: Li et al., 2016); None where they are what they were.

    So it is for a network without BatchNorm, and for one of a run that has done the same.
    """
    found = copy.deepcopy(network)
    re_estimate(found, images)
    before = network.state_dict()
    return None if all(value.equal(before[name]) for name, value in found.state_dict().items()) else found
