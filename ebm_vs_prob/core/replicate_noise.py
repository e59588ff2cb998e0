"""The one way to draw the noise of R replicates: each from a stream of its own, so company changes no number."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import torch

from .errors import unknown
from .seeding import torch_generator
from .spaces import Box

Kind = Literal["normal", "uniform"]

#: torch draws normals sixteen at a time, and draws the last sixteen again where some are left over.
NORMALS_AT_ONCE = 16


class ReplicateStreams:
    """Generators of R replicates for inference, new ones for each array that is drawn.

    One generator for several arrays would make each depend on how much the one before it took: draws for one x would
    depend on how many other x are asked. So every pass over the streams gives generators of the next number.

    Args:
        seed: of the inference. axes: names of the streams.
        seeds: of the replicates; each has streams of its own, so its numbers do not depend on company.
    """

    def __init__(self, seed: int, *axes: str | int, seeds: Sequence[int]) -> None:
        self._seed, self._axes, self._seeds = seed, axes, tuple(seeds)
        self._passes = 0

    def __len__(self) -> int:
        return len(self._seeds)

    def __iter__(self) -> Iterator[torch.Generator]:
        number, self._passes = self._passes, self._passes + 1
        return iter([torch_generator(self._seed, *self._axes, own, number) for own in self._seeds])


#: One generator a replicate: their own, which go on from array to array, or new ones for each.
Generators = Sequence[torch.Generator] | ReplicateStreams


def replicate_generators(seeds: Sequence[int], *axes: str | int) -> list[torch.Generator]:
    """One CPU generator a replicate on its own stream, for a sequence of arrays in a fixed order.

    Args:
        seeds: of the replicates. axes: names of the stream.
    """
    return [torch_generator(own, *axes) for own in seeds]


def replicate_noise(
    generators: Generators,
    shape: Sequence[int],
    kind: Kind = "normal",
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    dim: int = 0,
) -> torch.Tensor:
    """Standard normals, or uniforms on [0, 1), of `shape` for each generator, stacked along a new axis `dim`.

    A longer first axis only adds numbers: those of the first rows stay. The numbers are drawn where the generators
    live and then moved to `device`, so they are the same on all devices.

    Raises:
        LookupError: a kind that does not exist.
    """
    if kind == "normal":
        drawn = [_normals(shape, own, dtype) for own in generators]
    elif kind == "uniform":
        drawn = [torch.rand(*shape, generator=own, dtype=dtype, device=own.device) for own in generators]
    else:
        raise unknown("kind of noise", kind, ("normal", "uniform"))
    return torch.stack(drawn, dim).to(device)


def replicate_points(generators: Generators, box: Box, shape: Sequence[int]) -> torch.Tensor:
    """Uniform points of a box for each generator, (R, *shape, dim) float64, on the generators' device."""
    return torch.stack([box.uniform(tuple(shape), own) for own in generators])


def _normals(shape: Sequence[int], generator: torch.Generator, dtype: torch.dtype) -> torch.Tensor:
    count = math.prod(shape)
    whole = -(-count // NORMALS_AT_ONCE) * NORMALS_AT_ONCE
    drawn = torch.randn(whole, generator=generator, dtype=dtype, device=generator.device)
    return drawn[:count].reshape(tuple(shape))
