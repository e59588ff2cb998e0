"""Derivatives of a replicated energy in y beyond the gradient: products with the Hessian, and its trace."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn


def gradient_and_products(
    energy: nn.Module, x: torch.Tensor, y: torch.Tensor, directions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """∇_y E (R, B, dy) and the products of ∇_y² E with M directions, (R, M, B, dy); differentiable in the parameters.

    The Hessian is never formed. An energy may bring its own `gradient_and_products(x, y, directions)`, with tangents
    along all directions at once; any other is differentiated backwards, with one pass a direction.

    Args:
        energy: any replicated energy, twice differentiable in y.
        x: (R, B, dx). y: (R, B, dy). directions: (R, M, B, dy).
    """
    own = getattr(energy, "gradient_and_products", None)
    if own is not None:
        return cast("tuple[torch.Tensor, torch.Tensor]", own(x, y, directions))
    return _by_reverse_mode(energy, x, y, directions)


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
