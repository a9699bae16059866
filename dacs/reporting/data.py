"""What figures are drawn from: the listed runs, the prepared data, and the tables of both."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from dacs.errors import RunFailed
from dacs.layout import PreparedDomain, RunDir
from dacs.methods import main_method, method, ordered
from dacs.settings import Runs


class Run(NamedTuple):
    """One of the listed runs."""

    task: str
    method: str
    seed: int
    folder: RunDir

    @property
    def made_by(self) -> str:
        """The command that makes it."""
        return f"dacs {'adapt' if method(self.method).adapts else 'train'} --out {self.folder.path}"

    @property
    def evaluated_by(self) -> str:
        """The command that evaluates it."""
        return f"dacs evaluate --run {self.folder.path}"


@dataclass(frozen=True)
class ReportData:
    """All that figures are drawn from."""

    runs: Sequence[Run]
    prepared: Path  # data/ready
    tables: dict[str, pd.DataFrame]  # by the name of their file
    frames: int  # images of each task whose predictions are shown

    @property
    def tasks(self) -> list[str]:
        """The tasks, as listed."""
        return list(dict.fromkeys(run.task for run in self.runs))

    @property
    def measured(self) -> list[str]:
        """The tasks whose target has ground truth."""
        return [task for task in self.tasks if self.table("scores", task)["labels"].notna().all()]

    @property
    def methods(self) -> list[str]:
        """The methods, in the order of the table of methods."""
        return list(dict.fromkeys(run.method for run in self.runs))

    @property
    def main(self) -> str | None:
        """The method that the report is about."""
        return main_method(self.methods)

    def table(self, name: str, task: str) -> pd.DataFrame:
        """The rows of a task in a table."""
        return self.tables[name][self.tables[name]["task"] == task]

    def examples(self, task: str) -> list[Run]:
        """The runs whose images are shown: those of the first seed."""
        return [run for run in self.runs if run.task == task and run.seed == self.runs[0].seed]


def list_runs(runs: Path, section: Runs) -> list[Run]:
    """The runs of these tasks, methods and seeds; others in the folder are ignored."""
    names = product(section.tasks, ordered(section.methods), section.seeds)
    return [Run(*name, RunDir.of(runs, *name)) for name in names]


def existing(path: Path, command: str) -> Path:
    """The path of a file or folder. Raises RunFailed with the command that makes it where there is none."""
    if not path.exists():
        raise RunFailed(f"{path}: not found.\nIt is made by '{command}'; run that, or 'snakemake --cores all all'.")
    return path


def pixels(path: Path) -> np.ndarray:
    """uint8 of an image file: colours of an image, indices of a palette, levels of a mask."""
    try:
        with Image.open(path) as image:
            return np.asarray(image)
    except (OSError, SyntaxError) as error:
        raise RunFailed(
            f"{path}: not a whole image ({error}).\nDelete it and run the step that makes it again."
        ) from error


def prepared_domain(prepared: Path, domain: str) -> PreparedDomain:
    """The files of a prepared domain. Raises RunFailed where there are none."""
    existing(PreparedDomain(prepared / domain).data_report, f"dacs remap --domain {domain}")
    return PreparedDomain(prepared / domain)
