"""The JSON documents of a store: their shapes, and the check of whatever is read.

A record is protected by the name of the shard it lies in. Every other document protects itself: its first member is
`checksum`, the SHA-256 of the text without that member, `{` + everything after the first comma.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NotRequired, TypeVar, cast

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from pydantic_core import from_json
from typing_extensions import TypedDict

from ..core.text import printable, shown
from .keys import canonical_json, file_digest

SCHEMA = 2

#: How deep it is looked for what a document cannot hold.
DEEPEST = 16

#: Infinity is text in canonical JSON; None stands for NaN.
Number = Annotated[float, Field(allow_inf_nan=False)] | Literal["inf", "-inf"] | None
Count = Annotated[int, Field(ge=0, lt=2**63)]
Key = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

_STRICT = ConfigDict(strict=True, extra="allow")
_SEALED = re.compile(rb'\{"checksum":"([0-9a-f]{64})",')


class DamagedRecord(ValueError):
    """A record, or another document of the store, that is not what was written."""


class OtherVersion(ValueError):
    """A document of the store that another version of the package wrote, whole or not."""


@with_config(_STRICT)
class Document(TypedDict):
    """What all have: the number of their schema. Members that it does not have are left as they are."""

    schema: int


@with_config(_STRICT)
class Metric(TypedDict):
    """A number that was measured of a trial: value and standard error in `unit`, and the cases behind it."""

    metric: str
    value: Number
    error: Number
    unit: str
    n: Count


class Record(Document):
    """What became of a trial."""

    trial: Key
    batch: str
    specification: dict[str, Any]
    status: Literal["done", "failed"]
    reason: str
    traceback: str
    steps: Count | None
    metrics: list[Metric]
    energies: list[Number]
    notes: dict[str, str]
    provenance: dict[str, Any]
    code_digest: str
    plugins: dict[str, str]


@with_config(_STRICT)
class Labels(TypedDict):
    """What a condition of the grid is called: the descriptive columns of the results table."""

    task: str
    arm: str
    method: str
    family: str
    principle: str
    normalised: bool
    smoothing: Number
    axis: str
    setting: Number
    thickness: Number
    budget: str
    steps: Count


class StoredCondition(Labels):
    """A `grid.Condition`: its labels, its first seed, the keys of its trials in the order of the seeds, and whether
    their training steps were to be compiled."""

    first_seed: Annotated[int, Field(ge=0, lt=2**62)]
    trials: list[Key]
    compiled: NotRequired[bool]


@with_config(_STRICT)
class StoredChoice(TypedDict):
    """A `tuning.Choice`."""

    arm: str
    option: str
    metric: str
    better: str
    values: list[float]
    scores: list[Number]
    chosen: float


class StoredPlan(Document):
    """A `plan.Plan`, without the registries.

    `runs` is the digest of what of the study's file decides what is run; `package` that of the package, and empty where
    tasks or methods come from elsewhere: with both unchanged the plan is the one that would be made again.
    `step_times` are those of `step_times.StepTimes` by which it was decided what is compiled; `tuning` are the
    `tuning.Choice`s of the study's arms, whose options `file` has.
    """

    study: str
    scale: str
    device: str
    runs: str
    package: str
    file: dict[str, Any]
    conditions: list[StoredCondition]
    skipped: list[dict[str, str]]
    step_times: NotRequired[dict[str, Any]]
    tuning: NotRequired[list[StoredChoice]]


class StoredTable(Document):
    """Of what state of the store `results.parquet` is the table, and the SHA-256 of its bytes."""

    state: str
    sha256: str


class Incident(Document):
    """Something that went wrong and was mended; `trials` are those it concerns, none where that is not known."""

    kind: str
    trials: list[Key]
    detail: str


class Stop(Document):
    """Why a trial was last stopped from outside."""

    trial: Key
    reason: str


D = TypeVar("D", bound=Document)

SHAPES = (Record, StoredPlan, StoredTable, Incident, Stop)
_ADAPTERS: dict[Any, TypeAdapter[Any]] = {shape: TypeAdapter(shape) for shape in SHAPES}


def parse(shape: type[D], content: bytes, what: str) -> D:
    """The document of that shape that `content` is the text of.

    Raises:
        DamagedRecord: it is no JSON, or JSON of another shape.
        OtherVersion: another version of the package wrote it.
    """
    try:
        found = from_json(content, allow_inf_nan=False)
    except ValueError as error:
        raise DamagedRecord(f"{what} cannot be read: {error}") from None
    schema = found.get("schema") if isinstance(found, dict) else None
    if type(schema) is int and schema != SCHEMA:
        raise OtherVersion(
            f"{what} has schema {shown(schema)}: this version reads {SCHEMA}; use the version that wrote it"
        )
    try:
        return cast(D, _ADAPTERS[shape].validate_python(found))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "it"
        raise DamagedRecord(f"{what} cannot be read: {place}: {first['msg']}") from None


def encode(shape: type[D], document: Mapping[str, Any], what: str) -> bytes:
    """The text of a document, which `parse` reads.

    Raises:
        ValueError: it has not that shape, or what is not JSON, with the member that is at fault.
    """
    try:
        text = canonical_json({"schema": SCHEMA, **document}).encode()
    except (ValueError, RecursionError) as error:
        place, why = next(_no_json(document, ()), ("it", printable(error)))
        raise ValueError(f"{what} cannot be kept: {place}: {why}") from None
    try:
        parse(shape, text, what)
    except DamagedRecord as error:
        raise ValueError(str(error).replace("cannot be read", "cannot be kept", 1)) from None
    return text


def _no_json(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[str, str]]:
    """The places of what JSON text cannot hold, and why it cannot."""
    place = ".".join(printable(part, 100) for part in path) or "it"
    if isinstance(value, Mapping) and len(path) < DEEPEST:
        for key, item in value.items():
            if not isinstance(key, str):
                yield place, f"{shown(key)} is no string"
            yield from _no_json(str(key), (*path, key)) if isinstance(key, str) else ()
            yield from _no_json(item, (*path, key))
    elif isinstance(value, (list, tuple)) and len(path) < DEEPEST:
        for index, item in enumerate(value):
            yield from _no_json(item, (*path, index))
    else:
        try:
            canonical_json(value).encode()
        except (ValueError, RecursionError) as error:
            is_text = isinstance(error, UnicodeEncodeError)
            yield place, f"{shown(value)} is no Unicode text" if is_text else printable(error)


def seal(shape: type[D], document: Mapping[str, Any], what: str) -> tuple[str, bytes]:
    """The checksum of a document, and its text with it."""
    text = encode(shape, document, what)
    checksum = file_digest(text)
    return checksum, b'{"checksum":"%s",%s\n' % (checksum.encode(), text[1:])


def unseal(shape: type[D], content: bytes, what: str) -> tuple[str, D]:
    """The checksum of a sealed document, and the document.

    Raises:
        DamagedRecord: it is not what was written.
        OtherVersion: another version of the package wrote it.
    """
    start = _SEALED.match(content)
    text = b"{" + content[start.end() : -1] if start else b""
    if not start or not content.endswith(b"\n") or file_digest(text) != start[1].decode():
        raise DamagedRecord(f"{what} does not match its checksum")
    return start[1].decode(), parse(shape, text, what)
