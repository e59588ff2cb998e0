"""Answers by minimising an energy over y, from many starts at once, by one of several rules."""

from __future__ import annotations

from typing import get_args

import torch
from torch import nn

from ..core.errors import check_search, invalid, unknown
from ..core.tensors import tensor_of
from .answers import Answers, StepRule
from .gradient_steps import SUFFICIENT_DECREASE, TRIALS_PER_STEP, fixed_steps, line_search
from .lbfgs import lbfgs
from .population import resample_and_shrink

#: The first trial step of a line search moves this share of the box's side, whatever the scale of the energy.
FIRST_MOVE = 0.1
#: The rules that move by -step_size times a gradient, and so need a step size.
FIXED_RULES = ("fixed", "scaled")

#: The interval of every entry of y, or of each: low and high, numbers or (dy,).
Bounds = tuple[float | torch.Tensor, float | torch.Tensor]


@torch.no_grad()
def descend(
    module: nn.Module,
    x: torch.Tensor,
    y0: torch.Tensor,
    bounds: Bounds,
    step_rule: StepRule = "line_search",
    step_size: float | torch.Tensor | None = None,
    scale: torch.Tensor | float = 1.0,
    max_steps: int = 200,
    tolerance: float = 1e-4,
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
        step_rule: how far to move.
        step_size: units of y squared over energy, for `fixed` and `scaled` only; a tensor broadcasts against (R, *n),
            so that one call descends with a grid of steps.
        scale: length by whose square `scaled` multiplies its step, a number or (R,).
        max_steps: steps a point may take.
        tolerance: units of y.
        seed: of the populations of `derivative_free`.

    Returns:
        Answers with y (R, *n, dy), z None, energy (R, *n), steps (R, *n) int64 taken, and converged (R, *n) bool.

    Raises:
        ValueError: a bad rule, step, count or tolerance, bounds without low < high, or a box without end for
            `derivative_free`.
    """
    steps = checked_step(step_rule, step_size, max_steps, tolerance)
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
    if step_rule == "line_search":
        state = line_search(module, state, box, max_steps, tolerance, first_move)
    elif step_rule == "lbfgs":
        settings = (max_steps, tolerance, first_move, SUFFICIENT_DECREASE, TRIALS_PER_STEP)
        state = lbfgs(module, state, box, *settings)
    elif step_rule == "derivative_free":
        if sides.numel() < low.numel():
            raise invalid("bounds", bounds, "a finite box: populations fill it")
        state = resample_and_shrink(module, state, box, max_steps, tolerance, seed)
    else:
        length = torch.as_tensor(steps, dtype=y.dtype, device=y.device)
        if step_rule == "scaled":
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


def checked_step(
    rule: str, step_size: float | torch.Tensor | None, max_steps: int, tolerance: float
) -> float | torch.Tensor | None:
    """The step size of a search, None where its rule finds its own.

    Raises:
        ValueError: what `descend` refuses of these four arguments.
    """
    if rule not in get_args(StepRule):
        raise unknown("step_rule", rule, get_args(StepRule))
    check_search(max_steps, tolerance)
    if rule not in FIXED_RULES:
        if step_size is not None:
            raise invalid("step_size", step_size, f"None: the rule {rule!r} finds its own step")
        return None
    if step_size is None:
        raise invalid("step_size", step_size, f"a number > 0 for the step rule {rule!r}")
    values = tensor_of(step_size)
    if not bool((values.isfinite() & (values > 0)).all()):
        raise invalid("step_size", step_size, "finite numbers > 0")
    return step_size
