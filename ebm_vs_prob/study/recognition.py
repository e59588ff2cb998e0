"""What a record keeps of a trained model to know it again: its energies at the first test pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..core.errors import NoExactReference, invalid

if TYPE_CHECKING:
    from ..models.model import Model
    from ..tasks.base import Task

PAIRS = 8
#: By which share of their range energies may differ where the training rounded otherwise than the record's.
OF_RANGE = 1e-2
#: By which share of the largest they may differ besides: of a constant energy the range is 0.
OF_LARGEST = 1e-4


def energies(model: Model, tasks: Sequence[Task]) -> list[list[float | None]]:
    """E(x, y) of every replicate at the first test pairs of its task and seed; None for NaN.

    The exact model of data without a density has none, and nothing to be known by: None throughout.
    """
    import torch

    pairs = [task.sample(PAIRS, seed=seed, split="test") for task, seed in zip(tasks, model.seeds, strict=True)]
    x, y = (torch.stack(parts) for parts in zip(*pairs, strict=True))
    try:
        with torch.no_grad():
            found = model.energy(x, y)
    except NoExactReference:
        return [[None] * PAIRS for _ in pairs]
    return [[None if math.isnan(value) else value for value in row] for row in found.double().tolist()]


def check_recognised(
    trial: str, recorded: Sequence[float | str | None], model: Model, tasks: Sequence[Task], other_code: str = ""
) -> None:
    """Raise a `ValueError` where a model of one replicate is not the one whose energies were recorded.

    An energy that moved by more than a hundredth of the range of the recorded ones is noticed, so that a model of
    another seed, other options or another number of steps is. On the record's kind of processor, torch and thread count
    energies differ by the rounding of their evaluation alone.

    Args:
        other_code: which code trained the model that did not make the record, in words; "" where it was the same.
            Then a record without finite energies is refused too: they alone could tell.
    """
    before = [math.nan if value is None else float(value) for value in recorded]
    after = [math.nan if value is None else value for value in energies(model, tasks)[0]]
    finite = [value for value in before if math.isfinite(value)]
    if other_code and not finite:
        valid = f"one of the code at hand, as it has no energies by which its model could be known: {other_code}"
        raise invalid("trial", trial, valid)
    reach = OF_RANGE * (max(finite, default=0.0) - min(finite, default=0.0))
    reach += OF_LARGEST * max(map(abs, finite), default=0.0)

    def same(one: float, other: float) -> bool:
        return one == other or (math.isnan(one) and math.isnan(other)) or abs(one - other) <= reach

    if len(before) != len(after) or not all(map(same, before, after)):
        valid = f"one whose training ends here as it did there: energies are {after} and were {before}"
        raise invalid("trial", trial, f"{valid}; {other_code}" if other_code else valid)
