"""Limited-memory BFGS on a box, for many points at once, each with a memory, a step and a line search of its own."""

from __future__ import annotations

import torch
from torch import nn

from ..energies.evaluation import energy_and_gradient
from .compaction import Compacted, State

#: Pairs of step and change of gradient that a point remembers.
MEMORY = 8
#: A pair says something of the curvature where step · change exceeds this share of the product of their norms.
CURVATURE = 1e-8


def lbfgs(
    module: nn.Module,
    state: State,
    bounds: tuple[torch.Tensor, torch.Tensor],
    max_steps: int,
    tolerance: float,
    first_move: float,
    sufficient_decrease: float,
    trials_per_step: int,
) -> State:
    """Minimise E(x, .) from every point of `state` by projected limited-memory BFGS.

    The direction is that of the two-loop recursion (Nocedal 1980; Nocedal & Wright 2006, algorithm 7.4) over the
    entries that no bound holds: those at a bound that the gradient presses against stay there, and neither they nor
    their part of the memory enter (two-metric projection: Bertsekas 1982). A direction that does not descend gives way
    to the negative gradient. The step is tried whole and projected on the box, halves until Armijo's rule
    E(y') <= E(y) + c g·(y' - y) <= E(y) holds, and is whole again after that. Pairs without positive curvature are not
    kept.

    A quasi-Newton step that moves a point by less than `tolerance`, taken or not, only empties its memory. The point
    has converged if steepest descent, by the step of the last curvature seen, then moves it by less too.

    Args:
        module: replicated energy.
        state: `x` (R, P, dx), `y` (R, P, dy), `steps` (R, P) int64, `converged` and `active` (R, P) bool.
        bounds: low and high, which broadcast against (dy,).
        first_move: how far the first trial step of a point without memory goes, units of y.

    Returns:
        The state of all points with `energy` (R, P).
    """
    energy, gradient = energy_and_gradient(module, state["x"], state["y"])
    memory = state["y"].new_zeros(*state["y"].shape[:2], MEMORY, state["y"].shape[-1])
    length = torch.ones_like(energy)
    tiny = torch.finfo(energy.dtype).tiny ** 0.5
    work = Compacted(
        {
            **state,
            "active": energy.isfinite() & gradient.isfinite().all(-1),
            "energy": energy,
            "gradient": gradient,
            "length": length,
            "steepest": first_move / gradient.norm(dim=-1).clamp_min(tiny),
            "moves": memory,
            "changes": memory.clone(),
        }
    )
    for iteration in range(trials_per_step * max_steps):
        if not work.keep_active(iteration):
            break
        s = work.state
        y, gradient = s["y"], s["gradient"]
        held = ((y <= bounds[0]) & (gradient > 0)) | ((y >= bounds[1]) & (gradient < 0))
        free = gradient.masked_fill(held, 0.0)
        newton = _direction(free, s["moves"], s["changes"], ~held)
        along = (newton * free).sum(-1)
        known = s["moves"].flatten(-2).any(-1) & newton.isfinite().all(-1)
        informed = known & (along > CURVATURE * newton.norm(dim=-1) * free.norm(dim=-1))
        direction = torch.where(informed.unsqueeze(-1), newton, s["steepest"].unsqueeze(-1) * free)
        trial = torch.clamp(y - s["length"].unsqueeze(-1) * direction, *bounds)
        trial = torch.where(s["active"].unsqueeze(-1), trial, y)
        move = trial - y
        distance = move.norm(dim=-1)
        energy, slope = energy_and_gradient(module, s["x"], trial)
        promised = (gradient * move).sum(-1)
        enough = (energy <= s["energy"] + sufficient_decrease * promised) & (promised <= 0)
        go = s["active"] & enough & energy.isfinite() & slope.isfinite().all(-1)
        change = slope - gradient
        product = (move * change).sum(-1)
        curved = go & (product > CURVATURE * distance * change.norm(dim=-1))
        inverse_curvature = product / change.square().sum(-1).clamp_min(tiny**2)
        s["steepest"] = torch.where(curved, inverse_curvature, s["steepest"])
        s["moves"], s["changes"] = (
            _remember(s[name], new, curved) for name, new in (("moves", move), ("changes", change))
        )
        s["y"] = torch.where(go.unsqueeze(-1), trial, y)
        s["energy"] = torch.where(go, energy, s["energy"])
        s["gradient"] = torch.where(go.unsqueeze(-1), slope, gradient)
        s["steps"] = s["steps"] + go
        short = s["active"] & (distance < tolerance)
        lost = short & informed
        s["moves"], s["changes"] = (s[name].masked_fill(lost[..., None, None], 0.0) for name in ("moves", "changes"))
        s["length"] = torch.where(go | lost, torch.ones_like(distance), s["length"] / 2)
        arrived = short & ~lost
        s["converged"] = s["converged"] | arrived
        s["active"] = s["active"] & ~arrived & (s["steps"] < max_steps)
    return work.whole()


def _direction(gradient: torch.Tensor, moves: torch.Tensor, changes: torch.Tensor, free: torch.Tensor) -> torch.Tensor:
    """H g (R, P, dy) by the two-loop recursion over the free entries; g itself where nothing is remembered.

    Args:
        gradient: (R, P, dy), 0 where not free.
        moves, changes: (R, P, MEMORY, dy), the newest last; 0 where there is none.
        free: (R, P, dy) bool.
    """
    moves, changes = moves * free.unsqueeze(-2), changes * free.unsqueeze(-2)
    product = (moves * changes).sum(-1)
    useful = product > CURVATURE * moves.norm(dim=-1) * changes.norm(dim=-1)
    weight = torch.where(useful, 1 / torch.where(useful, product, 1.0), 0.0)
    direction = gradient
    shares = []
    for k in reversed(range(MEMORY)):
        share = weight[..., k] * (moves[..., k, :] * direction).sum(-1)
        direction = direction - share.unsqueeze(-1) * changes[..., k, :]
        shares.append(share)
    scale = torch.ones_like(product[..., 0])
    for k in range(MEMORY):  # the newest useful pair sets the scale (Nocedal & Wright 2006, eq. 7.20)
        square = changes[..., k, :].square().sum(-1)
        scale = torch.where(useful[..., k], product[..., k] / torch.where(useful[..., k], square, 1.0), scale)
    direction = direction * scale.unsqueeze(-1)
    for k, share in zip(range(MEMORY), reversed(shares), strict=True):
        back = weight[..., k] * (changes[..., k, :] * direction).sum(-1)
        direction = direction + (share - back).unsqueeze(-1) * moves[..., k, :]
    return direction


def _remember(kept: torch.Tensor, new: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
    """The memory (R, P, MEMORY, dy) with `new` (R, P, dy) last in place of the oldest, at the points `which` (R, P)."""
    shifted = torch.cat([kept[..., 1:, :], new.unsqueeze(-2)], -2)
    return torch.where(which[..., None, None], shifted, kept)
