"""Losses of decisions among finitely many, one number an example."""

from __future__ import annotations

import torch


def annealed_cost(energies: torch.Tensor, costs: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    """Σ_d q_d c_d + T Σ_d q_d ln q_d with q = exp(-E / T) / Z: mean cost less T times entropy (Rose 1998).

    Averaged over y it is T KL(q || exp(-E c / T) / Z) up to a constant, so that its minimum is E_d = E c_d at any T.

    Args:
        energies: of K decisions, (..., K). costs: of each where y comes out, (..., K). temperature: T, broadcasting.

    Returns:
        (...) in units of cost.
    """
    log_chances = (-energies / temperature).log_softmax(-1)
    return (log_chances.exp() * (costs + temperature * log_chances)).sum(-1)


def cost_sensitive_hinge(energies: torch.Tensor, costs: torch.Tensor) -> torch.Tensor:
    """Σ_d (c_d - min c) (f_d + 1 / (K - 1))₊ with f_d = mean E - E_d: Lee, Lin and Wahba 2004, of unequal costs.

    Its minimum over all functions decides for what costs least on average, whatever K and the costs are. A margin
    rescaled by the cost would not: of two decisions it takes the more frequent one.

    Args:
        energies: of K decisions, (..., K). costs: of each where y comes out, (..., K).

    Returns:
        (...)
    """
    lost = costs - costs.amin(-1, keepdim=True)
    score = energies.mean(-1, keepdim=True) - energies
    return (lost * (score + 1.0 / max(energies.shape[-1] - 1, 1)).clamp_min(0.0)).sum(-1)
