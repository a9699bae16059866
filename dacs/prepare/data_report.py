"""What was found against what is published: one small report a domain, for people and for the page."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from dacs.datasets.formats import Raw


@dataclass
class Findings:
    """What reading every frame has shown, in integers: no order of adding changes them."""

    sizes: Counter[str] = field(default_factory=Counter)  # "1914x1052", width x height → images
    ids: Counter[int] = field(default_factory=Counter)  # raw id → pixels, over the labels as they were used
    mended: list[str] = field(default_factory=list)
    frames: Counter[str] = field(default_factory=Counter)  # split → frames that are used

    def add(self, split: str, name: str, note: dict[str, Any]) -> None:
        """Count one frame."""
        self.frames[split] += 1
        self.sizes["{1}x{0}".format(*note["size"])] += 1
        self.ids.update({int(key): pixels for key, pixels in note["ids"].items()})
        if note["mended"]:
            self.mended.append(name)


def report(raw: Raw, findings: Findings) -> dict[str, Any]:
    """The report of a domain whose frames could all be read; what could not be is told instead of a report."""
    dropped = [name for name, (remedy, _) in raw.known.items() if remedy == "drop"]
    odd = [size for size in findings.sizes if raw.form.sizes and _pair(size) not in raw.form.sizes]
    found = {
        "domain": raw.domain,
        "origin": raw.origin or "folder",
        "layout": raw.layout,
        "frames": {split: findings.frames[split] for split in raw.form.splits},
        "published": raw.form.published if raw.origin != "world" else {},
        "sizes": dict(sorted(findings.sizes.items())),
        "unpublished_sizes": odd if raw.origin != "world" else [],
        "ids": {str(key): pixels for key, pixels in sorted(findings.ids.items())},
        "dropped": dropped,
        "mended": findings.mended,
        "kept": [name for name, (remedy, _) in raw.known.items() if remedy == "keep"],
    }
    return found | {"verdict": _verdict(raw, found)}


def _verdict(raw: Raw, found: dict[str, Any]) -> str:
    if raw.origin == "world":
        return "rendered here"
    if not found["published"]:
        return "read whole"
    left = {split: number + len(found["dropped"]) for split, number in found["frames"].items()}
    handled = [f"{len(found[key])} frames {key}" for key in ("dropped", "mended") if found[key]]
    words = "as published" if left == found["published"] else "a part of what is published"
    return ", ".join([words, *handled, *(["sizes that nobody published"] if found["unpublished_sizes"] else [])])


def _pair(size: str) -> tuple[int, int]:
    width, height = size.split("x")
    return int(height), int(width)


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The report in words, for the log."""
    frames = ", ".join(f"{number:,} in {split}" for split, number in found["frames"].items())
    yield f"{found['domain']}: {found['verdict']}; {frames}; {found['layout']}"
    yield f"  sizes: {', '.join(f'{size} ({number:,})' for size, number in found['sizes'].items())}"
    for key in ("dropped", "mended", "kept"):
        if found[key]:
            yield f"  {key}, known defects: {', '.join(found[key])}"
