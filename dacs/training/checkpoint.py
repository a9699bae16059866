"""The state of a run between two steps, saved and resumed; batches and masks follow from the seed and the step."""

import hashlib
import io
import json
import sys
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

CHECKSUM = 32  # bytes of the sha256 of the rest, with which a file begins: torch notices no bit that was flipped


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
    write(path, saved._asdict())


def write(path: Path, content: dict[str, Any]) -> None:
    """Write what a checkpoint holds after its checksum."""
    buffer = io.BytesIO(bytes(CHECKSUM))  # through memory, since torch reports a full disk in messages of its own
    buffer.seek(CHECKSUM)
    torch.save(content, buffer)
    memory = buffer.getbuffer()
    memory[:CHECKSUM] = hashlib.sha256(memory[CHECKSUM:]).digest()
    write_bytes(path, memory)


def read(path: Path) -> dict[str, Any]:
    """What a checkpoint holds. Raises RunFailed if it is damaged."""
    advice = f"Delete {path.parent} to start this run from its beginning."
    try:
        with path.open("rb") as stream:
            checksum, content = stream.read(CHECKSUM), stream.read()
        if hashlib.sha256(content).digest() != checksum:
            raise RunFailed(f"{path}: not a readable checkpoint (its checksum differs).\n{advice}")
        found: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return found
    except RunFailed:
        raise
    except Exception as error:  # what is in it can break its reader in any way
        raise RunFailed(f"{path}: not a readable checkpoint ({type(error).__name__}).\n{advice}") from error


def remove_damaged(path: Path) -> None:
    """Remove a checkpoint that cannot be read, and say so: the run starts from its beginning."""
    try:
        if path.exists():
            read(path)
    except RunFailed as error:
        if path.is_dir():
            raise
        reason = str(error).partition("\n")[0]
        print(f"{reason} It is removed; the run starts from its beginning.", file=sys.stderr, flush=True)
        path.unlink()


def resume(state: State, path: Path, key: str, steps: int) -> None:
    """Restore what was saved at `path`, if anything was, of a run of so many steps.

    Raises RunFailed if it is damaged, of other settings, or no state of this run; then `state` is of no use.
    """
    if not path.exists():
        return
    advice = f"Delete {path.parent} to start this run from its beginning."
    found = read(path)
    if isinstance(found, dict) and found.get("key", key) != key:
        raise RunFailed(f"{path}: a checkpoint of other settings ({found['key']}), expected {key}.\n{advice}")
    try:
        saved = Saved(**found)
        if not 0 < saved.step < steps:
            raise ValueError(f"step {saved.step}, expected 1 to {steps - 1}")
        _restore(state, saved)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise RunFailed(f"{path}: not a checkpoint of this run ({reason}).\n{advice}") from error


def _restore(state: State, saved: Saved) -> None:
    state.student.load_state_dict(saved.student)
    state.teacher.network.load_state_dict(saved.teacher)
    state.optimizer.load_state_dict(saved.optimizer)
    for weight, kept in state.optimizer.state.items():
        if wrong := [name for name, each in kept.items() if each.dim() and each.shape != weight.shape]:
            raise ValueError(f"{wrong[0]} of the optimizer has another shape than its weights")
    device = state.student.mean.device
    for term, kept_of_term in zip(state.terms, saved.terms, strict=True):
        term.load_state_dict(_on(device, kept_of_term))
    state.step = saved.step
    state.rows = json.loads(saved.rows)
    state.pending = [_on(device, losses) for losses in saved.pending]


def _on(device: torch.device, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def write_weights(path: Path, network: nn.Module) -> None:
    """Write the tensors of a network as a safetensors file."""
    write_bytes(path, to_bytes({name: value.cpu().contiguous() for name, value in network.state_dict().items()}))
