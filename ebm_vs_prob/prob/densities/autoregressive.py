"""Autoregressive densities over sequences: one network that reads x and the symbols so far, and tells the next."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from ...core.errors import NotNormalised, check_count
from ...core.replicate_noise import replicate_noise
from ...core.spaces import Sequences
from ...core.tensors import indicators
from ...descent.answers import ANSWER_SEARCH, Answers, Search, checked_search
from ...energies.mlp import LearnedScale, Network, ReplicatedMLP
from ...gibbs.density import GibbsBoltzmann
from ...gibbs.normalizers.partition import Normalizer
from ...models.model import Model

#: Prefixes that a search for the most probable string keeps at every place, more where fewer prove nothing.
BEAMS = (4, 32, 256)
#: Numbers that a search holds at once, about.
HELD = 1 << 23


class AutoregressiveEnergy(nn.Module):
    """R energies -ln q(y | x) = -Σ_t ln q(y_t | y_<t, x), each factor a softmax of one network shared by all places.

    The network is given x, the symbols before t as indicators with zeros for those to come, and an indicator of t. What
    it says is times e^s where it has a learned scale.
    """

    def __init__(self, seeds: Sequence[int], x_dim: int, space: Sequences, network: Network) -> None:
        super().__init__()
        self.space = space
        length, count = space.num_variables, space.num_values
        self.trunk = ReplicatedMLP(seeds, (x_dim + length * count + length, *network.hidden, count), network.activation)
        self.num_replicates = self.trunk.num_replicates
        self.scale = LearnedScale(self.num_replicates, network.learned_scale)

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of the energy of one sequence: a pass of the network for each place."""
        return self.space.num_variables * self.trunk.multiply_adds

    def logits(self, x: torch.Tensor, y: torch.Tensor, places: slice = slice(None)) -> torch.Tensor:
        """ln q(symbol at t | y_<t, x) of every symbol up to a constant, at the chosen t: (R, *n, places, K).

        Args:
            x: (R or 1, *n, dx). y: (R or 1, *n, T) int64; what it has from t on is not looked at.
        """
        length, count = self.space.num_variables, self.space.num_values
        at = torch.arange(length, device=y.device, dtype=torch.int64)[places]
        before = torch.arange(length, device=y.device, dtype=torch.int64) < at.unsqueeze(-1)
        symbols = indicators(y, count).to(x.dtype).unsqueeze(-3) * before.unsqueeze(-1).to(x.dtype)
        shape = torch.broadcast_shapes(x.shape[:-1], y.shape[:-1])
        known = [
            x.unsqueeze(-2).expand(*shape, len(at), -1),
            symbols.flatten(-2).expand(*shape, -1, -1),
            indicators(at, length).to(x.dtype).expand(*shape, -1, -1),
        ]
        found: torch.Tensor = self.scale(self.trunk(torch.cat(known, -1)))
        return found

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        log_conditional = self.logits(x, y).log_softmax(-1)
        y = y.expand(*log_conditional.shape[:-1])
        return -log_conditional.gather(-1, y.unsqueeze(-1)).squeeze(-1).sum(-1)


class AutoregressiveModel(Model):
    """R autoregressive densities: log-probabilities and draws are exact, the most probable sequence is searched for."""

    normalised = True
    module: AutoregressiveEnergy

    def log_prob(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln q(y | x) in nats, (R, n), exact."""
        return -self.energy(x, y)

    @torch.no_grad()
    def infer(self, x: torch.Tensor, n_starts: int = 16, seed: int = 0, search: Search = ANSWER_SEARCH) -> Answers:
        """The most probable sequence that a beam of up to 256 finds: y (R, n, n_starts, T), the same for every start.

        A prefix is at least as probable as any sequence that begins with it, so that the best of a narrower beam is the
        best of all where no prefix that was left aside is more probable. `seed` and `search` have no effect.

        Raises:
            ValueError: a bad x, count or search.
        """
        check_count("n_starts", n_starts)
        checked_search(search)
        x = self._placed("x", x).expand(self.num_replicates, -1, -1)
        y = torch.zeros(*x.shape[:2], self.module.space.num_variables, dtype=torch.int64, device=x.device)
        score = torch.full(x.shape[:2], -math.inf, dtype=x.dtype, device=x.device)
        proven = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
        for beam in BEAMS:
            for at in (~proven).any(0).nonzero().squeeze(-1).split(self._inputs_at_once(beam)):
                known, found = proven[:, at], self._searched(x[:, at], beam)
                y[:, at] = torch.where(known.unsqueeze(-1), y[:, at], found[0])
                score[:, at] = torch.where(known, score[:, at], found[1])
                proven[:, at] = known | found[2]
        energy = -score.unsqueeze(2).expand(-1, -1, n_starts)
        taken = torch.zeros_like(energy, dtype=torch.int64)
        return Answers(y.unsqueeze(2).expand(-1, -1, n_starts, -1), None, energy, taken, energy.isfinite())

    def _inputs_at_once(self, beam: int) -> int:
        space = self.module.space
        return max(1, HELD // (self.num_replicates * beam * space.num_variables * space.num_values))

    def _searched(self, x: torch.Tensor, beam: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The best sequence (R, n, T) of one beam, its ln q (R, n), and whether it is proven to be the best of all."""
        length, count = self.module.space.num_variables, self.module.space.num_values
        y = torch.zeros(*x.shape[:2], 1, length, dtype=torch.int64, device=x.device)
        score = torch.zeros(*x.shape[:2], 1, dtype=x.dtype, device=x.device)
        aside = torch.full(x.shape[:2], -math.inf, dtype=x.dtype, device=x.device)
        for t in range(length):
            steps = self.module.logits(x.unsqueeze(2), y, slice(t, t + 1)).squeeze(-2).log_softmax(-1)
            every = (score.unsqueeze(-1) + steps).flatten(-2)
            number = 1 if t == length - 1 else min(beam, every.shape[-1])
            score, chosen = every.topk(min(number + 1, every.shape[-1]), -1)
            if score.shape[-1] > number:
                aside = torch.maximum(aside, score[..., number])
            score, chosen = score[..., :number], chosen[..., :number]
            y = y.gather(2, (chosen // count).unsqueeze(-1).expand(-1, -1, -1, length))
            y[..., t] = chosen % count
        return y[:, :, 0], score[..., 0], aside <= score[..., 0]

    @torch.no_grad()
    def sample(self, x: torch.Tensor, num_samples: int = 1, seed: int = 0) -> torch.Tensor:
        """Exact draws of y given each x, a symbol after the other: (R, n, num_samples, T) int64."""
        check_count("num_samples", num_samples)
        x = self._placed("x", x).expand(self.num_replicates, -1, -1)
        length, lead = self.module.space.num_variables, (x.shape[1], num_samples)
        uniform = replicate_noise(self._streams(seed), (*lead, length), "uniform", dtype=torch.float64, device=x.device)
        y = torch.zeros(len(x), *lead, length, dtype=torch.int64, device=x.device)
        for t in range(length):
            shares = self.module.logits(x.unsqueeze(2), y, slice(t, t + 1)).squeeze(-2).double().softmax(-1)
            edges = shares.cumsum(-1)
            drawn = torch.searchsorted(edges, uniform[..., t : t + 1] * edges[..., -1:], right=True)
            y[..., t] = drawn.squeeze(-1).clamp_max(self.module.space.num_values - 1)
        return y

    @property
    def sampling_kernel(self) -> str:
        return "ancestral"

    def gibbs(
        self, x: torch.Tensor, beta: torch.Tensor | float | None = None, normalizer: str | Normalizer | None = None
    ) -> GibbsBoltzmann:
        """Always raises `NotNormalised`."""
        raise NotNormalised("autoregressive: the model is normalised as it stands: use model.log_prob and model.sample")

    def fit_beta(self) -> torch.Tensor:
        """Always raises `NotNormalised`."""
        raise NotNormalised(
            "autoregressive: at another temperature than its own it is a sum over all strings: read it at beta = 1"
        )
