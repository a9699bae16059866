"""Network, classes and schedule of a finished run, as its settings.json says. Torch-free: the report reads it too."""

from typing import NamedTuple, TypeVar

from pydantic import ValidationError

from dacs.errors import RunFailed
from dacs.fields import Section
from dacs.files import read_json
from dacs.labels import LabelSet
from dacs.layout import RunDir
from dacs.settings import Labels, Model, label_set

Kind = TypeVar("Kind", bound=Section)


class Schedule(NamedTuple):
    """What evaluation needs to know of how a run was trained."""

    steps: int  # 0 where nothing was trained
    threshold: float | None  # from which confidence on a pixel counted as confident; None: it had no pseudo-labels
    batch: int | None  # images that the teacher normalised together; None: each by its running statistics


def model_of(run: RunDir) -> Model:
    """What the networks of a run are."""
    return _section(run, "model", Model)


def labels_of(run: RunDir) -> LabelSet:
    """The classes that the networks of a run tell apart."""
    own = "labels" in read_json(run.spec)["settings"]
    return label_set(_section(run, "labels", Labels) if own else None)


def schedule_of(run: RunDir) -> Schedule:
    """How a run was trained, of an earlier version too; AdaBN trains nothing."""
    settings = read_json(run.spec)["settings"]
    section = settings.get("adapt", settings.get("train", {}))
    together = (section.get("bn_statistics"), section.get("teacher_bn")) == ("live", "batch")
    batch = settings["loop"]["batch"] if together else None
    return Schedule(section.get("steps", 0), section.get("threshold"), batch)


def _section(run: RunDir, name: str, kind: type[Kind]) -> Kind:
    """A section of the settings of a run. Raises RunFailed for one that this version does not know."""
    try:
        return kind.model_validate(read_json(run.spec)["settings"][name], strict=False)  # JSON has no tuples
    except ValidationError as error:
        found = error.errors()[0]
        key = ".".join(map(str, (name, *found["loc"])))
        raise RunFailed(
            f"{run.spec}: made by another version of dacs, whose networks may compute something else"
            f" ({key}: {found['msg']}).\nMake the run again."
        ) from error
