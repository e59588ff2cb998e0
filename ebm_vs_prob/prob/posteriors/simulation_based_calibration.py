"""Simulation-based calibration: whether an inference draws from the posterior that it claims to (Talts et al. 2018)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from pyro import poutine

from ...core.errors import check_count, invalid
from ...core.seeding import forked, stream

#: Draws of each named site, (L, *event).
Draws = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Calibration:
    """The ranks of M simulated truths among L posterior draws each, for K numbers.

    Attributes:
        ranks: (M, K) integers from 0 to L, uniform if the inference is right (their theorem 1).
        names: of the K numbers, site and index.
        num_draws: L.
    """

    ranks: np.ndarray
    names: tuple[str, ...]
    num_draws: int

    def chi_square(self, bins: int = 10) -> np.ndarray:
        """p-values (K,) of Pearson's test that the ranks are uniform, in `bins` bins as equal as L + 1 ranks allow.

        Raises:
            ValueError: fewer than 2 bins or more than ranks.
        """
        from scipy.stats import chisquare

        count = self.num_draws + 1
        if not 2 <= bins <= count:
            raise invalid("bins", bins, f"an integer from 2 to {count}")
        edges = np.round(np.linspace(0, count, bins + 1))
        share = np.diff(edges) / count
        observed = np.stack([np.histogram(column, edges)[0] for column in self.ranks.T])
        p_value: np.ndarray = chisquare(observed, len(self.ranks) * share, axis=1).pvalue
        return p_value

    def kolmogorov_smirnov(self) -> np.ndarray:
        """p-values (K,) of the largest gap of the ranks' empirical distribution from uniform.

        Equal ranks are spread evenly over the width 1 / (L + 1) that they share, so that they are continuous. That
        leaves no gap within a width, so the p-values are on the large side where ranks are few.
        """
        from scipy.stats import kstest, rankdata

        lowest, highest = (np.stack([rankdata(c, method=m) for c in self.ranks.T]) for m in ("min", "max"))
        order = np.stack([rankdata(column, method="ordinal") for column in self.ranks.T])
        within = (order - lowest + 0.5) / (highest - lowest + 1)
        places = (self.ranks.T + within) / (self.num_draws + 1)
        return np.array([kstest(row, "uniform").pvalue for row in places])


def simulation_based_calibration(
    model: Callable[[], Any],
    infer: Callable[[dict[str, torch.Tensor], int], Draws],
    latent: Sequence[str],
    num_simulations: int = 200,
    seed: int = 0,
) -> Calibration:
    """Ranks of truths drawn from a Pyro model's prior among the draws of an inference given data drawn from the model.

    Args:
        model: a Pyro model without arguments, all of whose sites are sampled: a run gives a truth and its data.
        infer: maps the data, the values of all sites that are not latent, and a seed to draws (L, *shape) of the latent
            sites, as many at every call. They should be independent: thin chains before.
        latent: names of the sites that are inferred.
        num_simulations: M.
        seed: of the simulations and of what `infer` gets, which is also what torch's global generator is seeded with
            while it runs. That generator is given back as it was.

    Raises:
        ValueError: a bad count, latent sites that the model does not have, or draws that lack a site, have another
            shape or are not numbers.
    """
    check_count("num_simulations", num_simulations)
    rows: list[list[int]] = []
    names: list[str] = []
    count = 0
    for number in range(num_simulations):
        with forked(stream(seed, "simulation", number)):
            nodes = poutine.trace(model).get_trace().nodes
        values = {
            name: cast("torch.Tensor", site["value"])
            for name, site in nodes.items()
            if site["type"] == "sample" and type(site["fn"]).__name__ != "_Subsample"
        }
        missing = [name for name in latent if name not in values]
        if missing or not latent:
            raise invalid("latent", list(latent), f"sites of the model: {sorted(values)}")
        data = {name: value for name, value in values.items() if name not in latent}
        own = stream(seed, "inference", number)
        with forked(own):
            draws = infer(data, own)
        row: list[int] = []
        names = []
        for name in latent:
            if name not in draws:
                raise invalid("sites of the draws", sorted(draws), f"{sorted(latent)}, all that are latent")
            truth, drawn = values[name], draws[name]
            if drawn.shape[1:] != truth.shape or (rows and len(drawn) != count):
                expected = f"({count if rows else 'L'}, {', '.join(map(str, truth.shape))})"
                raise invalid(f"shape of the draws of {name}", tuple(drawn.shape), expected)
            if bool(drawn.isnan().any()):
                raise invalid(f"draws of {name}", f"NaN in simulation {number}", "numbers, which have a rank")
            row += (drawn < truth).sum(0).reshape(-1).tolist()
            names += [f"{name}[{index}]" for index in range(truth.numel())]
            count = len(drawn)
        rows.append(row)
    return Calibration(np.array(rows), tuple(names), count)
