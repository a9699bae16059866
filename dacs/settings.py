"""The sections of params.yaml, and what one job of a verb is given, as frozen types. Torch-free.

Every function below the command line takes its section or plain values. A section knows which of its settings have no
effect on results: `identity` leaves them out of what decides whether a result is made again.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Discriminator, Field, Tag, field_serializer, model_validator

from dacs.errors import nearest
from dacs.fields import (
    IGNORED,
    STREET,
    Backbone,
    Batch,
    Byte,
    ClassName,
    ClassNames,
    Cores,
    Count,
    CountOrNone,
    Device,
    Distinct,
    Few,
    MethodName,
    Name,
    NetworkName,
    NotNegative,
    Patterns,
    Pixels,
    Positive,
    Range,
    RawId,
    Resample,
    Scale,
    Section,
    Seed,
    Seeds,
    Share,
    Size,
    Task,
    Text,
    Width,
    raw_keys,
)
from dacs.labels import CITYSCAPES, IGNORE, Class, LabelSet
from dacs.methods import VARIANT
from dacs.networks import WITH_BACKBONE

# --------------------------------------------------------------------------------------------------------------------
# Sections: params.yaml says what each setting means, its unit and its source


class LabelClass(Section):
    color: tuple[Byte, Byte, Byte]
    of: Annotated[list[Text], Distinct] = []  # classes of published data sets that are it, besides those of its name
    thing: bool = False


ClassTable = Annotated[dict[ClassName, LabelClass], Tag("dict")]
ClassPairs = Annotated[list[tuple[ClassName, LabelClass]], Tag("list")]


class Labels(Section):
    base: Literal["cityscapes"] | None = None  # whose 19 classes come first
    # A table in params.yaml; pairs in the files of jobs, whose keys are sorted, while the order of classes matters.
    classes: Annotated[ClassTable | ClassPairs, Discriminator(lambda given: type(given).__name__)] = {}
    groups: dict[Name, Annotated[list[str], Field(min_length=1), Distinct]] = {}

    @model_validator(mode="after")
    def _check(self) -> "Labels":
        taken = [*CITYSCAPES.names] if self.base else []
        names, claimed = [*taken, *self.table], dict.fromkeys(taken, STREET)
        for name, each in self.table.items():
            if name in (*taken, IGNORED):
                raise ValueError(f"classes.{name}: this name is taken; choose another")
            for raw in (name, *each.of):
                if (other := claimed.setdefault(raw, name)) != name:
                    raise ValueError(f"classes.{name} covers '{raw}', which {other} covers already; name it once")
        if not 2 <= len(names) <= IGNORE:
            raise ValueError(f"{len(names)} classes were given, 2 to {IGNORE} were expected")
        colors = [tuple(each.color) for each in self.table.values()]
        colors += [each.color for each in CITYSCAPES.classes] if self.base else []
        for name, each in self.table.items():
            if colors.count(each.color) > 1 or each.color == (0, 0, 0):
                reason = "is that of ignored pixels" if each.color == (0, 0, 0) else "is that of another class too"
                raise ValueError(f"classes.{name}.color {list(each.color)} {reason}; choose another")
        for group, members in self.groups.items():
            if group.endswith("std"):
                raise ValueError(f"groups.{group}: names that end in std are those of deviations; choose another")
            for name in members:
                if name not in names:
                    raise ValueError(f"groups.{group} names '{name}'; {nearest(name, names)}")
        return self

    @field_serializer("classes")
    def _as_pairs(self, classes: Any) -> list[tuple[str, LabelClass]]:
        return list(dict(classes).items())

    @property
    def table(self) -> dict[str, LabelClass]:
        """The classes besides those of the base by name, in their order."""
        return dict(self.classes)

    @property
    def label_set(self) -> LabelSet:
        """The classes as the other modules know them; those of the base come first."""
        if self.base and not self.classes and not self.groups:
            return CITYSCAPES
        base = CITYSCAPES if self.base else LabelSet((), {}, {})
        classes = (*base.classes, *(Class(name, each.color, each.thing) for name, each in self.table.items()))
        index = {each.name: train_id for train_id, each in enumerate(classes)}
        whole = {str(len(base.classes)): tuple(range(len(base.classes)))} if self.base else {}
        own = {name: tuple(sorted(index[each] for each in members)) for name, members in self.groups.items()}
        members = {raw: index[name] for name, each in self.table.items() for raw in (name, *each.of)}
        return LabelSet(classes, {**whole, **base.groups, **own}, {**base.members, **members})


def label_set(labels: Labels | None) -> LabelSet:
    """The label set of a job, in which that of Cityscapes is left out."""
    return labels.label_set if labels else CITYSCAPES


class Runs(Section):
    tasks: Annotated[list[Task], Field(min_length=1), Distinct]
    methods: Annotated[list[MethodName], Field(min_length=1), Distinct]
    seeds: Seeds


class DownloadOptions(Section):
    no_effect = frozenset({"archives", "keep_archives", "parallel", "mirrors", "unverified_hosts"})
    archives: Text
    keep_archives: bool
    unpack: bool
    gta5_frames: Literal["all", "official"]
    subset: Annotated[list[Name], Distinct]  # data sets whose folder holds a part of what is published
    parallel: Few
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
    classes: Annotated[dict[RawId, ClassNames], AfterValidator(raw_keys)] = {}
    channel: Literal["red", "green", "blue"] | None = None  # of a colour PNG, in which the ids of labels are
    absent: Annotated[list[str], Distinct] = []
    size: Size


class Frames(Section):
    gta5: Count
    synthia: Count
    cityscapes_train: Count
    cityscapes_val: Count


class World(Section):
    seed: Seed
    scale: Annotated[float, Field(gt=0.05, le=1)]
    frames: Frames


class Remap(Section):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Size] = Field(init=False)
    resample: Resample | dict[Name, Resample]
    images: Literal["png", "ppm"]
    shards: Few

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
    head_width: Width
    drop_path: Annotated[float, Field(ge=0, lt=1)]
    bn_affine: Literal["trained", "frozen"]

    @property
    def pretrained_part(self) -> str:
        """What `weights` are of: the backbone of this name, or that of the network."""
        return self.backbone if self.network in WITH_BACKBONE else self.network


class Loop(Section):
    no_effect = frozenset({"workers", "checkpoint_every", "device", "cuda_graphs", "processes"})
    batch: Batch
    accumulate: Batch
    processes: Count
    sync_bn: bool
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
    threads: Cores
    workers: Cores
    device: Device
    deterministic: bool
    precision: Literal["fp32", "tf32", "bf16"]
    channels_last: bool
    compile: bool
    cuda_graphs: bool
    log_every: Count
    checkpoint_every: Count
    snapshots: Few

    @property
    def graphs(self) -> bool:
        """Whether kernels are recorded: not where processes exchange statistics between them."""
        return self.cuda_graphs and self.processes == 1


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
    lambda_scope: Literal["image", "process", "batch"]
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
    mask_block: Pixels
    mask_ratio: Share


class AdaBN(Section):
    frames: Count


class Variant(Section):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Any] = Field(init=False)
    method: MethodName | None = None  # None: the base of its campaign

    @property
    def settings(self) -> dict[str, Any]:
        """What it overrides of the settings of its method."""
        return self.__pydantic_extra__


class Campaign(Section):
    tasks: Annotated[list[Task], Field(min_length=1), Distinct]
    seeds: Seeds
    base: MethodName
    methods: Annotated[list[MethodName], Distinct] = []  # besides the base
    variants: dict[Name, Variant] = {}

    @property
    def changes(self) -> dict[str, dict[str, Any]]:
        """The settings of each variant by the name of its runs, such as dacs@threshold_0."""
        return {f"{each.method or self.base}{VARIANT}{name}": each.settings for name, each in self.variants.items()}

    @property
    def runs(self) -> Runs:
        """Its runs in the form of those of `runs`, variants being methods."""
        methods = [*dict.fromkeys([*self.methods, self.base]), *self.changes]
        return Runs.model_construct(tasks=self.tasks, methods=methods, seeds=self.seeds)


class Evaluate(Section):
    no_effect = frozenset({"batch"})
    batch: Batch
    labels: Literal["prepared", "full"]
    criteria_frames: Count
    choose_by: Literal["information", "agreement", "entropy"]


class Figures(Section):
    frames: Few


class Report(Section):
    title: str


class Params(Section):
    """params.yaml, overridden by the blocks of its scale and its recipe."""

    scale: Scale
    recipe: str
    labels: Labels
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
    campaigns: dict[Name, Campaign]
    evaluate: Evaluate
    figures: Figures
    report: Report


# --------------------------------------------------------------------------------------------------------------------
# What one job is given


class WorldJob(Section):
    """Rendering one domain of the built-in world."""

    domain: Name
    seed: Seed
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
    labels: Labels | None = None  # None: the 19 classes of Cityscapes


class TrainJob(Train):
    """Supervised training."""

    start: Count | None = None  # the step of source-only after which adaptation starts from its weights


class RunSettings(Section):
    """One run: exactly one of `train`, `adapt` and `adabn` is given."""

    model: Model
    loop: Loop
    labels: Labels | None = None  # None: the 19 classes of Cityscapes
    train: TrainJob | None = None
    adapt: Adapt | None = None
    adabn: AdaBN | None = None

    @property
    def label_set(self) -> LabelSet:
        """The classes that the network distinguishes."""
        return label_set(self.labels)

    @property
    def processes(self) -> int | None:
        """The number of processes where results depend on it, by more than rounding; None where they do not."""
        adapt = self.adapt
        tracked = adapt is not None and adapt.bn_statistics == "target"
        apart = (adapt is not None and adapt.lambda_scope == "process") or not (self.loop.sync_bn or tracked)
        return self.loop.processes if apart and self.adabn is None else None

    def also_decides(self) -> dict[str, Any]:
        return {} if self.processes is None else {"processes": self.processes}

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
    adabn_frames: Count  # training images of the target that BatchNorm statistics are re-estimated on
    absent: list[str]  # classes that the target does not have
    merged: dict[str, str] | None = None  # class whose predictions count as another, as its labels do
    device: Device


class AppearanceJob(Section):
    """Comparing the images of two domains by the features of the pretrained backbone."""

    no_effect = frozenset({"batch", "device"})
    model: Model
    frames: Count  # of each domain
    batch: Count
    device: Device


class FiguresJob(Section):
    """Drawing the figures and writing the tables."""

    runs: Runs
    unlabelled: list[Task] = []  # tasks whose target gives no labels to train on
    figures: Figures
    labels: Labels | None = None


class CampaignJob(Section):
    """Writing the table of a campaign."""

    base: MethodName
    runs: list[tuple[Task, str, Seed]]  # task, method or variant, seed; in the order of the table
    changes: dict[str, dict[str, Any]]  # settings by variant
    labels: Labels | None = None


class ReportJob(Section):
    """Writing the page."""

    runs: Runs
    unlabelled: list[Task] = []
    labels: Labels | None = None
    report: Report
    scale: Scale
