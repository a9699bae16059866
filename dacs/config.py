"""params.yaml, read and checked.

`load` overrides the rest by the chosen scale and recipe and refuses what is not known.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from dacs.datasets.registry import DATASETS
from dacs.errors import BadRequest, nearest
from dacs.jobs import WORLD, domains_of
from dacs.methods import FEATURE_LOSS, method, possible
from dacs.models.published import FILES, IMAGENET, NONE, published
from dacs.networks import WITH_BACKBONE
from dacs.settings import TIMM, Adapt, Model, Params, Remap, Scale, Section

SCALES = get_args(Scale)
BASE = "base"  # in a recipe: another one, which it overrides


def load(source: Path | dict[str, Any]) -> Params:
    """Read and check the parameters in `source` (a YAML file, or its content as Snakemake reads it).

    Names and kinds of values are checked in every recipe at every scale; whether they fit together, in the chosen
    recipe at every scale. Raises BadRequest naming the key, what was found there, what was expected and the nearest
    valid name.
    """
    text = json.dumps(_read(source) if isinstance(source, Path) else source, default=str)
    content = json.loads(text, object_pairs_hook=_once)
    if not isinstance(content, dict):
        raise BadRequest("params.yaml: it should hold sections such as `runs:` and `train:`; it holds none.")
    scales, recipes = _blocks(content, "scales", "smoke"), _blocks(content, "recipes", "official-code")
    _known("scales", scales, SCALES)
    _check_recipes(recipes)
    scale, recipe = content.get("scale"), content.get("recipe")
    _known("scale", [scale], SCALES)
    _known("recipe", [recipe], tuple(recipes))

    def overridden(scale: Any, recipe: Any, where: str = "") -> Params:
        merged = _override(_override(content, scales.get(scale) or {}), _sections_of(recipes, recipe, scale))
        return _params({**merged, "scale": scale, "recipe": recipe}, where)

    result = overridden(scale, recipe)
    _check_fit(result)
    _check_weights(result.model)
    for other in SCALES:
        where = f"scales.{other} (overriding the rest): "
        _check_fit(overridden(other, recipe, where), where)
    for other in recipes:
        overridden(scale, other, f"recipes.{other} (overriding the rest): ")
        for another in SCALES:
            overridden(another, other, f"recipes.{other} at scale: {another} (overriding the rest): ")
    return result


def _blocks(content: dict[str, Any], key: str, example: str) -> dict[str, Any]:
    """Take the blocks of sections under `key` out of `content`."""
    blocks = content.pop(key, None) or {}
    if not isinstance(blocks, dict) or not all(isinstance(block or {}, dict) for block in blocks.values()):
        raise BadRequest(f"params.yaml: {key} should hold a block of sections for each of them, such as `{example}:`.")
    return blocks


def _check_recipes(recipes: dict[str, Any]) -> None:
    """Raise BadRequest for an unknown key or base of a recipe, bases in a circle, or a scale without sections."""
    valid = (*Params.model_fields, BASE, *SCALES)
    for name, block in recipes.items():
        _known(f"recipes.{name}", block or {}, valid)
        for key, value in (block or {}).items():
            if key == BASE:
                _known(f"recipes.{name}.{key}", [value], tuple(recipes))
            elif key in SCALES and not isinstance(value or {}, dict):
                raise BadRequest(f"params.yaml: recipes.{name}.{key} should hold sections, such as `loop:`.")
    for name in recipes:
        chain = [name]
        while base := (recipes[chain[-1]] or {}).get(BASE):
            if base in chain:
                raise BadRequest(f"params.yaml: recipes.{name}.{BASE} leads in a circle: {', '.join([*chain, base])}.")
            chain.append(base)


def _sections_of(recipes: dict[str, Any], name: str, scale: str) -> dict[str, Any]:
    """What a recipe overrides at a scale: values of its base, then its own, then those of its block of the scale."""
    block = recipes[name] or {}
    own = {key: value for key, value in block.items() if key not in (BASE, *SCALES)}
    base = _sections_of(recipes, block[BASE], scale) if BASE in block else {}
    sections: dict[str, Any] = _override(_override(base, own), block.get(scale) or {})
    return sections


def _read(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(), _Loader)
    except FileNotFoundError as error:
        raise BadRequest(f"{path}: not found.\nRun the command in the project's folder.") from error
    except yaml.YAMLError as error:
        raise BadRequest(f"{path}: not YAML.\n{error}") from error


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping, of which YAML keeps the last: `1` and `01` are one number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key for key, _ in node.value if not key.tag.endswith(":merge")]
        _check_once([self.construct_object(key, deep=True) for key in keys])
        return super().construct_mapping(node, deep)


def _once(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """The pairs as a mapping. Raises BadRequest for a key that stands there twice."""
    _check_once([key for key, _ in pairs])
    return dict(pairs)


def _check_once(keys: list[Any]) -> None:
    for key in keys:
        if keys.count(key) > 1:
            raise BadRequest(f"params.yaml: '{key}' is given twice in one section.\nKeep one of them.")


def _override(base: Any, over: Any) -> Any:
    """Replace values of `base` by those of `over`; mappings are merged key by key."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return {**base, **{key: _override(base.get(key), value) for key, value in over.items()}}


def _params(content: dict[str, Any], where: str) -> Params:
    """The content as typed values. Raises BadRequest for unknown names and values of a wrong kind."""
    _check_data_sets(content, where)
    params: Params = _validate(Params, content, where)
    for name, over in params.methods.items():
        if unequal := sorted({"steps", "init"} & over.keys()):
            raise BadRequest(
                f"params.yaml: {where}methods.{name}.{unequal[0]} is given, but methods are compared at equal steps"
                f" from equal weights.\nSet adapt.{unequal[0]} for all of them."
            )
        _validate(Adapt, {**params.adapt.model_dump(mode="json"), **over}, f"{where}methods.{name}.")
    return params


def _check_fit(params: Params, where: str = "") -> None:
    """Raise BadRequest for values that do not fit together; `where`: the scale, unless it is the chosen one."""
    for fault in (*_faults(params), *_faults_of_domains(params), *_faults_of_tasks(params, chosen=not where)):
        raise BadRequest(f"params.yaml: {where}{fault}")


def _check_data_sets(content: dict[str, Any], where: str) -> None:
    """Raise BadRequest for a data set that is not known, where its name is a key."""
    data, remap, domains = (content.get(key) for key in ("data", "remap", "domains"))
    sources = data.get("sources") if isinstance(data, dict) else None
    resample = remap.get("resample") if isinstance(remap, dict) else None
    for key, names, valid in (
        ("data.sources", sources, [*DATASETS]),
        ("remap", remap, [*DATASETS, *Remap.model_fields]),
        ("remap.resample", resample, [*DATASETS, *(domains if isinstance(domains, dict) else ())]),
    ):
        for name in names if isinstance(names, dict) else ():
            if name not in valid:
                raise BadRequest(f"params.yaml: {where}{key}.{name} is not known; {nearest(name, valid)}")


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
    for name in params.runs.methods:
        if method(name).foreground == "target" and loop.batch < 2:
            yield f"loop.batch is 1; {name} pastes one target image on another, so it needs 2 or more."
        distance = {**adapt.model_dump(), **params.methods.get(name, {})}["feature_distance"]
        if FEATURE_LOSS in method(name).terms and distance and model.weights == NONE:
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


def _faults_of_domains(params: Params) -> Iterator[str]:
    for name, source in params.data.sources.items():
        if source == "world" and name not in WORLD:
            yield (
                f"data.sources.{name} is world, which renders {', '.join(WORLD)} only.\n"
                "Name the folder of a copy instead, or download."
            )
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
        if (custom.train.labels or custom.val) and not custom.classes:
            yield f"{key}.classes is empty; say which class each id or colour of its labels is."
        if custom.channel and any("," in raw for raw in custom.classes):
            yield f"{key}.channel is {custom.channel}, but {key}.classes lists colours; use one of them."
        if len({"," in raw for raw in custom.classes}) > 1:
            yield f"{key}.classes mixes ids and colours; use one of them."
        for wrong in sorted({*custom.absent} & {*custom.classes.values()}):
            yield f"{key}.absent names '{wrong}', which classes map to; it cannot be both."


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


def _check_weights(model: Model) -> None:
    """Raise BadRequest for weights that the chosen network does not have; other scales and recipes have other ones."""
    names = [NONE, *sorted({row.name for row in published() if row.network == model.pretrained_part})]
    of_timm = model.pretrained_part.startswith(TIMM)
    names += [IMAGENET] if of_timm and IMAGENET not in names else []
    if model.weights == IMAGENET and model.network in WITH_BACKBONE and not of_timm:
        raise BadRequest(
            f"params.yaml: model.weights is {IMAGENET}, but the weights of {model.backbone} are under a non-commercial"
            " licence and are not downloaded.\nName your own file of them, or set model.backbone to"
            f" {TIMM}{model.backbone.replace('mit', 'pvt_v2')}, whose weights are under Apache-2.0."
        )
    if model.weights not in names and not model.weights.endswith(FILES):
        raise BadRequest(
            f"params.yaml: model.weights names '{model.weights}', which are not published for {model.pretrained_part}; "
            f"{nearest(model.weights, names)}"
        )


def _validate(model: type[Section], content: dict[str, Any], where: str) -> Any:
    try:
        # Through JSON, where strict kinds still let a list be a pair.
        return model.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        raise BadRequest("\n".join(_message(model, content, detail, where) for detail in error.errors())) from None


def _message(model: type[Section], content: dict[str, Any], detail: Any, where: str) -> str:
    """One finding of pydantic as a sentence: key, found, expected."""
    location = _keys(content, detail)
    key, last = where + ".".join(location), location[-1] if location else ""
    if detail["type"] == "extra_forbidden":
        return f"params.yaml: {key} is not known; {nearest(last, _names_at(model, location[:-1]))}"
    if detail["type"] == "missing":
        return f"params.yaml: {key} is missing; it is needed."
    if detail["type"] == "value_error" and isinstance(detail["input"], dict):
        return f"params.yaml: {key}: {detail['msg'].removeprefix('Value error, ')}."
    found = "not known" if detail["loc"] and detail["loc"][-1] == "[key]" else json.dumps(detail["input"])
    expected = detail["msg"].removeprefix("Value error, ")
    expected = expected[0].lower() + expected[1:]
    if detail["type"] == "literal_error":
        options = detail["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        return f"params.yaml: {key} is {found}; {nearest(detail['input'], options)}"
    text_for_number = detail["type"] in ("int_type", "float_type") and isinstance(detail["input"], str)
    hint = " (write 0.001 or 1.0e-3: YAML takes 1e-3 for text)" if text_for_number else ""
    end = "" if expected.endswith(("?", ".")) else f"{hint}."
    return f"params.yaml: {key} is {found}; {expected}{end}"


def _keys(content: Any, detail: Any) -> list[str]:
    """Where a finding is; pydantic's location also names the kinds that a value may have, and "[key]" for a name."""
    keys = []
    for part in detail["loc"]:
        try:
            content = content[part]
        except (KeyError, IndexError, TypeError):
            if detail["type"] != "missing":
                continue
        keys.append(str(part))
    return keys


def _names_at(model: type[Section], location: list[str]) -> list[str]:
    """The keys that the section at `location` knows; a mapping has one kind of sections, such as one a domain."""
    kind: Any = model
    for part in location:
        kind = kind.model_fields[part].annotation if hasattr(kind, "model_fields") else get_args(kind)[1]
        kind = get_args(kind)[0] if isinstance(kind, UnionType) else kind  # a section or None
    return list(kind.model_fields)


def _known(where: str, words: Any, valid: tuple[str, ...]) -> None:
    for word in words:
        if word not in valid:
            raise BadRequest(f"params.yaml: {where} names '{word}'; {nearest(word, valid)}")
