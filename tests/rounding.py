"""Tolerances of what is exact but for rounding, from the number of operations and the condition of what is computed."""

from __future__ import annotations

import torch


def rounding(operations: int, scale: float = 1.0, condition: float = 1.0, dtype: torch.dtype = torch.float64) -> float:
    """How far a value may be off that `operations` rounded operations made: Higham 2002, lemma 3.1, in any order.

    Args:
        operations: that depend on each other, such as the terms of a sum.
        scale: the largest value on the way, in whose units rounding errors are made.
        condition: by how much an error on the way is magnified in the result.
        dtype: of the computation.
    """
    unit = torch.finfo(dtype).eps / 2
    assert operations * unit < 0.1, "so many operations that their errors are no longer small"
    return operations * unit / (1 - operations * unit) * scale * condition
