"""Paste one labelled image on another. Everything here is a function of its arguments and its generator.

Tranheden et al. (2021), section 3: naive mixing pastes target on target, DACS source on target; the ablation changes
the mask. The row of a method in `dacs.methods` says which.
"""

from pkgutil import resolve_name
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Generator, Tensor

from dacs.adaptation.masks import MakeMask, Mask
from dacs.group import ALONE, Group
from dacs.methods import Method
from dacs.settings import Adapt
from dacs.types import LabelledImages, Labels


class Mix(NamedTuple):
    """Mixed images, where something was pasted, and where their labels are ground truth."""

    mixed: LabelledImages
    mask: Mask
    ground_truth: Mask


def mix(
    method: Method,
    source: LabelledImages,
    target: LabelledImages,
    generator: Generator,
    adapt: Adapt,
    group: Group = ALONE,
) -> Mix:
    """Paste the i-th foreground on the i-th target.

    The foreground of naive mixing is the next target of the batch, its mask drawn from its pseudo-labels, so that no
    label of it is ground truth. Masks are drawn for the whole batch, of which each process of a group takes its part.
    """
    make_mask: MakeMask = resolve_name(method.mask)
    foreground = source if method.foreground == "source" else roll(target, group)
    mask = group.part(make_mask(_of_whole_batch(foreground.labels, group), generator, adapt))
    ground_truth = mask if method.foreground == "source" else torch.zeros_like(mask)
    return Mix(paste(foreground, target, mask), mask, ground_truth)


def paste(foreground: LabelledImages, background: LabelledImages, mask: Mask) -> LabelledImages:
    """The foreground where the mask is set, the background elsewhere: image, label and confidence alike (eq. 1-2)."""
    return LabelledImages(
        images=torch.where(mask[:, None], foreground.images, background.images),  # one mask for three channels
        labels=torch.where(mask, foreground.labels, background.labels),
        confidence=torch.where(mask, foreground.confidence, background.confidence),
    )


def roll(batch: LabelledImages, group: Group = ALONE) -> LabelledImages:
    """Each image of the whole batch at the index of the one before."""
    fields = batch.images, batch.labels, batch.confidence
    return LabelledImages(*(group.part(group.gather(field).roll(-1, 0)) for field in fields))


def _of_whole_batch(labels: Labels, group: Group) -> Int[Tensor, "whole height width"]:
    """The labels that all processes hold, sent as bytes."""
    return labels if group.world == 1 else group.gather(labels.byte()).to(labels.dtype)
