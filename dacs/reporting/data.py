"""What figures are drawn from: the listed runs, the prepared data, and the tables of both."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from dacs.files import read_json, reading
from dacs.labels import LabelSet
from dacs.layout import RunDir
from dacs.methods import START, baselines, main_method, method, ordered, possible
from dacs.reporting.groups import Groups
from dacs.settings import Runs

KEY = ["task", "method", "seed"]  # of the tables of runs
TEXTS = ("name", "meaning", "class", "taken_for", "collapsed", "group", "size", "labels")  # columns of tables


class Run(NamedTuple):
    """One of the listed runs."""

    task: str
    method: str
    seed: int
    folder: RunDir

    @property
    def title(self) -> str:
        """The title of its method."""
        return method(self.method).title


@dataclass(frozen=True)
class ReportData:
    """All that figures are drawn from."""

    runs: Sequence[Run]
    prepared: Path  # data/ready
    tables: dict[str, pd.DataFrame]  # by the name of their file
    frames: int  # images of each task whose predictions are shown
    labels: LabelSet
    groups: dict[str, Groups]  # by task

    @property
    def tasks(self) -> list[str]:
        """The tasks, as listed."""
        return list(dict.fromkeys(run.task for run in self.runs))

    @property
    def measured(self) -> list[str]:
        """The tasks whose target has ground truth."""
        return [task for task in self.tasks if self.scores(task)["labels"].notna().all()]

    @property
    def main(self) -> str | None:
        """The method that the report is about."""
        return main_method({run.method for run in self.runs})

    def table(self, name: str, task: str) -> pd.DataFrame:
        """The rows of a task in a table."""
        return self.tables[name][self.tables[name]["task"] == task]

    def pair(self, task: str) -> tuple[str, str] | None:
        """The class that is confused with another one, and this one; None where nothing was measured."""
        return pair_of(self.tables["pair"], task)

    def scores(self, task: str) -> pd.DataFrame:
        """The scores of the runs of a task by the protocol of the main numbers."""
        table = self.table("scores", task)
        return table[table["headline"]]

    def means(self, task: str, score: str) -> pd.Series:
        """A score by method, the mean of the seeds, as metrics.json has the main number."""
        return self.scores(task).groupby("method", sort=False)[score].mean().round(2)

    def intervals(self, task: str) -> pd.DataFrame:
        """The intervals of the main number by method, and those of its differences."""
        table = self.table("intervals", task)
        return table[table["headline"].astype(bool)].set_index("method")

    def baseline(self, task: str, score: str) -> str | None:
        """The best baseline by its mean; None where the runs have none."""
        return best_baseline(self.means(task, score))

    def gain(self, task: str, score: str) -> float:
        """The gain of the main method over the best baseline; NaN where there is none."""
        means = self.means(task, score)
        return float(means.get(self.main, np.nan) - means.get(best_baseline(means), np.nan))

    def examples(self, task: str) -> list[Run]:
        """The runs whose images are shown: those of the first seed."""
        return [run for run in self.runs if run.task == task and run.seed == self.runs[0].seed]


def best_baseline(means: pd.Series) -> str | None:
    """The best of the baselines in a score by method, from which gains are counted; None where there is none."""
    found = means[baselines(means.index)].dropna()
    return None if found.empty else str(found.idxmax())


def pair_of(pairs: pd.DataFrame, task: str) -> tuple[str, str] | None:
    """The pair of classes of a task, as the table has it."""
    found = pairs.loc[pairs["task"] == task, ["class", "taken_for"]].itertuples(index=False, name=None)
    return next(found, None)


def list_runs(runs: Path, section: Runs, unlabelled: Sequence[str] = ()) -> list[Run]:
    """The runs of these tasks, methods and seeds, those of `unlabelled` tasks without the oracle."""
    found = []
    for task in section.tasks:
        methods = possible(ordered(section.methods), unlabelled=task in unlabelled)
        found += [Run(task, *name, RunDir.of(runs, task, *name)) for name in product(methods, section.seeds)]
    return found


def steps_before(run: RunDir) -> int | None:
    """Optimizer steps of the source-only weights that a run starts from, 0 of others; None where that run is gone.

    AdaBN starts from those after the last step.
    """
    settings = read_json(run.spec)["settings"]
    adapt = settings.get("adapt")
    if "train" in settings or (adapt and adapt["init"] != START):
        return 0
    source = RunDir(run.path.parents[1] / START / run.path.name).spec
    train = read_json(source)["settings"]["train"] if source.exists() else None
    return train and ((train.get("start") or train["steps"] - adapt["steps"]) if adapt else train["steps"])


def read_table(path: Path) -> pd.DataFrame:
    """A CSV file. Names that look like numbers or missing values are kept as they are."""
    types: dict[Any, Any] = {**dict.fromkeys(TEXTS, str), "count": "Int64"}
    with reading(path, "a table"):
        return pd.read_csv(path, dtype=types, keep_default_na=False, na_values=[""])


def pixels(path: Path) -> np.ndarray:
    """uint8 of an image file: colours of an image, indices of a palette, levels of a mask."""
    with reading(path, "a whole image"), Image.open(path) as image:
        return np.asarray(image)
