"""Gaussian kernel densities, conditional and not, and their bandwidths of highest leave-one-out likelihood."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ...core.replicate_noise import Generators, replicate_noise
from ...energies.evaluation import distinct
from ...energies.products import row_matmul
from ...models.data_kernel import squared_distances
from ..latents.grid import in_blocks

#: Pairs of a held-out example and a kernel that one leave-one-out likelihood compares, at most.
MOST_PAIRS = 1 << 23
#: Bandwidths looked for, in widths of the box: of y, and of x, where a wide one says that x does not matter.
Y_RANGE, X_RANGE = (1e-5, 1.0), (1e-3, 10.0)
#: Bandwidths that the search starts from the best of, by the likelihood of so large a share of the held-out examples.
Y_STARTS, X_STARTS, STARTS_SHARE = 11, 6, 4


class KernelDensityEnergy(nn.Module):
    """R energies E(x, y) = -ln Σ_i w_i(x) N(y; y_i, width² I) in nats over the training pairs, normalised as it stands.

    w_i(x) ∝ exp(-|x - x_i|² / (2 x_width²)) (Rosenblatt 1969; Hyndman, Bashtannyk and Grunwald 1996), equal without x.

    Args:
        x: (R, N, dx). y: (R, N, dy).
        width: standard deviation of the kernels of y, (R,). x_width: of those of x, (R,).
    """

    x: torch.Tensor
    y: torch.Tensor
    width: torch.Tensor
    x_width: torch.Tensor

    def __init__(self, x: torch.Tensor, y: torch.Tensor, width: torch.Tensor, x_width: torch.Tensor) -> None:
        super().__init__()
        self.num_replicates = len(y)
        for name, value in (("x", x), ("y", y), ("width", width), ("x_width", x_width)):
            self.register_buffer(name, value)

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of one density of one (x, y)."""
        return float(self.y.shape[1] * (self.x.shape[2] + self.y.shape[2]))

    def log_weights(self, x: torch.Tensor) -> torch.Tensor:
        """ln w_i(x) of x (R or 1, *n, dx): (R, *n, N), of n = 1s without x."""
        x = distinct(x).expand(self.num_replicates, *distinct(x).shape[1:])
        if not x.shape[-1]:
            uniform = x.new_full((*x.shape[:-1], 1), -math.log(self.y.shape[1]))
            return uniform.expand(*x.shape[:-1], self.y.shape[1])
        squared = squared_distances(x.flatten(1, -2), self.x).reshape(*x.shape[:-1], -1)
        return (-0.5 * squared / _column(self.x_width, squared) ** 2).log_softmax(-1)

    def _log_parts(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        y = y.expand(self.num_replicates, *y.shape[1:])
        squared = squared_distances(y.flatten(1, -2), self.y).reshape(*y.shape[:-1], -1)
        width = _column(self.width, squared)
        constant = y.shape[-1] * (width.log() + 0.5 * math.log(2 * math.pi))
        return self.log_weights(x) - 0.5 * squared / width**2 - constant

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        def energy(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor]:
            return (-self._log_parts(x, y).logsumexp(-1),)

        return in_blocks(energy, x, y, self.num_replicates, self.y.shape[1])[0]

    def energy_and_gradient(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """E (R, *n) and dE/dy (R, *n, dy): y less the mean of the kernels, by their shares in the density at y."""

        def both(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            log_parts = self._log_parts(x, y)
            shares = log_parts.softmax(-1)
            mean = row_matmul(shares, self.y)
            return -log_parts.logsumexp(-1), (y - mean) / _column(self.width, mean) ** 2

        return in_blocks(both, x, y, self.num_replicates, self.y.shape[1])

    @torch.no_grad()
    def sample(self, x: torch.Tensor, num_samples: int, generators: Generators) -> torch.Tensor:
        """Exact draws given x (R or 1, n, dx), each replicate's from its own generator: (R, n, num_samples, dy)."""
        n, (examples, dim) = x.shape[1], self.y.shape[1:]
        edges = self.log_weights(x).double().exp().cumsum(-1)
        noise = replicate_noise(generators, (n, num_samples, dim), dtype=self.y.dtype, device=self.y.device)
        uniform = replicate_noise(generators, (n, num_samples), "uniform", dtype=torch.float64, device=self.y.device)
        drawn = []
        # Replicates are taken one after the other, because all at once would take R times the memory.
        for own, shares, y in zip(edges, uniform, self.y, strict=True):
            pick = torch.searchsorted(own.expand(n, -1).contiguous(), shares * own[:, -1:])
            drawn.append(y[pick.clamp_max(examples - 1)])
        return torch.stack(drawn) + self.width.reshape(-1, 1, 1, 1) * noise


def _column(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return value.reshape(-1, *[1] * (like.ndim - 1))


@dataclass(frozen=True)
class Bandwidths:
    """Bandwidths of one kernel density, units of y and of x, and what finding them took.

    Attributes:
        y, x: the bandwidths; x is 1 where there is none.
        log_score: mean leave-one-out log-density at them, nats.
        evaluations: densities of one example evaluated, a gradient counted as two more.
    """

    y: float
    x: float
    log_score: float
    evaluations: int


def leave_one_out_bandwidths(
    x: torch.Tensor,
    y: torch.Tensor,
    y_extent: float,
    x_extent: float,
    held_out: int,
    blurred: torch.Tensor | None = None,
    sigma: float = 0.0,
) -> Bandwidths:
    """The bandwidths of highest leave-one-out likelihood (Habbema, Hermans and van den Broek 1974; Duin 1976).

    The best of a logarithmic grid, improved by L-BFGS-B within it.

    Args:
        x: (N, dx). y: (N, dy), N >= 2.
        y_extent, x_extent: widths of the boxes, the units of the search.
        held_out: examples left out in turn, the first so many.
        blurred: (N, dy) the same answers with noise of standard deviation `sigma`, where the density of blurred data is
            wanted: its kernels have width sqrt(h² + sigma²), and h is what is looked for.
    """
    from scipy.optimize import minimize

    rows = min(held_out, len(y), max(1, MOST_PAIRS // len(y)))
    x, y, left_out = x.double(), y.double(), (y if blurred is None else blurred).double()[:rows]
    itself = torch.eye(rows, len(y), dtype=torch.bool, device=y.device)
    squared = squared_distances(left_out, y)
    squared_x = squared_distances(x[:rows], x) if x.shape[1] else None
    equal = torch.full_like(squared, -math.log(len(y) - 1)).masked_fill(itself, -math.inf)
    dim, evaluations = y.shape[1], 0

    def log_score(logarithms: torch.Tensor, rows: int) -> torch.Tensor:
        variance = (2 * logarithms[0]).exp() + sigma**2
        weights = equal[:rows]
        if squared_x is not None:
            logits = -0.5 * squared_x[:rows] / (2 * logarithms[1]).exp()
            weights = logits.masked_fill(itself[:rows], -math.inf).log_softmax(-1)
        parts = weights - 0.5 * squared[:rows] / variance
        return parts.logsumexp(-1).mean() - 0.5 * dim * (2 * math.pi * variance).log()

    def loss_and_slope(at: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal evaluations
        evaluations += 3 * rows
        point = torch.tensor(at, dtype=torch.float64, device=y.device, requires_grad=True)
        loss = -log_score(point, rows)
        (slope,) = torch.autograd.grad(loss, point)
        return loss.item(), slope.cpu().numpy()

    ranges = [(Y_RANGE, y_extent, Y_STARTS)] + ([(X_RANGE, x_extent, X_STARTS)] if squared_x is not None else [])
    bounds = [tuple(math.log(share * extent) for share in shares) for shares, extent, _ in ranges]
    axes = [
        torch.linspace(low, high, count, dtype=torch.float64, device="cpu")
        for (low, high), (*_, count) in zip(bounds, ranges, strict=True)
    ]
    starts = torch.cartesian_prod(*axes).reshape(-1, len(axes))
    few = max(1, rows // STARTS_SHARE)
    scores = torch.stack([log_score(start, few) for start in starts.to(y.device)])
    evaluations += few * len(starts)
    best = starts[int(scores.argmax())].numpy()
    found = minimize(loss_and_slope, best, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 30})
    widths = np.exp(found.x)
    return Bandwidths(float(widths[0]), float(widths[1]) if len(widths) > 1 else 1.0, -float(found.fun), evaluations)
