"""Masked image consistency (MIC, Hoyer et al., CVPR 2023): one more term of a method that adapts."""

import torch

from dacs.adaptation.augment import strong_augment
from dacs.adaptation.losses import mixed_loss, pseudo_weights
from dacs.adaptation.masks import block_mask
from dacs.methods import Method
from dacs.models.segmenter import Segmenter
from dacs.settings import RunSettings
from dacs.training.objectives import Losses, Networks, StepBatch, Term


class MaskedCrossEntropy(Term):
    """Cross-entropy on target images with masked blocks, labelled by the teacher, which sees them whole (equation 5).

    The images are augmented by draws of their own; masked pixels are 0 where the network has normalised them. Weights
    are those of the pseudo-labels before mixing, and the mean is over all pixels, masked or not. It draws after the
    other terms, so that with `adapt.masked_weight` 0 they are what they are without it.
    """

    def __init__(self, method: Method, settings: RunSettings, student: Segmenter) -> None:
        super().__init__(method, settings, student)
        self.mean = student.mean

    def __call__(self, networks: Networks, batch: StepBatch) -> Losses:
        adapt = self.settings.adapt
        assert adapt is not None
        assert batch.target is not None
        if not adapt.masked_weight:
            return {}
        target = networks.pseudo_labels(batch.target)
        weights, _ = pseudo_weights(target.confidence, target.confidence, adapt, group=batch.group)
        augmented = strong_augment(batch.target, batch.generator, adapt, batch.group)
        whole = augmented[:1].expand(len(augmented) * batch.group.world, -1, -1, -1)  # its shape is all that counts
        mask = batch.group.part(block_mask(whole, batch.generator, adapt))
        masked = torch.where(mask[:, None], self.mean, augmented)
        loss = mixed_loss(networks.student(masked), target.labels, weights)
        loss = batch.share * adapt.masked_weight * loss
        loss.backward()
        return {"loss_masked": loss.detach()}
