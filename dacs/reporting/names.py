"""How methods, domains and tasks are called and coloured, the same in every figure and on the page."""

from collections.abc import Sequence
from typing import NamedTuple


class Method(NamedTuple):
    """One row of the story."""

    label: str
    color: str  # on white; apart for colour-blind eyes, in hue or in lightness
    dark: str  # the same on a dark page
    sentence: str  # what it learns from


METHODS = {
    "source": Method(
        "source only", "#6e7781", "#9aa4b0", "labelled source frames, nothing else: what adaptation starts from"
    ),
    "pseudo": Method(
        "pseudo-labels", "#a8508a", "#dd8fc4", "source frames, and target frames with the labels the teacher guesses"
    ),
    "naive": Method(
        "naive mixing", "#c25e00", "#f0984a", "source frames, and half of a target frame's guessed classes on another"
    ),
    "cutmix": Method("CutMix", "#3a8fb7", "#79c4e6", "source frames, and a rectangle of source pasted on target"),
    "cowmix": Method("CowMix", "#1a7f5a", "#5fc79c", "source frames, and irregular blobs of source pasted on target"),
    "dacs": Method("DACS", "#0a58b0", "#6cb0ff", "source frames, and half of a source frame's classes on target"),
    "oracle": Method(
        "oracle", "#24292f", "#e6edf3", "labelled target frames, which adaptation may not see: a ceiling, not a method"
    ),
}
PASTES_SOURCE = ("cutmix", "cowmix", "dacs")

DOMAINS = {"gta5": "GTA5", "synthia": "SYNTHIA", "cityscapes": "Cityscapes"}
DOMAIN_COLORS = {  # on white, on dark
    "gta5": ("#8a3d10", "#e0925f"),
    "synthia": ("#12868b", "#5fd0d3"),
    "cityscapes": ("#5c6b14", "#b9c860"),
    "own-1": ("#9a2c63", "#ee93bd"),  # data sets of one's own, in the order in which they are named
    "own-2": ("#4a4fa8", "#a9aef5"),
    "own-3": ("#8a6a00", "#dfbf52"),
}
INK, MUTED, GRID, PAPER = "#1f2328", "#626c77", "#e3e7eb", "#ffffff"
WORSE = "#b3261e"  # a change for the worse
RIGHT, WRONG, BACK = (64, 132, 214), (224, 82, 6), (240, 200, 40)  # sidewalk found, called road; road called sidewalk

HEADLINE = {"synthia": "16"}  # class set of a task's headline number, by source; 19 elsewhere


def signed(value: float) -> str:
    """A change in points, with a real minus sign."""
    return f"{value:+.1f}".replace("-", "\u2212")


def method(name: str) -> Method:
    """The row of a method; a stranger gets a plain one."""
    return METHODS.get(name, Method(name, "#57606a", "#a0a8b0", "a method this report has no words for"))


def ordered(methods: Sequence[str]) -> list[str]:
    """From the floor to the ceiling, whatever the order asked for."""
    known = [name for name in METHODS if name in methods]
    return known + [name for name in methods if name not in METHODS]


def hero(methods: Sequence[str]) -> str | None:
    """The method the report is about: DACS, or else the last one that adapts; None where none does."""
    adapting = [name for name in ordered(methods) if name not in ("source", "oracle")]
    return "dacs" if "dacs" in adapting else (adapting[-1] if adapting else None)


def source_of(task: str) -> str:
    """The source domain of a task."""
    return task.split("-")[0]


def target_of(task: str) -> str:
    """The target domain of a task."""
    return task.split("-")[1]


def domain_label(domain: str) -> str:
    """A domain as a person writes it; one's own by its own name."""
    return DOMAINS.get(domain, domain.replace("_", " "))


def domain_colors(domains: Sequence[str]) -> dict[str, str]:
    """The colour of each domain on white; one's own share three."""
    own = [name for name in domains if name not in DOMAINS]
    places = {name: f"own-{1 + number % 3}" for number, name in enumerate(own)}
    return {name: DOMAIN_COLORS[places.get(name, name)][0] for name in domains}


def task_title(task: str) -> str:
    """A task as a person writes it: GTA5 → Cityscapes."""
    return " → ".join(map(domain_label, task.split("-")))


def class_set(task: str) -> str:
    """The class set of the task's headline number: those classes that the source has."""
    return HEADLINE.get(source_of(task), "19")
