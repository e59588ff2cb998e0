"""The unadjusted Langevin algorithm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from ..core.errors import invalid
from ..core.spaces import reflected
from ..core.tensors import tensor_of
from .base import Info, Kernel, Potential, State, log_steps


@dataclass(frozen=True)
class LangevinState(State):
    """A state with what every step takes of it: h and the noise's standard deviation, (R, *n, 1) each."""

    step: torch.Tensor
    width: torch.Tensor


@dataclass(frozen=True, eq=False)
class ULA(Kernel[LangevinState]):
    """y' = y - h dU/dy + sqrt(2 h) n, every finite move taken (Roberts & Tweedie 1996, section 1.4.1).

    Its stationary law is not exp(-U) but off by O(h): on a Gaussian of variance s² it has variance
    s² / (1 - h / (2 s²)), and none at all from h = 2 s² on. Moves beyond a face of the box are reflected at it (the
    symmetrised Euler scheme of Bossy, Gobet & Talay 2004), once at each; what is still beyond ends on a face.

    As it is practised in training (Du & Mordatch 2019, section 3.1; Nijkamp et al. 2020, section 4) step and noise are
    chosen apart: y' = y - h dU/dy + noise n samples exp(-(2 h / noise²) U) as h falls, a temperature of noise² / (2 h),
    and on a Gaussian of variance s² has the variance noise² / (1 - (1 - h / s²)²). `gradient_clamp` bounds every entry
    of dU/dy, beyond which the move says nothing of how steep U is.

    Attributes:
        noise: standard deviation of the noise in units of y, a number or a tensor that broadcasts to (R, *n); None for
            the diffusion's own sqrt(2 h), 0 for gradient descent.
        gradient_clamp: largest |dU/dy_i| that counts, in energy over the unit of y; None for all.

    Raises:
        ValueError: a noise that is not finite and >= 0, or a clamp that is not > 0.
    """

    name: ClassVar[str] = "langevin"
    target_acceptance: ClassVar[float | None] = None

    noise: float | torch.Tensor | None = None
    gradient_clamp: float | None = None

    def __post_init__(self) -> None:
        noise = tensor_of(0.0 if self.noise is None else self.noise)
        if not bool((noise.isfinite() & (noise >= 0)).all()):
            raise invalid("noise", self.noise, "finite numbers >= 0, or None for sqrt(2 h)")
        if self.gradient_clamp is not None and not 0 < self.gradient_clamp < math.inf:
            raise invalid("gradient_clamp", self.gradient_clamp, "a finite number > 0, or None")

    def init(self, potential: Potential, y: torch.Tensor, step_size: float | torch.Tensor) -> LangevinState:
        log_step = log_steps(y, step_size)
        h = log_step.exp().unsqueeze(-1)
        width = (2 * h).sqrt() if self.noise is None else tensor_of(self.noise).to(h).unsqueeze(-1)
        return LangevinState(y, log_step, h, width)

    def step(
        self,
        potential: Potential,
        state: LangevinState,
        noise: torch.Tensor,
        uniform: torch.Tensor | None,
        bounds: tuple[float, float],
    ) -> tuple[LangevinState, Info]:
        value, gradient = potential(state.y)
        drift = gradient if self.gradient_clamp is None else gradient.clamp(-self.gradient_clamp, self.gradient_clamp)
        moved = state.y.addcmul(state.step, drift, value=-1).addcmul_(state.width, noise)
        steepness = torch.linalg.vector_norm(gradient, dim=-1)
        finite = (value + steepness).abs() < math.inf  # two operations where `isfinite` takes four
        y = torch.where(finite.unsqueeze(-1), reflected(moved, bounds), state.y)
        after = LangevinState(y, state.log_step, state.step, state.width)
        return after, Info(finite.to(y), finite, ~finite, steepness)

    def potential_evaluations(self, steps: int) -> int:
        return steps
