"""Which prepared split of a target is measured on. What was prepared is read from its contract.json, not guessed."""

from pathlib import Path

from dacs.files import read_json


def measured(target: Path) -> Path:
    """The split of a prepared target that is measured on: its validation set, or its training frames for want of one.

    A folder that an earlier table of the domain has left behind does not count. Raises RunFailed where nothing is
    prepared.
    """
    return target / ("val" if "val" in read_json(target / "contract.json")["frames"] else "train")
