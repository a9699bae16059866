"""Cross-entropy, and how much each mixed pixel counts in it."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from dacs.adaptation.masks import Mask
from dacs.group import ALONE, Group
from dacs.labels import IGNORE
from dacs.settings import Adapt
from dacs.types import Confidence, LabelledImages, Labels, Logits

Weights = Float[Tensor, "batch height width"]  # in [0, 1]


def source_loss(
    logits: Logits, labels: Labels, over: Literal["labelled", "all"] = "labelled", group: Group = ALONE
) -> Float[Tensor, ""]:
    """Mean cross-entropy over the pixels that have a label, 0 where none has; or over all pixels (DAFormer's code).

    Summed here, since the sum built into torch's loss adds in no fixed order on a GPU. The mean over the processes of a
    group is that over the pixels of all of them.
    """
    losses = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
    return losses.mean() if over == "all" else mean_over(losses.sum(), (labels != IGNORE).sum(), group)


def mean_over(total: Float[Tensor, ""], number: Int[Tensor, ""], group: Group = ALONE) -> Float[Tensor, ""]:
    """A sum over so many things divided by their number, 0 where there are none.

    Of a group of processes, each with its own, the mean of what they get is the mean over the things of all.
    """
    return total * group.world / group.sum(number).clamp_min(1)


def mixed_loss(logits: Logits, labels: Labels, weights: Weights) -> Float[Tensor, ""]:
    """Weighted cross-entropy, its mean taken over all pixels: ignored ones add nothing but are counted.

    So a pasted void lowers the loss, as in the authors' code (CrossEntropyLoss2dPixelWiseWeighted).
    """
    return (weights * F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")).mean()


def confident_share(
    confidence: Confidence, *, threshold: float, scope: Literal["image", "process", "batch"], group: Group = ALONE
) -> Float[Tensor, " batch"]:
    """λ: the share of pixels whose confidence reaches the threshold, of each image or of a batch.

    A batch is that of all processes of the group, or with `process` what this one holds of it.
    """
    share = (confidence >= threshold).to(confidence.dtype).mean((1, 2))
    if scope == "image":
        return share
    return (share.mean() if scope == "process" else group.mean(share.mean())).expand_as(share)


def pixel_weights(
    mixed: LabelledImages, target: LabelledImages, ground_truth: Mask, adapt: Adapt, group: Group = ALONE
) -> tuple[Weights, Float[Tensor, " batch"]]:
    """The weight of each mixed pixel, and λ of each image.

    λ counts the confident pixels of the mixed image (pasted source pixels are certain: the review's reading) or of the
    target before mixing (the authors' code). It weighs all pixels (paper, review) or only those with pseudo-labels
    (authors' code); `ground_truth` marks the others, pasted from a labelled source.
    """
    counted = mixed if adapt.lambda_counts == "mixed" else target
    weights, share = pseudo_weights(mixed.confidence, counted.confidence, adapt, ground_truth, group)
    if adapt.lambda_applies_to == "target":
        weights = torch.where(ground_truth, torch.ones_like(weights), weights)
    return weights, share


def pseudo_weights(
    confidence: Confidence,
    counted: Confidence,
    adapt: Adapt,
    ground_truth: Mask | None = None,
    group: Group = ALONE,
) -> tuple[Weights, Float[Tensor, " batch"]]:
    """The weight of each pixel of pseudo-labels, and λ of each image, the confident share of `counted`.

    Instead of λ, `threshold` weighs each pixel by its own confidence, 0 or 1, and `none` weighs all by 1. In the rows
    of `adapt.margins`, at top and bottom, weights are 0 but for the ground truth: a teacher sees too little context
    there (DAFormer's code).
    """
    share = confident_share(counted, threshold=adapt.threshold, scope=adapt.lambda_scope, group=group)
    if adapt.pixel_weight == "threshold_uniform":
        weights = share[:, None, None].expand_as(confidence)
    elif adapt.pixel_weight == "threshold":
        weights = (confidence >= adapt.threshold).to(confidence.dtype)
    else:
        weights = torch.ones_like(confidence)
    if any(adapt.margins):
        height = confidence.shape[1]
        top, bottom = (round(margin * height) for margin in adapt.margins)
        rows = torch.arange(height, device=confidence.device)[:, None]
        outside = (rows < top) | (rows >= height - bottom)
        outside = outside if ground_truth is None else outside & ~ground_truth
        weights = weights.masked_fill(outside, 0)
    return weights, share
