"""Tables of the prepared data: distances of domains, their splits, and what was found in the raw data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import rel_entr

from dacs.files import digest, read_json
from dacs.layout import PreparedDomain, PreparedSplit
from dacs.reporting.names import source_of, target_of

STATISTICS = {  # of the prepared frames, by which domains are compared
    "frequency": "class frequency",
    "layout": "vertical layout",
    "presence": "classes in an image",
    "color": "colours",
}
MEASURES = STATISTICS | {"appearance": "appearance"}  # of the distance between two domains


def similarity_table(prepared: Path, appearance: Mapping[str, Path]) -> pd.DataFrame:
    """Distance of the labelled source images to the target's validation images, by each of `MEASURES`.

    `appearance`: the file with the distance of the source images to the target's training images, by task.
    """
    rows = []
    for task, file in appearance.items():
        source, _, target = _splits(prepared, task)
        known = read_json(file)["distance"] if file.exists() else None
        found = distances(read_json(source.stats), read_json(target.stats)) | {"appearance": known}
        rows += [(source_of(task), target_of(task), *pair) for pair in found.items()]
    return pd.DataFrame(rows, columns=["source", "target", "measure", "distance"]).astype({"distance": float})


def distances(source: dict[str, Any], target: dict[str, Any]) -> dict[str, float]:
    """The distances of the `STATISTICS` of two splits; 0: equal, at most 1, NaN where the target is unlabelled."""
    colors = [np.array([split["image_mean"], split["image_std"]]) / 255 for split in (source, target)]
    found = dict.fromkeys(STATISTICS, float("nan"))
    if "pixels" in target:
        found["frequency"] = float(jensen_shannon(source["pixels"], target["pixels"]))
        found["layout"] = float(np.nanmean(jensen_shannon(source["rows16"], target["rows16"])))
        found["presence"] = float(np.abs(np.subtract(source["presence"], target["presence"])).mean())
    return found | {"color": float(np.abs(colors[0] - colors[1]).mean())}


def jensen_shannon(first: Sequence[Any], second: Sequence[Any]) -> np.ndarray:
    """Jensen-Shannon distance of counts or shares along the first axis: 0 equal, 1 disjoint, NaN where one is empty."""
    with np.errstate(invalid="ignore"):
        p, q = (np.array(counts) / np.sum(counts, axis=0) for counts in (first, second))
    bits = (rel_entr(p, (p + q) / 2) + rel_entr(q, (p + q) / 2)).sum(0) / np.log(2)
    return np.sqrt(np.clip(bits, 0, None) / 2)  # scipy's jensenshannon is NaN where rounding makes it less than 0


def landings(prepared: Path, tasks: Sequence[str]) -> dict[str, float]:
    """How likely pixels of each source and of the target land on their own class; empty for unlabelled targets."""
    found: dict[str, float] = {}
    for source, _, target in (_splits(prepared, task) for task in tasks):
        stats = read_json(target.stats)
        if "rows16" in stats:
            each = {split.path.parent.name: read_json(split.stats)["rows16"] for split in (source, target)}
            found |= {domain: landing(rows, stats["rows16"]) for domain, rows in each.items()}
    return found


def landing(source: Sequence[Any], target: Sequence[Any]) -> float:
    """Probability, in percent, that a pixel pasted at its height into a random target image falls on its own class.

    Of both, the shares of the classes in each horizontal band of whole frames, of shape (classes, bands).
    """
    of_pixels, of_bands = (np.nan_to_num(np.array(rows, float)) for rows in (source, target))
    return 100 * float((of_pixels / of_pixels.sum() * of_bands / np.maximum(of_bands.sum(0), 1e-12)).sum())


def class_shares(prepared: Path, tasks: Sequence[str], classes: Sequence[str]) -> pd.DataFrame:
    """Percent of the labelled pixels that each class has, by domain: of a target in its validation images."""
    found = {}
    for split in dict.fromkeys(
        split for task in tasks for split in (_splits(prepared, task)[0], _splits(prepared, task)[2])
    ):
        pixels = np.array(read_json(split.stats).get("pixels", []), float)
        if pixels.any():
            found[split.path.parent.name] = 100 * pixels / pixels.sum()
    return pd.DataFrame(found, index=list(classes))


def split_table(prepared: Path, tasks: Sequence[str]) -> pd.DataFrame:
    """Number and size of the images of each prepared split that the tasks use, and the digest of its statistics."""
    rows = []
    for split in dict.fromkeys(split for task in tasks for split in _splits(prepared, task)):
        stats = read_json(split.stats)
        row = (split.path.parent.name, split.path.name, stats["frames"], *stats["size"])
        rows.append((*row, digest(split.stats)))
    return pd.DataFrame(rows, columns=["domain", "split", "frames", "height", "width", "sha256"])


def data_report_table(prepared: Path, tasks: Sequence[str]) -> pd.DataFrame:
    """The data report of each domain as facts, with their names and counts; the meaning of a raw id is its class."""
    rows: list[tuple[Any, ...]] = []
    for domain in dict.fromkeys(domain for task in tasks for domain in task.split("-")):
        found = read_json(PreparedDomain(prepared / domain).data_report)
        rows += [(domain, fact, found[fact], None, None) for fact in ("summary", "origin", "layout")]
        for fact, key in (("frames", "frames"), ("published", "published"), ("size", "sizes"), ("id", "ids")):
            meanings = found["id_names"] if fact == "id" else {}
            rows += [(domain, fact, name, count, meanings.get(name)) for name, count in found[key].items()]
        rows += [
            (domain, fact, name, None, None) for fact in ("absent", "dropped", "mended", "kept") for name in found[fact]
        ]
    return pd.DataFrame(rows, columns=["domain", "fact", "name", "count", "meaning"]).astype({"count": "Int64"})


def _splits(prepared: Path, task: str) -> tuple[PreparedSplit, PreparedSplit, PreparedSplit]:
    """The labelled images of the source, and the images of the target for training and for evaluation."""
    source, target = (PreparedDomain(prepared / domain) for domain in task.split("-"))
    return source.labelled, target.train, target.measured
