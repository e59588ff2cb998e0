"""Convergence of chains: R-hat and effective sample sizes through ArviZ, and what is asked of them."""

from __future__ import annotations

import torch

#: ArviZ splits each chain in two and ranks the draws, which takes this many.
MIN_CHAINS, MIN_DRAWS = 2, 4
#: Above this chains do not agree; below this many effective draws R-hat itself says little (Vehtari et al. 2021).
MAX_R_HAT, MIN_ESS = 1.01, 400


def diagnostics(y: torch.Tensor) -> dict[str, torch.Tensor]:
    """`r_hat`, `ess` (bulk) and `ess_tail` of draws (R, *n, chains, draws, dy), each (R, *n, dy) float64, by ArviZ.

    A replicate with draws that are not finite has NaN.
    """
    import warnings

    import arviz

    shape = (*y.shape[:-3], y.shape[-1])
    quantities = y.detach().cpu().double().flatten(0, -4).movedim(0, 2).numpy()  # (chains, draws, R * n, dy)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "More chains", UserWarning)  # which is how many short chains look
        data = arviz.convert_to_dataset({"y": quantities})
    computed = {
        "r_hat": arviz.rhat(data),
        "ess": arviz.ess(data, method="bulk"),
        "ess_tail": arviz.ess(data, method="tail"),
    }
    return {
        name: torch.as_tensor(value["y"].values, dtype=torch.float64, device="cpu").reshape(shape)
        for name, value in computed.items()
    }
