"""params.yaml, read and checked. Nothing below this floor knows that it exists.

`load` lays the chosen scale over the rest and refuses what it does not know; `settings_for` cuts out what one job
depends on, as plain values. So an edit redoes the jobs that it concerns and no other.
"""

import difflib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from dacs.errors import BadRequest
from dacs.models.published import FILES, NONE, published

Scale = Literal["demo", "smoke", "paper"]
Method = Literal["source", "pseudo", "naive", "cutmix", "cowmix", "dacs", "oracle"]
Domain = Literal["gta5", "synthia", "cityscapes"]
Class = Literal[
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
]  # fmt: skip


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("lowest first, then highest")
    return pair


def _distinct(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise ValueError("each should be named once")
    return values


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
RawId = Annotated[str, Field(pattern=r"^\d{1,3}(, ?\d{1,3}, ?\d{1,3})?$")]  # an id, or a colour: red, green, blue
Text = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """A section of params.yaml: exactly these keys, of exactly these kinds."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Runs(Section):
    tasks: Annotated[list[Task], Field(min_length=1), Distinct]
    """Which source is adapted to which target."""
    methods: Annotated[list[Method], Field(min_length=1), Distinct]
    """Which methods run on each task."""
    seeds: Annotated[list[CountOrNone], Field(min_length=1), Distinct]
    """One run of each method for each seed."""


class Sources(Section):
    gta5: Text
    """Where GTA5's raw frames come from: world, download, or a folder that holds a copy."""
    synthia: Text
    """The same for SYNTHIA."""
    cityscapes: Text
    """The same for Cityscapes."""


class Data(Section):
    sources: Sources
    """Where raw frames come from, for each domain."""
    accept_terms: Annotated[list[Domain], Distinct]
    """Data sets whose terms you have read and accept."""
    archives: Text
    """Folder of downloaded archives."""
    keep_archives: bool
    """Whether archives stay after unpacking."""
    unpack: bool
    """Whether GTA5 and Cityscapes are unpacked, or read from their zip archives."""
    gta5_frames: Literal["all", "official"]
    """All frames of GTA5, or its official training split."""
    parallel: Count
    """Archives downloaded at a time."""
    mirrors: dict[str, str]
    """Beginning of an address to another one that serves the same files."""
    unverified_hosts: Annotated[list[str], Distinct]
    """Hosts whose certificate is not checked, only the published checksum."""


class Files(Section):
    images: Text
    """A pattern such as /data/fleet/images/*.jpg; what * and ** stand for is the name of a frame."""
    labels: str = ""
    """The same for its labels; empty: there are none."""


class Own(Section):
    train: Files
    """Frames to learn from."""
    val: Files | None = None
    """Labelled frames to measure on; without them nothing is measured."""
    classes: dict[RawId, Class | Literal["ignore"]] = {}
    """Class of each raw id, or of each colour in a label (red, green, blue)."""
    absent: Annotated[list[Class], Distinct] = []
    """Classes that this data set does not have; means leave them out."""
    size: Size
    """Height and width in pixels at which networks see it."""


class Frames(Section):
    gta5: Count
    """Frames of the GTA5-like domain."""
    synthia: Count
    """Frames of the SYNTHIA-like domain."""
    cityscapes_train: Count
    """Unlabelled training frames of the target."""
    cityscapes_val: Count
    """Labelled validation frames of the target."""


class World(Section):
    seed: CountOrNone
    """Another seed is another city."""
    scale: Annotated[float, Field(gt=0.05, le=1)]
    """Of the real frames' width and height."""
    frames: Frames
    """How many frames to render."""


class Remap(Section):
    gta5: Size
    """Height and width in pixels at which networks see GTA5."""
    synthia: Size
    """The same for SYNTHIA."""
    cityscapes: Size
    """The same for Cityscapes."""
    resample: Literal["bicubic", "bilinear"]
    """How images are resized, antialiased."""
    images: Literal["png", "ppm"]
    """How prepared images are kept: small, or mapped into memory by the crop."""


class Model(Section):
    network: Literal[
        "small", "small_gn", "deeplab_mobilenet", "deeplab_resnet18", "deeplab_resnet50", "deeplab_resnet101"
    ]
    """The segmentation network."""
    weights: Text
    """What the backbone starts from: none, published weights by name, or a file."""
    weights_folder: Text
    """Where files of published weights lie."""
    convention: Literal["torchvision", "caffe"]
    """What images are normalised to, and where bottlenecks stride: as the weights want it."""
    aspp_branches: Literal[2, 4]
    """Dilated branches that the head sums."""
    bn_affine: Literal["trained", "frozen"]
    """Scale and shift of BatchNorm."""


class Loop(Section):
    batch: Count
    """Frames of each domain in a step."""
    accumulate: Count
    """Batches whose gradients are gathered before the weights move."""
    crop: Size
    """Height and width in pixels of the training crops."""
    flip: bool
    """Mirror half of the crops."""
    optimizer: Literal["adamw", "sgd"]
    """The optimizer."""
    momentum: Share
    """Of sgd."""
    nesterov: bool
    """Of sgd."""
    weight_decay: NotNegative
    """Weight decay."""
    poly_power: NotNegative
    """The learning rate falls as (1 - step / steps) ** power."""
    warmup: CountOrNone
    """Steps over which the learning rate rises from 0."""
    backbone_lr_factor: Positive
    """Times the learning rate, for the backbone."""
    head_lr_factor: Positive
    """Times the learning rate, for the head."""
    threads: CountOrNone
    """CPU threads of one run; 0: as torch likes."""
    workers: CountOrNone
    """Processes that read ahead; no effect on the result."""
    device: Literal["auto", "cpu", "cuda"]
    """Where networks run."""
    deterministic: bool
    """Whether a run gives the same bytes each time on one machine."""
    precision: Literal["fp32", "tf32", "bf16"]
    """In which numbers networks compute; losses and weights are float32."""
    channels_last: bool
    """Whether channels lie together in memory; no effect on what is computed."""
    compile: bool
    """Whether torch.compile makes kernels for this very network."""
    log_every: Count
    """Steps between rows of log.csv."""
    checkpoint_every: Count
    """Steps between checkpoints; no effect on the result."""
    monitor_every: Count
    """Steps between measurements on the validation set."""
    monitor_frames: Count
    """Validation frames in such a measurement."""


class Train(Section):
    steps: Count
    """Steps of source-only training."""
    lr: Positive
    """Learning rate at the start."""
    ema: Share
    """The share of itself that the average of the weights keeps at each step, at most."""


class Adapt(Section):
    steps: Count
    """Steps of adaptation."""
    lr: Positive
    """Learning rate at the start."""
    init: Literal["source", "backbone"]
    """What adaptation starts from."""
    pseudo_labels: Literal["teacher", "student"]
    """Who labels target frames."""
    teacher_bn: Literal["running", "batch"]
    """BatchNorm statistics of the teacher."""
    ema: Share
    """The share of itself that the teacher keeps at each step, at most."""
    threshold: Share
    """A pixel is confident from this probability on."""
    pixel_weight: Literal["threshold_uniform", "threshold", "none"]
    """How confidence weighs pixels."""
    lambda_scope: Literal["image", "batch"]
    """One lambda for each image or for the batch."""
    lambda_counts: Literal["mixed", "target"]
    """Whose confident pixels make lambda."""
    lambda_applies_to: Literal["all", "target"]
    """Which pixels lambda weighs."""
    consistency_weight: NotNegative
    """Times the mixed loss."""
    draw_void: bool
    """Whether ignored pixels count as a class that can be pasted."""
    cow_sigma: Range
    """Size in pixels of CowMix's blobs."""
    cow_share: Share
    """Share of the frame that CowMix pastes."""
    jitter_probability: Share
    """One coin a batch."""
    jitter_strength: Share
    """Of brightness, contrast, saturation and hue."""
    blur_probability: Share
    """One coin a batch."""
    blur_sigma: Range
    """Pixels."""


class Evaluate(Section):
    batch: Count
    """Frames at a time; no effect on the result."""
    labels: Literal["prepared", "full"]
    """Whether labels are those at the size that networks see, or at full size."""


class Figures(Section):
    frames: Count
    """Validation frames whose predictions are shown."""
    dpi: Count
    """Dots per inch of pictures."""


class Report(Section):
    title: str
    """Heading of the page."""


class Params(Section):
    """params.yaml with the blocks of its scale and of its recipe laid over it."""

    scale: Scale
    """The block of `scales` laid over the rest."""
    recipe: str
    """The block of `recipes` laid over both."""
    runs: Runs
    """What is run."""
    data: Data
    """Where raw frames come from."""
    domains: dict[Name, Own]
    """Data sets of one's own."""
    world: World
    """The built-in world."""
    remap: Remap
    """Raw frames and labels to what networks see."""
    model: Model
    """The network."""
    loop: Loop
    """What source-only training and adaptation share."""
    train: Train
    """Source-only training."""
    adapt: Adapt
    """Adaptation."""
    methods: dict[Method, dict[str, Any]]
    """What a method does differently from `adapt`."""
    evaluate: Evaluate
    """Evaluation."""
    figures: Figures
    """Figures."""
    report: Report
    """The page."""


def load(source: Path | dict[str, Any]) -> Params:
    """The parameters in `source` (a YAML file, or its content as Snakemake reads it), checked whole.

    All scales and recipes are checked, not just the chosen ones. Raises BadRequest naming the key, what was found
    there, what was expected and the nearest valid name.
    """
    content = json.loads(json.dumps(_read(source) if isinstance(source, Path) else source, default=str))
    if not isinstance(content, dict):
        raise BadRequest("params.yaml: it should hold sections such as `runs:` and `train:`; it holds none.")
    scales, recipes = _blocks(content, "scales", "smoke"), _blocks(content, "recipes", "official-code")
    _known("scales", scales, get_args(Scale))
    scale, recipe = content.get("scale"), content.get("recipe")
    _known("scale", [scale], get_args(Scale))
    _known("recipe", [recipe], tuple(recipes))

    def checked(scale: Any, recipe: Any, where: str = "") -> Params:
        laid = _overlay(_overlay(content, scales.get(scale) or {}), recipes[recipe] or {})
        return _check({**laid, "scale": scale, "recipe": recipe}, where)

    result = checked(scale, recipe)
    _check_weights(result)
    for other in get_args(Scale):
        checked(other, recipe, f"scales.{other} (laid over the rest): ")
    for other in recipes:
        checked(scale, other, f"recipes.{other} (laid over the rest): ")
    return result


def _blocks(content: dict[str, Any], key: str, example: str) -> dict[str, Any]:
    """Take the blocks of sections under `key` out of `content`."""
    blocks = content.pop(key, None) or {}
    if not isinstance(blocks, dict) or not all(isinstance(block or {}, dict) for block in blocks.values()):
        raise BadRequest(f"params.yaml: {key} should hold a block of sections for each of them, such as `{example}:`.")
    return blocks


def settings_for(params: Params, verb: str, *, domain: str = "", method: str = "") -> dict[str, Any]:
    """The plain settings that one job of `verb` depends on, and nothing else."""
    every = params.model_dump(mode="json")
    frames = every["world"]["frames"]
    if verb == "world":
        splits = {"train": "cityscapes_train", "val": "cityscapes_val"} if domain == "cityscapes" else {"train": domain}
        counts = {split: frames[key] for split, key in splits.items()}
        return {"seed": params.world.seed, "scale": params.world.scale, "frames": counts}
    if verb == "download":
        keys = ("archives", "keep_archives", "unpack", "parallel", "mirrors", "unverified_hosts", "gta5_frames")
        accepted = domain in params.data.accept_terms
        if domain in params.domains:
            return {"source": "own", "own": every["domains"][domain]}
        return {"source": origin(params, domain), "accepted": accepted, **{key: every["data"][key] for key in keys}}
    if verb == "remap":
        own = every["domains"].get(domain, {})
        part = "train" if domain == "gta5" and params.data.gta5_frames == "official" else "all"
        size = own["size"] if own else every["remap"][domain]
        common = {"size": size, "resample": params.remap.resample, "images": params.remap.images}
        return {**common, "own": own} if own else {**common, "part": part}
    if verb == "train":
        return {key: every[key] for key in ("model", "loop", "train")}
    if verb == "adapt":
        return {"model": every["model"], "loop": every["loop"], "adapt": adapt_of(params, method)}
    if verb == "evaluate":
        own = params.domains.get(domain)
        return {**every["evaluate"], "frames": params.figures.frames, "absent": list(own.absent) if own else []}
    if verb in ("figures", "report"):
        return {"runs": every["runs"], "figures": every["figures"], "report": every["report"], "params": every}
    raise BadRequest(f"no settings for '{verb}'; {nearest(verb, ('world', 'remap', 'train', 'adapt', 'evaluate'))}")


def origin(params: Params, domain: str) -> str:
    """Where the raw frames of a domain come from: world, download, own, or a folder."""
    return "own" if domain in params.domains else str(getattr(params.data.sources, domain))


def splits_of(params: Params, domain: str) -> list[str]:
    """The splits that `remap` prepares of a domain: train, val to measure on, oracle with the labels of train.

    The domains that are always sources have their labels in train itself.
    """
    if domain in params.domains:
        own = params.domains[domain]
        return ["train", *(["val"] if own.val else []), *(["oracle"] if own.train.labels else [])]
    return ["train", "val", "oracle"] if domain == "cityscapes" else ["train"]


def labelled_split(params: Params, domain: str) -> str:
    """The split of a domain that is learnt from with its labels."""
    return "oracle" if "oracle" in splits_of(params, domain) else "train"


def measured_split(params: Params, domain: str) -> str:
    """The split of a target that is measured on; its training frames, without a verdict, where it has no val."""
    return "val" if "val" in splits_of(params, domain) else "train"


def adapt_of(params: Params, method: str) -> dict[str, Any]:
    """The settings of one adaptation method: `adapt` with what `methods` says of it laid over."""
    return {**params.adapt.model_dump(mode="json"), **params.methods.get(method, {})}  # type: ignore[call-overload]


def schema() -> dict[str, Any]:
    """The JSON schema of the whole params.yaml, for editors; `methods` and `scales` hold parts of sections."""
    whole = Params.model_json_schema()
    part = json.loads(json.dumps(whole).replace("#/$defs/", "#/$defs/part"))
    parts = part.pop("$defs")
    part["properties"].pop("scale")
    part["properties"].pop("recipe")
    part["properties"]["methods"]["additionalProperties"] = {"$ref": "#/$defs/partAdapt"}
    for section in [part, *parts.values()]:
        section.pop("required", None)
    definitions = {**whole.pop("$defs"), **{f"part{name}": value for name, value in parts.items()}, "part": part}
    definitions["part"]["title"] = "A scale"
    whole["properties"]["methods"]["additionalProperties"] = {"$ref": "#/$defs/partAdapt"}
    whole["properties"]["scales"] = {
        "description": "Blocks, one of which is laid over the rest.",
        "type": "object",
        "properties": {scale: {"$ref": "#/$defs/part"} for scale in get_args(Scale)},
        "additionalProperties": False,
    }
    whole["properties"]["recipes"] = {
        "description": "Blocks, one of which is laid over the scale.",
        "type": "object",
        "additionalProperties": {"$ref": "#/$defs/part"},
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **whole, "$defs": definitions}


def nearest(word: str, valid: Any) -> str:
    """The valid names nearest to `word`, as the end of a sentence to the person."""
    valid = [str(name) for name in valid]
    close = difflib.get_close_matches(str(word), valid, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"valid: {', '.join(valid)}."


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise BadRequest(f"{path}: not found.\nRun the command in the project's folder.") from error
    except yaml.YAMLError as error:
        raise BadRequest(f"{path}: not YAML.\n{error}") from error


def _overlay(base: Any, over: Any) -> Any:
    """`over` laid over `base`: mappings meet key by key, anything else is replaced."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return {**base, **{key: _overlay(base.get(key), value) for key, value in over.items()}}


def _check(content: dict[str, Any], where: str) -> Params:
    params: Params = _validate(Params, content, where)
    for method, over in params.methods.items():
        _validate(Adapt, {**params.adapt.model_dump(mode="json"), **over}, f"{where}methods.{method}.")
    _check_tasks(params, where)
    _check_own(params, where)
    if not params.data.unpack and params.data.sources.synthia == "download":
        raise BadRequest(
            f"params.yaml: {where}data.unpack is false, but SYNTHIA's archive is a RAR, which must be unpacked.\n"
            "Set data.unpack to true."
        )
    _check_crop(params, where)
    if "naive" in params.runs.methods and params.loop.batch < 2:
        raise BadRequest(f"params.yaml: {where}loop.batch is 1; naive mixing needs two target frames, so 2 or more.")
    if params.model.weights.startswith("caffe_") != (params.model.convention == "caffe") and not _is_file(params):
        raise BadRequest(
            f"params.yaml: {where}model.weights is {params.model.weights}, but model.convention is "
            f"{params.model.convention}.\nThe caffe_ weights need caffe, all others torchvision."
        )
    if params.loop.nesterov and not params.loop.momentum:
        raise BadRequest(f"params.yaml: {where}loop.nesterov is true; it needs a loop.momentum above 0.")
    return params


def _is_file(params: Params) -> bool:
    """Whether the backbone starts from a file of one's own, whose convention its names will show."""
    return params.model.weights.endswith(FILES)


def _check_weights(params: Params) -> None:
    """Whether the chosen network has the weights that are named; other scales and recipes may want other ones."""
    model = params.model
    names = [NONE, *sorted({row.name for row in published() if row.network == model.network})]
    if model.weights not in names and not _is_file(params):
        raise BadRequest(
            f"params.yaml: model.weights names '{model.weights}', which {model.network} has not; "
            f"{nearest(model.weights, names)}"
        )


def domains_of(params: Params) -> list[str]:
    """Every domain that the tasks name, in order of their names."""
    return sorted({domain for task in params.runs.tasks for domain in task.split("-")})


def _check_tasks(params: Params, where: str) -> None:
    sources, targets = ["gta5", "synthia", "cityscapes", *params.domains], ["cityscapes", *params.domains]
    for task in params.runs.tasks:
        source, target = task.split("-")
        for role, name, valid in (("source", source, sources), ("target", target, targets)):
            if name not in valid:
                raise BadRequest(f"params.yaml: {where}runs.tasks names {role} '{name}'; {nearest(name, valid)}")
        if source == target:
            raise BadRequest(f"params.yaml: {where}runs.tasks adapts '{source}' to itself; name another target.")
        if source in params.domains and not params.domains[source].train.labels:
            raise BadRequest(f"params.yaml: {where}domains.{source}.train has no labels; a source needs them.")
        if "oracle" in params.runs.methods and "oracle" not in splits_of(params, target):
            raise BadRequest(
                f"params.yaml: {where}runs.methods names oracle, but domains.{target}.train has no labels to show it.\n"
                "Leave oracle out, or give labels for the target's training images."
            )


def _check_crop(params: Params, where: str) -> None:
    """Whether the crop fits into all frames; one's own have one size, which need not fit scales that are not chosen."""
    for domain in domains_of(params):
        own = params.domains.get(domain)
        if own and where:
            continue
        key, size = (f"domains.{domain}.size", own.size) if own else (f"remap.{domain}", getattr(params.remap, domain))
        if any(crop > have for crop, have in zip(params.loop.crop, size, strict=True)):
            raise BadRequest(
                f"params.yaml: {where}loop.crop is {list(params.loop.crop)} (height, width), larger than the frames of "
                f"{domain}, {key} = {list(size)}.\nMake the crop smaller or the frames larger."
            )


def _check_own(params: Params, where: str) -> None:
    for name, own in params.domains.items():
        key = f"params.yaml: {where}domains.{name}"
        if name in get_args(Domain):
            raise BadRequest(f"{key}: this name is taken; call your data set otherwise.")
        labelled = own.train.labels or (own.val and own.val.labels)
        if own.val and not own.val.labels:
            raise BadRequest(f"{key}.val has no labels; leave val out, then nothing is measured.")
        if labelled and not own.classes:
            raise BadRequest(f"{key}.classes is empty; say which class each id or colour of its labels is.")
        if len({"," in raw for raw in own.classes}) > 1:
            raise BadRequest(f"{key}.classes mixes ids and colours; use one of them.")
        wrong = sorted(set(own.absent) & set(own.classes.values()))
        if wrong:
            raise BadRequest(f"{key}.absent names '{wrong[0]}', which classes map to; it cannot be both.")


def _validate(model: type[Section], content: dict[str, Any], where: str) -> Any:
    try:
        # Through JSON, where strict kinds still let a list be a pair.
        return model.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        raise BadRequest("\n".join(_words(model, detail, where) for detail in error.errors())) from None


def _words(model: type[Section], detail: Any, where: str) -> str:
    """One finding of pydantic as a sentence: key, found, expected."""
    location = [str(part) for part in detail["loc"] if part != "[key]"]  # pydantic's word for a wrong name
    key, last = where + ".".join(location), location[-1] if location else ""
    if detail["type"] == "extra_forbidden":
        return f"params.yaml: {key} is not known; {nearest(last, _names_at(model, location[:-1]))}"
    if detail["type"] == "missing":
        return f"params.yaml: {key} is missing; it is needed."
    found = json.dumps(detail["input"])
    expected = detail["msg"].removeprefix("Value error, ")
    expected = expected[0].lower() + expected[1:]
    if detail["type"] == "literal_error":
        options = detail["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        wrong = "not known" if detail["loc"][-1] == "[key]" else found
        return f"params.yaml: {key} is {wrong}; {nearest(detail['input'], options)}"
    text_for_number = detail["type"] in ("int_type", "float_type") and isinstance(detail["input"], str)
    hint = " (write 0.001 or 1.0e-3: YAML takes 1e-3 for text)" if text_for_number else ""
    return f"params.yaml: {key} is {found}; {expected}{hint}."


def _names_at(model: type[Section], location: list[str]) -> list[str]:
    """The keys that the section at `location` knows."""
    for part in location:
        model = model.model_fields[part].annotation  # type: ignore[assignment]
    return list(model.model_fields)


def _known(where: str, words: Any, valid: tuple[str, ...]) -> None:
    for word in words:
        if word not in valid:
            raise BadRequest(f"params.yaml: {where} names '{word}'; {nearest(word, valid)}")
