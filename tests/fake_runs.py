"""A small project as the report finds it: prepared data, runs, logs and predictions, made of noise and rectangles."""

from collections.abc import Sequence
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

LISTED = ["source", "pseudo", "naive", "dacs"]
WHOLE = Runs(tasks=["gta5-cityscapes", "synthia-cityscapes"], methods=LISTED, seeds=[0, 1])
SMALL = Runs(tasks=["gta5-cityscapes"], methods=LISTED, seeds=[3])
SIZE = (48, 96)  # height, width of a target image
SKILL = {"source": 0.62, "pseudo": 0.55, "naive": 0.7, "dacs": 0.84, "oracle": 0.93}  # share of correct blobs
ID = {name: index for index, name in enumerate(NAMES)}
LABEL_STATISTICS = ("pixels", "ignored", "presence", "rows16")  # which stats.json has only for labelled splits


def street(generator: np.random.Generator) -> np.ndarray:
    """Train ids of a street: sky, houses, road between sidewalks, objects, and an ignored border."""
    label = np.full(SIZE, ID["sidewalk"], np.uint8)
    label[:20], label[:8], label[20:, 30:70] = ID["building"], ID["sky"], ID["road"]
    for _ in range(14):
        top, left = generator.integers(4, 40), generator.integers(0, 90)
        label[top : top + generator.integers(4, 16), left : left + generator.integers(2, 16)] = generator.integers(19)
    label[-2:] = IGNORE
    return label


def predict(label: np.ndarray, method: str, generator: np.random.Generator) -> np.ndarray:
    """A prediction in which blobs are wrong; pseudo-labels and naive mixing predict most sidewalk as road."""
    height, width = label.shape
    blobs = generator.random((height // 6, width // 6)).repeat(6, 0).repeat(6, 1)
    predicted = np.where((blobs > SKILL.get(method, 0.75)) | (label == IGNORE), ID["building"], label)
    if method in ("naive", "pseudo"):
        predicted[(predicted == ID["sidewalk"]) & (blobs > 0.15)] = ID["road"]
    return predicted.astype(np.uint8)


def project(root: Path, section: Runs, images: int = 1) -> None:
    """Write `root`/data/ready and the runs."""
    labels = prepare(root / "data/ready", images)
    for task, method, seed in product(section.tasks, section.methods, section.seeds):
        run(RunDir.of(root / "runs", task, method, seed), method, seed, labels)


def prepare(folder: Path, images: int) -> dict[str, np.ndarray]:
    """Prepared data; returns the ground truth of each validation image by its name."""
    generator = np.random.default_rng(7)
    for domain, split in (("gta5", "train"), ("synthia", "train"), ("cityscapes", "train"), ("cityscapes", "val")):
        prepared = PreparedDomain(folder / domain)
        write_json(prepared.split(split).stats, stats(generator, images))
        data_report(prepared, frames={"train": images, "val": images} if split == "val" else {"train": images})
    labels = {f"zurich_{number:06}_000019": street(generator) for number in range(images)}
    for name, label in labels.items():
        save(prepared.measured.path / f"images/{name}.png", palette()[label])
        save(prepared.measured.path / f"labels/{name}.png", label)
    index = [{"image": f"images/{name}.png", "label": f"labels/{name}.png"} for name in labels]
    pd.DataFrame(index).to_csv(prepared.measured.index, index=False)
    return labels


def stats(generator: np.random.Generator, images: int) -> dict[str, Any]:
    """The statistics of a split, as `remap` writes them."""
    colors = {name: generator.uniform(40, 110, 3).tolist() for name in ("image_mean", "image_std")}
    pixels, presence = generator.integers(1, 999, 19).tolist(), generator.random(19).tolist()
    rows16 = generator.random((19, 16)).tolist()
    labels = {"pixels": pixels, "ignored": 9, "presence": presence, "rows16": rows16}
    return {"frames": images, "size": SIZE, **colors, **labels}


def data_report(domain: PreparedDomain, **changes: Any) -> None:
    """The data report of a domain, as `remap` writes it."""
    is_target = domain.path.name == "cityscapes"
    found = {
        "labelled_split": "oracle" if is_target else "train",
        "measured_split": "val" if is_target else "train",
        "absent": [],
        "origin": "world",
        "layout": "images with labels",
        "published": {},
        "sizes": {"96x48": 3},
        "ids": {"7": 4000, "11": 3000, "23": 2000, "3": 4},
        "id_names": {str(label.id): label.name for label in LABELS},
        "summary": "rendered here",
        **{key: [] for key in ("dropped", "mended", "kept")},
    }
    before = read_json(domain.data_report) if domain.data_report.exists() else {}
    write_json(domain.data_report, found | before | changes)


def remove_labels(root: Path, target: str) -> None:
    """Make a target unlabelled: what `remap`, the training and `evaluate` write for such a one."""
    domain = PreparedDomain(root / "data/ready" / target)
    found = read_json(domain.split("val").stats)
    write_json(domain.train.stats, {key: value for key, value in found.items() if key not in LABEL_STATISTICS})
    index = pd.read_csv(domain.split("val").index)
    pd.DataFrame({"image": "../val/" + index["image"]}).to_csv(domain.train.index, index=False)
    data_report(domain, origin="custom", frames={"train": found["frames"]}, ids={}, measured_split="train")
    nothing = np.zeros((19, 19), int)
    for path in root.glob(f"runs/*-{target}/*/*"):
        evaluation = RunDir(path).evaluation
        write_json(evaluation.confusion, {"student": nothing.tolist(), "teacher": nothing.tolist()})
        networks = {"student": scores(nothing), "teacher": scores(nothing)}
        write_json(evaluation.metrics, {**networks, "labels": None, "unmeasured": "No labels.", "absent": []})
        log = pd.read_csv(RunDir(path).log)
        log.drop(columns=["pseudo_accuracy", "confident_accuracy"]).to_csv(RunDir(path).log, index=False)


def run(folder: RunDir, method: str, seed: int, labels: dict[str, np.ndarray]) -> None:
    """All that the report reads of one run."""
    generator = np.random.default_rng([seed, *method.encode()])
    counts = {"student": np.zeros((19, 19), int), "teacher": np.zeros((19, 19), int)}
    for name, label in labels.items():
        predicted = predict(label, method, generator)
        counts["student"] += count(label, predicted)
        counts["teacher"] += count(label, predict(label, method, generator))
        save(folder.evaluation.predictions / f"{name}.png", predicted)
    write_counts(folder, counts)
    log(method, generator).to_csv(folder.log, index=False)
    loop = {"batch": 4, "crop": [96, 96], "optimizer": "adamw"}
    own = {"adapt": {"steps": 1200, "threshold": 0.968}} if METHODS[method].adapts else {"train": {"steps": 1500}}
    settings = {"model": {"network": "small"}, "loop": loop, **own}
    write_json(folder.spec, {"key": "feed" * 4, "settings": settings, "torch": "2.13.0", "trained_on": "CPU, AVX512"})
    if METHODS[method].adapts:
        mix(folder.mixing, street(generator))


def write_counts(folder: RunDir, counts: dict[str, np.ndarray], absent: Sequence[str] = ()) -> None:
    """The two files of an evaluation."""
    write_json(folder.evaluation.confusion, {network: total.tolist() for network, total in counts.items()})
    networks = {network: scores(total, absent) for network, total in counts.items()}
    write_json(folder.evaluation.metrics, {**networks, "labels": "prepared 48x96", "absent": list(absent)})


def log(method: str, generator: np.random.Generator) -> pd.DataFrame:
    """Curves that fall and rise; only those that the terms of the method report."""
    steps = np.arange(20, 1001, 20)
    done = steps / 1000
    table = pd.DataFrame({"step": steps, "loss_source": 0.3 + np.exp(-6 * done) + generator.normal(0, 0.03, 50)})
    if METHODS[method].adapts:
        table["loss_mixed"], table["lambda"] = 0.8 * table["loss_source"], 0.3 + 0.5 * done
    table["lr"] = 0.002 * (1 - done) ** 0.9
    accuracy = pd.Series(60 + 20 * done).where(steps % 200 == 0)
    return table.assign(pseudo_accuracy=accuracy, confident_accuracy=accuracy + 9, confident_share=accuracy / 2)


def mix(folder: Path, label: np.ndarray) -> None:
    """The files of one mixed example."""
    for name in ("source", "target", "mixed", "augmented"):
        save(folder / f"{name}.png", palette()[label])
    for name in ("source_label", "pseudo", "label"):
        save(folder / f"{name}.png", label)
    Image.fromarray(np.where(label == ID["road"], 255, 0).astype(np.uint8)).save(folder / "mask.png")


def save(path: Path, pixels: np.ndarray) -> None:
    """An image, or train ids with the palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if pixels.ndim == 2:
        image.putpalette(palette().tobytes())
    image.save(path)
