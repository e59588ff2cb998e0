"""What inference is asked for and what it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch


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


StepRule = Literal["line_search", "fixed", "scaled", "lbfgs", "derivative_free"]
