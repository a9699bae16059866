"""The rows of log.csv: means of what the terms report, with the learning rate."""

import csv
import io
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dacs.errors import RunFailed
from dacs.training.checkpoint import State
from dacs.training.objectives import Losses


def next_row(state: State, checkpoint: Path) -> dict[str, Any]:
    """Means over the steps since the last row. Raises RunFailed as `check_finite` does."""
    check_finite(state, checkpoint)
    means = {name: round(values.mean().item(), 5) for name, values in by_name(state.pending).items()}
    state.pending = []
    return {"step": state.step, **means, "lr": round(state.optimizer.param_groups[0]["lr"], 8)}


def by_name(losses: list[Losses]) -> dict[str, Tensor]:
    """The values of each loss, over those batches or steps that report it."""
    names = dict.fromkeys(name for each in losses for name in each)
    return {name: torch.stack([each[name] for each in losses if name in each]) for name in names}


def check_finite(state: State, checkpoint: Path) -> None:
    """Raise RunFailed at the first loss that is not finite, or for weights that are not, before anything is saved.

    Called only when a row or a checkpoint is due, since it waits for the GPU.
    """
    found = [
        f"{name} is {value} at step {step}"
        for step, losses in enumerate(state.pending, state.step - len(state.pending) + 1)
        for name, value in zip(losses, torch.stack(list(losses.values())).tolist(), strict=True)
        if not math.isfinite(value)
    ]
    if not all(weight.isfinite().all() for weight in state.student.parameters()):
        found.append(f"weights are not finite after step {state.step}")
    if found:
        kept = f"{checkpoint} keeps the last good state" if checkpoint.exists() else "No checkpoint was written yet"
        raise RunFailed(f"{found[0]}; training stopped.\n{kept}. Lower the learning rate in params.yaml; run again.")


def as_csv(rows: list[dict[str, Any]]) -> str:
    """The rows as CSV: a column for each name that any row has; a cell is empty where a row lacks it."""
    text = io.StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
