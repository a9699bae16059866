"""What a result was made with, as short strings: settings as canonical JSON, code as a digest of what can run."""

import ast
import hashlib
import json
from collections.abc import Collection, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
DEFINITION = ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef
WHOLE = ""  # all of a module

Use = tuple[str, str]  # a module, and a name in it or WHOLE


def canonical(value: Any) -> str:
    """`value` as JSON with sorted keys and no spaces: equal settings give equal text, whatever their order.

    >>> canonical({"b": 1, "a": [2, 3]})
    '{"a":[2,3],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def short_digest(*parts: str) -> str:
    """The first 16 hex digits of the sha256 of the parts; other parts with the same concatenation give another one."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def code_digest(*roots: str, ignore: Collection[str] = ()) -> str:
    """A digest of the code that can run for the roots, as 16 hex digits; `reachable` says what counts."""
    return short_digest(*reachable(*roots, ignore=ignore))


def reachable(*roots: str, ignore: Collection[str] = ()) -> list[str]:
    """The top-level statements that can run for the roots, each as "module:names syntax tree".

    A root is "module:name", or "module" for all that is defined in it; so are the entries of `ignore`, through which
    nothing is reached (a module covers those below it). Modules are parsed, never imported: those of `dacs` and of the
    packages that roots name.

    A statement reaches every statement that binds or changes a name in it, through imports wherever they are. What a
    module does when it is imported (calls, loops, decorators of the package's own) counts as soon as one of its names
    is reached. Comments, layout, docstrings and the text of raised errors do not count. Not seen: data files, and names
    that are strings (getattr, import_module).

    Raises ValueError for a root that is not there.
    """
    _module.cache_clear()  # files may have changed since the last time
    packages = {"dacs", *(root.replace(":", ".").split(".")[0] for root in roots)}
    waiting: list[Use] = []
    for root in roots:
        name, _, attribute = root.partition(":")
        if (module := _module(name)) is None or not module.knows(attribute):
            raise ValueError(f"No definition of '{root}' was found; expected 'module:name' or 'module'.")
        waiting.append((name, attribute))
    seen: set[Use] = set()
    found: dict[_Module, set[_Statement]] = {}
    while waiting:
        name, attribute = use = waiting.pop()
        module = _module(name) if name.split(".")[0] in packages else None
        if module is None or use in seen or any(f"{name}.".startswith(f"{entry}.") for entry in ignore):
            continue
        seen.add(use)
        waiting += map(_target, module.imports.get(attribute, ()))
        reached = found.setdefault(module, set())
        for statement in module.statements:
            counts = statement.runs or attribute == WHOLE or attribute in statement.names
            ignored = {f"{name}:{bound}" for bound in statement.names} <= {*ignore} and statement.names
            if counts and not ignored and statement not in reached:
                reached.add(statement)
                waiting += [target for chain in statement.chains for target in module.uses(chain)]
    modules = sorted(found, key=lambda module: module.name)
    return [f"{module.name}:{one.text}" for module in modules for one in module.statements if one in found[module]]


class _Statement(NamedTuple):
    """A top-level statement of a module."""

    names: frozenset[str]  # that it binds, or whose value it changes
    chains: frozenset[tuple[str, ...]]  # the names in it, each with its attributes: a.b.c
    runs: bool  # whether it may do more, when the module is imported, than bind a name
    text: str


class _Module:
    """The top level of a module."""

    def __init__(self, name: str, tree: ast.Module, package: str) -> None:
        self.name = name
        self.imports: dict[str, set[str]] = {}  # name → what it stands for: a module, or a module and a name
        for node in ast.walk(tree):
            for bound, origin in _imports(node, package):
                self.imports.setdefault(bound, set()).add(origin)
        self.statements = [
            self._statement(node)
            for node in tree.body
            if not isinstance(node, ast.Import | ast.ImportFrom) and not _is_docstring(node)
        ]

    def knows(self, attribute: str) -> bool:
        """Whether a name is defined or imported here."""
        return attribute in ("", *self.imports) or any(attribute in found.names for found in self.statements)

    def uses(self, chain: tuple[str, ...]) -> Iterator[Use]:
        """What the first name of a chain stands for; of an imported module only the attribute that is used."""
        if chain[0] not in self.imports:
            yield self.name, chain[0]
        for origin in self.imports.get(chain[0], ()):
            module, name = _target(origin)
            dotted = chain[0] == origin.split(".")[0]  # import a.b: which part of a.b.c is a module is not asked
            yield module, name or (chain[1] if len(chain) > 1 and not dotted else WHOLE)

    def _statement(self, node: ast.stmt) -> _Statement:
        parts = list(ast.walk(node))
        inner = {id(part.value) for part in parts if isinstance(part, ast.Attribute)}
        used = [part for part in parts if isinstance(part, ast.Name | ast.Attribute) and id(part) not in inner]
        quoted = [str(part.value) for part in parts if isinstance(part, ast.Constant)]  # perhaps annotations
        chains = {*map(_chain, used), *((text,) for text in quoted if text.isidentifier())}
        if isinstance(node, DEFINITION):
            names = {node.name}
            decorators = {_chain(part)[0] for part in node.decorator_list}
            runs = any(_target(origin)[0].startswith("dacs.") for name in decorators for origin in self._origins(name))
        else:
            loops = [part.target for part in parts if isinstance(part, ast.comprehension)]
            local = {id(name) for target in loops for name in ast.walk(target)}
            bound = (
                part for part in parts if isinstance(getattr(part, "ctx", None), ast.Store) and id(part) not in local
            )
            stored = {_chain(part)[0] for part in bound}
            called = [
                part.func for part in parts if isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute)
            ]
            names = stored | ({_chain(method)[0] for method in called} - self.imports.keys())  # may change its object
            runs = not isinstance(node, ast.Assign | ast.AnnAssign)
        origins = sorted(origin for chain in chains for origin in self.imports.get(chain[0], ()))
        chains, names = {chain for chain in chains if chain[0]}, names - {""}
        text = f"{','.join(sorted(names))} {_text(node)} {','.join(origins)}"
        return _Statement(frozenset(names), frozenset(chains), runs, text)

    def _origins(self, name: str) -> set[str]:
        """What a name stands for: imported, or of this module."""
        return self.imports.get(name, {f"{self.name}.{name}"})


@cache
def _module(name: str) -> _Module | None:
    """A module by its name; None where there is no such file."""
    top, *rest = name.split(".")
    spec = find_spec(top) if top != "dacs" else None
    folders = spec.submodule_search_locations if spec else [str(ROOT / "dacs")]
    base = Path(folders[0]) if folders else Path(spec.origin or "").with_suffix("") if spec else Path(top)
    path = base.joinpath(*rest)
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return _parse(name, file, file.stat().st_mtime_ns)
    return None


@cache
def _parse(name: str, file: Path, modified: int) -> _Module:
    package = name if file.stem == "__init__" else name.rpartition(".")[0]
    return _Module(name, ast.parse(file.read_text()), package)


def _target(origin: str) -> Use:
    """What is imported as a.b: the module a.b, or the name b of the module a."""
    return (origin, WHOLE) if _module(origin) else (origin.rpartition(".")[0], origin.rpartition(".")[2])


def _imports(node: ast.AST, package: str) -> Iterator[tuple[str, str]]:
    """The names that an import binds, each with what it stands for."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.asname or alias.name.split(".")[0], alias.name
    elif isinstance(node, ast.ImportFrom):
        above = package.split(".")[: 1 - node.level or None] if node.level else []
        origin = ".".join([*above, *filter(None, [node.module])])
        for alias in node.names:
            yield alias.asname or alias.name, f"{origin}.{alias.name}"


def _chain(node: ast.AST) -> tuple[str, ...]:
    """The names of an expression such as a.b.c, a.b[0] or a.b(); the first is empty where it begins otherwise."""
    names: list[str] = []
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        names += [node.attr] if isinstance(node, ast.Attribute) else []
        node = node.func if isinstance(node, ast.Call) else node.value
    return (node.id if isinstance(node, ast.Name) else "", *reversed(names))


def _is_docstring(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _text(node: Any, message: bool = False) -> str:
    """A syntax tree without docstrings and the texts of raised errors.

    Fields that hold nothing are left out: which of them there are differs between versions of Python.
    """
    if isinstance(node, list):
        texts = [message and isinstance(part, ast.Constant) and isinstance(part.value, str) for part in node]
        kept = (part for part, is_text in zip(node, texts, strict=True) if not (_is_docstring(part) or is_text))
        return f"[{','.join(_text(part, message) for part in kept)}]"
    if not isinstance(node, ast.AST):
        return ascii(node)
    if isinstance(node, ast.JoinedStr):  # Python 3.12 adds empty constants
        node.values = [part for part in node.values if not (isinstance(part, ast.Constant) and part.value == "")]
    message = message or isinstance(node, ast.Raise)
    fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []) and name != "ctx")
    return f"{type(node).__name__}({','.join(f'{name}={_text(value, message)}' for name, value in fields)})"
