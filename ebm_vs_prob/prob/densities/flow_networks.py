"""Networks that give the parameters of a flow's layers, replicate-native, in the shapes that Pyro's transforms take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from pyro.nn.auto_reg_nn import create_mask
from torch import nn

from ...energies.activations import ACTIVATIONS, Activation
from ...energies.mlp import Network, ReplicatedMLP


class MaskedMLP(ReplicatedMLP):
    """R masked autoencoders (MADE, Germain et al. 2015): (R or 1, *n, context + value) -> (R, *n, p · value).

    Outputs for coordinate `permutation[k]` depend on coordinates `permutation[:k]` and on the context alone. The masks
    are Pyro's, those of `pyro.nn.ConditionalAutoRegressiveNN` (Paige and Wood 2016, section 3.3).
    """

    def __init__(
        self,
        seeds: Sequence[int],
        context_dim: int,
        permutation: torch.Tensor,
        hidden: Sequence[int],
        outputs: int,
        activation: Activation = "silu",
    ) -> None:
        dim = len(permutation)
        super().__init__(seeds, (context_dim + dim, *hidden, outputs * dim), activation)
        masks, _ = create_mask(dim, context_dim, list(hidden), cast("torch.LongTensor", permutation), outputs)
        for layer, mask in enumerate(masks):
            self.register_buffer(f"mask_{layer}", mask.T.contiguous())

    def forward(self, u: torch.Tensor) -> torch.Tensor:
        for layer, weight in enumerate(self.weights):
            if layer:
                u = ACTIVATIONS[self.activation](u)
            u = self.product(u, weight * getattr(self, f"mask_{layer}")) + self.bias(layer, u.ndim)
        return u


class Hypernetwork(nn.Module):
    """R dense networks of a value and a context: what Pyro's couplings call `hypernet`.

    Args:
        seeds: one a replicate.
        value_dim: width of the value.
        context_dim: width of the context, 0 where there is none.
        network: hidden widths and activation.
        param_dims: widths of the parameters.
    """

    def __init__(
        self, seeds: Sequence[int], value_dim: int, context_dim: int, network: Network, param_dims: Sequence[int]
    ) -> None:
        super().__init__()
        sizes = (value_dim + context_dim, *network.hidden, sum(param_dims))
        self.trunk = ReplicatedMLP(seeds, sizes, network.activation)
        self.param_dims = tuple(param_dims)

    def forward(self, value: torch.Tensor, context: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        """The parameters, (R, *n, p) each, of a value (R or 1, *n, value_dim) and a context that broadcasts over it."""
        outputs: torch.Tensor = self.trunk(value if context is None else _beside(value, context))
        return outputs.split(self.param_dims, dim=-1)


class AutoregressiveHypernetwork(nn.Module):
    """R masked networks of a value and a context: what Pyro's transforms call `autoregressive_nn`.

    Args:
        seeds: one a replicate.
        permutation: the order in which coordinates follow one another, int64 (value_dim,).
        context_dim: width of the context, 0 where there is none.
        network: hidden widths and activation.
        param_dims: numbers of each parameter a coordinate.
    """

    permutation: torch.Tensor

    def __init__(
        self,
        seeds: Sequence[int],
        permutation: torch.Tensor,
        context_dim: int,
        network: Network,
        param_dims: Sequence[int],
    ) -> None:
        super().__init__()
        self.register_buffer("permutation", permutation)
        self.trunk = MaskedMLP(seeds, context_dim, permutation, network.hidden, sum(param_dims), network.activation)
        self.param_dims = tuple(param_dims)

    def get_permutation(self) -> torch.Tensor:
        """The order of the coordinates, (value_dim,) int64."""
        return self.permutation

    def forward(self, value: torch.Tensor, context: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The parameters of every coordinate of a value (R or 1, *n, value_dim) and a context that broadcasts over it.

        (R, *n, value_dim) each where there is one of each a coordinate, (R, *n, p, value_dim) otherwise.
        """
        # Pyro inverts an affine layer from zeros of torch's default dtype.
        outputs = self.trunk(_beside(context, value.to(self.trunk.weights[0])))
        split = outputs.unflatten(-1, (-1, value.shape[-1])).split(self.param_dims, dim=-2)
        return tuple(part.squeeze(-2) for part in split) if set(self.param_dims) == {1} else split


def _beside(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Two vectors as one, broadcast over their leading dimensions; one of width 0 adds nothing."""
    if not second.shape[-1]:
        return first
    if not first.shape[-1]:
        return second
    lead = torch.broadcast_shapes(first.shape[:-1], second.shape[:-1])
    return torch.cat([first.expand(*lead, -1), second.expand(*lead, -1)], dim=-1)
