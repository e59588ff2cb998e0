"""The one way to draw the noise of R replicates: each from a stream of its own, so company changes no number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from .errors import unknown
from .seeding import torch_generator

Kind = Literal["normal", "uniform"]
DRAWS = {"normal": torch.randn, "uniform": torch.rand}


def replicate_generators(seeds: Sequence[int], *axes: str | int, seed: int | None = None) -> list[torch.Generator]:
    """One CPU generator a replicate.

    Args:
        seeds: of the replicates. axes: names of the stream. seed: of an evaluation that draws for every replicate; the
            stream is then that of this seed, and the replicate's own seed is the last of its axes.
    """
    if seed is None:
        return [torch_generator(own, *axes) for own in seeds]
    return [torch_generator(seed, *axes, own) for own in seeds]


def replicate_noise(
    generators: Sequence[torch.Generator],
    shape: Sequence[int],
    kind: Kind = "normal",
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    dim: int = 0,
) -> torch.Tensor:
    """Standard normals, or uniforms on [0, 1), of `shape` for each generator, stacked along a new axis `dim`.

    The numbers are drawn where the generators live and then moved to `device`, so they are the same on all devices.

    Raises:
        LookupError: a kind that does not exist.
    """
    if kind not in DRAWS:
        raise unknown("kind of noise", kind, DRAWS)
    draw = DRAWS[kind]
    drawn = [draw(*shape, generator=own, dtype=dtype, device=own.device) for own in generators]
    return torch.stack(drawn, dim).to(device)
