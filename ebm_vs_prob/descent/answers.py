"""What inference is asked for and what it finds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from ..core.errors import check_count, invalid, unknown
from ..core.tensors import tensor_of

StepRule = Literal["line_search", "fixed", "scaled", "lbfgs", "derivative_free"]
#: The rules that move by -step_size times a gradient, and so need a step size.
FIXED_RULES = ("fixed", "scaled")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@dataclass(frozen=True)
class Search:
    """How a descent moves and when it ends. `descend` says what each rule does.

    Attributes:
        step_rule: how far to move.
        step_size: units of y squared over energy, for `fixed` and `scaled` only; a tensor broadcasts against the
            points, (R, *n), so that one search takes a grid of steps.
        max_steps: steps a point may take.
        tolerance: a point has converged once a step moves it by less, units of what is searched.

    Raises:
        ValueError: a bad rule, step, count or tolerance.
    """

    step_rule: StepRule = "line_search"
    step_size: float | torch.Tensor | None = None
    max_steps: int = 200
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        if self.step_rule not in get_args(StepRule):
            raise unknown("step_rule", self.step_rule, get_args(StepRule))
        check_count("max_steps", self.max_steps)
        if not (_is_number(self.tolerance) and math.isfinite(self.tolerance) and self.tolerance >= 0):
            raise invalid("tolerance", self.tolerance, "a finite number >= 0")
        if self.step_rule not in FIXED_RULES:
            if self.step_size is not None:
                raise invalid("step_size", self.step_size, f"None: the rule {self.step_rule!r} finds its own step")
            return
        if self.step_size is None or not (_is_number(self.step_size) or isinstance(self.step_size, torch.Tensor)):
            raise invalid("step_size", self.step_size, f"a number > 0 for the step rule {self.step_rule!r}")
        sizes = tensor_of(self.step_size)
        if not bool((sizes.isfinite() & (sizes > 0)).all()):
            raise invalid("step_size", self.step_size, "finite numbers > 0")


def checked_search(search: object) -> Search:
    """`search` if it is one.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(search, Search):
        raise invalid("search", search, "a Search, as evp.Search('lbfgs')")
    return search


#: How answers are searched, and how a latent given an answer, unless a call says otherwise.
ANSWER_SEARCH, LATENT_SEARCH = Search(), Search(tolerance=1e-6)


@dataclass(frozen=True)
class Answers:
    """What inference found: y (R, n, n_starts, dy), its latent z or None; energies, steps, flags (R, n, n_starts).

    Labels y are (R, n, n_starts) int64, sequences (R, n, n_starts, T).
    """

    y: torch.Tensor
    z: torch.Tensor | None
    energy: torch.Tensor
    steps: torch.Tensor
    converged: torch.Tensor


@dataclass(frozen=True)
class LatentAnswers:
    """The z of lowest energy at each (x, y): z (..., dz), or (...) int64 for discrete z; F_inf (...); `converged`."""

    z: torch.Tensor
    free_energy: torch.Tensor
    converged: torch.Tensor
