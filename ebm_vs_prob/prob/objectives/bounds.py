"""What training a probabilistic model minimises: bounds on the evidence by Pyro's traces, one number a replicate.

Models and guides are Pyro's own, inside `pyro.plate("replicate", R, dim=-2)` around `pyro.plate("data", B, dim=-1)`;
several particles are a further plate outside of both, at dim -3. A guide that stratifies its draws, as a mixture does
over its components, tells the shares of the strata by `pyro.sample(..., infer={LOG_SHARES: ...})`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro
import torch
from pyro.infer import Trace_ELBO

from ...core.errors import check_count, invalid
from ...core.process_state import in_turn
from ...core.tensors import inner, tensor_of

#: Key of a guide site's `infer`: ln of the shares of S strata, (S, R, B), to which particles belong in turn.
LOG_SHARES = "log_shares"


class ReplicatedELBO(Trace_ELBO):
    """`Trace_ELBO` for models inside `pyro.plate("replicate", R, dim=-2)`, without the last sum.

    The negative ELBO of each replicate stays apart, (R,), so that one that diverges can be told from the others.
    Latent sites must be reparameterised: a score-function term would need a baseline for each replicate.

    Args:
        num_particles: draws K of the guide, in a plate at dim -3; their mean is taken.

    Raises:
        ValueError: a count below 1.
    """

    def __init__(self, num_particles: int = 1) -> None:
        check_count("num_particles", num_particles)
        super().__init__(num_particles=num_particles, max_plate_nesting=2, vectorize_particles=num_particles > 1)

    @property
    def is_lower_bound(self) -> bool:
        """Whether the expectation of what is estimated is at most the log-evidence, for every guide."""
        return True

    def replicate_losses(self, model: Callable, guide: Callable, *args: Any) -> torch.Tensor:
        """-ELBO in nats, (R,), differentiable in the parameters of model and guide.

        Raises:
            ValueError: a latent site without `rsample`; with strata, what `example_values` refuses.
        """
        model_sites, guide_sites = self._sites(model, guide, args)
        if any(LOG_SHARES in site["infer"] for site in guide_sites.values()):
            return -self._combined(model_sites, guide_sites).sum(-1)
        total: torch.Tensor | float = 0.0
        for site in model_sites.values():
            total = total + _by_replicate(site["log_prob"])
        for site in guide_sites.values():
            total = total - _by_replicate(site["log_prob"])
        total = tensor_of(total)
        return -(inner(total).mean(-1) if self.num_particles > 1 else total)

    def example_values(self, model: Callable, guide: Callable, *args: Any) -> torch.Tensor:
        """The objective itself, a bound on the log-evidence of each example, (R, B) nats.

        Raises:
            ValueError: a latent site without `rsample`, any site outside of the plates, or a plate that subsamples.
        """
        return self._combined(*self._sites(model, guide, args))

    def combine(self, log_weights: torch.Tensor, log_shares: torch.Tensor) -> torch.Tensor:
        """What K log-weights ln p(y, z_k) - ln q(z_k), (K, R, B), of shares that sum to 1 say of ln p(y): (R, B)."""
        return inner(log_shares.exp() * log_weights).sum(-1)

    def _combined(self, model_sites: dict[str, Any], guide_sites: dict[str, Any]) -> torch.Tensor:
        log_weights: torch.Tensor | float = 0.0
        strata: torch.Tensor | None = None
        _check_examples(model_sites, guide_sites)
        for site in model_sites.values():
            log_weights = log_weights + site["log_prob"]
        for site in guide_sites.values():
            log_weights = log_weights - site["log_prob"]
            strata = site["infer"].get(LOG_SHARES, strata)
        log_weights = tensor_of(log_weights)
        log_shares = of_particles(strata, self.num_particles, log_weights)
        return self.combine(log_weights if self.num_particles > 1 else log_weights.unsqueeze(0), log_shares)

    @in_turn
    def _sites(self, model: Callable, guide: Callable, args: tuple[Any, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Sites with a log-probability of the model, and the latent ones of the guide."""
        # Pyro's own checks speak of the sum over replicates; the training loop looks at each.
        with pyro.settings.context(validate_poutine=False):
            ((model_trace, guide_trace),) = self._get_traces(model, guide, args, {})
        model_sites = {name: site for name, site in model_trace.nodes.items() if _has_density(site)}
        guide_sites = {
            name: site for name, site in guide_trace.nodes.items() if _has_density(site) and not site["is_observed"]
        }
        for name, site in guide_sites.items():
            if not site["fn"].has_rsample:
                raise ValueError(f"guide site {name!r}: {type(site['fn']).__name__} is not reparameterised")
        return model_sites, guide_sites


class ReplicatedRenyi(ReplicatedELBO):
    """The variational Rényi objective 1/(1-α) ln (1/K) Σ_k w_k^(1-α), one a replicate (Li and Turner 2016, eq. 9).

    α = 1 is the ELBO, α = 0 the importance-weighted bound. At α >= 0 it is at most the log-evidence in expectation,
    whatever K; at α < 0 it crosses over to the other side as K grows (their theorem 2).

    Args:
        alpha: the order α, any finite number.
        num_particles: K.

    Raises:
        ValueError: an order that is not finite, a count below 1.
    """

    def __init__(self, alpha: float, num_particles: int = 8) -> None:
        if not math.isfinite(alpha):
            raise invalid("alpha", alpha, "a finite number")
        super().__init__(num_particles)
        self.alpha = float(alpha)

    @property
    def is_lower_bound(self) -> bool:
        return self.alpha >= 0

    def replicate_losses(self, model: Callable, guide: Callable, *args: Any) -> torch.Tensor:
        """Minus the objective in nats, summed over the examples: (R,), differentiable in all parameters.

        Raises:
            ValueError: a latent site without `rsample`, any site outside of the plates, or a plate that subsamples.
        """
        return -self.example_values(model, guide, *args).sum(-1)

    def combine(self, log_weights: torch.Tensor, log_shares: torch.Tensor) -> torch.Tensor:
        power = 1 - self.alpha
        if power == 0:
            return super().combine(log_weights, log_shares)
        if power == 1:
            return inner(log_weights + log_shares).logsumexp(-1)
        # Dividing by a small power magnifies rounding, that of the shares' sum too, so the sum is found and taken off.
        exact = log_shares.double().expand(log_weights.shape)
        value = (inner(power * log_weights.double() + exact).logsumexp(-1) - inner(exact).logsumexp(-1)) / power
        return value.to(log_weights.dtype)


class ReplicatedIWAE(ReplicatedRenyi):
    """The importance-weighted bound ln (1/K) Σ_k w_k, one a replicate (Burda, Grosse and Salakhutdinov 2016, eq. 8).

    In expectation at most the log-evidence and never lower for a larger K (their theorem 1). With strata it is the
    stratified bound of Morningstar et al. 2021, *Automatic differentiation variational inference with mixtures*, eq. 8.
    """

    def __init__(self, num_particles: int) -> None:
        super().__init__(0.0, num_particles)


def of_particles(log_shares: torch.Tensor | None, num_particles: int, like: torch.Tensor) -> torch.Tensor:
    """ln of the shares of K particles, which sum to 1 over them: (K, *n) of those of S strata (S, *n), else one number.

    Its dtype and device are those of the log-weights, `like`.

    Raises:
        ValueError: K is no multiple of S.
    """
    if log_shares is None:
        return torch.full((), -math.log(num_particles), dtype=like.dtype, device=like.device)
    each, rest = divmod(num_particles, len(log_shares))
    if rest:
        raise invalid("num_particles", num_particles, f"a multiple of the guide's {len(log_shares)} strata")
    return log_shares.to(like).repeat(each, *[1] * (log_shares.ndim - 1)) - math.log(each)


def _check_examples(model_sites: dict[str, Any], guide_sites: dict[str, Any]) -> None:
    """Raise a `ValueError` unless every site has a log-probability of each example, (..., R, B), which stands for it.

    What is summed outside of the data plate, and what stands for several examples, would be counted B times or once.
    """
    named = [("model", *item) for item in model_sites.items()] + [("guide", *item) for item in guide_sites.items()]
    shapes = [tuple(site["log_prob"].shape) for _, _, site in named]
    whole = tuple(max((shape[dim] for shape in shapes if len(shape) >= 2), default=1) for dim in (-2, -1))
    for (of, name, site), shape in zip(named, shapes, strict=True):
        if not (isinstance(site["scale"], (int, float)) and site["scale"] == 1):
            raise invalid(f"scale of site {name!r}", site["scale"], "1: importance weights do not subsample")
        if shape[-2:] != whole:
            sizes = ", ".join(map(str, whole))
            valid = f"(..., {sizes}): importance weights are those of examples, inside the data plate"
            raise invalid(f"shape of {of} site {name!r}", shape, valid)


def _has_density(site: dict[str, Any]) -> bool:
    return site["type"] == "sample" and "log_prob" in site


def _by_replicate(log_prob: torch.Tensor) -> torch.Tensor:
    return log_prob.sum(-1) if log_prob.ndim >= 2 else log_prob


def no_guide(*args: Any) -> None:
    """The guide of a model without latent sites."""
