"""What an energy of labels would lose as a density if each input had the temperature that suits it best."""

from __future__ import annotations

import math

import torch

from ..core.errors import NotMeasured
from ..core.spaces import Labels
from .measurement import Group, Measurement, mean, named
from .observation import Observation
from .readings import as_numpy

#: Halvings of an interval of ln beta: what is left of it changes a divergence by less than rounding does.
HALVINGS = 60
#: ln of the inverse temperatures that are looked among, over the range of the energies at an input.
REACH = 20.0


def gibbs_gap_input_beta(observed: Observation) -> dict[str, Measurement]:
    """Mean over held-out x of the least KL(p(. | x) || exp(-beta E) / Z) over beta >= 0, in nats; 0 for the truth.

    The temperature of each x is chosen knowing the truth, so that no beta(x) which anyone fits comes nearer: what is
    left is wrong in the energies' differences and not in their scale.
    """
    space = observed.tasks[0].y_space
    if not isinstance(space, Labels):
        raise NotMeasured(f"{observed.tasks[0].name}: answers are no labels, whose probabilities can be listed")
    observed.check_gibbs()
    x = observed.test[0]
    labels = space.every_answer()
    log_prob = observed.by_task(
        lambda r, task: torch.stack([task.reference.log_prob(x[r], label.expand(x.shape[1])) for label in labels], -1)
    )
    placed = observed.placed(x)
    with torch.no_grad():
        energies = [
            observed.model.energy(placed, label.expand(x.shape[:2]).to(placed.device)).double().cpu()
            for label in labels
        ]
    gap = divergence_at_best_beta(log_prob.double(), torch.stack(energies, -1))
    return {"gibbs_gap_input_beta": mean(as_numpy(gap))}


def divergence_at_best_beta(log_prob: torch.Tensor, energy: torch.Tensor) -> torch.Tensor:
    """min over beta >= 0 of KL(p || exp(-beta E) / Z), in nats, for ln p and E (..., K) float64: (...).

    The divergence is convex in beta, and its slope there E_p[E] - E_beta[E], which grows; bisection finds its zero. NaN
    where an energy is not finite.
    """
    least = energy.amin(-1, keepdim=True)
    excess = energy - least
    depth = excess.amax(-1)
    scaled = excess / torch.where(depth > 0, depth, 1.0).unsqueeze(-1)
    prob = log_prob.exp()
    wanted = (prob * scaled).sum(-1)
    low = torch.full_like(wanted, -REACH)
    high = torch.full_like(wanted, REACH)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        own = (-middle.exp().unsqueeze(-1) * scaled).softmax(-1)
        warmer = (own * scaled).sum(-1) > wanted  # too much weight on high energies: beta has to grow
        low, high = torch.where(warmer, middle, low), torch.where(warmer, high, middle)
    beta = ((low + high) / 2).exp().unsqueeze(-1)
    log_model = (-beta * scaled).log_softmax(-1)
    terms = torch.where(prob > 0, prob * (log_prob - log_model), 0.0)
    uniform = torch.where(prob > 0, prob * (log_prob + math.log(energy.shape[-1])), 0.0).sum(-1)
    found = torch.minimum(terms.sum(-1), uniform).clamp_min(0.0)
    return torch.where(energy.isfinite().all(-1), found, math.nan)


GROUPS = (Group(named("gibbs_gap_input_beta"), gibbs_gap_input_beta),)
