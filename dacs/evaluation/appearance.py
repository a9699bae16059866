"""How much the images of two domains differ, by the features of the pretrained backbone. No label is read."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dacs.evaluation.passes import batches
from dacs.layout import PreparedSplit
from dacs.loading.split import Split
from dacs.models.build import build, load_pretrained
from dacs.models.device import device_for, memory_errors
from dacs.models.published import NONE
from dacs.models.segmenter import Segmenter
from dacs.settings import AppearanceJob

Features = Float[Tensor, "images channels"]
DECIMALS = 4


def appearance(source: PreparedSplit, target: PreparedSplit, job: AppearanceJob) -> dict[str, Any]:
    """The distance of evenly spread images of two splits, and what it was measured with.

    The distance is None where `model.weights` is none: the features of random weights mean nothing.
    """
    found: dict[str, Any] = {"backbone": job.model.backbone, "weights": job.model.weights, "distance": None}
    if job.model.weights == NONE:
        return found
    network = build(job.model)
    load_pretrained(network, job.model)
    network.to(device_for(job.device)).eval()
    first, second = (pooled_features(network, Split(split), job) for split in (source, target))
    return {**found, "distance": round(feature_distance(first, second), DECIMALS)}


def pooled_features(network: Segmenter, data: Split, job: AppearanceJob) -> Features:
    """The coarsest features of each image, their mean over all positions."""
    advice = "Set evaluate.batch to a smaller number in params.yaml; it has no effect on the result."
    with memory_errors(f"{job.batch} frames at a time", advice), torch.inference_mode():
        every = batches(data, data.spread(job.frames), job.batch, network.mean.device)
        return torch.cat([network.features(images).mean((2, 3)).double().cpu() for _, images in every])


def feature_distance(first: Features, second: Features) -> float:
    """The correlation ratio of domain and features: 0 for equal means, 1 for domains that do not vary within.

    Its square is the share of the variance of the features, between and within both domains, that is between them: R²
    of Anderson (2001) for two groups of equal weight. It grows with the distance of the means by the spread within.
    """
    between = (first.mean(0) - second.mean(0)).square().sum() / 4
    within = (first.var(0, correction=0) + second.var(0, correction=0)).sum() / 2
    return float((between / (between + within)).sqrt()) if between > 0 else 0.0
