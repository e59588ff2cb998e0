"""Energy networks written for replicates: R copies with stacked weights, evaluated by batched products.

A *replicated energy* is any `nn.Module` with `num_replicates` and `forward(x, y)` that takes (R or 1, *n, dx) and
(R or 1, *n, dy), broadcasts the leading dimensions and gives (R, *n). `Network` builds the package's own; `replicated`
makes one of any other module.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer
from torch import nn

from ..core.errors import invalid
from ..core.options import Options
from ..core.replicate_noise import replicate_generators, replicate_noise
from ..core.tensors import in_whole_vectors
from .activations import ACTIVATIONS, Activation, pull_back, with_derivative, with_derivatives
from .products import affine, batched_matmul, in_order, product, row_matmul, whole_rows, without_padding


class Network(Options):
    """The trunk every trained method of a comparison shares: a multilayer perceptron."""

    hidden: Annotated[
        tuple[Annotated[int, Field(ge=1, le=1 << 16)], ...],
        BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),
        Field(max_length=64, description="widths of the hidden layers; none where outputs are linear in x"),
    ] = (32, 32)
    activation: Annotated[Activation, Field(description="smooth, so that energies have Hessians")] = "silu"
    learned_scale: Annotated[
        bool, Field(description="learn one number s a replicate that makes the energy e^s times the network's output")
    ] = False

    form: Annotated[
        Literal["free", "bump"],
        Field(description="energies of real y: any function, or one Gaussian well whose place and widths depend on x"),
    ] = "free"
    factors: Annotated[
        Literal["chain", "whole"],
        Field(description="of sequences: energies of neighbours added up, or one of all symbols, up to 65,536 strings"),
    ] = "chain"

    @model_serializer(mode="wrap")
    def _without_what_is_usual(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Trials are known by what is written of their network, and a usual one is what it always was.
        usual = {"learned_scale": False, "form": "free", "factors": "chain"}
        return {name: value for name, value in written(self).items() if name not in usual or value != usual[name]}


def check_bends(network: Network) -> None:
    """Raise a `ValueError` where a network of x and y together has no hidden layer: it would have no least energy."""
    if not network.hidden:
        raise invalid("network.hidden", network.hidden, "one layer at least: an energy linear in y has no minimum")


class ReplicatedMLP(nn.Module):
    """R multilayer perceptrons side by side: (R or 1, *n, in) -> (R, *n, out).

    Weights are uniform in ±1/sqrt(fan in), torch's own default, each replicate's from its own seed. Once trained, in
    `eval` mode, a row's output has the same bits whatever rows and replicates stand beside it.
    """

    def __init__(self, seeds: Sequence[int], sizes: Sequence[int], activation: Activation = "silu") -> None:
        super().__init__()
        self.num_replicates = len(seeds)
        self.sizes = tuple(sizes)
        self.activation: Activation = activation
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        generators = replicate_generators(seeds, "initialisation")
        for fan_in, fan_out in zip(self.sizes[:-1], self.sizes[1:], strict=True):
            bound = 1 / math.sqrt(max(fan_in, 1))
            stacked = 2 * bound * replicate_noise(generators, (fan_in + 1, fan_out), "uniform") - bound
            self.weights.append(nn.Parameter(stacked[:, :-1].clone()))
            self.biases.append(nn.Parameter(stacked[:, -1:].clone()))

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of one forward pass of one example through one replicate."""
        return float(sum(a * b for a, b in zip(self.sizes[:-1], self.sizes[1:], strict=True)))

    def bias(self, layer: int, ndim: int) -> torch.Tensor:
        """The bias of a layer as (R, 1, ..., 1, out) with `ndim` dimensions."""
        bias = self.biases[layer]
        return bias.reshape(bias.shape[0], *[1] * (ndim - 2), bias.shape[-1])

    def product(self, value: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """(R or 1, *n, in) times (R, in, out)."""
        return batched_matmul(value, weight) if self.training else row_matmul(value, weight)

    def padded(self, hidden: torch.Tensor) -> torch.Tensor:
        """What the later layers are given of (R, *n, width): in `eval` mode whole rows, (R, rows, width)."""
        if self.training or len(self.sizes) < 3:
            return hidden
        return whole_rows(hidden, min(a * b for a, b in zip(self.sizes[1:-1], self.sizes[2:], strict=True)))

    def unpadded(self, rows: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """What the later layers gave of `padded` rows, as (R, *shape, out)."""
        return rows if self.training else without_padding(rows, shape)

    def tail(self, hidden: torch.Tensor) -> torch.Tensor:
        """From the first layer's pre-activation to the output."""
        act, shape = ACTIVATIONS[self.activation], hidden.shape[1:-1]
        hidden = self.padded(hidden)
        for layer in range(1, len(self.weights)):
            hidden = self.product(act(hidden), self.weights[layer]) + self.bias(layer, hidden.ndim)
        return self.unpadded(hidden, shape)

    def forward(self, u: torch.Tensor) -> torch.Tensor:
        return self.tail(self.product(u, self.weights[0]) + self.bias(0, u.ndim))


class LearnedScale(nn.Module):
    """A factor e^s in front of R energies, s learned, one a replicate, from 0; or 1 where it is not wanted.

    How sharp an energy is becomes one number's matter, where otherwise all weights have to grow. `weight_norm` leaves s
    out.
    """

    def __init__(self, num_replicates: int, wanted: bool) -> None:
        super().__init__()
        zeros = torch.zeros(num_replicates, 1, dtype=torch.float32, device="cpu")
        self.log_scale = nn.Parameter(zeros) if wanted else None

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        """e^s times value (R, ...)."""
        if self.log_scale is None:
            return value
        return value * in_whole_vectors(torch.exp, self.log_scale).reshape(-1, *[1] * (value.ndim - 1))


class MLPEnergy(nn.Module):
    """R scalar energies E(x, y) = e^s MLP([x, y]), with dE/dy in closed form; s = 0 unless `learned_scale`.

    The closed form (one backward sweep written forward) lets a loss on the score be differentiated once, not twice.
    """

    def __init__(self, seeds: Sequence[int], x_dim: int, y_dim: int, network: Network) -> None:
        super().__init__()
        self.x_dim = x_dim
        self.y_dim = y_dim
        check_bends(network)
        self.trunk = ReplicatedMLP(seeds, (x_dim + y_dim, *network.hidden, 1), network.activation)
        self.num_replicates = self.trunk.num_replicates
        self.scale = LearnedScale(self.num_replicates, network.learned_scale)

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of one energy of one example."""
        return self.trunk.multiply_adds

    def _first(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        # x and y enter by separate products, so that one x serves many y without being repeated.
        weight = self.trunk.weights[0]
        hidden = self.trunk.product(y, weight[:, self.x_dim :]) + self.trunk.bias(0, y.ndim)
        return hidden + self.trunk.product(x, weight[:, : self.x_dim]) if self.x_dim else hidden

    def _whole(self, x: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        # An x of width 0 still sets the leading shape; any other is in `hidden` already.
        if self.x_dim:
            return hidden
        shape = torch.broadcast_shapes(x.shape[1:-1], hidden.shape[1:-1])
        return hidden.expand(-1, *shape, -1)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.scale(self.trunk.tail(self._whole(x, self._first(x, y))).squeeze(-1))

    def energy_and_gradient(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """E (R, *n) and dE/dy (R, *n, dy)."""
        trunk = self.trunk
        hidden = self._whole(x, self._first(x, y))
        shape = hidden.shape[1:-1]
        hidden = trunk.padded(hidden)
        slopes = []
        last = len(trunk.weights) - 1
        for layer in range(1, last + 1):
            value, slope = with_derivative(trunk.activation, hidden)
            slopes.append(slope)
            hidden = trunk.product(value, trunk.weights[layer]) + trunk.bias(layer, value.ndim)
        row = trunk.weights[last].transpose(1, 2)
        gradient = slopes[-1] * row.reshape(row.shape[0], *[1] * (slopes[-1].ndim - 2), row.shape[-1])
        for layer in range(last - 1, 0, -1):
            gradient = trunk.product(gradient, trunk.weights[layer].transpose(1, 2)) * slopes[layer - 1]
        gradient = trunk.product(gradient, trunk.weights[0][:, self.x_dim :].transpose(1, 2))
        return self.scale(trunk.unpadded(hidden, shape).squeeze(-1)), self.scale(trunk.unpadded(gradient, shape))

    @torch.no_grad()
    def given(self, x: torch.Tensor) -> Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
        """`energy_and_gradient` at one x (R or 1, *n, dx) for many y, what y does not change computed once.

        The weights are those of this moment, and nothing is differentiable in them.
        """
        trunk, weights, activation = self.trunk, list(self.trunk.weights), self.trunk.activation
        entry = weights[0][:, self.x_dim :]
        offset = trunk.bias(0, x.ndim)
        if self.x_dim:
            offset = offset + trunk.product(x, weights[0][:, : self.x_dim])
        exit_row = weights[-1].transpose(1, 2)
        back = [in_order(weight.transpose(1, 2)) for weight in (entry, *weights[1:-1])]
        least = min(weight.shape[1] * weight.shape[2] for weight in (entry, *weights[1:]))

        @torch.no_grad()
        def potential(y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            replicates, n = entry.shape[0], torch.broadcast_shapes(x.shape[1:-1], y.shape[1:-1])
            start = offset if offset.shape[1:-1].numel() == 1 else offset.expand(-1, *n, -1)
            start, flat = start.reshape(replicates, -1, start.shape[-1]), y.expand(replicates, *n, -1)
            if trunk.training:
                flat = flat.reshape(replicates, n.numel(), -1)
            else:
                flat = whole_rows(flat, least)
                start = start if start.shape[1] == 1 else whole_rows(start, least)
            hidden = affine(start, flat, entry)
            passed = []
            for weight, bias in zip(weights[1:], list(trunk.biases)[1:], strict=True):
                value = ACTIVATIONS[activation](hidden)
                passed.append((hidden, value))
                hidden = affine(bias, value, weight)
            gradient = exit_row.expand_as(passed[-1][0])
            for (before, value), weight in zip(reversed(passed), reversed(back), strict=True):
                pulled = pull_back(activation, gradient, before, value)
                gradient = torch.bmm(pulled, weight) if trunk.training else product(pulled, weight)
            return self.scale(without_padding(hidden, n).squeeze(-1)), self.scale(without_padding(gradient, n))

        return potential

    def gradient_and_products(
        self, x: torch.Tensor, y: torch.Tensor, directions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """dE/dy (R, B, dy) and its derivatives along directions (R, M, B, dy): tangents beside both sweeps."""
        trunk, last = self.trunk, len(self.trunk.weights) - 1
        entry = trunk.weights[0][:, self.x_dim :]
        hidden = self._whole(x, self._first(x, y)).unsqueeze(1)
        tangent = batched_matmul(directions, entry)
        slopes, bends = [], []
        for layer in range(1, last + 1):
            value, slope, bend = with_derivatives(trunk.activation, hidden)
            slopes.append(slope)
            bends.append(bend * tangent)
            if layer < last:
                hidden = batched_matmul(value, trunk.weights[layer]) + trunk.bias(layer, value.ndim)
                tangent = batched_matmul(slope * tangent, trunk.weights[layer])
        row = trunk.weights[last].transpose(1, 2).unsqueeze(1)
        gradient, products = slopes[-1] * row, bends[-1] * row
        for layer in range(last - 1, 0, -1):
            weight = trunk.weights[layer].transpose(1, 2)
            back = batched_matmul(gradient, weight)
            gradient = back * slopes[layer - 1]
            products = batched_matmul(products, weight) * slopes[layer - 1] + back * bends[layer - 1]
        gradient, products = (batched_matmul(each, entry.transpose(1, 2)) for each in (gradient, products))
        return self.scale(gradient.squeeze(1)), self.scale(products)
