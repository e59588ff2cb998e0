"""Proper scores beside likelihood, of a mixture of diagonal Gaussians and of draws: what else has the truth as minimum.

Everywhere `log_weights` (R, B, K) are normalised, `loc` and `scale` (R, B, K, dy), with B = 1 where one mixture serves
all examples, and y (R, B, dy). A score is a loss: lower is better. Results are (R,).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from ...core.tensors import in_whole_vectors
from ...energies.activations import softplus

#: Squared distances below it count as it, so that a distance has a gradient where it is 0.
LEAST_SQUARED = 1e-12


def mixture_crps(log_weights: torch.Tensor, loc: torch.Tensor, scale: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """E|Y - y| - ½ E|Y - Y'|, the continuous ranked probability score, in closed form for dy = 1: in units of y.

    Grimit, Gneiting, Berrocal and Johnson 2006, eq. 5; ∫ (F(u) - 1{y <= u})² du (Matheson and Winkler 1976).
    """
    weights, loc, scale = _exp(log_weights), loc.squeeze(-1), scale.squeeze(-1)
    near = (weights * _mean_distance(y - loc, scale)).sum(-1)
    both = weights.unsqueeze(-1) * weights.unsqueeze(-2)
    spread = (scale.unsqueeze(-1).square() + scale.unsqueeze(-2).square()).sqrt()
    apart = (both * _mean_distance(loc.unsqueeze(-1) - loc.unsqueeze(-2), spread)).flatten(-2).sum(-1)
    return (near - apart / 2).mean(-1)


def mixture_energy_score(
    log_weights: torch.Tensor, loc: torch.Tensor, scale: torch.Tensor, y: torch.Tensor, noise: torch.Tensor
) -> torch.Tensor:
    """E‖Y - y‖ - ½ E‖Y - Y'‖ (Gneiting and Raftery 2007, eq. 22 at β = 1), without bias from two draws a component.

    The weights enter as they are and not by draws, so that the estimate has a gradient in them: in units of y.

    Args:
        noise: standard normals, (R, B, 2, K, dy).
    """
    weights, (first, second) = _exp(log_weights), (loc + scale * own for own in noise.unbind(2))
    near = (weights * _length(first - y.unsqueeze(-2))).sum(-1)
    both = weights.unsqueeze(-1) * weights.unsqueeze(-2)
    apart = (both * _length(first.unsqueeze(-2) - second.unsqueeze(-3))).flatten(-2).sum(-1)
    return (near - apart / 2).mean(-1)


def sampled_energy_score(draws: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The energy score of whatever can be drawn from by moving noise, without bias from M >= 2 draws: in units of y.

    E‖Y - y‖ is the mean over the draws, E‖Y - Y'‖ that over all pairs of different ones.

    Args:
        draws: of the law at the x of each example, differentiable in its parameters, (R, B, M, dy).
    """
    count = draws.shape[-2]
    near = _length(draws - y.unsqueeze(-2)).mean(-1)
    first, second = torch.triu_indices(count, count, offset=1, device=draws.device)
    apart = _length(draws[..., first, :] - draws[..., second, :]).mean(-1)
    return (near - apart / 2).mean(-1)


def mixture_score_matching(
    log_weights: torch.Tensor, loc: torch.Tensor, scale: torch.Tensor, y: torch.Tensor
) -> torch.Tensor:
    """½ ‖∇ ln q‖² + Δ ln q at y, in closed form (Hyvärinen 2005, eq. 4): over the unit of y, squared.

    Not bounded below on finitely many answers: a component that sits on one of them gains dy / scale².
    """
    inverse = 1 / scale.square()
    pull = (y.unsqueeze(-2) - loc) * inverse
    parts = log_weights - in_whole_vectors(torch.log, scale).sum(-1) - 0.5 * (pull.square() / inverse).sum(-1)
    shares = _exp(parts - parts.logsumexp(-1, keepdim=True)).unsqueeze(-1)
    gradient = (shares * pull).sum(-2)
    bend = (shares * (pull.square() - inverse)).sum(-2) - gradient.square()
    return (0.5 * gradient.square() + bend).sum(-1).mean(-1)


def mixture_reverse_divergence(
    log_weights: torch.Tensor,
    loc: torch.Tensor,
    scale: torch.Tensor,
    log_target: Callable[[torch.Tensor], torch.Tensor],
    noise: torch.Tensor,
) -> torch.Tensor:
    """KL(q ‖ p) = E_q[ln q - ln p] in nats, by draws of each component, which its weight counts.

    In ln q the parameters are held fixed and y alone moves with them, which leaves out a term of mean zero; the
    gradient of a q that is p is then 0 at every draw (Roeder, Wu and Duvenaud 2017, eq. 6).

    Args:
        log_target: ln p of points (R, n, dy), (R, n).
        noise: standard normals, (R, B, M, K, dy) for B = 1 or as many as there are mixtures.
    """
    weights = _exp(log_weights).unsqueeze(-2)
    y = loc.unsqueeze(-3) + scale.unsqueeze(-3) * noise  # (R, B, M, K, dy)
    fixed_weights, fixed_loc, fixed_scale = log_weights.detach(), loc.detach(), scale.detach()
    standard = (y.unsqueeze(-2) - fixed_loc[..., None, None, :, :]) / fixed_scale[..., None, None, :, :]
    parts = -0.5 * standard.square().sum(-1) - in_whole_vectors(torch.log, fixed_scale).sum(-1)[..., None, None, :]
    log_model = (parts + fixed_weights[..., None, None, :]).logsumexp(-1) - 0.5 * math.log(2 * math.pi) * y.shape[-1]
    target = log_target(y.flatten(1, -2)).reshape(log_model.shape).to(log_model)
    return (weights * (log_model - target)).sum(-1).mean((-2, -1))


def density_noise_contrast(log_data: torch.Tensor, log_noise: torch.Tensor, log_density: float) -> torch.Tensor:
    """-E ln h(y) - nu E ln(1 - h(y')), h = q / (q + nu u), of a normalised q: Gutmann and Hyvärinen 2012, eq. 8.

    Args:
        log_data: ln q at the answers, (R, B). log_noise: ln q at nu B draws of the noise u, (R, B, nu).
        log_density: ln u, the same everywhere, nats.
    """
    draws = log_noise.shape[-1]
    offset = log_density + math.log(draws)
    return softplus(offset - log_data).mean(-1) + draws * softplus(log_noise - offset).mean((-2, -1))


def _mean_distance(loc: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """E|N(loc, scale²)|."""
    standard = loc / scale
    density = _exp(-0.5 * standard.square()) / math.sqrt(2 * math.pi)
    return 2 * scale * density + loc * in_whole_vectors(torch.erf, standard / math.sqrt(2))


def _length(vector: torch.Tensor) -> torch.Tensor:
    return vector.square().sum(-1).clamp_min(LEAST_SQUARED).sqrt()


def _exp(value: torch.Tensor) -> torch.Tensor:
    return in_whole_vectors(torch.exp, value)
