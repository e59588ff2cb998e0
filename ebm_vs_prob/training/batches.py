"""Minibatches and noise of a training: what each step's loss reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

from ..core.seeding import torch_generator
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

    kind: Literal["normal", "uniform"]
    shape: tuple[int, ...]


Loss = Callable[[Batch], torch.Tensor]


#: Steps of noise drawn at once, fewer where one step of one replicate already asks for many numbers.
BLOCK, BLOCK_NUMBERS = 64, 2**18


def batches(setting: Setting, noise: Mapping[str, Noise], steps: int) -> Iterator[Batch]:
    """The minibatches and noise of `steps` steps; rows are drawn with replacement.

    Minibatches come from a stream that does not know the method: every method at one seed sees the same ones. Each kind
    of noise comes in blocks whose length depends on its own shape alone, since the numbers that a generator gives
    depend on how many it is asked for at once: what other replicates have drawn changes nothing.
    """
    x, y = training_data(setting)
    replicates = torch.arange(setting.num_replicates, device=setting.device, dtype=torch.int64).unsqueeze(1)
    examples, size = setting.budget.examples, setting.budget.batch_size

    def pick(generator: torch.Generator) -> torch.Tensor:
        return torch.randint(examples, (BLOCK, size), generator=generator, dtype=torch.int64, device="cpu")

    def draw(spec: Noise, generator: torch.Generator) -> torch.Tensor:
        length = min(BLOCK, max(1, BLOCK_NUMBERS // math.prod(spec.shape)))
        sampler = torch.randn if spec.kind == "normal" else torch.rand
        return sampler(length, *spec.shape, generator=generator, dtype=setting.dtype, device="cpu")

    rows = _drawn(pick, [torch_generator(seed, "minibatch") for seed in setting.seeds], x.device)
    sources = {
        name: _drawn(partial(draw, spec), [torch_generator(seed, "noise", name) for seed in setting.seeds], x.device)
        for name, spec in noise.items()
    }
    for _ in range(steps):
        picked = next(rows)
        drawn = {name: next(source) for name, source in sources.items()}
        yield Batch(x[replicates, picked], y[replicates, picked], picked, drawn)


def _drawn(
    draw: Callable[[torch.Generator], torch.Tensor], generators: Sequence[torch.Generator], device: torch.device
) -> Iterator[torch.Tensor]:
    """What is drawn for each step, (R, ...), without end; `draw` gives a block of steps of one replicate."""
    while True:
        yield from torch.stack([draw(generator) for generator in generators], 1).to(device)
