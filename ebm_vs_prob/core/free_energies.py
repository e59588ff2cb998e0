"""Free energies: what is left of an energy once a variable is minimised or marginalised."""

from __future__ import annotations

import math
from typing import Any

import torch

from .errors import invalid
from .process_state import holds, readable

#: Inverse temperatures, one over the unit of the energies, between which a plain sum of exponentials tells them apart
#: and no product with an energy overflows.
_MODERATE = 0.5, 1e6


def free_energy(energies: Any, beta: Any, dim: int, log_weights: Any = None) -> torch.Tensor:
    """F_beta = -1/beta ln (1/|Z| ∫ exp(-beta E) dz) over `dim`: the minimum at beta = inf, the mean at beta = 0.

    The measure over `dim` is normalised (LeCun et al. 2006, on latent variables, here with 1/|Z|), so F_beta falls from
    the mean to the minimum as beta grows and stays finite at both ends.

    Args:
        energies: E at the nodes, a tensor or anything `torch.as_tensor` takes; +inf forbids a node.
        beta: inverse temperature(s), one over the energies' unit, in [0, inf]; broadcasts with the result.
        dim: the dimension that is summed away.
        log_weights: unnormalised natural logarithms of the nodes' quadrature weights, broadcasting with `energies`;
            equal weights by default. A node of weight -inf does not count.

    Returns:
        The energies' shape without `dim`, in their unit; their dtype if floating-point tensors, else float64.
        Differentiable in energies and weights; at beta = inf a tie shares the gradient.

    Raises:
        ValueError: beta negative or NaN, nothing along `dim`, or shapes that do not fit.
    """
    e = _floating(energies)
    b = torch.as_tensor(beta, dtype=e.dtype, device=e.device)
    eager = not torch.compiler.is_compiling()  # a compiled graph would break where values are read
    if eager and not holds(lambda: (b >= 0).all()):
        raise invalid("beta", beta, "numbers in [0, inf]")
    every = log_weights is None  # no node is left out, so that none has to be masked
    log_w = torch.zeros((), dtype=e.dtype, device=e.device) if every else _floating(log_weights).to(e)
    try:
        e = e.expand(torch.broadcast_shapes(e.shape, log_w.shape))
    except RuntimeError:
        raise invalid(
            "log_weights.shape", tuple(log_w.shape), f"a shape that broadcasts with {tuple(e.shape)}"
        ) from None
    if not -e.ndim <= dim < e.ndim:
        raise invalid("dim", dim, f"a dimension of energies of shape {tuple(e.shape)}")
    if e.shape[dim] == 0:
        raise invalid("energies.shape", tuple(e.shape), f"at least one entry along dim {dim}")
    log_w = log_w - math.log(e.shape[dim]) if every else log_w.expand(e.shape).movedim(dim, -1).log_softmax(-1)
    e, b = e.movedim(dim, -1), b.unsqueeze(-1)
    present = log_w > -math.inf

    if e.shape[-1] == 1 or (eager and holds(lambda: (b == math.inf).all())):
        low = (e if every else torch.where(present, e, math.inf)).amin(-1)
        return low.expand(torch.broadcast_shapes(low.shape, b.shape[:-1]))
    if eager and are_moderate(b):
        return -torch.logsumexp(log_w - b * (e if every else torch.where(present, e, 0.0)), -1) / b.squeeze(-1)
    low = (e if every else torch.where(present, e, math.inf)).amin(-1, keepdim=True)
    high = (e if every else torch.where(present, e, -math.inf)).amax(-1, keepdim=True)

    # Round the mean the exponents cancel to first order, so small beta loses no digits; far from it they overflow.
    near = (b * (high - low) <= 1) & (b > 0)
    far_beta = torch.where(~near & (b > 0) & b.isfinite(), b, 1.0)
    base = low.detach().nan_to_num(0.0, 0.0, 0.0)
    above = e - base if every else torch.where(present, e - base, 0.0)
    tilted = base - torch.logsumexp(log_w - far_beta * above, -1, keepdim=True) / far_beta
    if readable(near) and bool(((b > 0) & b.isfinite()).all() & ~near.any()):
        return tilted.squeeze(-1)

    weight = log_w.exp()
    mean = (weight * torch.where(present, e, 0.0)).sum(-1, keepdim=True)
    near_beta = torch.where(near, b, 1.0)
    deviation = torch.where(near & present, e - mean, 0.0)
    expanded = mean - (weight * torch.expm1(-near_beta * deviation)).sum(-1, keepdim=True).log1p() / near_beta

    finite = torch.where(near, expanded, tilted)
    return torch.where(b == 0, mean, torch.where(b == math.inf, low, finite)).squeeze(-1)


def are_moderate(beta: torch.Tensor) -> bool:
    """Whether inverse temperatures are such that exp(-beta E) may be summed as it stands."""
    low, high = _MODERATE
    return holds(lambda: ((beta >= low) & (beta <= high)).all())


def _floating(value: Any) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value if value.is_floating_point() else value.double()
    return torch.as_tensor(value, dtype=torch.float64, device="cpu")
