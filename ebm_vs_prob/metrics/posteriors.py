"""Whether the chains behind a posterior's draws agree and how many independent draws they are worth."""

from __future__ import annotations

import numpy as np

from ..core.errors import NotMeasured
from ..gibbs.trust import MAX_PARTITION_GAP
from ..models.capabilities import DiagnosesChains
from ..samplers.diagnostics import MAX_R_HAT, MIN_ESS
from .measurement import Group, Measurement, exact, named, noted
from .observation import Observation, as_numpy


def chains(observed: Observation) -> dict[str, Measurement]:
    """Largest rank-normalised split R-hat and smallest bulk effective sample size over the followed functions.

    They are log-densities of training pairs under the draws (Vehtari et al. 2021, through ArviZ; in function space as
    Izmailov et al. 2021). A function that is the same at all states has no R-hat and is left out.

    The notes say where R-hat exceeds 1.01, fewer than 400 draws are effective, transitions diverged, or the ln Z of
    training was off.
    """
    model = observed.model
    found = model.posterior_diagnostics() if isinstance(model, DiagnosesChains) else None
    if found is None:
        raise NotMeasured(f"{model.method.name}: no chains of weights stand behind it")
    r_hat, ess = as_numpy(found.r_hat), as_numpy(found.ess)
    lost = np.isnan(ess).any(axis=1)  # of a constant function ArviZ gives no R-hat, and an effective sample size
    highest = np.where(lost, np.nan, np.where(np.isnan(r_hat), -np.inf, r_hat).max(axis=1))
    highest = np.where(np.isneginf(highest), np.nan, highest)
    least = np.where(lost, np.nan, ess.min(axis=1))
    diverged = np.nansum(as_numpy(found.divergences), axis=1)
    gaps = np.nan_to_num(as_numpy(found.partition_gap)).max(axis=1)
    lines = []
    for r in range(len(r_hat)):
        doubts = {
            f"R-hat {highest[r]:.3f} above {MAX_R_HAT}": highest[r] > MAX_R_HAT,
            f"effective sample size {least[r]:.0f} below {MIN_ESS}": least[r] < MIN_ESS,
            f"{diverged[r]:.0f} divergent transitions": diverged[r] > 0,
            f"the sampler's log Z off by up to {gaps[r]:.2f} nats": gaps[r] > MAX_PARTITION_GAP,
        }
        lines += [f"{doubt} (replicate {r})" for doubt, holds in doubts.items() if holds]
    measured = {"posterior_r_hat_max": exact(highest), "posterior_ess_min": exact(least)}
    return noted(measured, "; ".join(lines)) if lines else measured


GROUPS = (Group(named("posterior_r_hat_max", "posterior_ess_min"), chains),)
