"""Weights and data in one Pyro program: a prior over an energy's weights, and the density of answers under it."""

from __future__ import annotations

from typing import Any

import pyro
import torch
from pyro import poutine

from ...energies.evaluation import distinct
from ...gibbs.density import GibbsBoltzmann
from ..priors import WeightPrior
from ..weights import WeightSpace


class WeightModel:
    """theta ~ prior, y_i ~ exp(-E_theta(x_i, .)) / Z_theta(x_i): a Pyro model of R replicates, S sets of weights each.

    The plates are "draw" (S, dim -3), "replicate" (R, dim -2) and the data's (dim -1), whose log-densities are scaled
    from the minibatch to all N examples. Real vectors y only.

    Args:
        prior: over the energy's weights. space: of that energy. num_examples: N. bounds: the y-box.
    """

    def __init__(self, prior: WeightPrior, space: WeightSpace, num_examples: int, bounds: tuple[float, float]) -> None:
        self.prior, self.space = prior, space
        self.num_examples, self.bounds = num_examples, bounds

    def __call__(
        self,
        x: torch.Tensor,
        y: torch.Tensor,
        normalizer: Any = "quadrature",
        num_draws: int = 1,
        raw: torch.Tensor | None = None,
    ) -> None:
        """The Pyro statements, of data x (R, B, dx) and y (R, B, dy).

        Where y is blurred, `raw` is what it was before: a prior that depends on the data's places, as its twin, is
        taken at those that were observed.
        """
        count, size = y.shape[:2]
        given = distinct(x).expand(num_draws, count, -1, -1)
        draws, replicates = pyro.plate("draw", num_draws, dim=-3), pyro.plate("replicate", count, dim=-2)
        with draws, replicates:
            weights = {name: value.squeeze(2) for name, value in self.prior.sample(self.space).items()}
            energy = self.space.at(weights)
            density = GibbsBoltzmann(
                energy, y_dim=y.shape[-1], x=given, bounds=self.bounds, normalizer=normalizer, validate_args=False
            )
        # Plates multiply a scale set within them by their size and divide it again, which rounds; this one is outside.
        with poutine.scale(scale=self.num_examples / size), draws, replicates, pyro.plate("data", size, dim=-1):
            pyro.sample("y", density, obs=y)
        with draws, replicates:
            self.prior.factor(energy, x, y if raw is None else raw)
