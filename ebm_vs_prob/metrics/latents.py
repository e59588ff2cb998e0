"""Where the values of a latent variable lead, against the answer set; and how well a guide knows them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from ..core.errors import NotMeasured
from ..energies.decoders import LinearDecoder
from ..models.capabilities import BoundsEvidence, Decodes
from .measurement import Group, Measurement, clustered, exact, mean, named, noted
from .observation import Observation, as_numpy

#: Answers compared with decoded points at once.
BLOCK = 64


def decoded(observed: Observation) -> dict[str, Measurement]:
    """Largest distance of a decoded point to the answer set, the share that is near it, and of answers with one near.

    All at each distinct input, the first the largest, the others their means; near is within three thicknesses, and .01
    at least.
    """
    name = observed.model.method.name
    model = observed.model
    if not isinstance(model, Decodes):
        raise NotMeasured(f"{name}: it decodes no latent variable")
    try:
        points = model.decoded(observed.distinct_inputs)
    except ValueError as error:
        raise NotMeasured(f"{name}: {error}") from None
    away = observed.distance(observed.distinct_inputs, points)
    answers = observed.true_answers
    exists = as_numpy(answers.isnan().any(-1)) == 0
    points = points.detach().cpu().double()
    nearest = torch.cat([torch.cdist(part, points).amin(-1) for part in answers.nan_to_num().split(BLOCK, 2)], -1)
    near = exists & (as_numpy(nearest) <= observed.target[:, None, None])
    with np.errstate(invalid="ignore"):
        shares = (near.sum(axis=2) / exists.sum(axis=2))[..., None]
    largest = exact(away.max(axis=(1, 2)))
    precision = clustered(
        np.where(np.isfinite(away).all(axis=(1, 2), keepdims=True), away <= observed.target[:, None, None], np.nan)
    )
    coverage = clustered(np.where(np.isfinite(away).all(axis=(1, 2))[:, None, None], shares, np.nan))
    return {
        "decoded_distance_max": Measurement(largest.value, largest.error, np.full(len(away), away[0].size)),
        "decoded_precision": precision,
        "decoded_coverage": Measurement(coverage.value, coverage.error, exists.sum(axis=(1, 2))),
        "decoded_agreement": _lesser(precision, coverage),
    }


def _lesser(one: Measurement, other: Measurement) -> Measurement:
    """Of each replicate the smaller of two measurements, with its error."""
    first = ~(other.value < one.value)
    value, error, n = (np.where(first, getattr(one, field), getattr(other, field)) for field in ("value", "error", "n"))
    return Measurement(value, error, n)


def elbo_gap(observed: Observation) -> dict[str, Measurement]:
    """Mean of ln q(y | x) - ELBO over held-out pairs: the divergence of the guide from the posterior of z, 0 if exact.

    ln q is in closed form where the decoder is linear, whatever the dimension of z. Elsewhere it is an estimate, and
    the note says where it is not to be trusted. The ELBO is a mean over draws of the guide, so that a gap near 0 may
    come out below it.
    """
    model = observed.model
    if not isinstance(model, BoundsEvidence):
        raise NotMeasured(f"{observed.model.method.name}: it has no guide of a latent variable")
    linear = isinstance(getattr(observed.model.module, "decoder", None), LinearDecoder)
    with torch.no_grad():
        log_density = as_numpy(linear_log_density(observed)) if linear else observed.log_density
        gap = mean(log_density - as_numpy(model.elbo(*observed.test)))
    return noted({"elbo_gap": gap}, "" if linear else observed.partition_note)


def linear_log_density(observed: Observation) -> torch.Tensor:
    """ln N(y; B x + b, W Wᵀ + σ² I) of a model with a linear decoder at the held-out pairs, (R, N) nats, float64.

    The marginal of z ~ N(0, I) (Tipping and Bishop 1999, eq. 5 and 6).
    """
    module: Any = observed.model.module
    x, y = (observed.placed(part) for part in observed.test)
    unit = torch.eye(module.latent_dim, dtype=y.dtype, device=y.device)
    origin = torch.zeros_like(unit[:1])
    nowhere = x.new_zeros(1, 1, x.shape[-1])
    columns = module.decoder.decode(nowhere, unit[None]) - module.decoder.decode(nowhere, origin[None])
    loc = module.decoder.decode(x, origin[None]).double().expand(*y.shape)
    variance = module.sigma.double().square().reshape(-1, 1, 1).expand_as(loc)
    factor = columns.double().mT.unsqueeze(1)
    # A replicate that diverged has no Cholesky factor, and to ask for it would end the others: its density is NaN.
    sound = torch.tensor([status.ok for status in observed.model.status], dtype=torch.bool, device=loc.device)
    sound = sound.reshape(-1, 1, 1)
    loc, variance = torch.where(sound, loc, math.nan), torch.where(sound, variance, 1.0)
    factor = torch.where(sound.unsqueeze(-1), factor, 0.0)
    marginal = torch.distributions.LowRankMultivariateNormal(loc, factor, variance, validate_args=False)
    log_density: torch.Tensor = marginal.log_prob(y.double())
    return log_density


GROUPS = (
    Group(named("decoded_distance_max", "decoded_precision", "decoded_coverage", "decoded_agreement"), decoded),
    Group(named("elbo_gap"), elbo_gap),
)
