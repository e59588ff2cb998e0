"""Priors over a thickness sigma that a model learns, whose likelihood is unbounded where it fits N thin examples.

There the likelihood grows as sigma^-(N c), c the number of directions in which the data are thin. A log-normal prior
bounds the posterior, a half-normal does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

import pyro.distributions as dist
import torch
from pydantic import Field

from ..core.errors import invalid, unknown
from ..core.options import PER_REPLICATE
from ..core.process_state import holds
from ..training.batches import Batch, Loss, Noise
from ..training.method import Method, MethodOptions

if TYPE_CHECKING:
    from ..models.model import Model

#: Priors of a thickness sigma > 0 by name, each of a scale in the unit of sigma.
THICKNESS_PRIORS: dict[str, Any] = {
    "half_normal": lambda scale: dist.HalfNormal(scale),
    "log_normal": lambda scale: dist.LogNormal(scale.log(), torch.ones_like(scale)),
}


def thickness_log_prior(name: str, scale: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """ln p(sigma) of a learned thickness, (R,): half-normal of that scale, or log-normal of that median and ln-width 1.

    The half-normal leaves 0 as likely as anything, and a likelihood that is unbounded there stays so. Minus the
    logarithm of the log-normal grows as ½ ln² sigma, faster in the limit than the N c ln(1 / sigma) that a likelihood
    gains, so the posterior is bounded. Its mode lies at median · e^-(N c + 1), so far down that with many examples
    it does not keep a model from collapsing.

    Args:
        scale: (R,), > 0, in the unit of sigma. sigma: (R,), > 0.

    Raises:
        UnknownName: no such prior.
        ValueError: a scale that is not a finite number > 0.
    """
    if name not in THICKNESS_PRIORS:
        raise unknown("thickness prior", name, THICKNESS_PRIORS)
    if not holds(lambda: (scale.isfinite() & (scale > 0)).all()):
        raise invalid("scale", scale.tolist(), "finite numbers > 0")
    density: torch.Tensor = THICKNESS_PRIORS[name](scale.to(sigma)).log_prob(sigma)
    return density


class ThicknessPriorOptions(MethodOptions):
    """Options of a `ThicknessPriorMethod`."""

    thickness_prior: Annotated[
        Literal["flat", "half_normal", "log_normal"], Field(description="prior over the learned sigma")
    ] = "flat"
    thickness_prior_scale: Annotated[
        float,
        PER_REPLICATE,
        Field(gt=0, description="scale of the half-normal, median of the log-normal, in units of `scale`"),
    ] = 1.0


class ThicknessPriorMethod(Method):
    """A method whose module learns `sigma` (R,): its prior is counted once, its likelihood N times."""

    Options: ClassVar[type[MethodOptions]] = ThicknessPriorOptions

    @classmethod
    def regularise(cls, model: Model, loss: Loss, noise: Mapping[str, Noise]) -> tuple[Loss, Mapping[str, Noise]]:
        loss, noise = super().regularise(model, loss, noise)
        setting, options = model.setting, model.setting.options
        if options.thickness_prior == "flat":
            return loss, noise
        module = cast("Any", model.module)
        scale = (options.thickness_prior_scale * options.scale).to(device=setting.device, dtype=setting.dtype)

        def penalised(batch: Batch) -> torch.Tensor:
            log_prior = thickness_log_prior(options.thickness_prior, scale, module.sigma)
            return loss(batch) - log_prior / setting.budget.examples

        return penalised, noise
