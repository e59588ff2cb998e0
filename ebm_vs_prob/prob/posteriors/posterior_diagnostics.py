"""What is known of the chains behind a posterior's draws: R-hat, effective sample sizes, divergences, through ArviZ."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from ...energies.evaluation import distinct
from ...models.record import PosteriorDiagnostics
from ...samplers.diagnostics import diagnostics
from ..weights import WeightSpace

if TYPE_CHECKING:
    from ...models.model import Model
    from ...models.setting import Setting

#: Training pairs whose log-densities are followed along the chains.
PROBES = 16
#: Importance samples of the log-partition functions in what is followed.
_NODES = 256


def kept_states(states: int, draws: int) -> tuple[int, ...]:
    """Which of T states make D draws, evenly spaced, the last among them."""
    return tuple(round((number + 1) * states / draws) - 1 for number in range(draws))


class Chains(nn.Module):
    """The record of C chains of each replicate, T states of each after burn-in: part of a model's file.

    Attributes:
        trace: (R, C, T, K), K followed functions of the weights, nats.
        divergences: (R, C, T), transitions that diverged since the state before. log_posterior: (R, C, T), nats up to a
            constant. acceptance: (R, C). NaN where the sampler has none.
    """

    trace: torch.Tensor
    divergences: torch.Tensor
    log_posterior: torch.Tensor
    acceptance: torch.Tensor

    def __init__(self, replicates: int, chains: int, states: int, functions: int) -> None:
        super().__init__()
        self.register_buffer(
            "trace", torch.zeros(replicates, chains, states, functions, dtype=torch.float32, device="cpu")
        )
        for name in ("divergences", "log_posterior"):
            self.register_buffer(
                name, torch.full((replicates, chains, states), torch.nan, dtype=torch.float32, device="cpu")
            )
        self.register_buffer(
            "acceptance", torch.full((replicates, chains), torch.nan, dtype=torch.float32, device="cpu")
        )

    @property
    def count(self) -> int:
        """C."""
        return self.trace.shape[1]

    def diagnostics(self, partition_gap: torch.Tensor) -> PosteriorDiagnostics:
        """NaN of a function that is not finite or the same throughout. `partition_gap` is of the draws, (R, C * D)."""
        found = diagnostics(self.trace)
        gap = partition_gap.double().unflatten(1, (self.count, -1)).amax(-1)
        own = (self.divergences.double().sum(-1), self.acceptance.double(), gap)
        return PosteriorDiagnostics(found["r_hat"], found["ess"], found["ess_tail"], *own)

    def statistics(self, draws: int) -> dict[str, torch.Tensor]:
        """What is known of the D draws of each chain, (R, C, D) each, by ArviZ's names.

        `diverging`: whether a transition since the draw before diverged. `lp`: ln posterior, nats up to a constant.
        """
        kept = torch.tensor(kept_states(self.trace.shape[2], draws), dtype=torch.int64, device=self.trace.device)
        found = {}
        if not bool(self.divergences.isnan().any()):
            total = self.divergences.cumsum(-1)[..., kept]
            found["diverging"] = total.diff(dim=-1, prepend=torch.zeros_like(total[..., :1])) > 0
        if not bool(self.log_posterior.isnan().all()):
            found["lp"] = self.log_posterior[..., kept]
        return found


class FollowedFunctions:
    """ln q(y_k | x_k) of the first training pairs, their partition functions on fixed importance samples.

    Attributes:
        count: K.
    """

    @staticmethod
    def count_of(setting: Setting) -> int:
        """K, before there is a model."""
        return min(PROBES, setting.budget.examples)

    def __init__(self, model: Model, space: WeightSpace) -> None:
        kernel = model.data_kernel
        self.count = self.count_of(model.setting)
        self._space, self._bounds = space, model.y_box.bounds
        self._x, self._y = kernel.x[:, : self.count], kernel.y[:, : self.count]
        self._at = distinct(self._x)
        self._samples, self._log_density = kernel.draw(self._at, _NODES, model.seeds)

    @torch.no_grad()
    def __call__(self, weights: torch.Tensor) -> torch.Tensor:
        """(S, R, K), nats, at weight vectors (S, R, P)."""
        energy = self._space.at(self._space.named(weights))
        own = energy(self._x.unsqueeze(0), self._y.unsqueeze(0))
        others = energy(self._at.unsqueeze(2).unsqueeze(0), self._samples.unsqueeze(0))
        return -own - (-others - self._log_density).logsumexp(-1) + math.log(_NODES)
