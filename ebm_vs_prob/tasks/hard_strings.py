"""Strings whose energy takes one pass to compute, and whose next symbol is hard to foresee.

Lin, Jaech, Li, Gormley and Eisner (NAACL 2021) show that there are laws over strings with an energy that is easy to
compute, whose conditional probabilities P(y_t | y_<t) no compact autoregressive model can give: each of them counts
the ways in which the string can be completed. Parity is the mildest case, subset sums the classical one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ..core.approximate import Approximate
from ..core.errors import NoExactReference, invalid
from ..core.options import PER_REPLICATE
from ..core.registry import TASKS
from ..core.spaces import Box, Sequences
from .base import Split, Task, TaskOptions
from .discrete import DiscreteReference

if TYPE_CHECKING:
    import torch

    from ..core.automata import Automaton

#: Strings whose numbers are drawn at once: data of a seed rest on it.
_ROWS = 2048
#: Numbers that the free energies of a block of strings may be, at most: 256 MiB, and temporary ones beside them.
_MOST_NUMBERS = 1 << 25
#: Blocks have a multiple of so many strings, so that each fills vectors of the processor: what is left over of one is
#: rounded otherwise, and draws are to have the bits that they have among all at once.
_WHOLE = 64


class HardStringsOptions(TaskOptions):
    """Options of `hard_strings`."""

    thickness: Annotated[
        float,
        PER_REPLICATE,
        Field(gt=0.0, le=1e6, description="ε by which strings miss their mark"),
    ] = 0.25
    kind: Annotated[
        Literal["parity", "knapsack"],
        Field(description="parity: an even number of ones; knapsack: a subset of the weights in x with the sum in x"),
    ] = "knapsack"
    length: Annotated[int, Field(ge=2, le=64, description="symbols T of a string, each 0 or 1")] = 8
    largest_weight: Annotated[int, Field(ge=1, le=64, description="weights are uniform in 1 .. this")] = 8


class HardStringsReference(DiscreteReference):
    """Exact truth of the strings: P(y | x) ∝ exp(-miss² / 2ε²), by dynamic programming over parities or sums."""

    task: HardStrings

    def graph(self, x: torch.Tensor) -> Automaton:
        """miss(x, y)² / 2ε² for x (..., dx): an automaton that counts ones modulo 2, or adds weights up.

        Raises:
            ValueError: an x that holds no whole weights and sum.
        """
        import torch

        from ..core.automata import Automaton

        options = self.task.options
        if options.kind == "parity":
            target = torch.tensor([[0, 1], [1, 0]], dtype=torch.int64, device=x.device)
            cost = torch.zeros(2, 2, dtype=x.dtype, device=x.device)
            odd = torch.tensor([0.0, 1.0], dtype=x.dtype, device=x.device)
            return Automaton(options.length, lambda t: (target, cost), self._energy(odd).expand(*x.shape[:-1], -1))
        weights, mark = self.task.whole(x)
        sums = torch.arange(self.task.most + 1, dtype=torch.int64, device=x.device)
        none = torch.zeros(1, 2, dtype=x.dtype, device=x.device).expand(len(sums), -1)

        def transitions(t: int) -> tuple[torch.Tensor, torch.Tensor]:
            added = sums + weights[..., t, None]
            return torch.stack([sums.expand_as(added), added.clamp_max(self.task.most)], -1), none

        return Automaton(options.length, transitions, self._energy((sums - mark.unsqueeze(-1)).to(x.dtype)))

    def _energy(self, miss: torch.Tensor) -> torch.Tensor:
        return 0.5 * (miss / self.task.thickness).square()

    @property
    def rows_at_once(self) -> int:
        """As many as keep the free energies of each place and sum within 256 MiB."""
        options = self.task.options
        states = 2 if options.kind == "parity" else self.task.most + 1
        return _WHOLE * max(1, _MOST_NUMBERS // (_WHOLE * states * (options.length + 1)))

    def log_density(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """As `log_prob` for any broadcasting leading dimensions, unchecked; pairs (n, ...) in blocks."""
        if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
            return super().log_density(x, y)
        return self.in_blocks(super().log_density, x, y)

    def draws(self, x: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
        """Exact draws (n, T) int64 at x (n, dx), unchecked, by uniform numbers (n, T, 2)."""
        return self.in_blocks(lambda x, uniform: self.graph(x).sample(1.0, uniform), x, uniform)

    def distance(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Symbols in which y (n, T) differs from the nearest of the most probable strings at x (n, dx): (n,) float64.

        Raises:
            ValueError: shapes that do not fit the task's spaces, or symbols that do not exist.
        """
        self._check(x, y)
        return self.in_blocks(self._distance, x.double(), y)

    def _distance(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        import torch

        from ..core.automata import Automaton

        truth = self.graph(x)
        _, least = truth.min_sum()
        symbols = torch.arange(2, dtype=torch.int64, device=y.device)

        def transitions(t: int) -> tuple[torch.Tensor, torch.Tensor]:
            return truth.transitions(t)[0], (symbols != y[:, t, None]).double().unsqueeze(-2).expand(
                -1, truth.final.shape[-1], -1
            )

        best = torch.where(truth.final <= least.unsqueeze(-1), 0.0, torch.inf).double()
        return Automaton(truth.length, transitions, best).min_sum()[1]

    def entropy(self) -> Approximate:
        """h(Y) of parity in nats, in closed form: (T - 1) ln 2 and that of whether the number of ones is odd.

        Raises:
            NoExactReference: of subset sums, whose entropy given x is a sum over all x.
        """
        if self.task.options.kind == "knapsack":
            raise NoExactReference(
                "hard_strings: H(Y | X) of subset sums is a sum over all weights and marks: use "
                "reference.sampled_entropy(), a mean over data whose terms are exact"
            )
        from scipy.special import entr, expit

        odd = float(expit(-0.5 / self.task.thickness**2))
        return Approximate((self.task.options.length - 1) * np.log(2.0) + entr(odd) + entr(1.0 - odd))


@TASKS.register
class HardStrings(Task):
    """y a string of T bits: with an even number of ones, or that picks weights out of x whose sum is that in x."""

    name = "hard_strings"
    summary = "strings of bits with an easy energy and hard conditionals: parity, subset sums"
    truth = "probabilities, draws and nearest answers by dynamic programming; entropy of parity, no entropy of sums"
    references = ("lin2021limitations",)
    Options = HardStringsOptions
    options: HardStringsOptions
    x_space: Box
    y_space: Sequences
    reference: HardStringsReference

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.x_space = Box((0.0, 1.0), 0 if self.options.kind == "parity" else 2 * self.options.length)
        self.y_space = Sequences(2, self.options.length)
        self.z_space = None
        self.manifold_dim = None
        self.reference = HardStringsReference(self)

    @property
    def most(self) -> int:
        """The largest sum there can be."""
        return self.options.length * self.options.largest_weight

    def whole(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The weights (..., T) and their wanted sum (...), int64, out of x (..., 2T).

        Place t of x holds a weight as a share of the largest, and the sum, the same at each place, as one of the most
        that there can be.

        Raises:
            ValueError: they are no whole numbers, or the places tell of different sums.
        """
        import torch

        places = x.double().unflatten(-1, (self.options.length, 2))
        units = torch.tensor([self.options.largest_weight, self.most], dtype=torch.float64, device=x.device)
        whole = (places * units).round()
        is_whole = ((places * units - whole).abs() < 1e-3) & (whole >= 0) & (whole <= units)
        if not is_whole.all() or not (whole[..., 1] == whole[..., :1, 1]).all():
            raise invalid("x", "entries between whole weights and sums", "x as the task draws it")
        return whole[..., 0].long(), whole[..., 0, 1].long()

    def _draw(self, n: int, rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        import torch

        options = self.options
        parts: list[tuple[np.ndarray, np.ndarray]] = []
        for start in range(0, n, _ROWS):
            rows = min(_ROWS, n - start)
            weights = rng.integers(1, options.largest_weight + 1, (rows, options.length))
            planted = rng.integers(2, size=weights.shape)
            mark = (weights * planted).sum(1, keepdims=True)
            x = np.stack([weights / options.largest_weight, np.broadcast_to(mark / self.most, weights.shape)], -1)
            x = np.empty((rows, 0)) if options.kind == "parity" else x.reshape(rows, -1)
            uniform = torch.from_numpy(rng.random((rows, options.length, 2)))
            parts.append((x, self.reference.draws(torch.from_numpy(x), uniform).numpy()))
        x, y = (np.concatenate(part) for part in zip(*parts, strict=True))
        return x, y, np.empty((n, 0))
