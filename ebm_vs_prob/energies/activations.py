"""Smooth activations with their first and second derivatives, for gradients and Hessian products in closed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

from ..core.tensors import in_whole_vectors

Activation = Literal["silu", "softplus", "tanh"]


def silu(a: torch.Tensor) -> torch.Tensor:
    """a sigmoid(a), the same in any company."""
    return in_whole_vectors(nn.functional.silu, a)


def softplus(a: torch.Tensor) -> torch.Tensor:
    """ln(1 + exp(a)), the same in any company."""
    return in_whole_vectors(nn.functional.softplus, a)


def sigmoid(a: torch.Tensor) -> torch.Tensor:
    """1 / (1 + exp(-a)), the same in any company."""
    return in_whole_vectors(torch.sigmoid, a)


ACTIVATIONS: dict[Activation, Callable[[torch.Tensor], torch.Tensor]] = {
    "silu": silu,
    "softplus": softplus,
    "tanh": torch.tanh,
}


def with_derivative(activation: Activation, a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """f(a) and f'(a), of the shape of a."""
    if activation == "tanh":
        value = torch.tanh(a)
        return value, 1 - value * value
    gate = sigmoid(a)
    if activation == "softplus":
        return softplus(a), gate
    value = a * gate
    return value, torch.addcmul(gate + value, value, gate, value=-1)


def with_derivatives(activation: Activation, a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """f(a), f'(a) and f''(a), of the shape of a."""
    if activation == "tanh":
        value, slope = with_derivative("tanh", a)
        return value, slope, -2 * value * slope
    gate = sigmoid(a)
    rest = 1 - gate
    if activation == "softplus":
        return softplus(a), gate, gate * rest
    value = a * gate
    slope = torch.addcmul(gate, value, rest)
    return value, slope, rest * torch.addcmul(gate + slope, value, gate, value=-1)


def pull_back(activation: Activation, gradient: torch.Tensor, a: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """gradient · f'(a) from a and value = f(a), all of one shape, where nothing differentiates it further.

    One fused operation in place of the four or five of `with_derivative` and a product.
    """
    if activation == "tanh":
        return torch.ops.aten.tanh_backward(gradient, value)
    if activation == "silu":
        return in_whole_vectors(torch.ops.aten.silu_backward, gradient, a)
    return gradient * sigmoid(a)
