"""A small project as the report finds it: prepared data, runs, logs and predictions, made of noise and rectangles."""

from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from dacs.evaluation.confusion import count, scores, without_pixels
from dacs.evaluation.counts import write_counts
from dacs.files import read_json, write_json
from dacs.labels import CITYSCAPES, IGNORE, LABELS, LabelSet
from dacs.layout import PreparedDomain, RunDir
from dacs.methods import METHODS
from dacs.settings import LabelClass, Labels, Runs

LISTED = ["source", "adabn", "pseudo", "naive", "dacs", "oracle"]
WHOLE = Runs(tasks=["gta5-cityscapes", "synthia-cityscapes"], methods=LISTED, seeds=[0, 1])
SMALL = Runs(tasks=["gta5-cityscapes"], methods=LISTED, seeds=[3])
TARGETS = ("cityscapes", "camvid")
SIZE = (48, 96)  # height, width of a target image
SKILL = {
    "source": 0.62,
    "adabn": 0.58,
    "pseudo": 0.55,
    "naive": 0.7,
    "dacs": 0.84,
    "oracle": 0.93,
}  # share of correct pixels
ROAD, SIDEWALK, BUILDING, SKY = (CITYSCAPES.names.index(name) for name in ("road", "sidewalk", "building", "sky"))


def numbered(number: int, **changes: Any) -> Labels:
    """A label set of `class 1`, `class 2`, …"""
    colors = [(1 + i, 7 * i % 256, 255 - i) for i in range(number)]
    return Labels(classes={f"class {i + 1}": LabelClass(color=color) for i, color in enumerate(colors)}, **changes)


def scene(generator: np.random.Generator, labels: LabelSet, absent: Sequence[str] = ()) -> np.ndarray:
    """Train ids of an image of squares that have all the classes but the absent ones, and an ignored border."""
    present = [train_id for train_id, name in enumerate(labels.names) if name not in absent]
    squares = np.resize(generator.permutation(present), (12, 24))
    label = squares.repeat(4, 0).repeat(4, 1).astype(np.uint8)
    label[-2:] = IGNORE
    return label


def street(generator: np.random.Generator) -> np.ndarray:
    """Train ids of a street: sky, houses, road between sidewalks, objects, and an ignored border."""
    label = np.full(SIZE, SIDEWALK, np.uint8)
    label[:20], label[:8], label[20:, 30:70] = BUILDING, SKY, ROAD
    for _ in range(14):
        top, left = generator.integers(4, 40), generator.integers(0, 90)
        label[top : top + generator.integers(4, 16), left : left + generator.integers(2, 16)] = generator.integers(19)
    label[-2:] = IGNORE
    return label


def predict(label: np.ndarray, method: str, generator: np.random.Generator, labels: LabelSet) -> np.ndarray:
    """A prediction with random errors; pseudo-labels and naive mixing predict sidewalk as road too.

    Of another label set than that of Cityscapes each class is taken for the one before it.
    """
    wrong = generator.random(label.shape) > SKILL.get(method, 0.75)
    if labels is not CITYSCAPES:
        known = np.where(label == IGNORE, 0, label).astype(int)
        return np.where(wrong, (known - 1) % len(labels.names), known).astype(np.uint8)
    predicted = np.where(wrong | (label == IGNORE), BUILDING, label)
    if method in ("naive", "pseudo"):
        predicted[predicted == SIDEWALK] = ROAD
    return predicted.astype(np.uint8)


def project(
    root: Path, section: Runs, images: int = 1, labels: LabelSet = CITYSCAPES, absent: Sequence[str] = ()
) -> None:
    """Write `root`/data/ready and the runs, in the target of which are no `absent` classes."""
    generator = np.random.default_rng(7)
    sources, (target, *_) = zip(*(task.split("-") for task in section.tasks), strict=True)
    for domain, split in (*((source, "train") for source in sources), (target, "train"), (target, "val")):
        prepared = PreparedDomain(root / "data/ready" / domain)
        write_json(prepared.split(split).stats, stats(generator, images, len(labels.names)))
        data_report(prepared, frames={"train": images, "val": images} if split == "val" else {"train": images})
    data_report(prepared, absent=list(absent))
    drawn = partial(scene, labels=labels, absent=absent) if absent or labels is not CITYSCAPES else street
    truth = {f"zurich_{number:06}_000019": drawn(generator) for number in range(images)}
    for name, label in truth.items():
        save(prepared.measured.path / f"images/{name}.png", labels.palette()[label])
        save(prepared.measured.path / f"labels/{name}.png", label)
    index = [{"image": f"images/{name}.png", "label": f"labels/{name}.png"} for name in truth]
    pd.DataFrame(index).to_csv(prepared.measured.index, index=False)
    for task, method, seed in product(section.tasks, section.methods, section.seeds):
        run(RunDir.of(root / "runs", task, method, seed), method, seed, truth, labels, absent)
    for number, task in enumerate(section.tasks):
        write_json(root / f"runs/{task}/appearance.json", {"distance": 0.4 + 0.1 * number})


def stats(generator: np.random.Generator, images: int, classes: int = 19) -> dict[str, Any]:
    """The statistics of a split, as `remap` writes them."""
    colors = {name: generator.uniform(40, 110, 3).tolist() for name in ("image_mean", "image_std")}
    labels = {name: generator.random(classes).tolist() for name in ("pixels", "presence")}
    return {"frames": images, "size": SIZE, **colors, **labels, "rows16": generator.random((classes, 16)).tolist()}


def data_report(domain: PreparedDomain, **changes: Any) -> None:
    """The data report of a domain, as `remap` writes it."""
    is_target = domain.path.name in TARGETS
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


def remove_labels(root: Path, target: str, labels: LabelSet = CITYSCAPES) -> None:
    """Make a target unlabelled: what `remap`, the training and `evaluate` write for such a one."""
    domain = PreparedDomain(root / "data/ready" / target)
    found = read_json(domain.split("val").stats)
    write_json(domain.train.stats, {key: found[key] for key in ("frames", "size", "image_mean", "image_std")})
    index = pd.read_csv(domain.split("val").index)
    pd.DataFrame({"image": "../val/" + index["image"]}).to_csv(domain.train.index, index=False)
    data_report(domain, origin="custom", frames={"train": found["frames"]}, ids={}, measured_split="train")
    for folder in map(RunDir, root.glob(f"runs/*-{target}/*/*")):
        evaluation(folder, {}, [], size=None, labels=labels)
        unknown = {
            folder.evaluation.checkpoints: ["student", "teacher", "pseudo_accuracy", "confident_accuracy", "ece"],
            folder.evaluation.calibration: ["accuracy"],
            folder.evaluation.confident: ["truth_share"],
        }
        for path, columns in unknown.items():
            pd.read_csv(path).assign(**dict.fromkeys(columns)).to_csv(path, index=False)
        conflation(folder, [], labels)


def run(
    folder: RunDir,
    method: str,
    seed: int,
    truth: dict[str, np.ndarray],
    labels: LabelSet = CITYSCAPES,
    absent: Sequence[str] = (),
) -> None:
    """All that the report reads of one run."""
    generator = np.random.default_rng([seed, *method.encode()])
    number, found = len(labels.names), {}
    for checkpoint, network in product(("last", "chosen"), ("student", "teacher", "student_adabn", "teacher_adabn")):
        predicted = {name: predict(label, method, generator, labels) for name, label in truth.items()}
        frames = np.stack([count(label, predicted[name], number) for name, label in truth.items()])
        found |= {f"{checkpoint}/{network}/prepared": frames, f"{checkpoint}/{network}/full": 4 * frames}
        if (checkpoint, network) == ("last", "student"):
            for name, picture in predicted.items():
                save(folder.evaluation.predictions / f"{name}.png", picture)
    evaluation(folder, found, [*truth], labels=labels, absent=absent)
    states(folder, method, seed, labels)
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
        mix(folder.mixed(1200), next(iter(truth.values())), labels)


def measure(folder: RunDir, student: np.ndarray, teacher: np.ndarray, **about: Any) -> None:
    """Replace an evaluation by one of student and teacher after the last step; counts are of one frame or several."""
    given = {"student": student, "teacher": teacher}
    found = {f"last/{name}/prepared": each.reshape(-1, *each.shape[-2:]) for name, each in given.items()}
    frames = [f"frame {number}" for number in range(len(found["last/student/prepared"]))]
    evaluation(folder, found, frames, **about)


def evaluation(
    folder: RunDir,
    counts: dict[str, np.ndarray],
    frames: Sequence[str],
    size: str | None = "prepared",
    labels: LabelSet = CITYSCAPES,
    absent: Sequence[str] = (),
) -> None:
    """What is measured of the last state: `counts` by protocol and frame, and the size of the main numbers, if any."""
    sizes = {"prepared": "prepared 48x96", "full": "full 96x192", None: None}
    matrices = {key: each.sum(0) for key, each in counts.items()}
    nothing = np.zeros((len(labels.names), len(labels.names)), int)
    main = {name: matrices.get(f"last/{name}/{size}", nothing) for name in ("student", "teacher")}
    write_json(folder.evaluation.confusion, {name: total.tolist() for name, total in main.items()})
    write_counts(folder.evaluation.counts, frames, len(labels.names), counts)
    protocols = []
    for key, total in matrices.items():
        names = dict(zip(("checkpoint", "network", "size"), key.split("/"), strict=True))
        means = {name: value for name, value in scores(total, labels, absent).items() if name != "iou"}
        protocols.append({**names, "labels": sizes[names["size"]], **means})
    found = {name: scores(total, labels, absent) for name, total in main.items()}
    left_out = {"absent": list(absent), "without_pixels": without_pixels(main["student"], labels, absent)}
    regret = {"last": 1.5, "agreement": 5.0, "entropy": 1.0, "information": 0.0} if size else None
    choice = {"criterion": "information", "chosen": 600, "best": 600 if size else None, "regret": regret}
    choice = None if METHODS[folder.path.parent.name].recalibrates else choice
    about = {"labels": sizes[size], **left_out, "protocols": protocols, "choice": choice}
    write_json(folder.evaluation.metrics, {**found, **about})


def states(folder: RunDir, method: str, seed: int, labels: LabelSet) -> None:
    """The tables of the states that were kept: of AdaBN one, of others four, the second of which is the best."""
    steps = [0] if METHODS[method].recalibrates else [300, 600, 900, 1200]
    rows = []
    for number, step in enumerate(steps):
        miou = 30 + seed + (0, 5, 4, 3.5)[number] + 10 * SKILL.get(method, 0.75)
        row = {"step": step, "student": miou, "teacher": miou + 0.5, "agreement": 0.9, "entropy": -0.2}
        row |= {"information": 0.4, "pseudo_accuracy": 60 + 5 * number, "confident_accuracy": 70 + 5 * number}
        rows.append(row | {"confident_share": 40 + number, "ece": 12 - number})
    pd.DataFrame(rows).to_csv(folder.evaluation.checkpoints, index=False)
    bins = [(step, 10 * i, 10 * i + 10, 100 * i, 10 * i + 5, 9 * i) for step in steps for i in range(10)]
    columns = ["step", "low", "high", "pixels", "confidence", "accuracy"]
    reliability = pd.DataFrame(bins, columns=columns).astype({"confidence": float, "accuracy": float})
    reliability.loc[reliability["pixels"] == 0, ["confidence", "accuracy"]] = np.nan
    reliability.to_csv(folder.evaluation.calibration, index=False)
    shares = np.arange(len(labels.names)) / np.arange(len(labels.names)).sum() * 100
    classes = [(step, *row) for step in steps for row in zip(labels.names, shares[::-1], shares, strict=True)]
    columns = ["step", "class", "confident_share", "truth_share"]
    pd.DataFrame(classes, columns=columns).to_csv(folder.evaluation.confident, index=False)
    conflation(folder, steps, labels)


def conflation(folder: RunDir, steps: Sequence[int], labels: LabelSet) -> None:
    """Each class is taken for the one before it, the first for the last, less so from step to step."""
    columns = ["step", "class", "taken_for", "percent"]
    rows = [
        (step, name, other, 20 / (1 + number) + train_id)
        for number, step in enumerate(steps)
        for train_id, (name, other) in enumerate(zip(labels.names, np.roll(labels.names, 1).tolist(), strict=True))
    ]
    pd.DataFrame(rows, columns=columns).to_csv(folder.evaluation.conflation, index=False)


def log(method: str) -> pd.DataFrame:
    """Curves that fall and rise; only those that the terms of the method report."""
    if METHODS[method].recalibrates:
        return pd.DataFrame({"step": [0], "images": [200], "layers": [12]})
    steps = pd.Series(np.arange(20, 1001, 20))
    table = pd.DataFrame({"step": steps, "loss_source": np.exp(-steps / 200), "lr": 2e-3 - 1e-6 * steps})
    if METHODS[method].adapts:
        table["loss_mixed"], table["lambda"] = 0.8 * table["loss_source"], steps / 2000
    return table


def mix(folder: Path, label: np.ndarray, labels: LabelSet) -> None:
    """The files of one mixed example."""
    mask = np.where(label == ROAD, 255, 0).astype(np.uint8)
    images = {
        **dict.fromkeys(("source", "target", "mixed", "augmented"), labels.palette()[label]),
        "mask": mask,
        "weight": mask,
    }
    for name, pixels in (images | dict.fromkeys(("source_label", "pseudo", "label"), label)).items():
        save(folder / f"{name}.png", pixels)


def save(path: Path, pixels: np.ndarray) -> None:
    """An image, or train ids with the palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if pixels.ndim == 2:
        image.putpalette(CITYSCAPES.palette().tobytes())
    image.save(path)
