"""What is pasted on what: the table of methods, and the paste.

Tranheden et al. (2021), section 3: naive mixing pastes target on target, DACS source on target; the ablation changes
the mask. Everything here is a function of its arguments and its generator.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator

from dacs.adaptation.masks import Mask, class_mask, cow_mask, cut_mask
from dacs.types import Labels, Scene

MaskMaker = Callable[[Labels, Generator], Mask]


@dataclass(frozen=True)
class Strategy:
    """One row of the table: whose pixels are pasted onto the target, and by which mask."""

    foreground: Literal["nothing", "source", "target"]
    mask: MaskMaker


def nowhere(labels: Labels, generator: Generator) -> Mask:
    """Paste nothing."""
    return torch.zeros_like(labels, dtype=torch.bool)


def strategies(*, draw_void: bool, cow_sigma: tuple[float, float], cow_share: float) -> dict[str, Strategy]:
    """The table of adaptation methods."""

    def classes(labels: Labels, generator: Generator) -> Mask:
        return class_mask(labels, generator, draw_void=draw_void)

    def cow(labels: Labels, generator: Generator) -> Mask:
        return cow_mask(labels, generator, sigma=cow_sigma, share=cow_share)

    return {
        "pseudo": Strategy("nothing", nowhere),
        "naive": Strategy("target", classes),
        "cutmix": Strategy("source", cut_mask),
        "cowmix": Strategy("source", cow),
        "dacs": Strategy("source", classes),
    }


def mix(strategy: Strategy, source: Scene, target: Scene, generator: Generator) -> tuple[Scene, Mask, Mask]:
    """The mixed scene, where it was pasted, and where its labels are the truth.

    The i-th foreground goes onto the i-th target. Naive mixing pastes the next target of the batch, chosen by its
    pseudo-labels, so that nothing in it is the truth.
    """
    foreground = source if strategy.foreground == "source" else roll(target)
    mask = strategy.mask(foreground.label, generator)
    true = mask if strategy.foreground == "source" else torch.zeros_like(mask)
    return paste(foreground, target, mask), mask, true


def paste(foreground: Scene, background: Scene, mask: Mask) -> Scene:
    """The foreground where the mask is set, the background elsewhere: image, label and confidence alike (eq. 1-2)."""
    return Scene(
        image=torch.where(mask[:, None], foreground.image, background.image),  # one channel meets three
        label=torch.where(mask, foreground.label, background.label),
        confidence=torch.where(mask, foreground.confidence, background.confidence),
    )


def roll(scene: Scene) -> Scene:
    """Each frame of the batch in the place of the one before."""
    return Scene(scene.image.roll(-1, 0), scene.label.roll(-1, 0), scene.confidence.roll(-1, 0))
