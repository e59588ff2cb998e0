"""The kinds and angles at which the likelihood of a picture is largest, from a lattice by Newton's method."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from .bars_and_ellipses import KINDS, NODES, PERIODS, pictures, table

if TYPE_CHECKING:
    import torch

    from .shape_likelihood import Likelihood

#: Nats below the largest value of an integrand at which it no longer counts.
NEGLIGIBLE = 32.0
#: Maxima on the lattice from which modes are sought, for each kind.
STARTS = 4
#: Deviations between two modes from which neither's nodes see the other.
SEPARATE = 14.0
#: Longest step of Newton's method, in radians, and the step at which it ends.
LONGEST, LAST = 0.1, 1e-10


class Modes:
    """Maxima of a likelihood over the angles; those of B pairs in one list a kind.

    Attributes:
        rows: of each kind, the pair (n,) that a mode is of. angles: where it is, (n, 2).
        value: ln of the likelihood there with the best brightness, (n,). spread: Cholesky factor (n, 2, 2) of the
        inverse curvature. separate: whether a pair's modes are far from one another, (B,).
    """

    def __init__(self, likelihood: Likelihood, x: torch.Tensor, y: torch.Tensor, peaks: torch.Tensor) -> None:
        """Of x (B, 16) and y (B, 256), whose `peaks` (B, 2, N) are the likelihood on the lattice with the best c."""
        import torch

        self.rows: list[torch.Tensor] = []
        self.angles: list[torch.Tensor] = []
        self.value: list[torch.Tensor] = []
        self.spread: list[torch.Tensor] = []
        for kind, (rows, starts) in enumerate(_starts(peaks)):

            def objective(
                angles: torch.Tensor, which: torch.Tensor, kind: int = kind, rows: torch.Tensor = rows
            ) -> torch.Tensor:
                row = rows[which]
                return likelihood.at(x[row], y[row], pictures(kind, angles))[1]

            angles, value, curvature = climb(objective, starts)
            self.rows.append(rows)
            self.angles.append(angles)
            self.value.append(value)
            self.spread.append(_spread(curvature))
        self.best = x.new_full((len(x),), -torch.inf).scatter_reduce(
            0, torch.cat(self.rows), torch.cat(self.value), "amax"
        )
        self.separate = torch.ones(len(x), dtype=torch.bool, device="cpu")
        for kind in range(len(KINDS)):
            self._keep(kind)

    def of(self, pairs: torch.Tensor) -> Self:
        """The modes of some pairs (m,), which are numbered anew."""
        import torch

        chosen = copy.copy(self)
        number = torch.full_like(self.separate, -1, dtype=torch.int64)
        number[pairs] = torch.arange(len(pairs), dtype=torch.int64, device="cpu")
        chosen.best, chosen.separate = self.best[pairs], self.separate[pairs]
        kept = [(number[rows] >= 0).nonzero().squeeze(-1) for rows in self.rows]
        for name in ("rows", "angles", "value", "spread"):
            setattr(chosen, name, [part[own] for part, own in zip(getattr(self, name), kept, strict=True)])
        chosen.rows = [number[rows] for rows in chosen.rows]
        return chosen

    def _keep(self, kind: int) -> None:
        """Leave out what is negligible beside the best, or an earlier mode but for rounding and whole periods."""
        import torch

        rows = self.rows[kind]
        kept = self.value[kind] >= self.best[rows] - NEGLIGIBLE
        angles = self.angles[kind]
        apart = angles.unsqueeze(1) - angles
        period = angles.new_tensor(PERIODS)
        apart = apart - period * (apart / period).round()
        scaled = torch.linalg.solve_triangular(self.spread[kind], apart.mT, upper=False).norm(dim=1)
        scaled = torch.minimum(scaled, scaled.mT)
        own = rows.unsqueeze(1) == rows
        kept &= ~(own & (scaled < 0.5) & kept).tril(-1).any(-1)
        near = (
            own & (scaled < SEPARATE) & kept & kept.unsqueeze(1) & ~torch.eye(len(rows), dtype=torch.bool, device="cpu")
        )
        self.separate[rows[near.any(-1)]] = False
        for part in (self.rows, self.angles, self.value, self.spread):
            part[kind] = part[kind][kept]


def _starts(peaks: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Of each kind, the pairs (n,) and angles (n, 2) from which modes are sought: the highest maxima on the lattice.

    Between nodes a parabola through a largest node and its two neighbours rises by an eighth of their second difference
    at most. What stays negligible beside the best node even if it rises by four times that in both directions is left
    out.
    """
    import torch

    board = peaks.unflatten(-1, NODES)
    around = [board.roll(shift, (-2, -1)) for shift in ((1, 0), (-1, 0), (0, 1), (0, -1))]
    highest = (torch.stack(around).amax(0) <= board).flatten(-2)
    bound = board + 0.5 * (4.0 * board - torch.stack(around).sum(0))
    value, node = peaks.masked_fill(~highest, -torch.inf).topk(STARTS, -1)
    useful = bound.flatten(-2).gather(-1, node) >= peaks.amax((-2, -1))[:, None, None] - NEGLIGIBLE
    useful &= value.isfinite()
    angles = table()[0]
    found = []
    for kind in range(len(KINDS)):
        rows, which = useful[:, kind].nonzero(as_tuple=True)
        found.append((rows, angles[node[rows, kind, which]]))
    return found


def climb(
    objective: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], starts: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Maximise objective(angles (n, 2), which (n,)) -> (n,) from each start (m, 2) by damped Newton steps.

    Returns:
        Angles (m, 2), values (m,) and second derivatives (m, 2, 2) there.
    """
    import torch

    angles, active = starts.clone(), torch.arange(len(starts), dtype=torch.int64, device="cpu")
    value, slope, curvature = _derivatives(objective, angles, active)
    damping = torch.full_like(value, 1e-3)
    for _ in range(100):
        if not len(active):
            break
        own, turn = torch.linalg.eigh(curvature[active])
        own = own.abs() + damping[active, None] * own.abs().amax(-1, keepdim=True)
        step = (turn @ ((turn.mT @ slope[active].unsqueeze(-1)) / own.unsqueeze(-1))).squeeze(-1)
        step = step * (LONGEST / step.norm(dim=-1, keepdim=True).clamp_min(LONGEST))
        tried = _derivatives(objective, angles[active] + step, active)
        better = tried[0] >= value[active]
        taken = active[better]
        angles[taken] += step[better]
        value[taken], slope[taken], curvature[taken] = (part[better] for part in tried)
        damping[active] = torch.where(better, damping[active] * 1e-2, damping[active].clamp_min(1e-4) * 10.0)
        active = active[step.norm(dim=-1) > LAST]
    return angles, value, curvature


def _derivatives(
    objective: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], angles: torch.Tensor, which: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Value (n,), gradient (n, 2) and Hessian (n, 2, 2) of an objective."""
    import torch

    with torch.enable_grad():
        point = angles.detach().clone().requires_grad_()
        value = objective(point, which)
        (slope,) = torch.autograd.grad(value.sum(), point, create_graph=True)
        rows = [torch.autograd.grad(part.sum(), point, retain_graph=True)[0] for part in slope.unbind(-1)]
    hessian = torch.stack(rows, -2)
    return value.detach(), slope.detach(), 0.5 * (hessian + hessian.mT)


def _spread(curvature: torch.Tensor) -> torch.Tensor:
    """Cholesky factor of the inverse of minus the curvature, (n, 2, 2); of its absolute value at a saddle."""
    import torch

    own, turn = torch.linalg.eigh(-curvature)
    inverse = (turn / own.abs().clamp_min(1e-6).unsqueeze(-2)) @ turn.mT
    factor: torch.Tensor = torch.linalg.cholesky(inverse)
    return factor
