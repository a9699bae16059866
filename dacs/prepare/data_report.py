"""What was found in the raw data, compared with what is published: one small report a domain, for people and the page.

It says too which prepared splits have labels and are evaluated on, so that nothing later asks for the raw data's row.
"""

from collections import Counter
from typing import Any

from dacs.datasets.base import Raw
from dacs.prepare.statistics import Tally


def data_report(raw: Raw, tallies: dict[str, Tally]) -> dict[str, Any]:
    """The report of a domain all of whose frames could be read, from sums by raw split."""
    row, rendered = raw.dataset, raw.origin == "world"
    expected = set() if rendered else {f"{width}x{height}" for height, width in row.sizes}
    sizes, ids = Counter[str](), Counter[int]()
    for tally in tallies.values():
        sizes += tally.sizes
        ids += tally.ids
    found = {
        "domain": row.name,
        "title": row.title,
        "labelled_split": row.labelled_split,
        "measured_split": row.measured_split,
        "absent": list(row.absent),
        "origin": raw.origin or "folder",
        "layout": raw.layout,
        "frames": {split: len(tally.digests) for split, tally in tallies.items()},
        "published": {} if rendered else row.published,
        "sizes": dict(sorted(sizes.items())),
        "unpublished_sizes": [size for size in sizes if expected and size not in expected],
        "ids": {str(key): pixels for key, pixels in sorted(ids.items())},
        "id_names": {str(key): name for key, name in row.id_names.items()},
        "dropped": [name for name, defect in raw.defects.items() if defect.remedy == "drop"],
        "mended": [name for tally in tallies.values() for name in tally.mended],
        "kept": [name for name, defect in raw.defects.items() if defect.remedy == "keep"],
    }
    return found | {"summary": "rendered here" if rendered else _summary(found)}


def _summary(found: dict[str, Any]) -> str:
    if not found["published"]:
        return "read whole"
    whole = sum(found["frames"].values()) + len(found["dropped"]) == sum(found["published"].values())
    handled = [f"{len(found[key])} frames {key}" for key in ("dropped", "mended") if found[key]]
    words = "as published" if whole else "a part of what is published"
    return ", ".join([words, *handled, *(["unpublished sizes"] if found["unpublished_sizes"] else [])])
