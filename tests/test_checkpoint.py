"""The state of a run is saved and restored exactly; a checkpoint that does not fit or is damaged is refused."""

import copy
import hashlib
import pickle
import random
import resource
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

from dacs.errors import RunFailed
from dacs.training.checkpoint import State, read, remove_damaged, resume, save, write
from dacs.training.loop import initial_state
from dacs.training.objectives import Term

STEPS = 6  # of the runs


class Counter(Term):
    """A term with state of its own: the number of times that it was called."""

    calls = torch.zeros(())

    def state_dict(self) -> dict[str, Tensor]:
        return {"calls": self.calls}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.calls = state["calls"]


def begin(seed: int, steps: int = 2, optimizer: str = "adamw") -> State:
    """A run after a few steps on noise."""
    run = tiny.run(method="dacs", seed=seed, optimizer=optimizer)
    state = initial_state(run, torch.device("cpu"))
    counter = Counter(run.row, run.settings, state.student)
    state.terms.append(counter)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        state.optimizer.zero_grad()
        state.student(torch.rand(2, 3, 16, 16, generator=generator)).square().mean().backward()
        state.optimizer.step()
        state.teacher.update(state.student, state.step)
        state.step += 1
        counter.calls = counter.calls + 1
        state.pending.append({"loss_source": torch.tensor(0.1 + state.step), "lambda": torch.tensor(0.7)})
    state.rows.append({"step": 2, "loss_source": 1.23456 + seed, "lr": 0.002})
    return state


def content(state: State) -> dict[str, Any]:
    return {
        "student": state.student.state_dict(),
        "teacher": state.teacher.network.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "terms": [term.state_dict() for term in state.terms],
        "step": state.step,
        "rows": state.rows,
        "pending": state.pending,
    }


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return torch.equal(one, other) if isinstance(one, Tensor) else one == other


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint.pt"


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_every_part_of_the_state_is_restored_exactly(optimizer: str, path: Path) -> None:
    state, other = begin(0, optimizer=optimizer), begin(1, steps=0, optimizer=optimizer)
    save(state, path, "key")
    before, expected = content(other), content(state)
    assert not any(equal(before[part], expected[part]) for part in before)
    resume(other, path, "key", STEPS)
    assert equal(content(other), expected)


def test_without_a_checkpoint_the_state_stays(path: Path) -> None:
    state = begin(0)
    before = copy.deepcopy(content(state))
    resume(state, path, "key", STEPS)
    assert equal(content(state), before)


def test_saving_changes_nothing_and_what_is_saved_does_not_change_later(path: Path) -> None:
    state, other = begin(0), begin(1, steps=0)
    before = copy.deepcopy(content(state))
    save(state, path, "key")
    assert equal(content(state), before)
    state.student.head.branches[0].bias.data.add_(1)
    resume(other, path, "key", STEPS)
    assert equal(content(other), before)


def test_a_checkpoint_of_other_settings_is_refused(path: Path) -> None:
    save(begin(0), path, "one")
    other = begin(1)
    before = copy.deepcopy(content(other))
    with pytest.raises(RunFailed, match="of other settings") as caught:
        resume(other, path, "two", STEPS)
    assert all(word in str(caught.value) for word in (str(path), "one", "two", "Delete"))
    assert equal(content(other), before)


@pytest.mark.parametrize("damage", ["empty", "half", "noise", "text", "other"])
def test_a_damaged_checkpoint_is_an_error_that_names_it(damage: str, path: Path) -> None:
    save(begin(0), path, "key")
    whole = path.read_bytes()
    if damage == "other":
        torch.save({"weights": torch.zeros(3)}, path)  # as earlier versions wrote them
    else:
        path.write_bytes({"empty": b"", "half": whole[: len(whole) // 2], "noise": whole[::-1], "text": b"hi"}[damage])
    with pytest.raises(RunFailed, match="not a readable checkpoint") as caught:
        resume(begin(0), path, "key", STEPS)
    assert str(path) in str(caught.value).splitlines()[0]


@pytest.mark.parametrize("seed", range(12))
def test_a_flipped_bit_is_noticed_and_the_checkpoint_removed(
    seed: int, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(begin(0), path, "key")
    remove_damaged(path)
    assert path.exists()
    content, generator = bytearray(path.read_bytes()), random.Random(seed)
    content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    path.write_bytes(content)
    with pytest.raises(RunFailed, match="its checksum differs"):
        read(path)
    remove_damaged(path)
    assert not path.exists()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(str(path))
    assert "starts from its beginning" in line


def _cut(tensors: dict[str, Any]) -> None:
    name = next(name for name, value in tensors.items() if isinstance(value, Tensor) and value.dim())
    tensors[name] = tensors[name][:1, :1] if tensors[name].dim() > 1 else tensors[name][:1]


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found.update(step=STEPS),
        lambda found: found.update(step=-1),
        lambda found: found.update(step="two"),
        lambda found: found.pop("student"),
        lambda found: found.pop("key"),
        lambda found: found.update(more=1),
        lambda found: found["student"].popitem(),
        lambda found: found["terms"].pop(),
        lambda found: found["terms"].append({}),
        lambda found: _cut(found["student"]),
        lambda found: _cut(found["teacher"]),
        lambda found: _cut(found["optimizer"]["state"][0]),
        lambda found: found["optimizer"]["param_groups"].pop(),
        lambda found: found.update(rows="{"),
        lambda found: found.update(pending=None),
    ],
)
def test_a_whole_checkpoint_that_is_none_of_this_run_is_an_error_of_one_line(change: Any, path: Path) -> None:
    save(begin(0), path, "key")
    found = read(path)
    change(found)
    write(path, found)
    with pytest.raises(RunFailed, match="not a checkpoint of this run") as caught:
        resume(begin(0), path, "key", STEPS)
    first, advice = str(caught.value).splitlines()
    assert first.startswith(f"{path}: ")
    assert advice.startswith("Delete")


class Hostile:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("code was run",)


def test_no_code_is_run_from_a_checkpoint(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = pickle.dumps(Hostile(), protocol=2)
    for make in (
        lambda: write(path, {"key": "key", "trap": Hostile()}),
        lambda: path.write_bytes(hashlib.sha256(plain).digest() + plain),
    ):
        make()
        with pytest.raises(RunFailed, match="not a readable checkpoint"):
            resume(begin(0), path, "key", STEPS)
    assert "code was run" not in capsys.readouterr().out


def test_a_full_disk_keeps_the_last_checkpoint(path: Path) -> None:
    save(begin(0), path, "key")
    whole = path.read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(RunFailed, match="could not be written"):
            save(begin(1), path, "key")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [inner.name for inner in path.parent.iterdir()] == ["checkpoint.pt"]
    assert path.read_bytes() == whole
