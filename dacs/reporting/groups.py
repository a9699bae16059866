"""The groups of classes of a task: over which means are reported, what these are called, and what is shown."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from dacs.datasets.registry import DATASETS
from dacs.evaluation.confusion import score_name
from dacs.labels import CITYSCAPES, LabelSet
from dacs.reporting.names import source_of

MANY = 30  # classes, from which on figures, legends and tables show a part of them at first
NAMED = 20  # classes at most in a list of names within a sentence


class Group(NamedTuple):
    """Classes over which a mean is reported."""

    name: str  # in `LabelSet.measured`
    classes: tuple[str, ...]

    @property
    def score(self) -> str:
        """The name of its mean in metrics.json."""
        return score_name(self.name)

    @property
    def title(self) -> str:
        """What its mean is called in a sentence: mIoU over 16 classes, or mIoU small (4 classes)."""
        number = f"{len(self.classes)} class{'es' * (len(self.classes) != 1)}"
        return f"mIoU over {number}" if self.name.isdecimal() else f"mIoU {self.name.replace('_', ' ')} ({number})"

    @property
    def short(self) -> str:
        """What its mean is called in a table: mIoU16, or mIoU small (4 classes)."""
        return f"mIoU{self.name}" if self.name.isdecimal() else self.title


class Groups(NamedTuple):
    """The groups of classes of a task, those of all classes first."""

    every: tuple[Group, ...]
    headline: Group  # of the main number
    shown: tuple[str, ...]  # classes whose IoU is shown; of Cityscapes' set those of the main number, as papers do


def groups_of(task: str, labels: LabelSet, absent: Collection[str]) -> Groups:
    """The groups of a task whose target does not have the `absent` classes."""
    found = {
        name: Group(name, tuple(labels.names[train_id] for train_id in ids))
        for name, ids in labels.measured(absent).items()
    }
    source = DATASETS.get(source_of(task))
    headline = found[labels.headline(source.headline if source else "", absent)]
    every = tuple(found.values())
    return Groups(every, headline, headline.classes if labels is CITYSCAPES else every[0].classes)


def listed(names: Iterable[str]) -> str:
    """The names of classes in a sentence; of many, the first ones and how many there are besides.

    >>> listed(["road", "sky"]), listed(map(str, range(22)))[-17:]
    ('road, sky', '18, 19 and 2 more')
    """
    every = list(names)
    more = f" and {len(every) - NAMED} more" if len(every) > NAMED else ""
    return ", ".join(every[:NAMED]) + more
