"""The reference implementation: one DACS step written the obvious way, as in the authors' code, with all its waits.

Image by image; classes listed and drawn on the host; colours by way of HSV; a dense blur kernel; void pixels removed by
a boolean index; one backward for the sum of both losses; a loop over all tensors for the teacher; every loss read as it
is made. It draws the same random numbers as the step of the package from the same generator, so that the two can be
compared.
"""

import copy
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from dacs.settings import Adapt

IGNORE = 255


class Result(NamedTuple):
    """What one step computed: losses and λ as numbers, and the augmented mixed images."""

    loss_source: float
    loss_mixed: float
    lambda_: float
    images: Tensor


class Reference:
    """A student, its teacher and its optimizer."""

    def __init__(self, student: nn.Module, optimizer: torch.optim.Optimizer, adapt: Adapt, taps: int) -> None:
        self.student, self.optimizer, self.adapt = student, optimizer, adapt
        self.teacher = copy.deepcopy(student).train(adapt.teacher_bn == "batch")
        for weight in self.teacher.parameters():
            weight.requires_grad_(False)
        self.taps = taps  # of the blur, each way; the reference takes a tenth of the crop: 51 of 512
        self.steps = 0

    def step(self, x_s: Tensor, y_s: Tensor, x_t: Tensor, generator: Generator) -> Result:
        """Take one step on images in [0, 1] and train ids."""
        confidence, y_hat = torch.softmax(logits(self.teacher, x_t), dim=1).max(dim=1)
        masks = [self._mask(label, generator) for label in y_s]
        weights, lambda_ = self._weights(confidence, masks)
        images = self._augment([m * s + (1 - m) * t for m, s, t in zip(masks, x_s, x_t, strict=True)], generator)
        labels = torch.stack([(m * s + (1 - m) * t).long() for m, s, t in zip(masks, y_s, y_hat, strict=True)])

        loss_source = self._cross_entropy(logits(self.student, x_s), y_s)
        unreduced = F.cross_entropy(logits(self.student, images), labels, ignore_index=IGNORE, reduction="none")
        loss_mixed = self.adapt.consistency_weight * torch.mean(unreduced * weights)
        loss = loss_source + loss_mixed
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self._update_teacher()
        self.steps += 1
        return Result(loss_source.item(), loss_mixed.item(), lambda_, images)

    def _mask(self, label: Tensor, generator: Generator) -> Tensor:
        """1 where the label is one of half of its classes, listed and drawn on the host."""
        classes = np.unique(label.cpu().numpy())
        if not self.adapt.draw_void:
            classes = classes[classes != IGNORE]
        keys = torch.rand(256, generator=generator).numpy()
        chosen = sorted(classes.tolist(), key=lambda index: keys[index])[: (len(classes) + 1) // 2]
        return sum((label == index).to(self._dtype()) for index in chosen)

    def _weights(self, confidence: Tensor, masks: list[Tensor]) -> tuple[Tensor, float]:
        confident = [(each >= self.adapt.threshold).to(self._dtype()) for each in confidence]
        if self.adapt.lambda_counts == "mixed":
            confident = [m + (1 - m) * each for m, each in zip(masks, confident, strict=True)]
        shares = [each.sum().item() / np.size(each.cpu().numpy()) for each in confident]
        if self.adapt.lambda_scope == "batch":
            shares = [sum(shares) / len(shares)] * len(shares)
        every = [share * torch.ones_like(m) for share, m in zip(shares, masks, strict=True)]
        if self.adapt.lambda_applies_to == "target":
            every = [m + (1 - m) * weight for m, weight in zip(masks, every, strict=True)]
        return torch.stack(every), sum(shares) / len(shares)

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean over the pixels that have a label, selected by a boolean index."""
        known = labels != IGNORE
        by_pixel = logits.transpose(1, 2).transpose(2, 3).contiguous()
        chosen = by_pixel[known.unsqueeze(3).repeat(1, 1, 1, logits.shape[1])].view(-1, logits.shape[1])
        return F.cross_entropy(chosen, labels[known])

    def _augment(self, images: list[Tensor], generator: Generator) -> Tensor:
        adapt = self.adapt
        jitter_coin, blur_coin = torch.rand(2, generator=generator).tolist()
        if jitter_coin < adapt.jitter_probability:
            amounts = (2 * torch.rand(len(images), 4, generator=generator) - 1) * adapt.jitter_strength
            orders = torch.rand(len(images), 4, generator=generator).argsort(1).tolist()
            images = [jitter(*each) for each in zip(images, amounts, orders, strict=True)]
        if blur_coin < adapt.blur_probability:
            low, high = adapt.blur_sigma
            sigmas = low + torch.rand(len(images), generator=generator) * (high - low)
            images = [blur(image, sigma, self.taps) for image, sigma in zip(images, sigmas, strict=True)]
        return torch.stack(images)

    def _update_teacher(self) -> None:
        alpha = min(1 - 1 / (self.steps + 1), self.adapt.ema)
        student = self.student.state_dict()
        for name, value in self.teacher.state_dict().items():
            if value.is_floating_point():
                value.copy_(alpha * value + (1 - alpha) * student[name])
            else:
                value.copy_(student[name])

    def _dtype(self) -> torch.dtype:
        return next(self.student.parameters()).dtype


def logits(network: Any, images: Tensor) -> Tensor:
    """The logits of a network at the size of the images, upsampled by torch's interpolation."""
    coarse = network.head(network.backbone((images - network.mean) / network.std))
    return F.interpolate(coarse, size=images.shape[-2:], mode="bilinear", align_corners=True)


def jitter(image: Tensor, amounts: Tensor, order: list[int]) -> Tensor:
    """Additive brightness, contrast without a mean, saturation and hue in HSV, in the given order."""
    for operation in order:
        amount = amounts[operation].to(image)
        if operation == 0:
            image = torch.clamp(image + amount, 0, 1)
        elif operation == 1:
            image = torch.clamp(image * (1 + amount), 0, 1)
        else:
            hue, saturation, value = to_hsv(image)
            if operation == 2:
                saturation = torch.clamp(saturation * (1 + amount), 0, 1)
            else:
                hue = torch.remainder(hue + amount, 1)
            image = to_rgb(hue, saturation, value)
    return image


def to_hsv(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue in turns, saturation and value in [0, 1]."""
    red, green, blue = image
    value, low = image.max(0)[0], image.min(0)[0]
    chroma = value - low
    safe = torch.where(chroma == 0, torch.ones_like(chroma), chroma)
    hue = torch.zeros_like(value)
    is_blue, is_green, is_red = value == blue, value == green, value == red
    hue[is_blue] = (4 + (red - green) / safe)[is_blue]
    hue[is_green] = (2 + (blue - red) / safe)[is_green]
    hue[is_red] = ((green - blue) / safe)[is_red]
    hue[chroma == 0] = 0
    saturation = torch.where(value == 0, torch.zeros_like(value), chroma / torch.where(value == 0, safe, value))
    return torch.remainder(hue / 6, 1), saturation, value


def to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """The six sectors of the colour circle, one after the other."""
    sector = torch.floor(hue * 6).long() % 6
    part = hue * 6 - torch.floor(hue * 6)
    p, q, t = value * (1 - saturation), value * (1 - saturation * part), value * (1 - saturation * (1 - part))
    image = torch.zeros(3, *hue.shape, dtype=hue.dtype, device=hue.device)
    sectors = [(value, t, p), (q, value, p), (p, value, t), (p, q, value), (t, p, value), (value, p, q)]
    for index, colors in enumerate(sectors):
        here = sector == index
        for channel, color in enumerate(colors):
            image[channel][here] = color[here]
    return image


def blur(image: Tensor, sigma: Tensor, taps: int) -> Tensor:
    """A dense Gaussian kernel of taps x taps, made on the host; borders are mirrored."""
    radius = min(taps // 2, image.shape[-1] - 1, image.shape[-2] - 1)
    offsets = torch.arange(-radius, radius + 1, dtype=image.dtype)
    line = torch.exp(-(offsets**2) / (2 * sigma.to(image.dtype) ** 2))
    line = line / line.sum()
    kernel = (line[:, None] * line[None, :]).to(image.device).expand(3, 1, -1, -1)
    return F.conv2d(F.pad(image[None], (radius,) * 4, mode="reflect"), kernel, groups=3)[0]
