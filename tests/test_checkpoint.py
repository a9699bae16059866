"""What survives an interruption comes back bit by bit, or is refused in words."""

import copy
import pickle
import resource
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from dacs.errors import RunFailed
from dacs.training import loop
from dacs.training.checkpoint import State, restore, save


def begun(seed: int, steps: int = 2, optimizer: str = "adamw") -> State:
    """A run after a few steps on noise."""
    settings = tiny.settings("dacs", {"optimizer": optimizer})
    state = loop._start(settings, settings["adapt"], seed, None, torch.device("cpu"))
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        state.optimizer.zero_grad()
        state.student(torch.rand(2, 3, 16, 16, generator=draw)).square().mean().backward()
        state.optimizer.step()
        state.teacher.follow(state.student, state.step)
        state.step += 1
        state.pending.append({"loss_source": torch.tensor(0.1 + state.step), "lambda": torch.tensor(0.7)})
    state.rows.append({"step": 2, "loss_source": 1.23456, "lr": 0.002})
    return state


def all_of(state: State) -> dict[str, Any]:
    return {
        "student": state.student.state_dict(),
        "teacher": state.teacher.network.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "rows": state.rows,
        "pending": state.pending,
    }


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_everything_comes_back_bit_by_bit(optimizer: str, tmp_path: Path) -> None:
    state, other = begun(0, optimizer=optimizer), begun(1, steps=0, optimizer=optimizer)
    save(state, tmp_path / "checkpoint.pt", "key")
    assert not same(all_of(other), all_of(state))
    restore(other, tmp_path / "checkpoint.pt", "key")
    assert same(all_of(other), all_of(state))


def test_saving_changes_nothing_and_what_is_saved_does_not_change_later(tmp_path: Path) -> None:
    state = begun(0)
    before = copy.deepcopy(all_of(state))
    save(state, tmp_path / "checkpoint.pt", "key")
    assert same(all_of(state), before)
    state.student.head.branches[0].bias.data.add_(1)
    other = begun(1, steps=0)
    restore(other, tmp_path / "checkpoint.pt", "key")
    assert same(all_of(other), before)


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save(begun(0), path, "one")
    other = begun(1)
    before = copy.deepcopy(all_of(other))
    with pytest.raises(RunFailed, match="of other settings") as caught:
        restore(other, path, "two")
    assert all(word in str(caught.value) for word in (str(path), "one", "two", "Delete"))
    assert same(all_of(other), before)


@pytest.mark.parametrize("damage", ["empty", "half", "noise", "text", "other"])
def test_a_damaged_checkpoint_is_told_in_words(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save(begun(0), path, "key")
    whole = path.read_bytes()
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.pt")
    broken = {"empty": b"", "half": whole[: len(whole) // 2], "noise": whole[::-1], "text": b"hello"}
    path.write_bytes(broken.get(damage, (tmp_path / "other.pt").read_bytes()))
    with pytest.raises(RunFailed, match="not a readable checkpoint") as caught:
        restore(begun(0), path, "key")
    assert str(path) in str(caught.value).splitlines()[0]


class Trap:
    """What a checkpoint from a stranger could hold."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("code was run",)


def test_no_code_is_run_from_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"key": "key", "trap": Trap()}, tmp_path / "checkpoint.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Trap(), protocol=2))
    for name in ("checkpoint.pt", "plain.pt"):
        with pytest.raises(RunFailed, match="not a readable checkpoint"):
            restore(begun(0), tmp_path / name, "key")
    assert "code was run" not in capsys.readouterr().out


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save(begun(0), path, "key")
    whole = path.read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(RunFailed, match="could not be written"):
            save(begun(1), path, "key")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [inner.name for inner in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert path.read_bytes() == whole
