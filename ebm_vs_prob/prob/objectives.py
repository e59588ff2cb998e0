"""What training a probabilistic model minimises: Pyro's ELBO, one number a replicate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import torch
from pyro.infer import Trace_ELBO


class ReplicatedELBO(Trace_ELBO):
    """`Trace_ELBO` for models inside `pyro.plate("replicate", R, dim=-2)`, without the last sum.

    The negative ELBO of each replicate stays apart, (R,), so that one that diverges can be told from the others.
    Latent sites must be reparameterised: a score-function term would need a baseline for each replicate.
    """

    def replicate_losses(self, model: Callable, guide: Callable, *args: Any) -> torch.Tensor:
        """-ELBO in nats, (R,), differentiable in the parameters of model and guide.

        Raises:
            ValueError: a latent site without `rsample`.
        """
        losses: torch.Tensor | float = 0.0
        # Pyro's own checks speak of the sum over replicates; the training loop looks at each.
        with pyro.settings.context(validate_poutine=False):
            traces = list(self._get_traces(model, guide, args, {}))
        for model_trace, guide_trace in traces:
            for site in model_trace.nodes.values():
                if site["type"] == "sample" and "log_prob" in site:
                    losses = losses - _by_replicate(site["log_prob"])
            for name, site in guide_trace.nodes.items():
                if site["type"] == "sample" and "log_prob" in site and not site["is_observed"]:
                    if not site["fn"].has_rsample:
                        raise ValueError(f"guide site {name!r}: {type(site['fn']).__name__} is not reparameterised")
                    losses = losses + _by_replicate(site["log_prob"])
        return torch.as_tensor(losses) / self.num_particles


def _by_replicate(log_prob: torch.Tensor) -> torch.Tensor:
    return log_prob.sum(-1) if log_prob.ndim >= 2 else log_prob


def no_guide(*args: Any) -> None:
    """The guide of a model without latent sites."""
