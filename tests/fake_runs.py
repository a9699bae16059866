"""A small project as the report finds it: prepared data, runs, logs and predictions, made of noise and rectangles."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from dacs.evaluation.confusion import count, scores
from dacs.files import read_json, write_json
from dacs.labels import IGNORE, LABELS, NAMES, palette
from dacs.layout import PreparedDomain, RunDir
from dacs.methods import METHODS
from dacs.settings import Runs

LISTED = ["source", "adabn", "pseudo", "naive", "dacs", "oracle"]
WHOLE = Runs(tasks=["gta5-cityscapes", "synthia-cityscapes"], methods=LISTED, seeds=[0, 1])
SMALL = Runs(tasks=["gta5-cityscapes"], methods=LISTED, seeds=[3])
SIZE = (48, 96)  # height, width of a target image
SKILL = {
    "source": 0.62,
    "adabn": 0.58,
    "pseudo": 0.55,
    "naive": 0.7,
    "dacs": 0.84,
    "oracle": 0.93,
}  # share of correct pixels
ROAD, SIDEWALK, BUILDING, SKY = (NAMES.index(name) for name in ("road", "sidewalk", "building", "sky"))


def street(generator: np.random.Generator) -> np.ndarray:
    """Train ids of a street: sky, houses, road between sidewalks, objects, and an ignored border."""
    label = np.full(SIZE, SIDEWALK, np.uint8)
    label[:20], label[:8], label[20:, 30:70] = BUILDING, SKY, ROAD
    for _ in range(14):
        top, left = generator.integers(4, 40), generator.integers(0, 90)
        label[top : top + generator.integers(4, 16), left : left + generator.integers(2, 16)] = generator.integers(19)
    label[-2:] = IGNORE
    return label


def predict(label: np.ndarray, method: str, generator: np.random.Generator) -> np.ndarray:
    """A prediction with random errors; pseudo-labels and naive mixing predict sidewalk as road too."""
    wrong = generator.random(label.shape) > SKILL.get(method, 0.75)
    predicted = np.where(wrong | (label == IGNORE), BUILDING, label)
    if method in ("naive", "pseudo"):
        predicted[predicted == SIDEWALK] = ROAD
    return predicted.astype(np.uint8)


def project(root: Path, section: Runs, images: int = 1) -> None:
    """Write `root`/data/ready and the runs."""
    generator = np.random.default_rng(7)
    for domain, split in (("gta5", "train"), ("synthia", "train"), ("cityscapes", "train"), ("cityscapes", "val")):
        prepared = PreparedDomain(root / "data/ready" / domain)
        write_json(prepared.split(split).stats, stats(generator, images))
        data_report(prepared, frames={"train": images, "val": images} if split == "val" else {"train": images})
    labels = {f"zurich_{number:06}_000019": street(generator) for number in range(images)}
    for name, label in labels.items():
        save(prepared.measured.path / f"images/{name}.png", palette()[label])
        save(prepared.measured.path / f"labels/{name}.png", label)
    index = [{"image": f"images/{name}.png", "label": f"labels/{name}.png"} for name in labels]
    pd.DataFrame(index).to_csv(prepared.measured.index, index=False)
    for task, method, seed in product(section.tasks, section.methods, section.seeds):
        run(RunDir.of(root / "runs", task, method, seed), method, seed, labels)


def stats(generator: np.random.Generator, images: int) -> dict[str, Any]:
    """The statistics of a split, as `remap` writes them."""
    colors = {name: generator.uniform(40, 110, 3).tolist() for name in ("image_mean", "image_std")}
    labels = {name: generator.random(19).tolist() for name in ("pixels", "presence")}
    return {"frames": images, "size": SIZE, **colors, **labels, "rows16": generator.random((19, 16)).tolist()}


def data_report(domain: PreparedDomain, **changes: Any) -> None:
    """The data report of a domain, as `remap` writes it."""
    is_target = domain.path.name == "cityscapes"
    found = {
        "labelled_split": "oracle" if is_target else "train",
        "measured_split": "val" if is_target else "train",
        "origin": "world",
        "layout": "images with labels",
        "published": {},
        "sizes": {"96x48": 3},
        "ids": {"7": 4000, "11": 3000, "23": 2000, "3": 4},
        "id_names": {str(label.id): label.name for label in LABELS},
        "summary": "rendered here",
        **{key: [] for key in ("absent", "dropped", "mended", "kept")},
    }
    before = read_json(domain.data_report) if domain.data_report.exists() else {}
    write_json(domain.data_report, found | before | changes)


def remove_labels(root: Path, target: str) -> None:
    """Make a target unlabelled: what `remap`, the training and `evaluate` write for such a one."""
    domain = PreparedDomain(root / "data/ready" / target)
    found = read_json(domain.split("val").stats)
    write_json(domain.train.stats, {key: found[key] for key in ("frames", "size", "image_mean", "image_std")})
    index = pd.read_csv(domain.split("val").index)
    pd.DataFrame({"image": "../val/" + index["image"]}).to_csv(domain.train.index, index=False)
    data_report(domain, origin="custom", frames={"train": found["frames"]}, ids={}, measured_split="train")
    for path in root.glob(f"runs/*-{target}/*/*"):
        write_counts(RunDir(path), np.zeros((19, 19), int), np.zeros((19, 19), int), None)
        log = pd.read_csv(RunDir(path).log)
        log.drop(columns=["pseudo_accuracy", "confident_accuracy"], errors="ignore").to_csv(
            RunDir(path).log, index=False
        )


def run(folder: RunDir, method: str, seed: int, labels: dict[str, np.ndarray]) -> None:
    """All that the report reads of one run."""
    generator = np.random.default_rng([seed, *method.encode()])
    student, teacher = np.zeros((19, 19), int), np.zeros((19, 19), int)
    for name, label in labels.items():
        predicted = predict(label, method, generator)
        student += count(label, predicted)
        teacher += count(label, predict(label, method, generator))
        save(folder.evaluation.predictions / f"{name}.png", predicted)
    write_counts(folder, student, teacher)
    log(method).to_csv(folder.log, index=False)
    loop = {"batch": 4, "crop": [96, 96], "optimizer": "adamw"}
    own = {"train": {"steps": 1500}}
    if METHODS[method].recalibrates:
        own = {"adabn": {"frames": 200}}
    elif METHODS[method].adapts:
        own = {"adapt": {"steps": 1200, "init": "source", "threshold": 0.968}}
    settings = {"model": {"network": "small"}, "loop": loop, **own}
    write_json(folder.spec, {"key": "feed" * 4, "settings": settings, "torch": "2.13.0", "trained_on": "CPU, AVX512"})
    if METHODS[method].adapts:
        mix(folder.mixing, street(generator))


def write_counts(
    folder: RunDir, student: np.ndarray, teacher: np.ndarray, labels: str | None = "prepared 48x96"
) -> None:
    """The two files of an evaluation."""
    counts = {"student": student, "teacher": teacher}
    write_json(folder.evaluation.confusion, {network: total.tolist() for network, total in counts.items()})
    write_json(folder.evaluation.metrics, {name: scores(total) for name, total in counts.items()} | {"labels": labels})


def log(method: str) -> pd.DataFrame:
    """Curves that fall and rise; only those that the terms of the method report."""
    if METHODS[method].recalibrates:
        return pd.DataFrame({"step": [0], "images": [200], "layers": [12]})
    steps = pd.Series(np.arange(20, 1001, 20))
    accuracy = (60 + steps / 50).where(steps % 200 == 0)
    table = pd.DataFrame({"step": steps, "loss_source": np.exp(-steps / 200), "lr": 2e-3 - 1e-6 * steps})
    if METHODS[method].adapts:
        table["loss_mixed"], table["lambda"] = 0.8 * table["loss_source"], steps / 2000
    return table.assign(pseudo_accuracy=accuracy, confident_accuracy=accuracy + 9, confident_share=accuracy / 2)


def mix(folder: Path, label: np.ndarray) -> None:
    """The files of one mixed example."""
    mask = np.where(label == ROAD, 255, 0).astype(np.uint8)
    images = {**dict.fromkeys(("source", "target", "mixed", "augmented"), palette()[label]), "mask": mask}
    for name, pixels in (images | dict.fromkeys(("source_label", "pseudo", "label"), label)).items():
        save(folder / f"{name}.png", pixels)


def save(path: Path, pixels: np.ndarray) -> None:
    """An image, or train ids with the palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if pixels.ndim == 2:
        image.putpalette(palette().tobytes())
    image.save(path)
