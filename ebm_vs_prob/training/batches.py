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


#: Steps of noise drawn at once, fewer where one step of one replicate already asks for many numbers.
BLOCK, BLOCK_NUMBERS = 64, 2**18


class Examples:
    """The training pairs of all replicates, of which a step takes a minibatch."""

    def __init__(self, setting: Setting) -> None:
        self.x, self.y = training_data(setting)
        self._replicates = torch.arange(setting.num_replicates, device=setting.device, dtype=torch.int64).unsqueeze(1)

    def batch(self, rows: torch.Tensor, noise: Mapping[str, torch.Tensor]) -> Batch:
        """The minibatch in the given rows (R, B)."""
        x = self.x[self._replicates, rows] if self.x.shape[-1] else self.x[:, :1].expand(-1, rows.shape[1], -1)
        return Batch(x, self.y[self._replicates, rows], rows, dict(noise))


def draws(
    setting: Setting, noise: Mapping[str, Noise], steps: int
) -> Iterator[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
    """Rows (R, B) and noise of `steps` steps; rows are drawn with replacement.

    Rows come from a stream that does not know the method: every method at one seed sees the same minibatches. Each kind
    of noise comes in blocks whose length depends on its own shape alone, since the numbers that a generator gives
    depend on how many it is asked for at once: what other replicates have drawn changes nothing.
    """
    rows = _rows(setting)
    sources = {name: _steps(spec, name, setting) for name, spec in noise.items()}
    for _ in range(steps):
        yield next(rows), {name: next(source) for name, source in sources.items()}


def _rows(setting: Setting) -> Iterator[torch.Tensor]:
    """Rows of the training data for each step, (R, B), without end."""
    size, generators = (BLOCK, setting.budget.batch_size), replicate_generators(setting.seeds, "minibatch")
    while True:
        drawn = [
            torch.randint(setting.budget.examples, size, generator=each, dtype=torch.int64, device="cpu")
            for each in generators
        ]
        yield from torch.stack(drawn, 1).to(setting.device)


def _steps(spec: Noise, name: str, setting: Setting) -> Iterator[torch.Tensor]:
    """The noise of each step, (R, *shape), without end."""
    generators = replicate_generators(setting.seeds, "noise", name)
    length = min(BLOCK, max(1, BLOCK_NUMBERS // math.prod(spec.shape)))
    while True:
        yield from spec.drawn(generators, setting, length)
