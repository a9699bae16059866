"""params.yaml, read and checked.

`load` overrides the rest by the chosen scale and recipe and refuses what is not known.
"""

import json
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from dacs.datasets.registry import DATASETS
from dacs.errors import BadRequest, nearest
from dacs.jobs import WORLD, domains_of
from dacs.methods import method
from dacs.models.published import FILES, NONE, published
from dacs.settings import Adapt, Params, Scale, Section


def load(source: Path | dict[str, Any]) -> Params:
    """Read and check the parameters in `source` (a YAML file, or its content as Snakemake reads it).

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
        merged = _override(_override(content, scales.get(scale) or {}), recipes[recipe] or {})
        return _check({**merged, "scale": scale, "recipe": recipe}, where)

    result = checked(scale, recipe)
    _check_weights(result)
    for other in get_args(Scale):
        checked(other, recipe, f"scales.{other} (overriding the rest): ")
    for other in recipes:
        checked(scale, other, f"recipes.{other} (overriding the rest): ")
    return result


def _blocks(content: dict[str, Any], key: str, example: str) -> dict[str, Any]:
    """Take the blocks of sections under `key` out of `content`."""
    blocks = content.pop(key, None) or {}
    if not isinstance(blocks, dict) or not all(isinstance(block or {}, dict) for block in blocks.values()):
        raise BadRequest(f"params.yaml: {key} should hold a block of sections for each of them, such as `{example}:`.")
    return blocks


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise BadRequest(f"{path}: not found.\nRun the command in the project's folder.") from error
    except yaml.YAMLError as error:
        raise BadRequest(f"{path}: not YAML.\n{error}") from error


def _override(base: Any, over: Any) -> Any:
    """Replace values of `base` by those of `over`; mappings are merged key by key."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return {**base, **{key: _override(base.get(key), value) for key, value in over.items()}}


def _check(content: dict[str, Any], where: str) -> Params:
    _check_data_sets(content, where)
    params: Params = _validate(Params, content, where)
    for name, over in params.methods.items():
        _validate(Adapt, {**params.adapt.model_dump(mode="json"), **over}, f"{where}methods.{name}.")
    _check_tasks(params, where)
    _check_custom(params, where)
    _check_sources(params, where)
    _check_crop(params, where)
    for name in params.runs.methods:
        if method(name).foreground == "target" and params.loop.batch < 2:
            raise BadRequest(f"params.yaml: {where}loop.batch is 1; {name} pastes one target image on another: set 2.")
    if params.model.weights.startswith("caffe_") != (params.model.convention == "caffe") and not _is_file(params):
        raise BadRequest(
            f"params.yaml: {where}model.weights is {params.model.weights}, but model.convention is "
            f"{params.model.convention}.\nThe caffe_ weights need caffe, all others torchvision."
        )
    if params.loop.nesterov and not params.loop.momentum:
        raise BadRequest(f"params.yaml: {where}loop.nesterov is true; it needs a loop.momentum above 0.")
    return params


def _check_data_sets(content: dict[str, Any], where: str) -> None:
    """Raise BadRequest for a data set that is not known, where its name is a key."""
    data, remap = content.get("data"), content.get("remap")
    sources = data.get("sources") if isinstance(data, dict) else None
    for key, names, others in (("data.sources", sources, ()), ("remap", remap, ("resample", "images"))):
        for name in names if isinstance(names, dict) else ():
            if name not in (*DATASETS, *others):
                raise BadRequest(
                    f"params.yaml: {where}{key}.{name} is not known; {nearest(name, (*DATASETS, *others))}"
                )


def _check_sources(params: Params, where: str) -> None:
    """Raise BadRequest for a domain that cannot be rendered, and where no zip should be read without unpacking."""
    for name, source in params.data.sources.items():
        if source == "world" and name not in WORLD:
            raise BadRequest(
                f"params.yaml: {where}data.sources.{name} is world, which renders {', '.join(WORLD)} only.\n"
                "Name the folder of a copy instead, or download."
            )
        packed = [archive.name for archive in DATASETS[name].archives if not archive.name.endswith(".zip")]
        if source == "download" and packed and not params.data.unpack:
            raise BadRequest(
                f"params.yaml: {where}data.unpack is false, but {packed[0]} of {name} is not a zip archive.\n"
                "Set data.unpack to true."
            )


def _is_file(params: Params) -> bool:
    """Whether the backbone starts from a file that a person names, whose tensors will show its convention."""
    return params.model.weights.endswith(FILES)


def _check_weights(params: Params) -> None:
    """Whether the chosen network has the weights that are named; other scales and recipes may want other ones."""
    model = params.model
    names = [NONE, *sorted({row.name for row in published() if row.network == model.network})]
    if model.weights not in names and not _is_file(params):
        raise BadRequest(
            f"params.yaml: model.weights names '{model.weights}', which are not published for {model.network}; "
            f"{nearest(model.weights, names)}"
        )


def _check_tasks(params: Params, where: str) -> None:
    sources = [*params.data.sources, *params.domains]
    targets = [name for name in sources if name in params.domains or DATASETS[name].is_target]
    for task in params.runs.tasks:
        source, target = task.split("-")
        for role, name, valid in (("source", source, sources), ("target", target, targets)):
            if name not in valid:
                raise BadRequest(f"params.yaml: {where}runs.tasks names {role} '{name}'; {nearest(name, valid)}")
        if source == target:
            raise BadRequest(f"params.yaml: {where}runs.tasks adapts '{source}' to itself; name another target.")
        if source in params.domains and not params.domains[source].train.labels:
            raise BadRequest(f"params.yaml: {where}domains.{source}.train has no labels; a source needs them.")
        given = [name for name in params.runs.methods if method(name).labels == "target"]
        if given and target in params.domains and not params.domains[target].train.labels:
            raise BadRequest(
                f"params.yaml: {where}runs.methods names {given[0]}, but domains.{target}.train has no labels for it.\n"
                f"Leave {given[0]} out, or give labels for the target's training images."
            )


def _check_crop(params: Params, where: str) -> None:
    """Raise BadRequest where the crop does not fit; custom domains have one size, which need not fit other scales."""
    for domain in domains_of(params):
        custom = params.domains.get(domain)
        if custom and where:
            continue
        key, size = (f"domains.{domain}.size", custom.size) if custom else _published_size(params, domain, where)
        if any(crop > have for crop, have in zip(params.loop.crop, size, strict=True)):
            raise BadRequest(
                f"params.yaml: {where}loop.crop is {list(params.loop.crop)} (height, width), larger than the frames of "
                f"{domain}, {key} = {list(size)}.\nMake the crop smaller or the frames larger."
            )


def _published_size(params: Params, domain: str, where: str) -> tuple[str, tuple[int, int]]:
    if domain not in params.remap.sizes:
        raise BadRequest(f"params.yaml: {where}remap.{domain} is missing; give the height and width of its frames.")
    return f"remap.{domain}", params.remap.sizes[domain]


def _check_custom(params: Params, where: str) -> None:
    for name, custom in params.domains.items():
        key = f"params.yaml: {where}domains.{name}"
        if name in DATASETS:
            raise BadRequest(f"{key}: this name is that of a published data set; choose another.")
        labelled = custom.train.labels or (custom.val and custom.val.labels)
        if custom.val and not custom.val.labels:
            raise BadRequest(f"{key}.val has no labels; leave val out, then nothing is measured.")
        if labelled and not custom.classes:
            raise BadRequest(f"{key}.classes is empty; say which class each id or colour of its labels is.")
        if len({"," in raw for raw in custom.classes}) > 1:
            raise BadRequest(f"{key}.classes mixes ids and colours; use one of them.")
        wrong = sorted(set(custom.absent) & set(custom.classes.values()))
        if wrong:
            raise BadRequest(f"{key}.absent names '{wrong[0]}', which classes map to; it cannot be both.")


def _validate(model: type[Section], content: dict[str, Any], where: str) -> Any:
    try:
        # Through JSON, where strict kinds still let a list be a pair.
        return model.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        raise BadRequest("\n".join(_message(model, detail, where) for detail in error.errors())) from None


def _message(model: type[Section], detail: Any, where: str) -> str:
    """One finding of pydantic as a sentence: key, found, expected."""
    location = [str(part) for part in detail["loc"] if part != "[key]"]  # pydantic's word for a wrong name
    key, last = where + ".".join(location), location[-1] if location else ""
    if detail["type"] == "extra_forbidden":
        return f"params.yaml: {key} is not known; {nearest(last, _names_at(model, location[:-1]))}"
    if detail["type"] == "missing":
        return f"params.yaml: {key} is missing; it is needed."
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


def _names_at(model: type[Section], location: list[str]) -> list[str]:
    """The keys that the section at `location` knows."""
    for part in location:
        model = model.model_fields[part].annotation  # type: ignore[assignment]
    return list(model.model_fields)


def _known(where: str, words: Any, valid: tuple[str, ...]) -> None:
    for word in words:
        if word not in valid:
            raise BadRequest(f"params.yaml: {where} names '{word}'; {nearest(word, valid)}")
