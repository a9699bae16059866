"""A small project as the report finds it: prepared data, runs, logs, predictions. Made of noise and rectangles."""

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image

from dacs.labels import IGNORE, NAMES, palette

TASKS = ("gta5-cityscapes", "synthia-cityscapes")
METHODS = ("source", "pseudo", "naive", "dacs")
SIZE = (48, 96)  # height, width of a target frame
SKILL = {"source": 0.62, "pseudo": 0.55, "naive": 0.7, "cutmix": 0.78, "cowmix": 0.78, "dacs": 0.84, "oracle": 0.93}
ID = {name: index for index, name in enumerate(NAMES)}
CROWD = "car person pole vegetation bicycle bus rider truck train wall fence motorcycle".split()
CLUTTER = [ID[name] for name in [*CROWD, "traffic light", "traffic sign", "terrain"]]


def street(generator: np.random.Generator, size: tuple[int, int] = SIZE, clutter: int = 14) -> np.ndarray:
    """Train ids of a street: sky, houses, road between sidewalks, things in front, the bonnet ignored."""
    height, width = size
    rows, columns = np.mgrid[0:height, 0:width]
    horizon = int(height * generator.uniform(0.4, 0.5))
    label = np.where(rows < horizon * 0.4, ID["sky"], ID["building"])
    depth = np.clip((rows - horizon) / (height - horizon), 0, 1)
    middle = np.abs(columns - width * generator.uniform(0.4, 0.6)) / width
    label[rows >= horizon] = ID["sidewalk"]
    label[(rows >= horizon) & (middle < 0.05 + 0.33 * depth)] = ID["road"]
    for _ in range(clutter):
        bottom, left = generator.integers(horizon, height - 4), generator.integers(0, width - 4)
        tall, wide = generator.integers(4, height // 3), generator.integers(2, width // 6)
        label[max(0, bottom - tall) : bottom, left : left + wide] = generator.choice(CLUTTER)
    label[-2:] = IGNORE
    return label.astype(np.uint8)


def photo(label: np.ndarray, generator: np.random.Generator, tint: tuple[float, float, float]) -> np.ndarray:
    """A picture of a label: its colours, tinted and noisy."""
    colors = 0.45 * palette()[label].astype(float) + 70
    return np.clip(colors * tint + generator.normal(0, 12, colors.shape), 0, 255).astype(np.uint8)


def guess(label: np.ndarray, method: str, generator: np.random.Generator) -> np.ndarray:
    """What a network of some skill says of a frame: blobs of it are wrong; the naive one sees little sidewalk."""
    height, width = label.shape
    said = np.where(label == IGNORE, ID["road"], label)
    blobs = generator.random((height // 6 + 1, width // 6 + 1)).repeat(6, 0).repeat(6, 1)[:height, :width]
    wrong = blobs > SKILL[method]
    said[wrong] = np.where(np.mgrid[0:height, 0:width][0] < height // 2, ID["building"], ID["road"])[wrong]
    if method in ("naive", "pseudo"):
        said[(said == ID["sidewalk"]) & (blobs > 0.15)] = ID["road"]
    return said.astype(np.uint8)


def confusion(truth: np.ndarray, said: np.ndarray) -> np.ndarray:
    """Counts [truth][prediction] of the pixels that count."""
    counted = truth != IGNORE
    return np.bincount(19 * truth[counted].astype(int) + said[counted], minlength=361).reshape(19, 19)


def project(
    root: Path,
    *,
    tasks: tuple[str, ...] = TASKS,
    methods: tuple[str, ...] = METHODS,
    seeds: tuple[int, ...] = (0, 1),
    size: tuple[int, int] = SIZE,
    frames: int = 3,
) -> None:
    """Write `root`/data/ready and `root`/runs."""
    truths = ready(root / "data/ready", size, frames)
    for task in tasks:
        for method in methods:
            for seed in seeds:
                run(root / "runs" / task / method / f"seed{seed}", task, method, seed, truths)


def ready(folder: Path, size: tuple[int, int], frames: int) -> dict[str, np.ndarray]:
    """Prepared data; gives the truth of each validation frame by its stem."""
    generator = np.random.default_rng(7)
    for number, (domain, split) in enumerate(
        [("gta5", "train"), ("synthia", "train"), ("cityscapes", "train"), ("cityscapes", "val")]
    ):
        labels = [street(generator, size, clutter=4 + 10 * (domain != "synthia")) for _ in range(frames)]
        card(folder / domain / split / "card.json", domain, split, labels, 8.0 * number)
        contract(folder / domain / "contract.json", domain, frames)
    truths = {f"zurich_{index:06}_000019": label for index, label in enumerate(labels)}
    index = [("image", "label")]
    for stem, label in truths.items():
        save(folder / f"cityscapes/val/images/{stem}.png", photo(label, generator, (0.9, 1.0, 0.9)))
        save(folder / f"cityscapes/val/labels/{stem}.png", label)
        index.append((f"images/{stem}.png", f"labels/{stem}.png"))
    write_rows(folder / "cityscapes/val/index.csv", index)
    return truths


def card(path: Path, domain: str, split: str, labels: list[np.ndarray], shift: float) -> None:
    """The statistics of a split, as `remap` leaves them."""
    stack = np.stack(labels)
    bands = np.array_split(stack, 16, axis=1)
    shares = [np.bincount(band[band != IGNORE], minlength=19) / max(1, (band != IGNORE).sum()) for band in bands]
    write_json(
        path,
        {
            "domain": domain,
            "split": split,
            "frames": len(labels),
            "size": list(stack.shape[1:]),
            "sha256": "0" * 64,
            "image_mean": [80 + shift, 90 + shift, 85.0],
            "image_std": [45.0, 46.0 + shift / 4, 47.0],
            "pixels": np.bincount(stack[stack != IGNORE], minlength=19).tolist(),
            "ignored": int((stack == IGNORE).sum()),
            "presence": [float(np.mean([(label == index).any() for label in labels])) for index in range(19)],
            "rows16": np.stack(shares, axis=1).tolist(),
        },
    )


def contract(path: Path, domain: str, number: int, **changes: object) -> None:
    """What was found of a domain, as `remap` leaves it."""
    write_json(
        path,
        {
            "domain": domain,
            "origin": "world",
            "layout": "images with labels",
            "frames": {"train": number} | ({"val": number} if domain == "cityscapes" else {}),
            "published": {},
            "sizes": {"96x48": number},
            "unpublished_sizes": [],
            "ids": {"7": 4000, "11": 3000, "23": 2000, "3": 4},
            "dropped": [],
            "mended": [],
            "kept": [],
            "verdict": "rendered here",
        }
        | changes,
    )


def forget_labels(root: Path, target: str) -> None:
    """Make of a target one that nobody has labelled: what `remap`, `evaluate` and the loop leave of such a one."""
    ready = root / "data/ready" / target
    found = json.loads((ready / "val/card.json").read_text())
    kept = {key: value for key, value in found.items() if key not in ("pixels", "ignored", "presence", "rows16")}
    write_json(ready / "train/card.json", kept | {"split": "train"})
    images = sorted((ready / "val/images").iterdir())
    write_rows(ready / "train/index.csv", [("image",), *((f"../val/images/{path.name}",) for path in images)])
    contract(ready / "contract.json", target, len(images), origin="own", frames={"train": len(images)}, ids={})
    for verdict in root.glob(f"runs/*-{target}/*/*/evaluation"):
        nothing = np.zeros((19, 19), int).tolist()
        write_json(verdict / "confusion.json", {"classes": NAMES, "student": nothing, "teacher": nothing})
        write_json(verdict / "metrics.json", {"labels": None, "unmeasured": "No labels came.", "absent": []})
        rows = list(csv.DictReader((verdict.parent / "log.csv").read_text().splitlines()))
        blind = [{**row, "pseudo_accuracy": "", "confident_accuracy": ""} for row in rows]
        write_rows(verdict.parent / "log.csv", [tuple(rows[0]), *(tuple(row.values()) for row in blind)])


def run(folder: Path, task: str, method: str, seed: int, truths: dict[str, np.ndarray]) -> None:
    """All that the report reads of one run."""
    generator = np.random.default_rng([seed, sorted(SKILL).index(method), len(task)])
    evaluate(folder / "evaluation", method, truths, generator)
    log(folder / "log.csv", method, generator)
    write_json(
        folder / "settings.json",
        {
            "method": method,
            "seed": seed,
            "key": "feed" * 4,
            "settings": {"lr": 0.002},
            "torch": "2.13.0",
            "trained_on": "CPU, AVX512",
        },
    )
    if method not in ("source", "oracle"):
        mixing(folder / "mixing", generator, method)


def evaluate(folder: Path, method: str, truths: dict[str, np.ndarray], generator: np.random.Generator) -> None:
    """Confusion of student and teacher, and the student's predictions."""
    counts = {"student": np.zeros((19, 19), int), "teacher": np.zeros((19, 19), int)}
    for stem, truth in truths.items():
        for network, total in counts.items():
            said = guess(truth, method, generator)
            total += confusion(truth, said)
            if network == "student":
                save(folder / f"predictions/{stem}.png", said)
    content = {"classes": NAMES} | {network: total.tolist() for network, total in counts.items()}
    write_json(folder / "confusion.json", content)
    size = "x".join(map(str, next(iter(truths.values())).shape))
    write_json(folder / "metrics.json", {"labels": f"prepared {size}", "absent": []})


def log(path: Path, method: str, generator: np.random.Generator) -> None:
    """Curves that fall and rise as such curves do."""
    names = ("step", "loss_source", "loss_mixed", "lambda", "lr", "pseudo_accuracy", "confident_accuracy")
    rows: list[tuple[object, ...]] = [(*names, "confident_share")]
    for step in range(20, 1001, 20):
        done, skill = step / 1000, SKILL[method]
        loss = 0.3 + 1.5 * np.exp(-6 * done) + generator.normal(0, 0.03)
        adapting = method not in ("source", "oracle")
        mixed = (f"{1.1 * loss * skill:.4f}", f"{min(0.9, 0.3 + 0.5 * done * skill):.4f}") if adapting else ("", "")
        right = 60 + 25 * skill * done + generator.normal(0, 0.5)
        watched = (f"{right:.2f}", f"{right + 12 * (1 - done / 2):.2f}", f"{0.4 + 0.3 * done:.4f}")
        rows.append(
            (
                step,
                f"{loss:.4f}",
                *mixed,
                f"{0.002 * (1 - done) ** 0.9:.6f}",
                *(watched if step % 200 == 0 else [""] * 3),
            )
        )
    write_rows(path, rows)


def mixing(folder: Path, generator: np.random.Generator, method: str) -> None:
    """One mixed example: half of the source's classes on the target."""
    source, target = (street(generator, (48, 48)) for _ in range(2))
    images = [photo(source, generator, (1.1, 1.0, 0.8)), photo(target, generator, (0.9, 1.0, 0.9))]
    classes = np.unique(source[source != IGNORE])
    mask = np.isin(source, generator.choice(classes, (len(classes) + 1) // 2, replace=False))
    pseudo = guess(target, method, generator)
    save(folder / "source.png", images[0])
    save(folder / "target.png", images[1])
    mixed = np.where(mask[..., None], *images)
    save(folder / "mixed.png", mixed)
    save(folder / "augmented.png", 255 - (255 - mixed) // 2)
    save(folder / "source_label.png", source)
    save(folder / "pseudo.png", pseudo)
    save(folder / "label.png", np.where(mask, source, pseudo))
    Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "mask.png")


def save(path: Path, pixels: np.ndarray) -> None:
    """A picture, or train ids with the palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if pixels.ndim == 2:
        image.putpalette(palette().tobytes())
    image.save(path)


def write_json(path: Path, value: object) -> None:
    """JSON, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_rows(path: Path, rows: list[tuple[object, ...]] | list[tuple[str, str]]) -> None:
    """CSV, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
