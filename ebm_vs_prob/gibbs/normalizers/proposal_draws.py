"""Draws of a proposal that are, for each element of a batch, what they are without the others."""

from __future__ import annotations

import inspect
import itertools
from typing import Any

import torch
from torch.distributions import (
    AffineTransform,
    Categorical,
    ComposeTransform,
    Distribution,
    Independent,
    IndependentTransform,
    MixtureSameFamily,
    Transform,
    TransformedDistribution,
    Uniform,
)

from ...core.errors import invalid
from ...core.seeding import forked
from ...core.spaces import Box
from .partition import Target

#: What a user does with a batched proposal that cannot be taken apart.
_INSTEAD = (
    "a distribution of torch or Pyro with its own parameters, or an Independent, TransformedDistribution or "
    "MixtureSameFamily of such, for the elements of its batch are drawn one by one; else give samples and log_density"
)


def check_proposal(field: str, value: Any, *names: str) -> None:
    """Raise a `ValueError` unless the value has `sample`, `log_prob` and the attributes of these names."""
    wanted = ("sample", "log_prob", *names)
    if isinstance(value, type) or not all(hasattr(value, name) for name in wanted):
        raise invalid(field, value, f"a distribution with {', '.join(wanted)}")


def drawn(proposal: Any, count: int, seed: int, target: Target) -> tuple[torch.Tensor, torch.Tensor]:
    """`count` draws (*batch, M, *event) of a proposal, uniform on the space where it is None, and their log-density.

    Every element of the proposal's batch is drawn from alone and under the same seed. So its draws do not depend on the
    others, those of different elements are dependent, and the global generators are left as they were. The time is
    that of as many calls as there are elements.

    Raises:
        ValueError: a proposal of another event shape, or a batched one that cannot be taken apart.
    """
    if proposal is None:
        proposal = uniform_on(target)
    event, batch = tuple(target.space.event_shape), torch.Size(getattr(proposal, "batch_shape", ()))
    if tuple(getattr(proposal, "event_shape", event)) != event:
        raise invalid("proposal.event_shape", tuple(proposal.event_shape), f"{event}, that of the answers")
    shape = torch.Size((count,))
    with torch.no_grad():
        if batch.numel() == 1:
            with forked(seed, target.device):
                points = proposal.sample(shape)
            return points.movedim(0, -1 - len(event)), proposal.log_prob(points).movedim(0, -1)
        found = []
        for index in itertools.product(*map(range, batch)):
            alone = element(proposal, index)
            with forked(seed, target.device):
                points = alone.sample(shape)
            found.append((points, alone.log_prob(points)))
        points, log_density = (torch.stack(part).unflatten(0, batch) for part in zip(*found, strict=True))
        return points, log_density


def element(distribution: Any, index: tuple[int, ...]) -> Distribution:
    """The distribution at an index of the leading dimensions of a batch.

    Raises:
        ValueError: a distribution that its parameters do not rebuild.
    """
    if isinstance(distribution, Independent):
        return type(distribution)(element(distribution.base_dist, index), distribution.reinterpreted_batch_ndims)
    if isinstance(distribution, MixtureSameFamily):
        weights: Any = element(distribution.mixture_distribution, index)
        return type(distribution)(weights, element(distribution.component_distribution, index))
    parameters = _parameters(distribution)
    if parameters is not None:
        unchecked = (
            {"validate_args": False} if "validate_args" in inspect.signature(type(distribution)).parameters else {}
        )
        return type(distribution)(**{name: value[index] for name, value in parameters.items()}, **unchecked)
    if isinstance(distribution, TransformedDistribution):
        whole = len(distribution.batch_shape) + len(distribution.event_shape)
        transforms = [_transform(part, index, whole) for part in distribution.transforms]
        return type(distribution)(element(distribution.base_dist, index), transforms)
    raise invalid("proposal", distribution, _INSTEAD)


def _parameters(distribution: Any) -> dict[str, torch.Tensor] | None:
    """What the distribution's constructor takes, each with the batch in front; None where that is not all it takes.

    Of arguments that default to None, such as probabilities or their logarithms, one is enough.
    """
    if not isinstance(distribution, Distribution):
        return None
    known = distribution.arg_constraints
    taken: dict[str, torch.Tensor] = {}
    alternatives: list[str] = []
    for name, parameter in inspect.signature(type(distribution)).parameters.items():
        if name == "validate_args":
            continue
        if name not in known:
            return None
        if parameter.default is None:
            alternatives.append(name)
        else:
            taken[name] = getattr(distribution, name)
    kept = [name for name in alternatives if name in vars(distribution)]
    if alternatives:
        taken[(kept or alternatives)[0]] = getattr(distribution, (kept or alternatives)[0])
    batch = distribution.batch_shape
    fits = all(isinstance(value, torch.Tensor) and value.shape[: len(batch)] == batch for value in taken.values())
    return taken if taken and fits else None


def _transform(transform: Transform, index: tuple[int, ...], ndim: int) -> Transform:
    """The transform at an index of the leading of `ndim` dimensions that its parameters broadcast to."""
    if type(transform) is AffineTransform:
        parts: list[Any] = []
        for value in (transform.loc, transform.scale):
            if isinstance(value, torch.Tensor):
                wide = value.reshape((1,) * (ndim - value.ndim) + value.shape)
                value = wide[tuple(min(i, size - 1) for i, size in zip(index, wide.shape, strict=False))]
            parts.append(value)
        return AffineTransform(parts[0], parts[1], event_dim=transform.event_dim)
    if isinstance(transform, ComposeTransform):
        return ComposeTransform([_transform(part, index, ndim) for part in transform.parts])
    if isinstance(transform, IndependentTransform):
        return IndependentTransform(
            _transform(transform.base_transform, index, ndim), transform.reinterpreted_batch_ndims
        )
    bare = {*inspect.signature(type(transform)).parameters} <= {"cache_size"}  # it has no parameters
    if bare or isinstance(transform, torch.nn.Module):  # whose parameters all elements share
        return transform
    raise invalid("proposal: transform", transform, _INSTEAD)


def uniform_on(target: Target) -> Distribution:
    """The uniform distribution on the target's space."""
    space = target.space
    if isinstance(space, Box):
        low, high = (torch.full((space.dim,), b, dtype=target.dtype, device=target.device) for b in space.bounds)
        return Independent(Uniform(low, high), 1)
    equal = torch.zeros(*space.event_shape, space.num_values, dtype=target.dtype, device=target.device)
    return Independent(Categorical(logits=equal), len(space.event_shape))


__all__ = ["check_proposal", "drawn", "element", "uniform_on"]
