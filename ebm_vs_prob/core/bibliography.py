"""BibTeX: a strict reader, the package's `references.bib`, and the papers that a task or a method names."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Protocol

from pydantic import TypeAdapter, ValidationError

from .errors import invalid, unknown

_HEAD = re.compile(r"@(\w+)\{\s*([^\s,{}]+)\s*,\s*")
_FIELD = re.compile(r"([\w-]+)\s*=\s*\{")
_GAP = re.compile(r"(?:\s+|%[^\n]*)*")
_ESCAPED = re.compile(r"\\.|[{}]", re.DOTALL)


@dataclass(frozen=True)
class Entry:
    """One BibTeX entry: its kind (`article`), its key and its fields in the order of the file."""

    kind: str
    key: str
    fields: dict[str, str]

    def __str__(self) -> str:
        body = "".join(f"  {name:<13}= {{{value}}},\n" for name, value in self.fields.items())
        return f"@{self.kind}{{{self.key},\n{body}}}\n"


class Cites(Protocol):
    """What names papers: a task or a method, a class."""

    @property
    def name(self) -> str: ...

    @property
    def references(self) -> tuple[str, ...]: ...

    @property
    def bibliography(self) -> str: ...

    @property
    def cited_with(self) -> Mapping[str, tuple[str, tuple[Any, ...]]]: ...

    @property
    def Options(self) -> type[Any]: ...


def parse(text: str, where: str = "bibliography") -> dict[str, Entry]:
    """The entries of BibTeX text by key.

    Values stand in braces; `%` starts a comment between entries. Strings in quotes, `@string` and `#` are refused.

    Raises:
        ValueError: text that is not of that form, a key or a field that is given twice.
    """
    found: dict[str, Entry] = {}
    at = _after(_GAP, text, 0)
    while at < len(text):
        head = _HEAD.match(text, at)
        if head is None:
            raise _mistake(where, text, at, "an entry as in `@article{key, title = {...}}`")
        kind, key = head[1].lower(), head[2]
        if key in found:
            raise invalid(f"{where}: key", key, "a key once")
        fields, at = _fields(text, head.end(), f"{where}: {key}")
        found[key] = Entry(kind, key, fields)
        at = _after(_GAP, text, at)
    return found


def _fields(text: str, at: int, where: str) -> tuple[dict[str, str], int]:
    """The fields of the entry whose first one starts at `at`, and the place behind its closing brace."""
    fields: dict[str, str] = {}
    while not text.startswith("}", at):
        name = _FIELD.match(text, at)
        if name is None:
            raise _mistake(where, text, at, "a field as in `title = {...}`, or the closing brace")
        if name[1].lower() in fields:
            raise invalid(f"{where}: field", name[1], "a field once")
        end = _closing(text, name.end(), where)
        fields[name[1].lower()] = " ".join(text[name.end() : end - 1].split())
        at = _after(re.compile(r"\s*"), text, end)
        if text.startswith(",", at):
            at = _after(re.compile(r",\s*"), text, at)
        elif not text.startswith("}", at):
            raise _mistake(where, text, at, "a comma or the closing brace")
    return fields, at + 1


def _closing(text: str, start: int, where: str) -> int:
    """The place behind the brace that closes the one before `start`; an escaped brace counts for nothing."""
    depth = 1
    for token in _ESCAPED.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if depth == 0:
            return token.end()
    raise _mistake(where, text, start, "a value whose braces close")


def _after(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _mistake(where: str, text: str, at: int, valid: str) -> ValueError:
    line = text.count("\n", 0, at) + 1
    return invalid(f"{where}: line {line}", text[at : at + 30].split("\n")[0], valid)


@cache
def references() -> dict[str, Entry]:
    """The entries of the package's `references.bib` by key."""
    data = pkgutil.get_data(__package__ or "", "references.bib")
    assert data is not None
    return parse(data.decode("utf-8"), "references.bib")


def cited(keys: Iterable[str]) -> list[Entry]:
    """The package's entries of these keys; a `LookupError` with the nearest key where there is none."""
    known = references()
    for key in keys:
        if key not in known:
            raise unknown("reference", key, known)
    return [known[key] for key in keys]


def papers(entry: Cites) -> list[Entry]:
    """The papers of a task or a method: its `references`, in its own `bibliography` or else in the package's.

    Raises:
        LookupError: a key in neither.
        ValueError: a `bibliography` that is not BibTeX.
    """
    own = parse(entry.bibliography, f"{entry.name}.bibliography")
    known = {**references(), **own}
    for key in entry.references:
        if key not in known:
            raise unknown(f"reference of {entry.name}:", key, known)
    return [known[key] for key in entry.references]


def conditions(entry: Cites) -> dict[str, dict[str, Any]]:
    """What `cited_with` says, by key of a paper: the `option`, its `values` and its `default`.

    Raises:
        LookupError: a key that is none of `references`.
        ValueError: an option that there is not, or a value that it cannot have.
    """
    fields, found = entry.Options.model_fields, {}
    for key, condition in entry.cited_with.items():
        if not (isinstance(condition, tuple) and len(condition) == 2 and isinstance(condition[1], tuple)):
            raise invalid(f"cited_with of {entry.name}: {key}", condition, "an option and a tuple of its values")
        option, values = condition
        if key not in entry.references:
            raise unknown(f"cited_with of {entry.name}:", key, entry.references)
        if option not in fields:
            raise invalid(f"cited_with of {entry.name}", option, f"one of its options, {', '.join(fields)}")
        for value in values:
            _check_value(fields[option], value, f"cited_with of {entry.name}: {option}")
        found[key] = {"option": option, "values": list(values), "default": fields[option].default}
    return found


def _check_value(field: Any, value: Any, where: str) -> None:
    try:
        TypeAdapter(Annotated[field.annotation, field]).validate_python(value, strict=True)
    except ValidationError as error:
        raise invalid(where, value, f"a value of that option: {error.errors()[0]['msg']}") from None


def is_cited(condition: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    """Whether a paper under one of the `conditions` is behind what these options make, others at their defaults."""
    value = options.get(condition["option"], condition["default"])
    return value in condition["values"] if condition["values"] else value != condition["default"]
