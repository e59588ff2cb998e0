"""The moves of a descent by gradients: fixed steps and a projected line search."""

from __future__ import annotations

import torch
from torch import nn

from ..energies.evaluation import energy_and_gradient
from .compaction import Compacted, State

#: Armijo's constant: the share of the decrease promised by the gradient that a step must deliver.
SUFFICIENT_DECREASE = 1e-4
#: A refused step is shortened, a step that was taken is lengthened for the next one, by these factors.
SHRINK, GROW = 0.5, 1.5
#: A line search may evaluate the energy this many times for each step that it may take.
TRIALS_PER_STEP = 4

#: Low and high of every entry of y, (dy,) each.
Box = tuple[torch.Tensor, torch.Tensor]


def fixed_steps(module: nn.Module, state: State, bounds: Box, max_steps: int, tolerance: float) -> State:
    work = Compacted({**state, "before": state["y"]})
    for iteration in range(max_steps):
        if not work.keep_active(iteration):
            break
        s = work.state
        energy, gradient = energy_and_gradient(module, s["x"], s["y"])
        moved = (s["y"] - s["length"].unsqueeze(-1) * gradient).clamp(*bounds)
        finite = energy.isfinite() & moved.isfinite().all(-1)
        go = s["active"] & finite
        arrived = go & ((moved - s["y"]).norm(dim=-1) < tolerance)
        # A step too long for the energy often ends between two points; where it then stops depends on parity alone.
        cycling = go & ~arrived & (moved == s["before"]).all(-1) & (iteration > 0)
        left = max_steps - 1 - iteration
        s["before"] = s["y"]
        s["y"] = torch.where((go & ~(cycling & bool(left % 2))).unsqueeze(-1), moved, s["y"])
        s["steps"] = s["steps"] + go + cycling * left
        s["converged"] = s["converged"] | arrived
        s["active"] = go & ~arrived & ~cycling
    final = work.whole()
    energy = module(final["x"], final["y"]).detach()
    return {**final, "energy": energy, "converged": final["converged"] & energy.isfinite()}


def line_search(
    module: nn.Module, state: State, bounds: Box, max_steps: int, tolerance: float, first_move: float
) -> State:
    energy, gradient = energy_and_gradient(module, state["x"], state["y"])
    finite = energy.isfinite() & gradient.isfinite().all(-1)
    length = first_move / gradient.norm(dim=-1).clamp_min(torch.finfo(gradient.dtype).tiny ** 0.5)
    work = Compacted({**state, "active": finite, "energy": energy, "gradient": gradient, "length": length})
    for iteration in range(TRIALS_PER_STEP * max_steps):
        if not work.keep_active(iteration):
            break
        s = work.state
        trial = (s["y"] - s["length"].unsqueeze(-1) * s["gradient"]).clamp(*bounds)
        trial = torch.where(s["active"].unsqueeze(-1), trial, s["y"])
        distance = (trial - s["y"]).norm(dim=-1)
        energy, gradient = energy_and_gradient(module, s["x"], trial)
        enough = energy <= s["energy"] - SUFFICIENT_DECREASE * distance.square() / s["length"]
        go = s["active"] & enough & energy.isfinite() & gradient.isfinite().all(-1)
        s["y"] = torch.where(go.unsqueeze(-1), trial, s["y"])
        s["energy"] = torch.where(go, energy, s["energy"])
        s["gradient"] = torch.where(go.unsqueeze(-1), gradient, s["gradient"])
        s["length"] = torch.where(go, s["length"] * GROW, s["length"] * SHRINK)
        s["steps"] = s["steps"] + go
        arrived = s["active"] & (distance < tolerance)
        s["converged"] = s["converged"] | arrived
        s["active"] = s["active"] & ~arrived & (s["steps"] < max_steps)
    return work.whole()
