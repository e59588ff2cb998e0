"""Minibatches and noise of a training: what each step's loss reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
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


def batches(setting: Setting, noise: Mapping[str, Noise], steps: int) -> Iterator[Batch]:
    """The minibatches and noise of `steps` steps; rows are drawn with replacement.

    Minibatches come from a stream that does not know the method: every method at one seed sees the same ones.
    """
    x, y = training_data(setting)
    replicates = torch.arange(setting.num_replicates, device=setting.device, dtype=torch.int64).unsqueeze(1)
    largest = max((math.prod(spec.shape) for spec in noise.values()), default=1)
    length = min(BLOCK, max(1, BLOCK_NUMBERS // largest))
    size = (length, setting.budget.batch_size)
    pick = [torch_generator(seed, "minibatch") for seed in setting.seeds]
    sources = {name: [torch_generator(seed, "noise", name) for seed in setting.seeds] for name in noise}

    def draw(spec: Noise, generator: torch.Generator) -> torch.Tensor:
        sampler = torch.randn if spec.kind == "normal" else torch.rand
        return sampler(length, *spec.shape, generator=generator, dtype=setting.dtype, device="cpu")

    for start in range(0, steps, length):
        rows = torch.stack(
            [torch.randint(setting.budget.examples, size, generator=g, dtype=torch.int64, device="cpu") for g in pick],
            1,
        ).to(x.device)
        block = {name: torch.stack([draw(noise[name], g) for g in gs], 1).to(x.device) for name, gs in sources.items()}
        for k in range(min(length, steps - start)):
            yield Batch(x[replicates, rows[k]], y[replicates, rows[k]], rows[k], {n: b[k] for n, b in block.items()})


BLOCK = 64  # steps of noise drawn at once, fewer where one step of one replicate already asks for many numbers


BLOCK_NUMBERS = 2**18
