"""Two results side by side, as text for a terminal."""

from pathlib import Path

import pandas as pd

from dacs.errors import BadRequest
from dacs.files import read_json
from dacs.layout import RunDir


def compare(first: Path, second: Path) -> str:
    """The scores of two runs (folders with an evaluation) or two metrics.json, and their difference in points."""
    table = pd.DataFrame({"first": _scores(first), "second": _scores(second)})
    both, only = table.dropna(), table.index[table.isna().any(axis=1)]
    if both.empty:
        raise BadRequest(f"{first} and {second} have no score in common.\nGive two runs, or two files of one kind.")
    both = both.assign(change=(both["second"] - both["first"]).map("{:+.2f}".format))
    lines = [f"first:  {first}", f"second: {second}", both.to_string(float_format="{:.2f}".format)]
    return "\n".join(lines + ([f"in one only: {', '.join(only)}"] if len(only) else []))


def _scores(path: Path) -> pd.Series:
    """All numbers of a result by their dotted name."""
    found = dict(read_json(RunDir(path).evaluation.metrics if path.is_dir() else path))
    if "unmeasured" in found:
        raise BadRequest(f"{path}: {found['unmeasured']}\nCompare runs whose target has labelled validation frames.")
    flat = pd.json_normalize(found).iloc[0]
    return flat[[isinstance(value, int | float) for value in flat]].astype(float)
