"""The losses of a step, as terms: each does its own forward and backward, so only one graph is in memory at a time.

A term is named in the row of a method (`dacs.methods`) and called in order. Gradients are added to those that the
weights have, so that a step may be accumulated over several batches. Nothing here waits for the device.
"""

from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from dacs.adaptation.augment import strong_augment
from dacs.adaptation.losses import mixed_loss, pixel_weights, source_loss
from dacs.adaptation.mixing import mix
from dacs.adaptation.teacher import pseudo_label
from dacs.group import ALONE, Group
from dacs.loading.stream import Batch
from dacs.methods import Method
from dacs.models.device import Forward
from dacs.models.segmenter import Segmenter
from dacs.models.statistics import track
from dacs.settings import RunSettings
from dacs.training.mix_example import MixExample, save_example
from dacs.types import Images, LabelledImages

Losses = dict[str, Tensor]  # scalars on their device; read only when a row of log.csv is due


@dataclass
class Networks:
    """The forward passes of the student and its teacher."""

    student: Forward
    teacher: Forward
    _latest: LabelledImages | None = None

    def pseudo_labels(self, images: Images) -> LabelledImages:
        """The teacher's labels of a batch; made once, for every term that asks for them."""
        if self._latest is None or self._latest.images is not images:
            self._latest = pseudo_label(self.teacher, images)
        return self._latest


class StepBatch(NamedTuple):
    """What a term is given: one of the batches that a step accumulates."""

    source: Batch  # labelled
    target: Images | None  # unlabelled; None for methods that do not adapt
    generator: Generator  # of this batch
    share: float  # of the gradients of the step
    pictures: bool  # whether pictures are kept of it
    group: Group = ALONE  # the processes that hold parts of it


class Term:
    """One loss of a step. A subclass computes it, and may keep state of its own (a frozen network, an average).

    It is made once a run, from the student as it is initialised; its state is saved in the checkpoint.
    """

    def __init__(self, method: Method, settings: RunSettings, student: Segmenter) -> None:
        self.method, self.settings = method, settings

    def __call__(self, networks: Networks, batch: StepBatch) -> Losses:
        """Add `batch.share` of the gradients; return the losses to log, each times `batch.share`.

        Both are summed over the batches of a step and over the processes of `batch.group`.
        """
        raise NotImplementedError

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors to save in a checkpoint."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""

    def save_pictures(self, folder: Path) -> None:
        """Write pictures of the last batch that was to have some into `folder`."""


def terms_of(method: Method, settings: RunSettings, student: Segmenter) -> list[Term]:
    """The terms of a method, in order."""
    return [resolve_name(name)(method, settings, student) for name in method.terms]


class SourceCrossEntropy(Term):
    """Cross-entropy on labelled images."""

    def __call__(self, networks: Networks, batch: StepBatch) -> Losses:
        images, labels = batch.source
        assert labels is not None
        loss = source_loss(networks.student(images), labels, self.settings.loop.source_mean, batch.group)
        loss = batch.share * loss
        loss.backward()
        return {"loss_source": loss.detach()}


class MixedCrossEntropy(Term):
    """Cross-entropy on mixed images, whose labels are partly the teacher's (Tranheden et al., Algorithm 1)."""

    def __init__(self, method: Method, settings: RunSettings, student: Segmenter) -> None:
        super().__init__(method, settings, student)
        assert settings.adapt is not None
        self.adapt = settings.adapt
        self.example: MixExample | None = None

    def __call__(self, networks: Networks, batch: StepBatch) -> Losses:
        images, labels = batch.source
        assert labels is not None
        assert batch.target is not None
        source = LabelledImages(images, labels, torch.ones_like(images[:, 0]))
        if self.adapt.bn_statistics == "target":
            track(networks.student.network, networks.student, batch.target)
        target = networks.pseudo_labels(batch.target)
        mixed, mask, ground_truth = mix(self.method, source, target, batch.generator, self.adapt, batch.group)
        weights, lambda_ = pixel_weights(mixed, target, ground_truth, self.adapt, batch.group)
        augmented = strong_augment(mixed.images, batch.generator, self.adapt, batch.group)
        loss = mixed_loss(networks.student(augmented), mixed.labels, weights)
        loss = batch.share * self.adapt.consistency_weight * loss
        loss.backward()
        if batch.pictures:
            self.example = MixExample(source, target, mixed, augmented, mask, weights)
        return {"loss_mixed": loss.detach(), "lambda": batch.share * lambda_.mean()}

    def save_pictures(self, folder: Path) -> None:
        """Write the first mixed image of that batch."""
        if self.example:
            save_example(folder, self.example, self.settings.label_set)
            self.example = None  # frees its memory until the next one
