"""One step of training: everything between its batches and the gradients. Nothing here waits for the device.

Gradients are added to those that the weights have, so that a step may be gathered from several batches.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Generator, Tensor

from dacs.adaptation.augment import strong
from dacs.adaptation.losses import Weights, mixed_loss, pixel_weights, source_loss
from dacs.adaptation.masks import Mask
from dacs.adaptation.mixing import Strategy, mix
from dacs.adaptation.teacher import label
from dacs.types import Images, Labels, Logits, Scene

Losses = dict[str, Tensor]  # scalars where they were computed; read when a row is due
Precision = Literal["fp32", "tf32", "bf16"]


class Networks(NamedTuple):
    """Student and teacher as functions from images to logits."""

    student: Callable[[Images], Logits]
    teacher: Callable[[Images], Logits]


def computing_in(precision: Precision, network: Callable[[Images], Logits]) -> Callable[[Images], Logits]:
    """A network that computes in these numbers; its logits come in the images' own, so that losses are taken there."""
    if precision != "bf16":
        return network

    def logits(images: Images) -> Logits:
        with torch.autocast(images.device.type, torch.bfloat16):
            return network(images).to(images.dtype)

    return logits


class Seen(NamedTuple):
    """What an adaptation step was made of, for the picture."""

    source: Scene
    target: Scene
    mixed: Scene
    augmented: Tensor
    mask: Mask


def supervised(networks: Networks, image: Images, truth: Labels, *, share: float = 1.0) -> Losses:
    """Gradients of `share` times the cross-entropy on labelled frames."""
    loss = share * source_loss(networks.student(image), truth)
    loss.backward()
    return {"loss_source": loss.detach()}


def adaptation(
    networks: Networks,
    image: Images,
    truth: Labels,
    target: Images,
    generator: Generator,
    *,
    strategy: Strategy,
    adapt: dict[str, Any],
    share: float = 1.0,
) -> tuple[Losses, Seen]:
    """The same, and of the cross-entropy on mixed frames whose labels are partly the teacher's (Algorithm 1).

    Each loss has a backward of its own: the same gradients as of their sum, in half of the memory. The source goes
    first, so that BatchNorm sees both in the order of the authors' code.
    """
    source_scene = Scene(image, truth, torch.ones_like(image[:, 0]))
    target_scene = label(networks.teacher, target)
    mixed, mask, true = mix(strategy, source_scene, target_scene, generator)
    weights, confident = _weights(mixed, target_scene, true, adapt)
    augmented = _strong(mixed, generator, adapt)

    losses = supervised(networks, image, truth, share=share)
    loss = mixed_loss(networks.student(augmented), mixed.label, weights)
    loss = share * adapt["consistency_weight"] * loss
    loss.backward()
    losses |= {"loss_mixed": loss.detach(), "lambda": share * confident.mean()}
    return losses, Seen(source_scene, target_scene, mixed, augmented, mask)


def _weights(mixed: Scene, target: Scene, true: Mask, adapt: dict[str, Any]) -> tuple[Weights, Tensor]:
    return pixel_weights(
        mixed,
        target,
        true,
        threshold=adapt["threshold"],
        pixel_weight=adapt["pixel_weight"],
        lambda_scope=adapt["lambda_scope"],
        lambda_counts=adapt["lambda_counts"],
        lambda_applies_to=adapt["lambda_applies_to"],
    )


def _strong(mixed: Scene, generator: Generator, adapt: dict[str, Any]) -> Tensor:
    return strong(
        mixed.image,
        generator,
        jitter_probability=adapt["jitter_probability"],
        jitter_strength=adapt["jitter_strength"],
        blur_probability=adapt["blur_probability"],
        blur_sigma=tuple(adapt["blur_sigma"]),
    )
