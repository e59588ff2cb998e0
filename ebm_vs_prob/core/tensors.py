"""Numbers as tensors, whatever the process has set as its default dtype and device."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch.nn.functional import pad

#: Elements that torch's CPU kernels take at once at most: two vectors of 512 bits, of float32.
VECTORS = 32


def tensor_of(value: torch.Tensor | float) -> torch.Tensor:
    """A tensor as it is; a number as a scalar on the CPU, float32, or int64 of an integer."""
    if isinstance(value, torch.Tensor):
        return value
    return torch.tensor(value, dtype=torch.int64 if isinstance(value, int) else torch.float32, device="cpu")


def inner(value: torch.Tensor) -> torch.Tensor:
    """A tensor (K, ...) as (..., K) in memory too, to be reduced along its last axis.

    torch sums what lies side by side one way in whole vectors and another in what is left over, so that a sum along an
    outer axis depends on how many columns there are beside; along the innermost axis each row is summed by itself.
    """
    return value.movedim(0, -1).contiguous()


def in_whole_vectors(function: Callable[..., torch.Tensor], *values: torch.Tensor) -> torch.Tensor:
    """An element-wise function of tensors, broadcast, whose numbers do not depend on where in them an element lies.

    What is left of a tensor after its last whole vector goes through scalar code. For sigmoid, softplus, silu and its
    derivative, powers and angles that code rounds otherwise than the vectors do, and which elements are left over
    depends on the number of replicates. So nothing is left over: tensors that do not fill their vectors are padded.
    """
    if len(values) > 1:
        values = torch.broadcast_tensors(*values)
    shape, count = values[0].shape, values[0].numel()
    rest = -count % VECTORS
    if not rest:
        return function(*[value.contiguous() for value in values])
    return function(*[pad(value.reshape(-1), (0, rest)) for value in values])[:count].reshape(shape)


def stacked_to_most(parts: Sequence[torch.Tensor], dim: int) -> torch.Tensor:
    """Tensors stacked that differ in length along a dimension counted from the end: shorter ones end in NaN there."""
    most = max(part.shape[dim] for part in parts)
    after = [0, 0] * (-dim - 1)
    return torch.stack([pad(part, (*after, 0, most - part.shape[dim]), value=math.nan) for part in parts])


def indicators(values: torch.Tensor, count: int) -> torch.Tensor:
    """Whether each of `values`, int64 (...), is 0, 1, ..., count - 1: bool (..., count).

    torch's `one_hot` looks at the values that it is given, and nothing that does so can be recorded.
    """
    return values.unsqueeze(-1) == torch.arange(count, dtype=torch.int64, device=values.device)


def looked_up(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """What stands in tables (..., K) at places (...) int64, whose dimensions broadcast: (...).

    A table that serves many places is not repeated for each of them, nor is its gradient.
    """
    shape = torch.broadcast_shapes(table.shape[:-1], index.shape)
    table = table.reshape(*[1] * (len(shape) + 1 - table.ndim), *table.shape)
    shared = [place for place, size in enumerate(table.shape[:-1]) if size == 1]
    own = [place for place in range(len(shape)) if place not in shared]
    order = (*own, *shared)
    ordered = index.expand(shape).permute(order)
    beside = math.prod(shape[place] for place in shared)
    found = table.squeeze(tuple(shared)).gather(-1, ordered.reshape(*ordered.shape[: len(own)], beside))
    return found.reshape(ordered.shape).permute([order.index(place) for place in range(len(shape))])


def power(base: torch.Tensor, exponent: torch.Tensor) -> torch.Tensor:
    """base ** exponent, broadcast, the same in any company."""
    return in_whole_vectors(torch.pow, base, exponent)


def angle(up: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The angle of the vector (right, up) in radians, the same in any company."""
    return in_whole_vectors(torch.atan2, up, right)
