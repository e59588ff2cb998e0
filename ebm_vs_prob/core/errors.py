"""The errors users meet: a bad value names field, value and what is valid; an unknown name offers the nearest one."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

from .text import printable, shown


class UnknownName(LookupError, ValueError):
    """A name that is not known. A `LookupError`; a `ValueError` too, because an unknown option is also a bad input."""


class NoExactReference(ValueError):
    """The task has no exact value for the quantity asked for; the message says why."""


class NotNormalised(TypeError, ValueError):
    """A probability was asked of an unnormalised model; the message says how to normalise it."""


class NormalizerWarning(UserWarning):
    """A partition function, and with it a density, that cannot be trusted; the message says why."""


def invalid(field: str, value: object, valid: str) -> ValueError:
    """The error for a bad value: `raise invalid("thickness", -1, "a finite number >= 0")`."""
    return ValueError(f"{field} = {shown(value)} is not valid: expected {valid}")


def check_count(field: str, value: object) -> None:
    """Raise a `ValueError` unless the value is an integer >= 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise invalid(field, value, "an integer >= 1")


def _written(name: str) -> str:
    """In quotation marks, so that what cannot be seen of it is: spaces at its ends, accents that are characters."""
    plain = printable(name, 100) == name and unicodedata.normalize("NFC", name) == name
    return repr(name) if plain else printable(ascii(name), 100)


def unknown(
    kind: str, name: object, choices: Iterable[str], most: int | None = None, file: str | None = None
) -> UnknownName:
    """The error for an unknown name, with the nearest valid one first; of the valid ones it lists `most`, or all.

    Where a `file` is known that is probably meant, it stands in place of the nearest name.
    """
    names = sorted(choices)
    near = difflib.get_close_matches(str(name)[:100], names, n=1, cutoff=0.4)
    hint = f"did you mean {_written(near[0])}? " if near else ""
    if file is not None:
        hint = f"did you mean the file {_written(file)}? "
    listed = ", ".join(each if _written(each) == repr(each) else _written(each) for each in names[:most])
    more = f" and {len(names) - most} more" if most is not None and len(names) > most else ""
    return UnknownName(f"unknown {kind} {shown(name)}: {hint}valid: {listed or 'none'}{more}")


def no_file(kind: str, path: object) -> UnknownName:
    """The error for a path at which nothing is: the names that are known are no answer to it."""
    return UnknownName(f"unknown {kind} {shown(path)}: there is no such file")


class NotMeasured(ValueError):
    """A metric that does not apply to this task or model; the message says why."""
