"""Types of single settings, and what all sections of params.yaml have in common. Torch-free."""

from collections.abc import Collection
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from dacs.errors import nearest
from dacs.methods import METHODS
from dacs.networks import NETWORKS


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


def raw_keys(classes: dict[str, Any]) -> dict[str, Any]:
    """Accept ids of 16 bits and colours of 8 bits, each once."""
    seen: dict[tuple[int, ...], str] = {}
    for text in classes:
        if max(raw_key(text)) > (255 if "," in text else HIGHEST_ID):
            raise ValueError(f"'{text}' is too high; ids are 0 to {HIGHEST_ID}, the parts of colours 0 to 255")
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


def _names(value: Any) -> list[str]:
    """One name as a list of one."""
    if isinstance(value, str) and value:
        return [value]
    if not isinstance(value, list) or not value or not all(isinstance(each, str) and each for each in value):
        raise ValueError("the name of a class, or a list of names, was expected")
    return _distinct(value)


HIGHEST_ID = 65535  # of a raw id: 16 bits
# The highest values are far above what is of use, and below what ends in want of memory or processes.
Count = Annotated[int, Field(ge=1, le=10**9)]
CountOrNone = Annotated[int, Field(ge=0, le=10**9)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Few = Annotated[int, Field(ge=1, le=1000)]
Cores = Annotated[int, Field(ge=0, le=1024)]
Pixels = Annotated[int, Field(ge=1, le=65536)]
Batch = Annotated[int, Field(ge=1, le=65536)]
Width = Annotated[int, Field(ge=1, le=65536)]  # channels
Positive = Annotated[float, Field(gt=0, le=10**6)]
NotNegative = Annotated[float, Field(ge=0, le=10**6)]
Share = Annotated[float, Field(ge=0, le=1)]
Size = tuple[Pixels, Pixels]  # height, width
Range = Annotated[tuple[Positive, Positive], AfterValidator(_rising)]  # lowest, highest
Distinct = AfterValidator(_distinct)
Seeds = Annotated[list[Seed], Field(min_length=1, max_length=1000), Distinct]
Task = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*-[a-z][a-z0-9_]*$")]  # source-target
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
NetworkName = Annotated[str, _one_of(NETWORKS)]
MethodName = Annotated[str, _one_of(METHODS)]
Backbone = Annotated[str, Field(pattern=r"^(timm/[a-z0-9_.]+|mit_b[0-5])$")]
RawId = Annotated[str, Field(pattern=r"^\d{1,5}$|^\d{1,3}, ?\d{1,3}, ?\d{1,3}$")]  # an id; or red, green, blue
Byte = Annotated[int, Field(ge=0, le=255)]
Text = Annotated[str, Field(min_length=1)]
ClassName = Annotated[str, Field(min_length=1, max_length=40, pattern=r'^[^\s",]([^\t-\r",]*[^\s",])?$')]
ClassNames = Annotated[list[str], BeforeValidator(_names)]  # that a raw class is, or that it covers together
Patterns = Annotated[list[str], BeforeValidator(_listed)]  # of file names, or files that list files
TIMM = "timm/"  # before the name of a backbone
STREET = "cityscapes"  # the name of its label set
IGNORED = "ignore"  # in place of a class
Scale = Literal["demo", "smoke", "photos", "paper"]
Resample = Literal["bicubic", "bicubic_torch", "bilinear", "bilinear_torch", "opencv"]
Device = Literal["auto", "cpu", "cuda"]


class Section(BaseModel):
    """A section of params.yaml: exactly these keys, of exactly these types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
    no_effect: ClassVar[frozenset[str]] = frozenset()  # settings that change no result

    def also_decides(self) -> dict[str, Any]:
        """What of the settings without effect does change results, together with others."""
        return {}


def identity(section: Section) -> dict[str, Any]:
    """The settings of a section that results depend on, as JSON values; what is not given is left out."""
    values = section.model_dump(mode="json", exclude_none=True)
    nested = {name: identity(value) for name, value in section if isinstance(value, Section)}
    found = {name: value for name, value in (values | nested).items() if name not in section.no_effect}
    return found | section.also_decides()
