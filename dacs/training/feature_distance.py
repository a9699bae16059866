"""The feature distance of DAFormer (Hoyer et al., CVPR 2022, section 3.2): things keep features close to ImageNet's."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from dacs.adaptation.losses import mean_over, source_loss
from dacs.errors import BadRequest
from dacs.group import ALONE, Group
from dacs.labels import CITYSCAPES
from dacs.methods import Method
from dacs.models.build import build, load_pretrained
from dacs.models.device import Forward
from dacs.models.published import NONE
from dacs.models.segmenter import Segmenter
from dacs.settings import RunSettings
from dacs.training.objectives import Losses, Networks, StepBatch, Term
from dacs.types import Labels

LEAST = 0.75  # share of the pixels of a cell that its class has


class SourceWithFeatureDistance(Term):
    """Cross-entropy on labelled images, and the distance of their features from those of the pretrained backbone.

    The distance is the Euclidean one of the coarsest map, its mean taken over the cells of things (equation 8); both
    losses are of one forward pass. Raises BadRequest where `model.weights` is none: nothing to stay close to.
    """

    def __init__(self, method: Method, settings: RunSettings, student: Segmenter) -> None:
        super().__init__(method, settings, student)
        assert settings.adapt is not None
        self.weight = settings.adapt.feature_distance
        self.reference: Forward | None = None
        if not self.weight:
            return
        if settings.model.weights == NONE:
            raise BadRequest(
                "The feature distance needs pretrained weights to stay close to, but model.weights is none.\n"
                "Name weights, or set adapt.feature_distance to 0."
            )
        self.things = settings.label_set.things
        network = build(settings.model, classes=len(settings.label_set.classes))
        load_pretrained(network, settings.model)
        network.to(student.mean.device, student.mean.dtype).eval().requires_grad_(False)
        self.reference = Forward(network, settings.loop.precision, graphs=settings.loop.graphs)

    def __call__(self, networks: Networks, batch: StepBatch) -> Losses:
        images, labels = batch.source
        assert labels is not None
        over = self.settings.loop.source_mean
        if self.reference is None:
            loss, distance = source_loss(networks.student(images), labels, over, batch.group), None
        else:
            logits, features = networks.student.with_features(images)
            loss = source_loss(logits, labels, over, batch.group)
            with torch.no_grad():
                expected = self.reference.features(images)
            distance = feature_distance(features, expected, thing_cells(labels, features, self.things), batch.group)
        total = loss if distance is None else loss + self.weight * distance
        (batch.share * total).backward()
        reported = {"loss_source": loss} if distance is None else {"loss_source": loss, "feature_distance": distance}
        return {name: batch.share * value.detach() for name, value in reported.items()}


def thing_cells(
    labels: Labels, features: Float[Tensor, "batch channels h w"], things: tuple[int, ...] = CITYSCAPES.things
) -> Bool[Tensor, "batch rows columns"]:
    """The cells of a map in which one of the classes of `things` has at least three quarters of the pixels.

    A cell is a square of the stride of the map, a power of two; the map may have a position more than there are whole
    cells. Pixels without a label count, but are no thing.
    """
    side = 2 ** round(math.log2(labels.shape[-1] / features.shape[-1]))
    each = torch.stack([labels == train_id for train_id in things], 1)
    return (F.avg_pool2d(each.to(features.dtype), side) >= LEAST).any(1)


def feature_distance(
    features: Float[Tensor, "batch channels h w"],
    expected: Float[Tensor, "batch channels h w"],
    cells: Bool[Tensor, "batch rows columns"],
    group: Group = ALONE,
) -> Float[Tensor, ""]:
    """The mean over the given cells of the Euclidean distance of features; 0 where there are none."""
    rows, columns = cells.shape[-2:]
    distances = torch.linalg.vector_norm(features - expected, dim=1)[:, :rows, :columns]
    return mean_over((distances * cells).sum(), cells.sum(), group)
