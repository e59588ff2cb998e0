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


def canonical(value: Any) -> Any:
    """`value` rebuilt of dicts, lists, strings, booleans, None and numbers in their one canonical form.

    Raises:
        ValueError: a NaN, a key that is no string, or a type that JSON does not have.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if math.isnan(value):
            raise invalid("a number to be hashed", value, "a number: NaN equals nothing")
        if math.isinf(value):
            return "inf" if value > 0 else "-inf"
        return int(value) if value.is_integer() and abs(value) < EXACT_INTEGERS else value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise invalid("a key to be hashed", key, "a string")
        return {key: canonical(value[key]) for key in sorted(value)}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [canonical(item) for item in value]
    raise invalid("a value to be hashed", value, "a table, list, string, number, boolean or None")


def canonical_json(value: Any) -> str:
    """The one JSON text of `value`."""
    return json.dumps(canonical(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_digest(content: bytes) -> str:
    """SHA-256 of bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
