"""Answers by minimising an energy over y, from many starts at once, by one of several rules."""

from __future__ import annotations

import torch
from torch import nn

from ..core.errors import invalid
from ..core.tensors import tensor_of
from .answers import ANSWER_SEARCH, Answers, Search
from .gradient_steps import SUFFICIENT_DECREASE, TRIALS_PER_STEP, fixed_steps, line_search
from .lbfgs import lbfgs
from .population import resample_and_shrink

#: The first trial step of a line search moves this share of the box's side, whatever the scale of the energy.
FIRST_MOVE = 0.1

#: The interval of every entry of y, or of each: low and high, numbers or (dy,).
Bounds = tuple[float | torch.Tensor, float | torch.Tensor]


@torch.no_grad()
def descend(
    module: nn.Module,
    x: torch.Tensor,
    y0: torch.Tensor,
    bounds: Bounds,
    search: Search = ANSWER_SEARCH,
    scale: torch.Tensor | float = 1.0,
    seed: int = 0,
) -> Answers:
    """Descend on E(x, .) from every y0, each point by itself, inside the box `bounds`.

    `line_search` is projected gradient descent with Armijo's rule along the projection arc (Bertsekas 1976, eq. 12):
    a step t is taken where E(y') <= E(y) - c |y' - y|^2 / t; each point remembers its step, which halves when refused
    and grows by half when taken. `fixed` moves by -step_size * dE/dy; `scaled` by -step_size * scale^2 * dE/dy. After
    each move y is projected on the box. `lbfgs` is limited-memory BFGS with Armijo's rule, projected likewise
    (`lbfgs.lbfgs`). `derivative_free` resamples a population round each start and shrinks its noise, without
    gradients (Florence et al. 2021; `population.resample_and_shrink`); its populations fill the box, so what it
    finds depends little on the start.

    A point has converged once a step moves it by less than `tolerance`, or once a line search would have to, or once
    the noise of a population is less; it then stays where it is. A point whose energy or gradient is not finite stays
    at its last finite place and has not converged; the other points, and the other replicates, do not notice. Random
    numbers are drawn by `derivative_free` alone.

    Args:
        module: replicated energy, (R|1, *n, dx), (R|1, *n, dy) -> (R, *n).
        x: (R or 1, *n, dx), where the n may be 1 to broadcast.
        y0: starts, (R or 1, *n, dy), projected on the box; its dtype is that of the descent.
        bounds: the interval of every entry of y, in the task's units, or low and high of each, (dy,).
        search: the rule, its step, and when a point stops; its tolerance in units of y.
        scale: length by whose square `scaled` multiplies its step, a number or (R,).
        seed: of the populations of `derivative_free`.

    Returns:
        Answers with y (R, *n, dy), z None, energy (R, *n), steps (R, *n) int64 taken, and converged (R, *n) bool.

    Raises:
        ValueError: bounds without low < high, or a box without end for `derivative_free`.
    """
    rule, steps, max_steps, tolerance = search.step_rule, search.step_size, search.max_steps, search.tolerance
    replicates: int = module.num_replicates  # type: ignore[assignment]
    step_shape = tensor_of(steps).shape if steps is not None else ()
    shape = torch.broadcast_shapes((replicates, *y0.shape[1:-1]), (replicates, *x.shape[1:-1]), step_shape)
    low, high = (torch.as_tensor(bound, dtype=y0.dtype, device=y0.device).expand(y0.shape[-1]) for bound in bounds)
    box = (low, high)
    if not bool((low < high).all()):
        raise invalid("bounds", bounds, "low < high for every entry of y")
    y = torch.clamp(y0, *box).expand(*shape, -1).reshape(replicates, -1, y0.shape[-1])
    x = x.expand(*shape, -1).reshape(replicates, y.shape[1], x.shape[-1])
    count = torch.zeros(y.shape[:2], dtype=torch.int64, device=y.device)
    state = {"x": x, "y": y, "steps": count, "converged": count.bool(), "active": ~count.bool()}
    sides = (high - low)[(high - low).isfinite()]
    first_move = FIRST_MOVE * float(sides.min() if sides.numel() else 1.0)
    if rule == "line_search":
        state = line_search(module, state, box, max_steps, tolerance, first_move)
    elif rule == "lbfgs":
        settings = (max_steps, tolerance, first_move, SUFFICIENT_DECREASE, TRIALS_PER_STEP)
        state = lbfgs(module, state, box, *settings)
    elif rule == "derivative_free":
        if sides.numel() < low.numel():
            raise invalid("bounds", bounds, "a finite box: populations fill it")
        state = resample_and_shrink(module, state, box, max_steps, tolerance, seed)
    else:
        length = torch.as_tensor(steps, dtype=y.dtype, device=y.device)
        if rule == "scaled":
            squared = torch.as_tensor(scale, dtype=y.dtype, device=y.device) ** 2
            length = length * squared.reshape(-1, *[1] * (len(shape) - 1))
        state["length"] = length.expand(shape).reshape(replicates, -1)
        state = fixed_steps(module, state, box, max_steps, tolerance)
    return Answers(
        y=state["y"].reshape(*shape, -1),
        z=None,
        energy=state["energy"].reshape(shape),
        steps=state["steps"].reshape(shape),
        converged=state["converged"].reshape(shape),
    )
