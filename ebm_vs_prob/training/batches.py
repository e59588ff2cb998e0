"""Minibatches and noise of a training: what each step's loss reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from ..core.replicate_noise import Kind, replicate_generators, replicate_noise
from ..models.setting import training_data

if TYPE_CHECKING:
    from ..models.setting import Setting


class Batch(NamedTuple):
    """One minibatch of every replicate: x (R, B, dx), y (R, B, dy), rows (R, B) of the training data, named noise.

    Labels y are (R, B) int64, sequences (R, B, T).
    """

    x: torch.Tensor
    y: torch.Tensor
    rows: torch.Tensor
    noise: dict[str, torch.Tensor]


@dataclass(frozen=True)
class Noise:
    """What a loss asks to be drawn at each step, for each replicate: standard normals or uniforms on [0, 1)."""

    kind: Kind
    shape: tuple[int, ...]

    def drawn(self, generators: Sequence[torch.Generator], setting: Setting, steps: int = 1) -> torch.Tensor:
        """The noise of so many steps, (steps, R, *shape), where and as training data are."""
        shape = (steps, *self.shape)
        return replicate_noise(generators, shape, self.kind, dtype=setting.dtype, device=setting.device, dim=1)


Loss = Callable[[Batch], torch.Tensor]


def batches(setting: Setting, noise: Mapping[str, Noise], steps: int) -> Iterator[Batch]:
    """The minibatches and noise of `steps` steps; rows are drawn with replacement.

    Minibatches come from a stream that does not know the method: every method at one seed sees the same ones.
    """
    x, y = training_data(setting)
    replicates = torch.arange(setting.num_replicates, device=setting.device, dtype=torch.int64).unsqueeze(1)
    largest = max((math.prod(spec.shape) for spec in noise.values()), default=1)
    length = min(BLOCK, max(1, BLOCK_NUMBERS // largest))
    size = (length, setting.budget.batch_size)
    pick = replicate_generators(setting.seeds, "minibatch")
    sources = {name: replicate_generators(setting.seeds, "noise", name) for name in noise}

    for start in range(0, steps, length):
        rows = torch.stack(
            [torch.randint(setting.budget.examples, size, generator=g, dtype=torch.int64, device="cpu") for g in pick],
            1,
        ).to(x.device)
        block = {name: spec.drawn(sources[name], setting, length) for name, spec in noise.items()}
        for k in range(min(length, steps - start)):
            yield Batch(x[replicates, rows[k]], y[replicates, rows[k]], rows[k], {n: b[k] for n, b in block.items()})


BLOCK = 64  # steps of noise drawn at once, fewer where one step of one replicate already asks for many numbers


BLOCK_NUMBERS = 2**18
