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
from dacs.faults import fault_of_weights, faults
from dacs.fields import STREET, Scale, Section
from dacs.files import check_regular
from dacs.settings import Adapt, Params, Remap

SCALES = get_args(Scale)
MOST_VALUES = 100_000  # of a file: aliases of aliases can stand for more than memory holds
BASE = "base"  # in a recipe: another one, which it overrides


def load(source: Path | dict[str, Any]) -> Params:
    """Read and check the parameters in `source` (a YAML file, or its content as Snakemake reads it).

    Names and kinds of values are checked in every recipe at every scale; whether they fit together, in the chosen
    recipe at every scale. Raises BadRequest naming the key, what was found there, what was expected and the nearest
    valid name.
    """
    content = _as_json(read_file(source) if isinstance(source, Path) else source)
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
    if fault := fault_of_weights(result.model):  # other scales and recipes have other weights
        raise BadRequest(f"params.yaml: {fault}")
    for other in SCALES:
        where = f"scales.{other} (overriding the rest): "
        _check_fit(overridden(other, recipe, where), where)
    for other in recipes:
        overridden(scale, other, f"recipes.{other} (overriding the rest): ")
        for another in SCALES:
            overridden(another, other, f"recipes.{other} at scale: {another} (overriding the rest): ")
    return result


def _as_json(content: Any) -> Any:
    """The content as JSON has it: keys are text, and so are dates. Raises BadRequest for what JSON cannot have."""
    try:
        return json.loads(json.dumps(content, default=str), object_pairs_hook=_once)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRequest(f"params.yaml: not sections with values ({error}).") from error


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


def read_file(path: Path) -> Any:
    """The content of a YAML file. Raises BadRequest where it is none, or where it gives a key twice."""
    try:
        check_regular(path)  # a pipe would be waited for
        loader = _Loader(path.read_text(encoding="utf-8"))
        loader.name = str(path)  # in marks
        node = loader.get_single_node()
        if node is None:
            return None
        if _values(node, {}) > MOST_VALUES:
            raise BadRequest(f"{path}: more than {MOST_VALUES} values, with all that its aliases repeat.")
        return loader.construct_document(node)
    except FileNotFoundError as error:
        raise BadRequest(f"{path}: not found.\nRun the command in the project's folder.") from error
    except OSError as error:
        raise BadRequest(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise BadRequest(f"{path}, line {line}: not UTF-8 text (byte {error.object[error.start]:#x}).") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        begun = f" {error.context}, begun in line {error.context_mark.line + 1}" if error.context_mark else ""
        raise BadRequest(f"{path}{where}: not YAML ({error.problem or error.context}{begun}).") from error
    except (yaml.YAMLError, ValueError) as error:
        raise BadRequest(f"{path}: not YAML ({' '.join(str(error).split())}).") from error
    except RecursionError as error:
        raise BadRequest(f"{path}: nested too deeply.") from error


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node holds, those of its aliases included. Raises BadRequest for an alias within itself."""
    if known.get(id(node)) == 0:
        raise BadRequest(f"{_place(node)}: holds itself by an alias.")
    if id(node) not in known:
        known[id(node)] = 0
        inner: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            inner = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            inner = node.value
        known[id(node)] = 1 + sum(_values(part, known) for part in inner)
    return known[id(node)]


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping, of which YAML keeps the last: `1` and `01` are one number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for written in (key for key, _ in node.value if not key.tag.endswith(":merge")):
            key = self.construct_object(written, deep=True)
            if key is None or isinstance(key, bool):
                raise BadRequest(
                    f'{_place(written)}: YAML takes {written.value} for {key}.\nPut it in quotes: "{written.value}".'
                )
            if str(key) in lines:
                raise _twice(_place(written), key, f", first in line {lines[str(key)]}")
            lines[str(key)] = written.start_mark.line + 1
        return super().construct_mapping(node, deep)


def _place(node: yaml.Node) -> str:
    """The file and the line where a node begins."""
    return f"{node.start_mark.name}, line {node.start_mark.line + 1}"


def _once(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """The pairs as a mapping. Raises BadRequest for a key that stands there twice."""
    found: dict[Any, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _twice("params.yaml", key)
        found[key] = value
    return found


def _twice(place: str, key: Any, first: str = "") -> BadRequest:
    return BadRequest(f"{place}: '{key}' is given twice in one section{first}.\nKeep one of them.")


def _override(base: Any, over: Any) -> Any:
    """Replace values of `base` by those of `over`; mappings are merged key by key."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return {**base, **{key: _override(base.get(key), value) for key, value in over.items()}}


def _params(content: dict[str, Any], where: str) -> Params:
    """The content as typed values. Raises BadRequest for unknown names and values of a wrong kind."""
    _check_data_sets(content, where)
    if isinstance(labels := content.get("labels"), str):  # by name
        _known(f"{where}labels", [labels], (STREET,))
        content = {**content, "labels": {BASE: labels}}
    params: Params = _validate(Params, content, where)
    for key, over in _overrides(params):
        if unequal := sorted({"steps", "init"} & over.keys()):
            raise BadRequest(
                f"params.yaml: {where}{key}.{unequal[0]} is given, but methods are compared at equal steps"
                f" from equal weights.\nSet adapt.{unequal[0]} for all of them."
            )
        _validate(Adapt, {**params.adapt.model_dump(mode="json"), **over}, f"{where}{key}.")
    return params


def _overrides(params: Params) -> Iterator[tuple[str, dict[str, Any]]]:
    """What methods and variants override of `adapt`, each with its key."""
    yield from ((f"methods.{name}", over) for name, over in params.methods.items())
    for campaign, each in params.campaigns.items():
        yield from ((f"campaigns.{campaign}.variants.{name}", one.settings) for name, one in each.variants.items())


def _check_fit(params: Params, where: str = "") -> None:
    """Raise BadRequest for values that do not fit together; `where`: the scale, unless it is the chosen one."""
    for fault in faults(params, chosen=not where):
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
        return f"params.yaml: {key}: {_sentence(detail['msg'].removeprefix('Value error, '))}"
    found = "not known" if detail["loc"] and detail["loc"][-1] == "[key]" else json.dumps(detail["input"])
    expected = detail["msg"].removeprefix("Value error, ")
    expected = expected[0].lower() + expected[1:]
    if detail["type"] == "literal_error":
        options = detail["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        return f"params.yaml: {key} is {found}; {nearest(detail['input'], options)}"
    text_for_number = detail["type"] in ("int_type", "float_type") and isinstance(detail["input"], str)
    hint = " (write 0.001 or 1.0e-3: YAML takes 1e-3 for text)" if text_for_number else ""
    return f"params.yaml: {key} is {found}; {_sentence(expected, hint)}"


def _sentence(text: str, more: str = "") -> str:
    return text if text.endswith(("?", ".")) else f"{text}{more}."


def _keys(content: Any, detail: Any) -> list[str]:
    """Where a finding is; pydantic's location also names the kinds that a value may have, and "[key]" for a name."""
    keys = []
    for part in detail["loc"]:
        try:
            content = content[part]
        except (KeyError, IndexError, TypeError):
            if detail["type"] != "missing" or part in ("dict", "list"):
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
