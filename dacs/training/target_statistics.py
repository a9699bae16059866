"""Source-only training that is normalised as the target is: AdaBN (Li et al., 2016) while the weights are learned."""

from dacs.models.statistics import track
from dacs.training.objectives import Losses, Networks, StepBatch, Term


class TargetStatistics(Term):
    """No loss: in each step the BatchNorm statistics of the student move towards those of target images.

    `adapt.bn_statistics` is target, so that training starts from statistics of the target too. A network without
    BatchNorm is that of source-only training.
    """

    def __call__(self, networks: Networks, batch: StepBatch) -> Losses:
        assert batch.target is not None
        track(networks.student.network, networks.student, batch.target)
        return {}
