"""What a model's samples come with: the kernel that drew them, and how far its chains can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from .diagnostics import diagnostics


@dataclass(frozen=True, eq=False)
class Draws:
    """Samples of a model at n inputs, and where they end chains, what is known of these.

    Attributes:
        y: (R, n, m, dy), in the dtype of the model.
        kernel: what drew them.
        acceptance: mean acceptance probability of each sample's chain after warm-up, (R, n, m); None where the draws
            are independent.
        trace: where the chains were after warm-up, (R, n, m, draws, dy), the last of them `y`; None likewise.
    """

    y: torch.Tensor
    kernel: str
    acceptance: torch.Tensor | None = None
    trace: torch.Tensor | None = None

    def diagnostics(self, inputs: int | None = None) -> dict[str, torch.Tensor]:
        """`r_hat`, `ess` (bulk) and `ess_tail` of the chains of the first `inputs` inputs or of all, (R, inputs, dy).

        The m samples of an input are m chains of one density (Vehtari et al. 2021, through ArviZ), a few milliseconds
        for each coordinate. Of independent draws, of fewer than two chains, and of chains that were lost they are NaN.
        """
        shape = (*self.y[:, :inputs, 0].shape,)
        if self.trace is None or self.trace.shape[2] < 2:
            return {
                name: torch.full(shape, torch.nan, dtype=torch.float32, device="cpu").double()
                for name in ("r_hat", "ess", "ess_tail")
            }
        return diagnostics(self.trace[:, :inputs])

    @cached_property
    def _of_all(self) -> dict[str, torch.Tensor]:
        return self.diagnostics()

    @property
    def r_hat(self) -> torch.Tensor:
        """Rank-normalised split R-hat of every coordinate, (R, n, dy) float64; computed when first asked for."""
        return self._of_all["r_hat"]

    @property
    def ess(self) -> torch.Tensor:
        """Bulk effective sample size of every coordinate's trace, (R, n, dy) float64; computed when first asked for."""
        return self._of_all["ess"]
