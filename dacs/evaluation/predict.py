"""Labels for images of any size, by the networks of a finished run."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from dacs.errors import BadRequest, RunFailed
from dacs.evaluation.evaluate import load
from dacs.evaluation.shown import save_labels
from dacs.files import atomic
from dacs.labels import palette

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
OPACITY = 0.5  # of the colours over the image


def predict_images(weights: Path, images: Sequence[Path], out: Path, *, batch: int) -> None:
    """Label images, or folders of them, and write to `out` for each: train ids, colours, and an overlay.

    `weights`: a run folder, or weights.safetensors or teacher.safetensors in one. Images of the same size go through
    the network `batch` at a time. Writes ids/, colors/ and overlays/ as PNG under the images' names.
    """
    paths = _all(images)
    run, file = (weights, "weights.safetensors") if weights.is_dir() else (weights.parent, weights.name)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = load(run, file).to(device)
    waiting: list[tuple[Path, np.ndarray]] = []
    for path in tqdm(paths, unit="image", disable=None):
        image = _read(path)
        if waiting and (len(waiting) == batch or waiting[0][1].shape != image.shape):
            _label(network, waiting, out, device)
            waiting = []
        waiting.append((path, image))
    _label(network, waiting, out, device)


def _all(given: Sequence[Path]) -> list[Path]:
    """The images that were given, and those in the folders that were given, in order of their names."""
    paths: list[Path] = []
    for path in given:
        if path.is_dir():
            paths.extend(sorted(inner for inner in path.rglob("*") if inner.suffix.lower() in ENDINGS))
        elif path.exists():
            paths.append(path)
        else:
            raise BadRequest(f"{path}: not found.\nGive images, or folders of images.")
    if not paths:
        raise BadRequest(f"{', '.join(map(str, given))}: no images.\nKnown endings: {', '.join(ENDINGS)}.")
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise BadRequest(
            f"{len(twice)} names occur more than once, such as '{twice[0]}'; results would overwrite each other.\n"
            "Give these images in runs of their own."
        )
    return paths


def _read(path: Path) -> np.ndarray:
    """RGB, uint8 of shape (height, width, 3)."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise RunFailed(f"{path}: not a readable image.\nRemove it, or replace it by a whole copy.")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


@torch.inference_mode()
def _label(network: torch.nn.Module, images: list[tuple[Path, np.ndarray]], out: Path, device: torch.device) -> None:
    """Label images of one size and write what was found."""
    pixels = torch.from_numpy(np.stack([image for _, image in images])).to(device)
    logits = network(pixels.permute(0, 3, 1, 2).float() / 255)  # batch height width RGB → batch RGB height width
    for (path, image), ids in zip(images, logits.argmax(1).byte().cpu().numpy(), strict=True):
        colors = palette()[ids]
        save_labels(ids, out / "ids" / f"{path.stem}.png")
        _save(colors, out / "colors" / f"{path.stem}.png")
        _save(cv2.addWeighted(image, 1 - OPACITY, colors, OPACITY, 0), out / "overlays" / f"{path.stem}.png")


def _save(image: np.ndarray, path: Path) -> None:
    with atomic(path) as partial:
        Image.fromarray(image).save(partial)
