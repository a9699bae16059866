"""Sums over the frames of a split, and what is made of them: its statistics, and a report on the raw data."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dacs.datasets.base import Raw, examples
from dacs.datasets.decode import LISTED
from dacs.labels import IGNORE, LabelSet
from dacs.prepare.frame import PreparedFrame
from dacs.prepare.pixels import BANDS, size_text

STRETCH = 1.1  # change of the ratio of width to height that is reported


@dataclass
class Tally:
    """What was made of the frames of a raw split, and sums over them, which no order of adding changes."""

    labels: LabelSet
    colors: np.ndarray = field(default_factory=lambda: np.zeros((3, 256), np.int64))
    bands: np.ndarray = field(default_factory=lambda: np.zeros((BANDS, 256), np.int64))
    files: list[tuple[Path, ...]] = field(default_factory=list)  # of each frame: image, label, full-size label
    notes: list[dict[str, Any]] = field(default_factory=list)  # of each frame
    classes: list[np.ndarray] = field(default_factory=list)  # pixels of each class in each prepared frame

    def add(self, files: tuple[Path, ...], frame: PreparedFrame) -> None:
        """Add one frame."""
        self.colors += frame.colors
        self.bands += frame.bands
        self.files.append(files)
        self.notes.append(frame.note)
        self.classes.append(frame.bands[:, : len(self.labels.names)].sum(axis=0))

    @property
    def pixels(self) -> dict[str, int]:
        """Pixels of each class in all prepared frames."""
        return dict(zip(self.labels.names, self.bands.sum(axis=0).tolist(), strict=False))  # not the ignored ones


def statistics(tally: Tally, labelled: bool) -> dict[str, Any]:
    """Mean and standard deviation of each channel, 0..255; with labels, pixels of each class and where they are."""
    mean, std = [], []
    for counts in tally.colors.tolist():  # in integers of any size
        pixels, total, squares = (sum(count * value**n for value, count in enumerate(counts)) for n in (0, 1, 2))
        mean.append(round(total / pixels, 6))
        std.append(round((pixels * squares - total**2) ** 0.5 / pixels, 6))
    bands = tally.bands[:, : len(tally.labels.names)]
    valid = np.maximum(bands.sum(axis=1, keepdims=True), 1)  # a band of void alone has shares of zero
    labels = {
        "pixels": [*tally.pixels.values()],
        "ignored": int(tally.bands[:, IGNORE].sum()),
        "presence": (np.stack(tally.classes) > 0).mean(axis=0).round(6).tolist(),  # the share of frames that hold it
        "rows16": (bands / valid).round(6).T.tolist(),  # its share of each horizontal band
    }
    return {"image_mean": mean, "image_std": std} | (labels if labelled else {})


def data_report(raw: Raw, tallies: dict[str, Tally], labels: LabelSet, size: tuple[int, int]) -> dict[str, Any]:
    """What was found in the raw data of a domain, what is published of it, and the roles of its prepared splits.

    `size` (height, width) is that of prepared frames.
    """
    row, rendered = raw.dataset, raw.origin == "world"
    absent = row.lacks(labels)
    published = {} if rendered else row.published
    frames = {split: len(tally.notes) for split, tally in tallies.items()}
    notes = [note for tally in tallies.values() for note in tally.notes]
    sizes, ids = Counter(note["size"] for note in notes), Counter[str]()
    for note in notes:
        ids.update(note["ids"])
    expected = sizes if rendered or not row.sizes else set(map(size_text, row.sizes))
    unpublished = [size for size in sizes if size not in expected]
    by_remedy = {"dropped": list[str](), "mended": list[str](), "kept": list[str]()}
    for name, defect in raw.defects.items():
        by_remedy[defect.remedy].append(name)
    summary = ["rendered here" if rendered else "read whole"]
    if published:
        whole = sum(frames.values()) + len(by_remedy["dropped"]) == sum(published.values())
        summary = ["as published" if whole else "a part of what is published"]
        summary += [f"{len(by_remedy[key])} frames {key}" for key in ("dropped", "mended") if by_remedy[key]]
        summary += ["unpublished sizes"] if unpublished else []
    summary += [] if rendered else _remarks(tallies, sizes, size)
    summary += _missing(raw, tallies["train"], absent)
    return {
        "domain": row.name,
        "title": row.title,
        "labelled_split": row.labelled_split,
        "measured_split": row.measured_split,
        "absent": list(absent),
        "origin": raw.origin,
        "layout": raw.layout,
        "frames": frames,
        "published": published,
        "sizes": dict(sorted(sizes.items())),
        "unpublished_sizes": unpublished,
        "ids": {raw_id: ids[raw_id] for raw_id in sorted(ids, key=int)},
        "id_names": {str(raw_id): name for raw_id, name in row.id_names.items()},
        **by_remedy,
        "summary": ", ".join(summary),
    }


def _remarks(tallies: dict[str, Tally], sizes: Counter[str], size: tuple[int, int]) -> Iterator[str]:
    """What a person should know of frames that were prepared all the same."""
    stretched = Counter({text: count for text, count in sizes.items() if _stretch(text, size) > STRETCH})
    if stretched:
        most = stretched.most_common(1)[0][0]
        yield f"{stretched.total()} frames stretched from another shape to {size_text(size)}, such as {most}"
    if deep := sum(note["deep"] for tally in tallies.values() for note in tally.notes):
        yield f"{deep} images of 16 bits, whose upper 8 are used"
    contents = [{note["raw"][0] for note in tally.notes} for tally in tallies.values()]
    if len(contents) == 2 and (both := contents[0] & contents[1]):
        yield f"{' and '.join(tallies)} share {len(both)} images"


def _missing(raw: Raw, train: Tally, absent: tuple[str, ...]) -> Iterator[str]:
    """The classes that labels of training frames cannot have by the table of ids, and those that they do not have."""
    if raw.dataset.splits["train"]:
        unseen = [name for name, pixels in train.pixels.items() if not pixels and name not in absent]
        if absent:
            yield f"no id for {examples(absent)}"
        if unseen:
            more = f" and {len(unseen) - LISTED} more" if len(unseen) > LISTED else ""
            yield f"no frame has {', '.join(unseen[:LISTED])}{more}"


def _stretch(text: str, size: tuple[int, int]) -> float:
    """By which factor the ratio of width to height changes from a size in words to another, at least 1."""
    width, height = map(int, text.split("x"))
    factor = width * size[0] / (height * size[1])
    return max(factor, 1 / factor)
