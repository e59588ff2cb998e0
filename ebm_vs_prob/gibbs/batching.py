"""How a density in a larger batch, or asked for many draws, becomes one call of the density that was expanded."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from ..core.replicate_noise import Generators, replicate_noise
from .normalizers.partition import Uniforms


def fold(value: torch.Tensor, root: torch.Size) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
    """(*sample, *batch, tail) as (*root, K, tail), and what leads from (*root, K) back.

    Dimensions that an expansion added to the batch `root` become draws of the density that was expanded.
    """
    lead = value.ndim - 1
    first = lead - len(root)
    kept = [first + d for d in range(len(root)) if value.shape[first + d] == root[d]]
    order = kept + [d for d in range(lead) if d not in kept]
    sizes = [value.shape[d] for d in order]
    inverse = [order.index(d) for d in range(lead)]
    count = -1 if value.shape[-1] else math.prod(sizes)
    folded = value.permute(*order, lead).reshape(*root, count, value.shape[-1])
    return folded, lambda result: result.reshape(sizes).permute(inverse)


def folded_uniforms(
    sample_shape: torch.Size,
    batch: torch.Size,
    root: torch.Size,
    source: torch.Generator | Generators | None,
    device: torch.device,
) -> Uniforms:
    """Uniforms for (*sample_shape, *batch) draws of a density of batch `root`.

    Args:
        source: one generator for all, one for each entry of the first batch dimension, or None for torch's global one.
    """

    def uniforms(*tail: int) -> torch.Tensor:
        if source is None or isinstance(source, torch.Generator):
            drawn = _uniform((*batch, *sample_shape, *tail), source)
        else:
            drawn = replicate_noise(source, (*batch[1:], *sample_shape, *tail), "uniform", dtype=torch.float64)
        front = drawn.flatten(len(batch) + len(sample_shape)) if tail else drawn[..., None]
        front = front.movedim(tuple(range(len(batch))), tuple(range(len(sample_shape), len(sample_shape) + len(batch))))
        folded, _ = fold(front.to(device), root)
        folded = folded.flatten(0, -3) if root else folded[None]
        return folded.reshape(*folded.shape[:2], *tail)

    return uniforms


def _uniform(shape: tuple[int, ...], generator: torch.Generator | None) -> torch.Tensor:
    device = None if generator is None else generator.device
    return torch.rand(shape, dtype=torch.float64, generator=generator, device=device)
