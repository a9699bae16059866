"""All that survives an interruption, and how it goes to disk and back.

Batches, crops and masks are functions of the seed and the step, so no generator and no position needs keeping.
"""

import json
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dacs.adaptation.teacher import Teacher
from dacs.errors import RunFailed
from dacs.files import atomic
from dacs.models.deeplab import Segmenter


@dataclass
class State:
    """A run between two steps."""

    student: Segmenter
    teacher: Teacher
    optimizer: torch.optim.Optimizer
    step: int = 0  # steps done
    rows: list[dict[str, Any]] = field(default_factory=list)  # of log.csv, so far


def save(state: State, path: Path, key: str) -> None:
    """Write the state to `path`, whole or not at all, marked with the key of its run."""
    content = {
        "key": key,
        "step": state.step,
        "rows": json.dumps(state.rows),
        "student": state.student.state_dict(),
        "teacher": state.teacher.network.state_dict(),
        "optimizer": state.optimizer.state_dict(),
    }
    with atomic(path) as partial:
        torch.save(content, partial)


def restore(state: State, path: Path, key: str) -> None:
    """Bring `state` to where the checkpoint at `path` left off.

    Raises RunFailed if the checkpoint is unreadable or belongs to other settings.
    """
    advice = f"Delete {path.parent} to start this run from its beginning."
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise RunFailed(f"{path}: not a readable checkpoint ({error}).\n{advice}") from error
    if content["key"] != key:
        raise RunFailed(f"{path}: a checkpoint of other settings ({content['key']}), expected {key}.\n{advice}")
    state.student.load_state_dict(content["student"])
    state.teacher.network.load_state_dict(content["teacher"])
    state.optimizer.load_state_dict(content["optimizer"])
    state.step = content["step"]
    state.rows = json.loads(content["rows"])
