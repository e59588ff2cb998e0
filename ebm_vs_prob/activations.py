"""Smooth activations with their first and second derivatives, for gradients and Hessian products in closed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

Activation = Literal["silu", "softplus", "tanh"]

ACTIVATIONS: dict[Activation, Callable[[torch.Tensor], torch.Tensor]] = {
    "silu": nn.functional.silu,
    "softplus": nn.functional.softplus,
    "tanh": torch.tanh,
}


def with_derivative(activation: Activation, a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """f(a) and f'(a), of the shape of a."""
    if activation == "tanh":
        value = torch.tanh(a)
        return value, 1 - value * value
    gate = torch.sigmoid(a)
    if activation == "softplus":
        return nn.functional.softplus(a), gate
    value = a * gate
    return value, torch.addcmul(gate + value, value, gate, value=-1)


def second_derivative(
    activation: Activation, a: torch.Tensor, value: torch.Tensor, slope: torch.Tensor
) -> torch.Tensor:
    """f''(a), of the shape of a, from what `with_derivative` gave."""
    if activation == "tanh":
        return -2 * value * slope
    gate = torch.sigmoid(a)
    return (1 - gate) * (gate if activation == "softplus" else gate + slope - value * gate)
