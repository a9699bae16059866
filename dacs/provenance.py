"""What a result was made with, as short strings: settings as canonical JSON, code as a digest of its meaning."""

import ast
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def canonical(value: Any) -> str:
    """`value` as JSON with sorted keys and no spaces: equal settings give equal text, whatever their order.

    >>> canonical({"b": 1, "a": [2, 3]})
    '{"a":[2,3],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def short_digest(*parts: str) -> str:
    """The first 16 hex digits of the sha256 of the parts, told apart from their concatenation."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def code_digest(*modules: str) -> str:
    """A digest of the named `dacs` modules and of all that they import from `dacs`, as 16 hex digits.

    Read from the syntax tree without docstrings, so comments, layout and words do not count; imports are
    followed statically, also those inside functions. Files beside a module (templates, tables) are not seen.
    """
    seen: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in seen and _path(name) is not None:
            seen.add(name)
            waiting.extend(_meaning(name)[1])
    return short_digest(*(f"{name}={_meaning(name)[0]}" for name in sorted(seen)))


def _path(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache
def _meaning(module: str) -> tuple[str, tuple[str, ...]]:
    """The syntax tree of a module as text, and the dacs modules it imports."""
    path = _path(module)
    assert path is not None
    tree = ast.parse(path.read_text())
    imports: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            imports.add(node.module)
            imports.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return _text(tree), tuple(sorted(name for name in imports if name.split(".")[0] == "dacs"))


def _text(node: Any) -> str:
    """A syntax tree as text, without fields that hold nothing: which of them there are differs between Pythons."""
    if isinstance(node, ast.AST):
        fields = ",".join(f"{name}={_text(value)}" for name, value in ast.iter_fields(node) if value not in (None, []))
        return f"{type(node).__name__}({fields})"
    return f"[{','.join(map(_text, node))}]" if isinstance(node, list) else repr(node)
