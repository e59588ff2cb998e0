"""What score matching minimises: the Fisher divergence between data and model, up to a constant of the data.

The score of a model is -∇_y E, so no objective here sees the energy's level. F(p, E) = ½ E_p ‖∇ ln p + ∇E‖² is the
Fisher divergence; `score_matching_loss` is F - ½ E_p ‖∇ ln p‖², with p the density of the answers it is given.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from ..energies import energy_and_gradient


def gradient_and_products(
    energy: nn.Module, x: torch.Tensor, y: torch.Tensor, directions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """∇_y E (R, B, dy) and the products of ∇_y² E with M directions, (R, M, B, dy); differentiable in the parameters.

    Tangents of ∇_y E along all directions at once, so the Hessian is never formed: an energy may bring its own
    `gradient_and_products(x, y, directions)`; of any other, forward-mode differentiation of its gradient, or, for speed
    outside a compiled loss, reverse-mode differentiation with one pass a direction.

    Args:
        energy: any replicated energy, twice differentiable in y.
        x: (R, B, dx). y: (R, B, dy). directions: (R, M, B, dy).
    """
    own = getattr(energy, "gradient_and_products", None)
    if own is not None:
        return cast("tuple[torch.Tensor, torch.Tensor]", own(x, y, directions))
    if not torch.compiler.is_compiling():
        return _by_reverse_mode(energy, x, y, directions)

    def slope(point: torch.Tensor) -> torch.Tensor:
        return energy_and_gradient(energy, x, point)[1]

    def along(direction: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return cast("tuple[torch.Tensor, torch.Tensor]", torch.func.jvp(slope, (y,), (direction,)))

    gradient, products = torch.func.vmap(along, in_dims=1, out_dims=(None, 1))(directions)  # type: ignore[arg-type]
    return gradient, products


@torch.enable_grad()
def _by_reverse_mode(
    energy: nn.Module, x: torch.Tensor, y: torch.Tensor, directions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The Hessian is symmetric, so the derivative of ∇E · v is its product with v."""
    point = y.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(energy(x, point).sum(), point, create_graph=True, materialize_grads=True)
    if not gradient.requires_grad:
        return gradient, torch.zeros_like(directions)
    products = [
        torch.autograd.grad(gradient, point, v, create_graph=True, materialize_grads=True)[0]
        for v in directions.unbind(1)
    ]
    return gradient, torch.stack(products, 1)


def gradient_and_trace(energy: nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """∇_y E (R, B, dy) and tr ∇_y² E (R, B), exact: one product a dimension of y. Arguments as in the products."""
    axes = torch.eye(y.shape[-1], dtype=y.dtype, device=y.device).unsqueeze(1)
    directions = axes.expand(y.shape[0], -1, y.shape[1], -1).contiguous()
    gradient, products = gradient_and_products(energy, x, y, directions)
    return gradient, (products * directions).sum((1, 3))


def score_matching_loss(gradient: torch.Tensor, trace: torch.Tensor) -> torch.Tensor:
    """E [½ ‖∇E‖² - tr ∇²E], (R,): Hyvärinen 2005, eq. 4, with the score -∇E.

    Args:
        gradient: ∇_y E at the answers, (R, B, dy).
        trace: tr ∇_y² E there, (R, B).
    """
    return (0.5 * gradient.square().sum(-1) - trace).mean(-1)


def sliced_score_matching_loss(
    gradient: torch.Tensor, products: torch.Tensor, projections: torch.Tensor, variance_reduced: bool
) -> torch.Tensor:
    """E [½ (vᵀ∇E)² - vᵀ∇²E v] over examples and projections v with E vvᵀ = I, (R,): Song et al. 2019, sec. 3.

    Variance reduced, the first term's expectation over v is taken exactly: ½ ‖∇E‖² ("SSM-VR", ibid.).
    Either has the expectation of `score_matching_loss`.

    Args:
        gradient: ∇_y E at the answers, (R, B, dy).
        products: ∇_y² E v, (R, M, B, dy).
        projections: the v, (R, M, B, dy).
    """
    curvature = (products * projections).sum(-1).mean(1)
    if variance_reduced:
        return score_matching_loss(gradient, curvature)
    slope = (gradient.unsqueeze(1) * projections).sum(-1)
    return (0.5 * slope.square().mean(1) - curvature).mean(-1)


def denoising_score_matching_loss(gradient: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """½ E ‖sigma ∇E(x, y + sigma n) - n‖², (R,): Vincent 2011, eq. 9, times sigma² so that noise levels compare.

    The score of the blurred data is -∇E; its target at y + sigma n is -n / sigma. The loss is sigma² F(p_sigma, E) plus
    a constant, with p_sigma the density of the blurred data.

    Args:
        gradient: ∇_y E at the noisy points, (R, B, dy).
        noise: the standard normals n, (R, B, dy).
        sigma: noise level in the units of y, (R, 1, 1), or one an example, (R, B, 1).
    """
    return 0.5 * (sigma * gradient - noise).square().sum(-1).mean(-1)


def stratified_levels(low: torch.Tensor, high: torch.Tensor, levels: int, uniform: torch.Tensor) -> torch.Tensor:
    """A noise level an example, (R, B, 1), from a geometric progression of `levels` (Song and Ermon 2019, sec. 4.2).

    Example b takes level floor(levels · (b + u) / B): uniform over the levels, and spread evenly over the minibatch.

    Args:
        low: smallest level, (R, 1, 1). high: largest level, (R, 1, 1).
        levels: how many, at least 2.
        uniform: the u, on [0, 1), (R, B, 1).
    """
    size = uniform.shape[1]
    example = torch.arange(size, dtype=uniform.dtype, device=uniform.device).unsqueeze(-1)
    level = (levels * (example + uniform) / size).floor().clamp_max(levels - 1)
    return low * (high / low) ** (level / (levels - 1))
