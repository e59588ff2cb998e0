"""The values of a study file: its kinds of text and numbers, and what no table may hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema

from ..core.errors import invalid
from ..core.text import hidden_character, printable

#: Tables and lists within each other in a study file; the deepest that mean something are five.
MOST_LEVELS = 16


def shown(text: str) -> str:
    """The text; a `ValueError` where it has control or bidirectional characters."""
    hidden = hidden_character(text)
    if hidden:
        raise ValueError(f"text without control and bidirectional characters: it has {hidden}")
    return text


_PLAIN_NAME = "lower-case letters, digits, _ and -"
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64, description=_PLAIN_NAME)]
Line = Annotated[str, Field(max_length=500), AfterValidator(lambda text: " ".join(shown(text).split()))]
Short = Annotated[str, Field(max_length=64), AfterValidator(lambda text: shown(text))]
Id = Annotated[str, Field(pattern=r"^\w[\w.-]*$", max_length=64, description="letters, digits, _, - and dots")]
Setting = Annotated[float, Field(ge=-1e9, le=1e9)]


_OWN_ENERGY = re.compile(r"[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*")


def _trunk(value: Any) -> dict[str, Any] | str:
    if isinstance(value, dict):
        return value
    if not isinstance(value, str) or len(value) > 200 or not _OWN_ENERGY.fullmatch(value):
        raise ValueError('a table of options of `Network`, or an energy of your own as "module:name"')
    return value


#: What a method trains: options of the package's own network, or where a user's energy is, as `module:name`.
Trunk = Annotated[
    dict[str, Any] | str,
    PlainValidator(_trunk),
    WithJsonSchema({"anyOf": [{"type": "object"}, {"type": "string"}]}),
]


def check_table(table: Mapping[str, Any], where: str) -> None:
    """Raise a `ValueError` unless a table as TOML gives it holds what any study may: text, numbers and booleans.

    Text is free of control and bidirectional characters, of which a report or a terminal would be the victim; integers
    are of 64 bits, as TOML has them; nothing is nested deeper than `MOST_LEVELS`.
    """
    waiting: list[tuple[tuple[str, ...], Any]] = [((), table)]
    while waiting:
        path, value = waiting.pop()
        if len(path) > MOST_LEVELS:
            raise ValueError(f"{_field(where, path)} is nested too deep: expected at most {MOST_LEVELS} levels")
        if isinstance(value, dict):
            for key in value:
                _check_text(where, (*path, "a key"), key)
            waiting += [((*path, key), item) for key, item in value.items()]
        elif isinstance(value, list):
            waiting += [((*path, str(index)), item) for index, item in enumerate(value)]
        elif isinstance(value, str):
            _check_text(where, path, value)
        elif isinstance(value, int):
            if not -(2**63) <= value < 2**63:
                bits = f"an integer of {value.bit_length()} bits"
                raise invalid(_field(where, path), bits, "an integer of at most 64 bits")
        elif not isinstance(value, float):
            valid = "text, a number, a boolean, a list or a table: a date goes in quotes"
            raise invalid(_field(where, path), str(value), valid)


def _field(where: str, path: tuple[str, ...]) -> str:
    return printable(f"{where}: {'.'.join(path)}")


def _check_text(where: str, path: tuple[str, ...], text: str) -> None:
    hidden = hidden_character(text)
    if hidden:
        raise invalid(_field(where, path), text, f"text without control and bidirectional characters: it has {hidden}")
