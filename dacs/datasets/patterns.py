"""Files by patterns of their names, or as a list of a text file; what wildcards stand for is the name of a frame."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize
from urllib.parse import quote

from dacs.datasets.base import examples
from dacs.datasets.decode import listing
from dacs.datasets.picture import ENDINGS
from dacs.datasets.storage import folders_below, names_in
from dacs.errors import BadRequest, RunFailed

LISTS = (".txt", ".lst", ".csv")  # endings of files that list files, one a line
WILDCARD = re.compile(r"(\*+|\?|\[[^\]]+\]|\{[^{}]+\})")
UNSAFE = re.compile(r'[\0-\x1f\x7f,"\ud800-\udfff]')  # in the name of a frame, which stands in tables
LONGEST = 200  # bytes of a frame's name: file systems allow 255, of which temporary names need some


class Match(NamedTuple):
    """A file, and what each wildcard stands for."""

    path: str
    parts: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of its frame: what wildcards stand for, without what is unsafe in tables or too long for a file."""
        *folders, last = self.parts or ("",)
        stem, ending = os.path.splitext(last)
        parts = (part.strip("/").replace("/", "_") for part in (*folders, stem if ending.lower() in ENDINGS else last))
        text = normalize("NFC", "_".join(part for part in parts if part)) or Path(self.path).stem
        text = UNSAFE.sub(lambda found: quote(found[0], safe="", errors="surrogateescape"), text)
        if len(text.encode()) <= LONGEST:
            return text
        end = text.encode()[16 - LONGEST :].decode(errors="ignore")
        return f"{sha256(text.encode()).hexdigest()[:12]}_{end}"


def is_list(pattern: str) -> bool:
    """Whether this is no pattern but a text file that lists files."""
    return not WILDCARD.search(pattern) and pattern.lower().endswith(LISTS)


def matches(where: str, pattern: str) -> list[Match]:
    """The files that a pattern matches, in the order of their paths; links are followed, but not in circles.

    `**/` any folders, `*` any characters, `?` one, `[0-9]` one of these, `{a,b}` one of these texts, `~` the home. A
    folder that is called like the pattern itself, such as run[2024], is taken literally. The ending is no part of the
    name. Raises BadRequest for a pattern without wildcard, RunFailed where nothing matches.
    """
    if not WILDCARD.search(pattern):
        raise BadRequest(
            f"{where}: '{pattern}' has no wildcard.\n"
            f"Write a pattern, such as /data/fleet/images/*.png, or name a list of files ({', '.join(LISTS)})."
        )
    found = [Match(*each) for each in _walk(*_split(pattern), ())]
    if not found:
        raise RunFailed(f"{where}: no file matches '{pattern}'; {_there(pattern)}.\nCorrect the pattern, or add files.")
    return sorted(found)


def start_of(pattern: str) -> str:
    """The folder in which the first wildcard of a pattern is looked for."""
    folder, components = _split(pattern)
    for component in components[:-1]:
        if not _is_literal(folder, component):
            break
        folder = os.path.join(folder, component)
    return folder or "."


def filled(pattern: str, parts: Sequence[str]) -> str:
    """The pattern with its wildcards replaced by what those of another stand for, if it has as many."""
    components = os.path.expanduser(pattern).split("/")
    tokens = [
        [(component, True)] if component == "**" else _tokens(component, last=place == len(components) - 1)
        for place, component in enumerate(components)
    ]
    if sum(named for component in tokens for _, named in component) != len(parts):
        return pattern
    rest = iter(parts)
    texts = ("".join(next(rest) if named else text for text, named in component) for component in tokens)
    return "/" * pattern.startswith("/") + "/".join(text for text in texts if text)


def listed(where: str, path: str, column: int) -> list[Match]:
    """The files that a text file lists: one a line, or an image and its label, of which `column` chooses.

    Paths are absolute, or relative to the folder of the list. Raises RunFailed naming the lines without a file.
    """
    source = Path(path).expanduser()
    try:
        lines = enumerate(source.read_text("utf-8-sig").splitlines(), 1)
    except (OSError, ValueError) as error:
        raise RunFailed(f"{where}: {source} cannot be read ({error}).\nName a text file that lists files.") from error
    named = [(number, line.strip()) for number, line in lines if line.strip() and not line.startswith("#")]
    files = [(number, line, _file_of(source.parent, line, column)) for number, line in named]
    faults = [f"line {number}: no file '{line}'" for number, line, file in files if not file]
    if not files:
        raise RunFailed(f"{where}: {source} lists no files.\nWrite a path in each line.")
    if faults:
        raise RunFailed(
            listing(f"{where}: {source} lists {len(faults)} files that are not there, of {len(files)}", faults)
            + "\nGive absolute paths, or paths relative to the folder of this list."
        )
    paths = [file for _, _, file in files if file]
    base = os.path.commonpath([os.path.dirname(file) for file in paths])
    return [Match(file, tuple(Path(os.path.relpath(file, base)).with_suffix("").parts)) for file in paths]


def _file_of(folder: Path, line: str, column: int) -> str | None:
    fields = re.split(r"[\t,]\s*|\s+", line)
    texts = [line, fields[column]] if len(fields) == 2 else [line]
    paths = (os.path.abspath(folder / Path(text).expanduser()) for text in texts)
    return next(filter(os.path.isfile, paths), None)


def _walk(folder: str, components: list[str], parts: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Paths below a folder that components match, and what their wildcards stand for."""
    component, *rest = components
    if component == "**" and rest:
        for below in folders_below(folder or "."):
            inner = os.path.relpath(below, folder or ".")
            yield from _walk(os.path.join(folder, inner) if inner != "." else folder, rest, (*parts, inner.strip(".")))
        return
    for name, found in (
        [(component, ())] if _is_literal(folder, component) else _fitting(folder, component, last=not rest)
    ):
        path = os.path.join(folder, name)
        if rest and os.path.isdir(path):
            yield from _walk(path, rest, (*parts, *found))
        elif not rest and os.path.isfile(path):
            yield path, (*parts, *found)


def _split(pattern: str) -> tuple[str, list[str]]:
    """The folder that a pattern starts from, and its components."""
    whole = os.path.expanduser(pattern)
    return "/" * whole.startswith("/"), [part for part in whole.split("/") if part]


def _is_literal(folder: str, component: str) -> bool:
    """Whether a component has no wildcards, or brackets and braces alone and is the name of something there."""
    exists = os.path.lexists(os.path.join(folder, component))
    return not WILDCARD.search(component) or (exists and not re.search(r"[*?]", component))


def _fitting(folder: str, component: str, last: bool) -> Iterable[tuple[str, tuple[str, ...]]]:
    """The names in a folder that a component matches; brackets and braces stand for themselves if nothing else fits."""
    hidden = component.startswith(".")
    names = sorted(os.listdir(folder or ".")) if hidden else names_in(folder)
    for plain in (False, True):
        pattern = "".join(_regex(text, named, plain) for text, named in _tokens(component, last))
        try:
            fits = [(name, found.groups()) for name in names if (found := re.fullmatch(pattern, name, re.DOTALL))]
        except re.error as error:
            raise BadRequest(f"'{component}' is no pattern ({error}).\nWrite, for example, [0-9].") from error
        if fits:
            return fits
    return []


def _tokens(component: str, last: bool) -> list[tuple[str, bool]]:
    """A component as texts, each with whether it stands for a part of the name: wildcards do, outside the ending."""
    texts = [text for text in WILDCARD.split(component) if text]
    dots = [place for place, text in enumerate(texts) if "." in text and not WILDCARD.fullmatch(text)]
    end = dots[-1] if last and dots else len(texts)
    return [
        (text, bool(WILDCARD.fullmatch(text)) and place < end and not (last and text.startswith("{.")))
        for place, text in enumerate(texts)
    ]


def _regex(text: str, named: bool, plain: bool) -> str:
    if not WILDCARD.fullmatch(text) or (plain and text[0] in "[{"):
        return re.escape(text)
    if text[0] in "*?":
        pattern = "." if text == "?" else ".*"
    elif text[0] == "{":
        pattern = "|".join(map(re.escape, text[1:-1].split(",")))
    else:
        inner = text[1:-1].replace("\\", "\\\\").replace("[", "\\[")
        pattern = f"[^{inner[1:]}]" if inner[0] in "!^" else f"[{inner}]"
    return f"({pattern})" if named else f"(?:{pattern})"


def _there(pattern: str) -> str:
    """What lies in the folder in which the first wildcard is looked for."""
    folder = start_of(pattern)
    if not os.path.isdir(folder):
        return f"there is no folder {folder}"
    names = names_in(folder)
    return f"{folder} holds {examples(names)}" if names else f"{folder} is empty"
