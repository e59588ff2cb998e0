"""What a Gibbs-Boltzmann density is given, checked: its space, and x and beta in one dtype and one batch."""

from __future__ import annotations

import math
from typing import Any

import torch

from ..core.errors import invalid
from ..core.spaces import Box, Discrete


def checked_space(space: Any, y_dim: Any, bounds: Any) -> Box | Discrete:
    """The space itself, or the box of `y_dim` dimensions (1 where None) and `bounds` ((-8, 8) where None).

    Raises:
        ValueError: a bad value, or a space and one of the others.
    """
    if space is not None:
        if y_dim is not None or bounds is not None:
            raise invalid("y_dim, bounds", (y_dim, bounds), "neither beside a space")
        if not isinstance(space, (Box, Discrete)) or (isinstance(space, Box) and space.dim < 1):
            raise invalid("space", space, "a Box of dim >= 1, Labels or Sequences")
        return space
    if y_dim is not None and (isinstance(y_dim, bool) or not isinstance(y_dim, int) or y_dim < 1):
        raise invalid("y_dim", y_dim, "an integer >= 1")
    try:
        low, high = (float(bound) for bound in ((-8.0, 8.0) if bounds is None else bounds))
    except (TypeError, ValueError):
        raise invalid("bounds", bounds, "two finite numbers, low < high") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise invalid("bounds", bounds, "two finite numbers, low < high")
    return Box((low, high), y_dim or 1)


def checked_inputs(
    energy: Any, x: torch.Tensor | None, beta: torch.Tensor | float, check_beta: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """x (*batch, dx) and beta (*batch,), in the dtype and on the device of the energy's parameters where it has any.

    Raises:
        ValueError: no numbers, x is a scalar, shapes do not broadcast, or (if `check_beta`) a beta is not finite and
            > 0.
    """
    parameter = _parameter(energy)
    dtype = torch.float64 if parameter is None else parameter.dtype
    device = parameter.device if parameter is not None else getattr(x, "device", None)
    x = torch.zeros(0, dtype=dtype, device=device) if x is None else _tensor("x", x, dtype, device)
    if x.ndim < 1:
        raise invalid("x.shape", tuple(x.shape), "(*n, dx)")
    beta = _tensor("beta", beta, x.dtype, x.device)
    if check_beta and not bool(((beta > 0) & beta.isfinite()).all()):
        raise invalid("beta", beta.tolist(), "finite numbers > 0")
    try:
        batch_shape = torch.broadcast_shapes(x.shape[:-1], beta.shape)
    except RuntimeError:
        shapes = tuple(x.shape), tuple(beta.shape)
        raise invalid("shapes of x, beta", shapes, "(*n, dx) and a shape that broadcasts with n") from None
    return x.expand(*batch_shape, -1), beta.expand(batch_shape)


def _tensor(field: str, value: Any, dtype: torch.dtype, device: torch.device | None) -> torch.Tensor:
    try:
        return torch.as_tensor(value, dtype=dtype, device=device)
    except (TypeError, ValueError, RuntimeError):
        raise invalid(field, value, "numbers, or a tensor of them") from None


def _parameter(energy: Any) -> torch.Tensor | None:
    if not isinstance(energy, torch.nn.Module):
        return None
    return next((parameter for parameter in energy.parameters() if parameter.is_floating_point()), None)
