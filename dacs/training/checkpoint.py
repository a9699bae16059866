"""The state of a run between two steps, saved and resumed; batches and masks follow from the seed and the step."""

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from dacs.adaptation.teacher import Teacher
from dacs.errors import RunFailed
from dacs.files import write_bytes
from dacs.models.segmenter import Segmenter
from dacs.training.objectives import Losses, Term


@dataclass
class State:
    """A run between two steps."""

    student: Segmenter
    teacher: Teacher
    optimizer: torch.optim.Optimizer
    terms: list[Term]
    step: int = 0  # steps done
    rows: list[dict[str, Any]] = field(default_factory=list)  # of log.csv, so far
    pending: list[Losses] = field(default_factory=list)  # losses of the steps since the last row


class Saved(NamedTuple):
    """What a checkpoint holds."""

    key: str  # of the run
    step: int
    rows: str  # as JSON
    pending: list[Losses]
    student: dict[str, Tensor]
    teacher: dict[str, Tensor]
    optimizer: dict[str, Any]
    terms: list[dict[str, Tensor]]


def save(state: State, path: Path, key: str) -> None:
    """Write the state to `path`, whole or not at all, marked with the key of its run."""
    networks = state.student.state_dict(), state.teacher.network.state_dict()
    terms = [term.state_dict() for term in state.terms]
    rows = json.dumps(state.rows)
    saved = Saved(key, state.step, rows, state.pending, *networks, state.optimizer.state_dict(), terms)
    # Through memory, since torch reports a full disk in messages of its own.
    buffer = io.BytesIO()
    torch.save(saved._asdict(), buffer)
    write_bytes(path, buffer.getbuffer())


def resume(state: State, path: Path, key: str) -> None:
    """Restore what was saved at `path`, if anything was. Raises RunFailed if it is damaged or of other settings."""
    if not path.exists():
        return
    advice = f"Delete {path.parent} to start this run from its beginning."
    try:
        saved = Saved(**torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # a damaged file can break its reader in any way
        raise RunFailed(f"{path}: not a readable checkpoint ({type(error).__name__}).\n{advice}") from error
    if saved.key != key:
        raise RunFailed(f"{path}: a checkpoint of other settings ({saved.key}), expected {key}.\n{advice}")
    state.student.load_state_dict(saved.student)
    state.teacher.network.load_state_dict(saved.teacher)
    state.optimizer.load_state_dict(saved.optimizer)
    device = state.student.mean.device
    for term, kept in zip(state.terms, saved.terms, strict=True):
        term.load_state_dict(_on(device, kept))
    state.step = saved.step
    state.rows = json.loads(saved.rows)
    state.pending = [_on(device, losses) for losses in saved.pending]


def _on(device: torch.device, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def write_weights(path: Path, network: nn.Module) -> None:
    """Write the tensors of a network as a safetensors file."""
    write_bytes(path, to_bytes({name: value.cpu().contiguous() for name, value in network.state_dict().items()}))
