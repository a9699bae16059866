"""The table of methods: what each learns from, what it pastes, and how it is named and drawn. Torch-free.

Everything that depends on a method follows from its row: the choices of params.yaml, the verbs of the command line, the
rules' patterns, the losses of a step, and the names, colours and sentences of the report. Functions are named as
"module:name" and imported when they are needed, so a row may name code outside of this package.
"""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from dacs.errors import BadRequest, nearest

SOURCE_LOSS = "dacs.training.objectives:SourceCrossEntropy"
MIXED_LOSS = "dacs.training.objectives:MixedCrossEntropy"
FEATURE_LOSS = "dacs.training.feature_distance:SourceWithFeatureDistance"
MASKED_LOSS = "dacs.training.masked:MaskedCrossEntropy"
STATISTICS = "dacs.training.target_statistics:TargetStatistics"
TRAIN = "dacs.training.loop:train_run"
CLASS_MASK = "dacs.adaptation.masks:class_mask"
SHUFFLED = "dacs.adaptation.sampling:shuffled"
RARE_CLASSES = "dacs.adaptation.sampling:rare_classes"


class Method(NamedTuple):
    """One row."""

    title: str
    color: str  # on a white page; distinguishable by colour-blind readers, in hue or in lightness
    dark: str  # the same on a dark page
    sentence: str  # what it learns from
    labels: Literal["source", "target"] = "source"  # the domain whose labels it is given
    terms: tuple[str, ...] = (SOURCE_LOSS, MIXED_LOSS)  # the losses of a step, in order (dacs.training.objectives.Term)
    procedure: str = TRAIN  # what makes a run of it
    foreground: Literal["nothing", "source", "target"] = "nothing"  # what is pasted on the target
    mask: str = "dacs.adaptation.masks:empty_mask"  # where (dacs.adaptation.masks.MakeMask)
    order: str = SHUFFLED  # of the labelled frames (dacs.adaptation.sampling.Order)
    settings: tuple[tuple[str, Any], ...] = ()  # values of `adapt` that are part of it, at any scale

    @property
    def adapts(self) -> bool:
        """Whether its training reads unlabelled target images too."""
        return len(self.terms) > 1

    @property
    def mixes(self) -> bool:
        """Whether its images are mixed ones, or would be with another mask; a run keeps pictures of some."""
        return MIXED_LOSS in self.terms

    @property
    def recalibrates(self) -> bool:
        """Whether it trains nothing, but changes the weights of the source-only run."""
        return not self.terms

    @property
    def is_baseline(self) -> bool:
        """Whether gains are counted from it: no label of the target, true or pseudo, is learned from."""
        return self.labels == "source" and {*self.terms} <= {SOURCE_LOSS, STATISTICS}


VARIANT = "@"  # between a method and the name of a variant of it, in a campaign
START = "source"  # the method whose weights others start from
# fmt: off
METHODS: dict[str, Method] = {
    "source": Method("source only", "#6e7781", "#9aa4b0",
                     "labelled source images only: the baseline, and what adaptation starts from",
                     terms=(SOURCE_LOSS,)),
    "adabn": Method("AdaBN", "#8a6d00", "#d8b93a",
                    "nothing: source only, its BatchNorm statistics re-estimated on unlabelled target images",
                    terms=(), procedure="dacs.training.adabn:adabn"),
    "adabn_trained": Method("trained AdaBN", "#5c7f00", "#a9d13f",
                            "labelled source images, normalised by BatchNorm statistics of unlabelled target images",
                            terms=(SOURCE_LOSS, STATISTICS), settings=(("bn_statistics", "target"),)),
    "pseudo": Method("pseudo-labels", "#a8508a", "#dd8fc4",
                     "source images, and target images with the pseudo-labels of the teacher"),
    "naive": Method("naive mixing", "#c25e00", "#f0984a",
                    "source images, and half of the pseudo-labelled classes of a target image on another",
                    foreground="target", mask=CLASS_MASK),
    "cutmix": Method("CutMix", "#3a8fb7", "#79c4e6",
                     "source images, and a rectangle of a source image pasted on a target image",
                     foreground="source", mask="dacs.adaptation.masks:cut_mask"),
    "cowmix": Method("CowMix", "#1a7f5a", "#5fc79c",
                     "source images, and irregular regions of a source image pasted on a target image",
                     foreground="source", mask="dacs.adaptation.masks:cow_mask"),
    "dacs": Method("DACS", "#0a58b0", "#6cb0ff",
                   "source images, and half of the classes of a source image pasted on a target image",
                   foreground="source", mask=CLASS_MASK),
    "daformer": Method("DAFormer", "#7b3fa0", "#c79be8",
                       "as DACS; rare classes are shown more often, features of things stay close to ImageNet's",
                       terms=(FEATURE_LOSS, MIXED_LOSS), order=RARE_CLASSES, foreground="source", mask=CLASS_MASK),
    "mic": Method("MIC", "#b3261e", "#ff8f85",
                  "as DACS, and target images with masked blocks, with the pseudo-labels of the whole image",
                  terms=(SOURCE_LOSS, MIXED_LOSS, MASKED_LOSS), foreground="source", mask=CLASS_MASK),
    "mic_daformer": Method("MIC (DAFormer)", "#5b4bd6", "#a79bff",
                           "as DAFormer, and target images with masked blocks, as MIC",
                           terms=(FEATURE_LOSS, MIXED_LOSS, MASKED_LOSS), order=RARE_CLASSES,
                           foreground="source", mask=CLASS_MASK),
    "oracle": Method("oracle", "#24292f", "#e6edf3",
                     "labelled target images, which adaptation must not use: an upper bound, not a method",
                     labels="target", terms=(SOURCE_LOSS,)),
}
# fmt: on


def method(name: str) -> Method:
    """The row of a method, or of that of a variant.

    Raises BadRequest with the nearest name for one that is not in the table.
    """
    if (base := base_of(name)) not in METHODS:
        raise BadRequest(f"'{base}' is not a method; {nearest(base, METHODS)}")
    return METHODS[base]


def base_of(name: str) -> str:
    """The method of a variant; a method is its own.

    >>> base_of("dacs@threshold_0"), base_of("dacs")
    ('dacs', 'dacs')
    """
    return name.partition(VARIANT)[0]


def ordered(names: Iterable[str]) -> list[str]:
    """Methods in the order of the table."""
    return sorted(names, key=list(METHODS).index)


def adapting(names: Iterable[str]) -> list[str]:
    """Those of the methods that adapt."""
    return [name for name in names if method(name).adapts]


def mixing(names: Iterable[str], *, mixed: bool = True) -> list[str]:
    """Those of the methods that adapt whose runs keep pictures of mixed images, or keep none."""
    return [name for name in adapting(names) if method(name).mixes == mixed]


def supervised(names: Iterable[str]) -> list[str]:
    """Those of the methods that train on labelled images only."""
    return [name for name in names if len(method(name).terms) == 1]


def recalibrating(names: Iterable[str]) -> list[str]:
    """Those of the methods that train nothing, but change weights of the source-only run."""
    return [name for name in names if method(name).recalibrates]


def possible(names: Iterable[str], *, unlabelled: bool) -> list[str]:
    """Those of the methods that a target allows: all of them, or, of an unlabelled one, those that need no labels."""
    return [name for name in names if not unlabelled or method(name).labels == "source"]


def baselines(names: Iterable[str]) -> list[str]:
    """Those of the methods that gains are counted from."""
    return [name for name in names if method(name).is_baseline]


def main_method(names: Iterable[str]) -> str | None:
    """The method that the report is about: DACS, or else the last one that adapts; None where none does."""
    found = [name for name in adapting(ordered(names)) if not method(name).is_baseline]
    return "dacs" if "dacs" in found else (found[-1] if found else None)
