"""The sections of params.yaml, and what one job of a verb is given, as frozen types. Torch-free.

Every function below the command line takes its section or plain values. A section knows which of its settings have no
effect on results: `identity` leaves them out of what decides whether a result is made again.
"""

from collections.abc import Collection
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from dacs.errors import nearest
from dacs.labels import NAMES
from dacs.methods import METHODS
from dacs.networks import NETWORKS, WITH_BACKBONE


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("lowest first, then highest")
    return pair


def _distinct(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise ValueError("each should be named once")
    return values


def _one_of(names: Collection[str]) -> AfterValidator:
    """Accept only these names; the table may grow after this call."""

    def check(name: str) -> str:
        if name not in names:
            raise ValueError(nearest(name, names))
        return name

    return AfterValidator(check)


def raw_key(text: str) -> tuple[int, ...]:
    """An id (one number) or a colour (red, green, blue) as it stands in a table of classes."""
    return tuple(map(int, text.split(",")))


def _raw_keys(classes: dict[str, str]) -> dict[str, str]:
    """Accept ids and colours of 8 bits, each once."""
    seen: dict[tuple[int, ...], str] = {}
    for text in classes:
        if max(raw_key(text)) > 255:
            raise ValueError(f"'{text}' is above 255; ids and the parts of colours are 0 to 255")
        if (other := seen.setdefault(raw_key(text), text)) != text:
            raise ValueError(f"'{other}' and '{text}' are the same; name each id or colour once")
    return classes


def _listed(value: Any) -> Any:
    """One pattern as a list of one, an empty text as none."""
    if isinstance(value, str):
        return [value] if value else []
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise ValueError("a pattern, or a list of patterns, was expected")
    return value


Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Size = tuple[Count, Count]  # height, width in pixels
Range = Annotated[tuple[Positive, Positive], AfterValidator(_rising)]  # lowest, highest
Distinct = AfterValidator(_distinct)
Task = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*-[a-z][a-z0-9_]*$")]  # source-target
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
NetworkName = Annotated[str, _one_of(NETWORKS)]
MethodName = Annotated[str, _one_of(METHODS)]
ClassName = Annotated[str, _one_of(NAMES)]
ClassOrIgnore = Annotated[str, _one_of((*NAMES, "ignore"))]
Backbone = Annotated[str, Field(pattern=r"^(timm/[a-z0-9_.]+|mit_b[0-5])$")]
RawId = Annotated[str, Field(pattern=r"^\d{1,3}(, ?\d{1,3}, ?\d{1,3})?$")]  # an id, or a colour: red, green, blue
Text = Annotated[str, Field(min_length=1)]
Patterns = Annotated[list[str], BeforeValidator(_listed)]  # of file names, or files that list files
TIMM = "timm/"  # before the name of a backbone
Scale = Literal["demo", "smoke", "photos", "paper"]
Resample = Literal["bicubic", "bilinear", "opencv"]
Device = Literal["auto", "cpu", "cuda"]


class Section(BaseModel):
    """A section of params.yaml: exactly these keys, of exactly these types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
    no_effect: ClassVar[frozenset[str]] = frozenset()  # settings that change no result


def identity(section: Section) -> dict[str, Any]:
    """The settings of a section that results depend on, as JSON values; what is not given is left out."""
    values = section.model_dump(mode="json", exclude_none=True)
    nested = {name: identity(value) for name, value in section if isinstance(value, Section)}
    return {name: value for name, value in (values | nested).items() if name not in section.no_effect}


# --------------------------------------------------------------------------------------------------------------------
# Sections: params.yaml says what each setting means, its unit and its source


class Runs(Section):
    tasks: Annotated[list[Task], Field(min_length=1), Distinct]
    methods: Annotated[list[MethodName], Field(min_length=1), Distinct]
    seeds: Annotated[list[CountOrNone], Field(min_length=1), Distinct]


class DownloadOptions(Section):
    no_effect = frozenset({"archives", "keep_archives", "parallel", "mirrors", "unverified_hosts"})
    archives: Text
    keep_archives: bool
    unpack: bool
    gta5_frames: Literal["all", "official"]
    subset: Annotated[list[Name], Distinct]  # data sets whose folder holds a part of what is published
    parallel: Count
    mirrors: dict[str, str]
    unverified_hosts: Annotated[list[str], Distinct]


class Data(DownloadOptions):
    sources: dict[Name, Text]
    accept_terms: Annotated[list[Name], Distinct]


class FilePatterns(Section):
    images: Annotated[Patterns, Field(min_length=1)]
    labels: Patterns = []


class CustomDomain(Section):
    train: FilePatterns
    val: FilePatterns | None = None
    classes: Annotated[dict[RawId, ClassOrIgnore], AfterValidator(_raw_keys)] = {}
    channel: Literal["red", "green", "blue"] | None = None  # of a colour PNG, in which the ids of labels are
    absent: Annotated[list[ClassName], Distinct] = []
    size: Size


class Frames(Section):
    gta5: Count
    synthia: Count
    cityscapes_train: Count
    cityscapes_val: Count


class World(Section):
    seed: CountOrNone
    scale: Annotated[float, Field(gt=0.05, le=1)]
    frames: Frames


class Remap(Section):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Size] = Field(init=False)
    resample: Resample | dict[Name, Resample]
    images: Literal["png", "ppm"]

    def resample_of(self, domain: str) -> Resample:
        """How frames of a domain are resized: bicubic where `resample` has values by domain, but none for this one."""
        return self.resample.get(domain, "bicubic") if isinstance(self.resample, dict) else self.resample

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Height and width in pixels by data set."""
        return self.__pydantic_extra__


class Model(Section):
    no_effect = frozenset({"weights_folder"})
    network: NetworkName
    backbone: Backbone
    weights: Text
    weights_folder: Text
    convention: Literal["torchvision", "caffe"]
    aspp_branches: Literal[2, 4]
    head_width: Count
    drop_path: Annotated[float, Field(ge=0, lt=1)]
    bn_affine: Literal["trained", "frozen"]

    @property
    def pretrained_part(self) -> str:
        """What `weights` are of: the backbone of this name, or that of the network."""
        return self.backbone if self.network in WITH_BACKBONE else self.network


class Loop(Section):
    no_effect = frozenset({"workers", "checkpoint_every", "device"})
    batch: Count
    accumulate: Count
    crop: Size
    flip: bool
    largest_class: Annotated[float, Field(gt=0, le=1)]
    source_mean: Literal["labelled", "all"]
    optimizer: Literal["adamw", "sgd"]
    momentum: Share
    nesterov: bool
    weight_decay: NotNegative
    norm_decay: bool
    poly_power: NotNegative
    warmup: CountOrNone
    warmup_ratio: Share
    backbone_lr_factor: Positive | Literal["listed"]
    head_lr_factor: Positive
    threads: CountOrNone
    workers: CountOrNone
    device: Device
    deterministic: bool
    precision: Literal["fp32", "tf32", "bf16"]
    channels_last: bool
    compile: bool
    log_every: Count
    checkpoint_every: Count
    monitor_every: Count
    monitor_frames: Count


class Train(Section):
    steps: Count
    lr: Positive
    bn_statistics: Literal["live", "frozen"]
    ema: Share
    threshold: Share


class Adapt(Section):
    steps: Count
    lr: Positive
    init: Literal["source", "backbone"]
    bn_statistics: Literal["live", "frozen", "target"]
    bn_frames: Count
    pseudo_labels: Literal["teacher", "student"]
    teacher_bn: Literal["running", "batch"]
    ema: Share
    ema_update: Literal["after", "before"]
    threshold: Share
    pixel_weight: Literal["threshold_uniform", "threshold", "none"]
    lambda_scope: Literal["image", "batch"]
    lambda_counts: Literal["mixed", "target"]
    lambda_applies_to: Literal["all", "target"]
    consistency_weight: NotNegative
    margins: tuple[Share, Share]
    draw_void: bool
    draw_classes_of: Literal["image", "batch"]
    draw_half: Literal["up", "down"]
    cow_sigma: Range
    cow_share: Share
    jitter_probability: Share
    jitter_strength: Share
    blur_probability: Share
    blur_sigma: Range
    rare_class_sampling: bool
    rare_class_temperature: Positive
    rare_class_frame: Share
    rare_class_crop: Share
    feature_distance: NotNegative
    masked_weight: NotNegative
    mask_block: Count
    mask_ratio: Share


class AdaBN(Section):
    frames: Count


class Evaluate(Section):
    no_effect = frozenset({"batch"})
    batch: Count
    labels: Literal["prepared", "full"]


class Figures(Section):
    frames: Count


class Report(Section):
    title: str


class Params(Section):
    """params.yaml, overridden by the blocks of its scale and its recipe."""

    scale: Scale
    recipe: str
    runs: Runs
    data: Data
    domains: dict[Name, CustomDomain]
    world: World
    remap: Remap
    model: Model
    loop: Loop
    train: Train
    adapt: Adapt
    adabn: AdaBN
    methods: dict[MethodName, dict[str, Any]]
    evaluate: Evaluate
    figures: Figures
    report: Report


# --------------------------------------------------------------------------------------------------------------------
# What one job is given


class WorldJob(Section):
    """Rendering one domain of the built-in world."""

    domain: Name
    seed: CountOrNone
    scale: float
    frames: dict[str, Count]  # by split


class DownloadJob(DownloadOptions):
    """Providing the raw frames of one domain."""

    no_effect = DownloadOptions.no_effect | {"accepted"}
    domain: Name
    source: Text  # download, custom, or a folder that holds a copy
    custom: CustomDomain | None = None  # its table, for source custom
    accepted: bool = False  # whether the terms of the data set are accepted


class RemapJob(Section):
    """Preparing one domain."""

    domain: Name
    size: Size
    resample: Resample
    images: Literal["png", "ppm"]
    custom: CustomDomain | None = None  # its table, where it is a custom domain
    part: Literal["all", "official"] = "all"  # of GTA5's frames


class TrainJob(Train):
    """Supervised training."""

    start: Count | None = None  # the step of source-only after which adaptation starts from its weights


class RunSettings(Section):
    """One run: exactly one of `train`, `adapt` and `adabn` is given."""

    model: Model
    loop: Loop
    train: TrainJob | None = None
    adapt: Adapt | None = None
    adabn: AdaBN | None = None

    @property
    def start(self) -> int | None:
        """The step of source-only after which adaptation starts from its weights."""
        return self.train.start if self.train else None

    @property
    def schedule(self) -> Train | Adapt:
        """Steps, learning rate and average of the weights."""
        schedule = self.adapt or self.train
        assert schedule is not None
        return schedule


class EvaluateJob(Evaluate):
    """Evaluating one run."""

    no_effect = frozenset({"batch", "device"})
    frames: Count  # whose predictions are kept
    absent: list[ClassName]  # classes that the target does not have
    merged: dict[ClassName, ClassName] | None = None  # class whose predictions count as another, as its labels do
    device: Device


class FiguresJob(Section):
    """Drawing the figures and writing the tables."""

    runs: Runs
    unlabelled: list[Task] = []  # tasks whose target gives no labels to train on
    figures: Figures


class ReportJob(Section):
    """Writing the page."""

    runs: Runs
    unlabelled: list[Task] = []
    report: Report
    scale: Scale
