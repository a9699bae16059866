"""Student and teacher of a run on labelled frames: confusion matrices, scores, and a few predictions as pictures."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dacs.errors import RunFailed
from dacs.evaluation.confusion import count, scores
from dacs.files import read_json, write_bytes, write_json
from dacs.labels import NAMES
from dacs.layout import EvaluationDir, PreparedSplit, RunDir
from dacs.loading.split import Split
from dacs.models.build import build
from dacs.models.device import device_for, memory_errors
from dacs.models.segmenter import Segmenter
from dacs.models.upsample import interpolate
from dacs.prepare.pixels import png_of_label
from dacs.settings import EvaluateJob, Model


def evaluate_run(run: RunDir, split: PreparedSplit, out: EvaluationDir, job: EvaluateJob) -> None:
    """Count the predictions of a run's student and teacher on a prepared split.

    Writes confusion.json ([ground truth][prediction] counts), metrics.json (percent, and what was measured), and the
    student's predictions of `job.frames` evenly spread frames. `job.labels` is the size at which pixels are counted:
    "prepared", that of the frames (authors' code: 512x1024), or "full", that of the raw labels, to which logits are
    upsampled (AdaptSegNet, DAFormer: 1024x2048). Without labels counts are 0, scores None; `unmeasured` says so.
    A prediction of a class in `job.merged` is taken for the other class there.
    """
    data, device = Split(split), device_for(job.device)
    pictures = data.spread(job.frames)
    numbers = list(range(len(data))) if data.labelled else pictures
    full = data.labelled and job.labels == "full"
    matrices, metrics, sizes = {}, {}, set[tuple[int, ...]]()
    counted_as = np.arange(len(NAMES), dtype=np.uint8)
    for name, other in (job.merged or {}).items():
        counted_as[NAMES.index(name)] = NAMES.index(other)
    for role, weights in {"student": run.weights, "teacher": run.teacher}.items():
        network = load(weights).to(device)
        matrix = np.zeros((len(NAMES), len(NAMES)), np.int64)
        for i, logits in _logits(network, data, numbers, job.batch):
            ground_truth = data.full(i) if full else data.label(i)
            if ground_truth is not None:
                enlarged = interpolate(logits, ground_truth.shape, align_corners=network.align_corners)
                matrix += count(ground_truth.numpy(), counted_as[_classes(enlarged)])
                sizes.add(ground_truth.shape)
            if role == "student" and i in pictures:
                write_bytes(out.predictions / f"{data.names[i]}.png", png_of_label(counted_as[_classes(logits)]))
        matrices[role], metrics[role] = matrix.tolist(), scores(matrix, job.absent)
    write_json(out.confusion, {"classes": list(NAMES), **matrices})
    write_json(out.metrics, {**metrics, **_protocol(data, job.labels, sizes), "absent": list(job.absent)})


def load(weights: Path) -> Segmenter:
    """A network of a finished run, in evaluation mode; its shape is given by settings.json beside the weights."""
    run = RunDir(weights.parent)
    try:
        model = Model.model_validate(read_json(run.spec)["settings"]["model"])
    except ValidationError as error:
        raise RunFailed(
            f"{run.spec}: made by another version of dacs, whose networks may compute something else"
            f" (model.{error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}).\nMake the run again."
        ) from error
    network = build(model)
    try:
        network.load_state_dict(load_file(weights))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise RunFailed(
            f"{weights}: not weights of {model.network} ({error}).\nDelete {run.path} and make the run again."
        ) from error
    return network.eval()


def _logits(network: Segmenter, data: Split, numbers: list[int], batch: int) -> Iterator[tuple[int, Tensor]]:
    """The number of each frame and its logits, of shape (classes, height, width)."""
    advice = f"Set evaluate.batch to {max(1, batch // 2)} in params.yaml; it has no effect on the result."
    for first in range(0, len(numbers), batch):
        some = numbers[first : first + batch]
        images = torch.stack([data.image(i) for i in some]).to(network.mean.device)
        with memory_errors(f"{len(some)} frames at a time", advice), torch.inference_mode():
            logits = network(images.float() / 255)
        yield from zip(some, logits, strict=True)


def _classes(logits: Tensor) -> np.ndarray:
    return logits.argmax(0).byte().cpu().numpy()


def _protocol(data: Split, labels: str, sizes: set[tuple[int, ...]]) -> dict[str, Any]:
    """The sizes at which pixels were counted, height x width; or why none were."""
    if not data.labelled:
        domain, split = data.prepared.path.absolute().parts[-2:]
        unmeasured = f"The {split} frames of {domain} have no labels, so nothing was measured."
        return {"labels": None, "unmeasured": unmeasured}
    if len(sizes) > 1:
        return {"labels": f"{labels}, {len(sizes)} sizes"}
    return {"labels": f"{labels} {'x'.join(map(str, *sizes))}"}
