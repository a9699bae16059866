"""All that survives an interruption, and how it goes to disk and back.

Batches, crops and masks are functions of the seed and the step, so no generator and no position needs keeping.
"""

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dacs.adaptation.teacher import Teacher
from dacs.errors import RunFailed
from dacs.files import write_bytes
from dacs.models.deeplab import Segmenter


@dataclass
class State:
    """A run between two steps."""

    student: Segmenter
    teacher: Teacher
    optimizer: torch.optim.Optimizer
    step: int = 0  # steps done
    rows: list[dict[str, Any]] = field(default_factory=list)  # of log.csv, so far
    pending: list[dict[str, Tensor]] = field(default_factory=list)  # losses of the steps since the last row


def save(state: State, path: Path, key: str) -> None:
    """Write the state to `path`, whole or not at all, marked with the key of its run."""
    content = {
        "key": key,
        "step": state.step,
        "rows": json.dumps(state.rows),
        "pending": state.pending,
        "student": state.student.state_dict(),
        "teacher": state.teacher.network.state_dict(),
        "optimizer": state.optimizer.state_dict(),
    }
    # Through memory, since torch tells a full disk in words of its own.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_bytes(path, buffer.getbuffer())


def restore(state: State, path: Path, key: str) -> None:
    """Bring `state` to where the checkpoint at `path` left off.

    Raises RunFailed if the checkpoint is unreadable or belongs to other settings.
    """
    advice = f"Delete {path.parent} to start this run from its beginning."
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        found = content["key"]
    except Exception as error:  # a damaged file can break its reader in any way
        raise RunFailed(f"{path}: not a readable checkpoint ({type(error).__name__}).\n{advice}") from error
    if found != key:
        raise RunFailed(f"{path}: a checkpoint of other settings ({found}), expected {key}.\n{advice}")
    state.student.load_state_dict(content["student"])
    state.teacher.network.load_state_dict(content["teacher"])
    state.optimizer.load_state_dict(content["optimizer"])
    state.step = content["step"]
    state.rows = json.loads(content["rows"])
    device = state.student.mean.device
    state.pending = [{name: loss.to(device) for name, loss in losses.items()} for losses in content["pending"]]
