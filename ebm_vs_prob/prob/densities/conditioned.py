"""What a density computes of x alone, kept for the next question at the same x."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import torch

Given = TypeVar("Given")


class Remembered(Generic[Given]):
    """A function of x that keeps its last value: a descent asks at one x again and again.

    Args:
        compute: x -> value, evaluated without gradient.
    """

    def __init__(self, compute: Callable[[torch.Tensor], Given]) -> None:
        self._compute = compute
        self._last: tuple[torch.Tensor, Given] | None = None

    @torch.no_grad()
    def __call__(self, x: torch.Tensor) -> Given:
        last = self._last  # another thread may ask at another x meanwhile
        if last is None or last[0].shape != x.shape or not torch.equal(last[0], x):
            self._last = last = x.clone(), self._compute(x)
        return last[1]

    def forget(self) -> None:
        """Compute anew at the next call, as after a change of parameters."""
        self._last = None
