"""Canonical JSON and its SHA-256: the identity of a trial, of a batch and of a record's content.

Numbers are written as in RFC 8785 (JSON Canonicalization Scheme): `1` and `1.0` are one number. Keys are sorted, text
is UTF-8, infinities are the strings "inf" and "-inf", NaN is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..core.errors import invalid

#: Up to here every integer is a float and the reverse.
EXACT_INTEGERS = 2.0**53
#: Types whose values are canonical; asked for by identity first, since records have hundreds of numbers each.
_AS_THEY_ARE = frozenset({str, int, bool, type(None)})


def canonical(value: Any) -> Any:
    """`value` rebuilt of dicts, lists, strings, booleans, None and numbers in their one canonical form.

    Raises:
        ValueError: a NaN, a key that is no string, or a type that JSON does not have.
    """
    kind = type(value)
    if kind is float:
        return _number(value)
    if kind in _AS_THEY_ARE:
        return value
    if kind is dict or (kind is not list and isinstance(value, Mapping)):
        for key in value:
            if not isinstance(key, str):
                raise invalid("a key to be hashed", key, "a string")
        return {key: canonical(value[key]) for key in sorted(value)}
    if kind is list or (isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray))):
        return [canonical(item) for item in value]
    if isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return _number(value)
    raise invalid("a value to be hashed", value, "a table, list, string, number, boolean or None")


def _number(value: float) -> float | int | str:
    if math.isnan(value):
        raise invalid("a number to be hashed", value, "a number: NaN equals nothing")
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return int(value) if value.is_integer() and abs(value) < EXACT_INTEGERS else value


def canonical_json(value: Any) -> str:
    """The one JSON text of `value`."""
    return json.dumps(canonical(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_digest(content: bytes) -> str:
    """SHA-256 of bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
