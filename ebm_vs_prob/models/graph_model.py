"""Models of discrete answers: the interface of `Model`, every part of it exact, by messages along a factor graph."""

from __future__ import annotations

from typing import Any, cast

import torch

from ..core.energy_tables import EnergyTable
from ..core.errors import NotNormalised, check_count
from ..core.factor_graphs import FactorGraph
from ..core.lattices import SegmentLattice
from ..core.spaces import Discrete
from ..core.tensors import tensor_of
from ..descent.answers import ANSWER_SEARCH, Answers, Search, checked_search
from ..energies.graphs import GraphEnergy
from ..gibbs.density import GibbsBoltzmann
from ..gibbs.normalizers.partition import Normalizer
from ..gibbs.temperature import PAIRS, fit_graph_beta
from .energy_model import EnergyModel
from .setting import stacked_pairs


class GraphModel(EnergyModel):
    """R unnormalised energies over labels or sequences, whose y is (n,) or (n, T) int64.

    Attributes:
        module: `module(x, y)` as of every model, and `module.graph(x)`, the energies of all answers.
    """

    module: GraphEnergy

    @property
    def space(self) -> Discrete:
        """The answers' space."""
        space = self.tasks[0].y_space
        assert isinstance(space, Discrete)
        return space

    def graph(self, x: torch.Tensor) -> FactorGraph:
        """The energies of all answers at x (n, dx) or (R, n, dx): a factor graph of batch (R, n).

        Of labels, `graph(x).unary[..., 0, :]` is the energy of each, (R, n, K).
        """
        return self.module.graph(self._placed("x", x))

    def infer(self, x: torch.Tensor, n_starts: int = 16, seed: int = 0, search: Search = ANSWER_SEARCH) -> Answers:
        """The answer of least energy, by enumeration of labels and by min-sum along sequences: y (R, n, n_starts, ...).

        It is exact, so that all starts agree, none takes a step and all whose energy is finite have converged. `seed`
        and `search` have no effect.

        Raises:
            ValueError: a bad x, count or search.
        """
        check_count("n_starts", n_starts)
        checked_search(search)
        with torch.no_grad():
            found, energy = self.graph(x).min_sum()
        y = self.space.from_variables(found).unsqueeze(2)
        energy = energy.unsqueeze(2).expand(-1, -1, n_starts)
        return Answers(
            y=y.expand(*y.shape[:2], n_starts, *y.shape[3:]),
            z=None,
            energy=energy,
            steps=torch.zeros_like(energy, dtype=torch.int64),
            converged=energy.isfinite(),
        )

    def sample(self, x: torch.Tensor, num_samples: int = 1, seed: int = 0) -> torch.Tensor:
        """Exact draws of y given each x from exp(-beta E) / Z at `beta`: (R, n, num_samples, ...) int64."""
        check_count("num_samples", num_samples)
        return self.gibbs(x).sample((num_samples,), generators=self._streams(seed)).movedim(0, 2)

    @property
    def sampling_kernel(self) -> str:
        return "exact"

    def gibbs(
        self, x: torch.Tensor, beta: torch.Tensor | float | None = None, normalizer: str | Normalizer | None = None
    ) -> GibbsBoltzmann:
        """The distribution exp(-beta E(x, .)) / Z(x) of every replicate and x: batch (R, n).

        `beta` defaults to `self.beta`, the normaliser to messages, which are exact.
        """
        x = self._placed("x", x).expand(self.num_replicates, -1, -1)
        return GibbsBoltzmann(
            self.module,
            x=x,
            beta=tensor_of(self.beta if beta is None else beta).reshape(-1, 1),
            normalizer=normalizer or "messages",
            validate_args=None if beta is not None else False,  # a replicate that failed has no beta
            space=self.space,
        )

    def fit_beta(self) -> torch.Tensor:
        """As of every model.

        Raises:
            NotNormalised: energies that are no sum of factors, a table or a lattice, which have another temperature's
                partition function by a sum over all answers alone, or no part that can be taken at a time.
        """
        x, y = stacked_pairs(self.setting, PAIRS, "validation")
        graph: Any = self.module.graph(x)
        dear = self.normalised and isinstance(graph, SegmentLattice)  # a sum over all strings at another temperature
        if dear or not isinstance(graph, (FactorGraph, EnergyTable, SegmentLattice)):
            raise NotNormalised(f"{self.method.name}: no temperature but its own is fitted here: read it at beta = 1")
        return fit_graph_beta(cast("FactorGraph", graph), self.space.to_variables(y), self._trained())


class NormalisedGraphModel(GraphModel):
    """R distributions over labels or sequences: the energy is -ln q up to ln Z(x), which messages give."""

    normalised = True

    @property
    def beta(self) -> torch.Tensor:
        """1 for each replicate, (R,) float64."""
        return torch.ones(self.num_replicates, dtype=torch.float64, device="cpu")

    def log_prob(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln q(y | x) in nats, (R, n), exact."""
        x, y = self._paired(x, y)
        return self.gibbs(x).log_prob(y)
