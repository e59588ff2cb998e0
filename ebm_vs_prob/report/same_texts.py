# ruff: noqa: RUF001
"""Whether two texts are one but for how their numbers are rounded."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

#: Relative difference that other roundings make of a number that is written in full.
ROUNDING = 1e-6

_NUMBER = re.compile(r"[-−]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def same_text(before: str, after: str) -> bool:
    """Whether two texts are one but for how their numbers are rounded."""
    if before == after:
        return True
    if _NUMBER.sub("0", before) != _NUMBER.sub("0", after):
        return False
    return _same_numbers(_NUMBER.findall(before), _NUMBER.findall(after))


def _same_numbers(before: Sequence[str], after: Sequence[str]) -> bool:
    return len(before) == len(after) and all(map(_same_number, before, after))


def _same_number(before: str, after: str) -> bool:
    """Whether two written numbers are one but for their rounding; whole numbers are counts, which are not rounded."""
    if before == after:
        return True
    if before.lstrip("-−").isdigit() and after.lstrip("-−").isdigit():
        return False
    one, other = (float(text.replace("−", "-")) for text in (before, after))
    if math.isclose(one, other, rel_tol=ROUNDING, abs_tol=1e-12):
        return True
    # The tolerance is that of the text that was made here: a published one does not choose its own.
    return "." in before and "." in after and abs(one - other) <= 1.01 * _unit(after)


def _unit(text: str) -> float:
    """One unit of the last digit of a written decimal."""
    mantissa, _, power = text.partition("e")
    return float(10.0 ** (int(power or 0) - len(mantissa.partition(".")[2])))
