"""Values of params.yaml that are each valid, but do not fit together."""

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dacs.datasets.registry import DATASETS
from dacs.errors import nearest
from dacs.fields import IGNORED, TIMM
from dacs.jobs import WORLD, domains_of, overrides
from dacs.methods import FEATURE_LOSS, METHODS, VARIANT, adapting, base_of, method, possible
from dacs.models.published import FILES, IMAGENET, NONE, published
from dacs.networks import WITH_BACKBONE
from dacs.settings import Model, Params


def faults(params: Params, *, chosen: bool) -> Iterator[str]:
    """Each of them as a sentence; some matter at the `chosen` scale only."""
    yield from _faults(params)
    yield from _faults_of_labels(params, chosen)
    yield from _faults_of_domains(params)
    yield from _faults_of_tasks(params, chosen)
    yield from _faults_of_campaigns(params)


def _faults(params: Params) -> Iterator[str]:
    """Settings that do not fit together."""
    loop, model, train, adapt = params.loop, params.model, params.train, params.adapt
    if train.steps < adapt.steps + (adapt.init == "source"):
        advice = "more: adaptation replaces the last of them" if adapt.init == "source" else "as many"
        yield (
            f"train.steps is {train.steps}, adapt.steps {adapt.steps}: source-only would be compared at fewer steps.\n"
            f"Give train.steps {advice}."
        )
    for section, starts, settings in (("train", "backbone", train), ("adapt", adapt.init, adapt)):
        if starts == "backbone" and settings.bn_statistics == "frozen" and model.weights == NONE:
            yield f"{section}.bn_statistics is frozen, but model.weights is none: nothing to keep.\nSet it to live."
    if loop.batch % loop.processes:
        yield (
            f"loop.batch is {loop.batch}, which loop.processes, {loop.processes}, do not share equally.\n"
            "Give a number of processes that divides it: it counts the frames of all of them."
        )
    for name in params.runs.methods:
        if method(name).foreground == "target" and loop.batch < 2:
            yield f"loop.batch is 1; {name} pastes one target image on another, so it needs 2 or more."
        own = {**adapt.model_dump(), **overrides(params, name)}
        for key, value in method(name).settings:
            if own[key] != value:
                yield f"methods.{name}.{key} is {own[key]}, but {name} is a method with {value}.\nLeave {key} out."
        if FEATURE_LOSS in method(name).terms and own["feature_distance"] and model.weights == NONE:
            yield (
                f"{name} keeps features close to those of pretrained weights, but model.weights is none.\n"
                f"Name weights, or set methods.{name}.feature_distance to 0."
            )
    # A file that is named by its path shows its convention itself.
    if not model.weights.endswith(FILES) and model.weights.startswith("caffe_") != (model.convention == "caffe"):
        yield (
            f"model.weights is {model.weights}, but model.convention is {model.convention}.\n"
            "The caffe_ weights need caffe, all others torchvision."
        )
    if loop.backbone_lr_factor == "listed" and loop.optimizer != "sgd":
        yield (
            f"loop.backbone_lr_factor is listed, but loop.optimizer is {loop.optimizer}: its steps are those of sgd.\n"
            "Give a number, or set the optimizer to sgd."
        )
    if loop.nesterov and not loop.momentum:
        yield "loop.nesterov is true; it needs a loop.momentum above 0."


def _faults_of_labels(params: Params, chosen: bool) -> Iterator[str]:
    """What no data set has, or no class is; data sets of the tasks need to have classes at the chosen scale alone."""
    labels = params.labels.label_set
    published = {name for row in DATASETS.values() for names in row.classes.values() for name in names}
    for name, each in params.labels.table.items():
        for wrong in (raw for raw in each.of if raw not in published):
            yield f"labels.classes.{name}.of names '{wrong}', which is in no data set; {nearest(wrong, published)}"
    for domain in domains_of(params) if chosen else ():
        if domain in DATASETS and len(DATASETS[domain].lacks(labels)) == len(labels.names):
            yield (
                f"labels: none of the classes is in {domain}, so that all of its pixels would be ignored.\n"
                "Say which of its classes they are, such as  of: [road, sidewalk]."
            )
    for name in params.runs.methods:
        distance = {**params.adapt.model_dump(), **overrides(params, name)}["feature_distance"]
        if FEATURE_LOSS in method(name).terms and distance and not labels.things:
            yield (
                f"{name} keeps the features of things close to those of pretrained weights, but no class is a thing.\n"
                f"Add  thing: true  to some in labels, or set methods.{name}.feature_distance to 0."
            )


def _faults_of_domains(params: Params) -> Iterator[str]:
    for name, source in params.data.sources.items():
        if source == "world" and name not in WORLD:
            yield (
                f"data.sources.{name} is world, which renders {', '.join(WORLD)} only.\n"
                "Name the folder of a copy instead, or download."
            )
        near = difflib.get_close_matches(source, ("world", "download"), n=1)
        if source not in ("world", "download") and near and "/" not in source and not Path(source).exists():
            yield f"data.sources.{name} is '{source}', which is no folder; did you mean '{near[0]}'?"
        if name in params.data.subset and source in ("world", "download"):
            yield (
                f"data.subset names {name}, but data.sources.{name} is {source}, which gives all of it.\n"
                "Name the folder that holds the part in data.sources, or leave it out of data.subset."
            )
        packed = [archive.name for archive in DATASETS[name].archives if not archive.name.endswith(".zip")]
        if source == "download" and packed and not params.data.unpack:
            yield f"data.unpack is false, but {packed[0]} of {name} is not a zip archive.\nSet data.unpack to true."
    for name in params.data.subset:
        if name not in params.data.sources:
            yield f"data.subset names '{name}'; {nearest(name, params.data.sources)}"
    for name, custom in params.domains.items():
        key = f"domains.{name}"
        if name in DATASETS:
            yield f"{key}: this name is that of a published data set; choose another."
        if custom.val and not custom.val.labels:
            yield f"{key}.val has no labels; leave val out, then nothing is measured."
        valid = (*params.labels.label_set.names, IGNORED)
        for raw, names in custom.classes.items():
            for wrong in (each for each in names if each not in valid):
                yield f"{key}.classes.{raw} names '{wrong}'; {nearest(wrong, valid)}"
        for wrong in (each for each in custom.absent if each not in valid[:-1]):
            yield f"{key}.absent names '{wrong}'; {nearest(wrong, valid[:-1])}"
        if (custom.train.labels or custom.val) and not custom.classes:
            yield f"{key}.classes is empty; say which class each id or colour of its labels is."
        if custom.channel and any("," in raw for raw in custom.classes):
            yield f"{key}.channel is {custom.channel}, but {key}.classes lists colours; use one of them."
        if len({"," in raw for raw in custom.classes}) > 1:
            yield f"{key}.classes mixes ids and colours; use one of them."
        mapped = [each for names in custom.classes.values() for each in names]
        for wrong in sorted({*custom.absent} & {*mapped}):
            yield f"{key}.absent names '{wrong}', which classes map to; it cannot be both."
        for raw, names in custom.classes.items():
            if IGNORED in names and len(names) > 1:
                yield f"{key}.classes.{raw} names {IGNORED} beside a class; give one of them."
            for wrong in names[1:]:
                for other in (each for each in custom.classes.values() if wrong in each and each[0] != names[0]):
                    yield (
                        f"{key}.classes.{raw} counts '{wrong}' as '{names[0]}', but another id counts it as"
                        f" '{other[0]}'.\nMap both to the same classes, or the other one to ignore."
                    )


def _faults_of_tasks(params: Params, chosen: bool) -> Iterator[str]:
    """Tasks that cannot run; sizes of custom domains need to fit the chosen scale only."""
    sources = [*params.data.sources, *params.domains]
    targets = [name for name in sources if name in params.domains or DATASETS[name].is_target]
    without_labels = possible(params.runs.methods, unlabelled=True)
    for source, target in (task.split("-") for task in params.runs.tasks):
        for role, name, valid in (("source", source, sources), ("target", target, targets)):
            if name not in valid:
                yield f"runs.tasks names {role} '{name}'; {nearest(name, valid)}"
        if source == target:
            yield f"runs.tasks adapts '{source}' to itself; name another target."
        if source in params.domains and not params.domains[source].train.labels:
            yield f"domains.{source}.train has no labels; a source needs them."
        if not without_labels and target in params.domains and not params.domains[target].train.labels:
            yield (
                f"runs.methods names {params.runs.methods[0]} alone, but domains.{target}.train has no labels for it.\n"
                "Name other methods too, or give labels for the target's training images."
            )
    crop = params.loop.crop
    for domain in domains_of(params):
        custom = params.domains.get(domain)
        key = f"domains.{domain}.size" if custom else f"remap.{domain}"
        size = custom.size if custom else params.remap.sizes.get(domain)
        if size is None:
            yield f"{key} is missing; give the height and width of its frames."
        elif (crop[0] > size[0] or crop[1] > size[1]) and (chosen or not custom):
            yield (
                f"loop.crop is {list(crop)} (height, width), more than the frames of {domain}, {key} = {list(size)}.\n"
                "Make the crop smaller or the frames larger."
            )


def _faults_of_campaigns(params: Params) -> Iterator[str]:
    """Variants that no setting can change, or whose names are equal."""
    known: dict[str, tuple[str, Any]] = {}
    for campaign, each in params.campaigns.items():
        for name, settings in each.changes.items():
            key = f"campaigns.{campaign}.variants.{name.partition(VARIANT)[2]}"
            if not adapting([name]):
                yield (
                    f"{key} is of {base_of(name)}, which does not adapt and has no settings of its own.\n"
                    "Name another method, or list it under methods."
                )
            if name.partition(VARIANT)[2] in METHODS:
                yield f"{key}: this name is that of a method; choose another."
            other, same = known.setdefault(name, (key, settings))
            if same != settings:
                yield f"{key} and {other} are two variants of {base_of(name)} with one name; rename one of them."


def fault_of_weights(model: Model) -> str:
    """Weights that the network does not have; empty where it has them."""
    names = [NONE, *sorted({row.name for row in published() if row.network == model.pretrained_part})]
    of_timm = model.pretrained_part.startswith(TIMM)
    names += [IMAGENET] if of_timm and IMAGENET not in names else []
    if model.weights == IMAGENET and model.network in WITH_BACKBONE and not of_timm:
        return (
            f"model.weights is {IMAGENET}, but the weights of {model.backbone} are under a non-commercial"
            " licence and are not downloaded.\nName your own file of them, or set model.backbone to"
            f" {TIMM}{model.backbone.replace('mit', 'pvt_v2')}, whose weights are under Apache-2.0."
        )
    if model.weights not in names and not model.weights.endswith(FILES):
        return (
            f"model.weights names '{model.weights}', which are not published for {model.pretrained_part}; "
            f"{nearest(model.weights, names)}"
        )
    return ""
