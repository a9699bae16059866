"""Two results side by side, as text for a terminal."""

from pathlib import Path
from typing import Any

from dacs.errors import BadRequest
from dacs.files import read_json


def compare(first: Path, second: Path) -> str:
    """The scores of two runs (folders with an evaluation) or two metrics.json, and their difference in points."""
    left, right = _scores(first), _scores(second)
    names = [name for name in left if name in right]
    if not names:
        raise BadRequest(f"{first} and {second} have no score in common.\nGive two runs, or two files of one kind.")
    width = max(map(len, names))
    lines = [f"{'':{width}}  {'first':>8} {'second':>8} {'change':>8}", f"first:  {first}", f"second: {second}"]
    lines = [*lines[1:], lines[0]]
    for name in names:
        lines.append(f"{name:{width}}  {left[name]:8.2f} {right[name]:8.2f} {right[name] - left[name]:+8.2f}")
    only = [name for name in (*left, *right) if (name in left) != (name in right)]
    return "\n".join(lines + ([f"in one only: {', '.join(only)}"] if only else []))


def _scores(path: Path) -> dict[str, float]:
    """All numbers of a result by their dotted name; what nobody could measure has none."""
    found = read_json(path / "evaluation" / "metrics.json" if path.is_dir() else path)
    if isinstance(found, dict) and "unmeasured" in found:
        raise BadRequest(f"{path}: {found['unmeasured']}\nCompare runs whose target has labelled validation frames.")
    return dict(_flat(found))


def _flat(value: Any, name: str = "") -> list[tuple[str, float]]:
    if isinstance(value, dict):
        return [pair for key, inner in value.items() for pair in _flat(inner, f"{name}.{key}".lstrip("."))]
    return [(name, float(value))] if isinstance(value, int | float) else []
