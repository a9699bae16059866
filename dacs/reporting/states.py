"""Tables of the states of the runs that were kept: scores, criteria that need no labels, and pseudo-labels by step."""

from collections.abc import Mapping, Sequence

import pandas as pd

from dacs.reporting.data import KEY, Run, read_table
from dacs.reporting.measured import Evaluation


def checkpoint_table(found: Mapping[Run, Evaluation]) -> pd.DataFrame:
    """What was measured of each state that was kept, by run and step, and which of them was chosen and is the best.

    `regret`: by how many points the student is below that of the best state; empty where there is no ground truth.
    """
    tables = {}
    for run, each in found.items():
        table, choice = read_table(run.folder.evaluation.checkpoints), each.metrics["choice"] or {}
        for name in ("chosen", "best"):
            table[name] = table["step"] == choice.get(name)
        student = table["student"].astype(float)
        tables[run[:3]] = table.assign(regret=student.max() - student)
    return pd.concat(tables, names=KEY).reset_index(KEY)


def choice_table(found: Mapping[Run, Evaluation]) -> pd.DataFrame:
    """By how many points the state that a criterion chooses without labels, and the last one, are below the best."""
    rows = [
        (*run[:3], criterion, criterion == choice["criterion"], regret)
        for run, each in found.items()
        if (choice := each.metrics["choice"])
        for criterion, regret in (choice["regret"] or {}).items()
    ]
    return pd.DataFrame(rows, columns=[*KEY, "criterion", "used", "regret"])


def evaluation_table(runs: Sequence[Run], name: str) -> pd.DataFrame:
    """A table of the evaluations, of all runs."""
    tables = {run[:3]: read_table(getattr(run.folder.evaluation, name)) for run in runs}
    return pd.concat(tables, names=KEY).reset_index(KEY)
