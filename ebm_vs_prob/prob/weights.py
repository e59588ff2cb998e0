"""The trainable weights of a replicated energy as random variables, and the energy as a function of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import nn

from ..core.process_state import in_turn
from ..energies.evaluation import BLOCK_POINTS, energy_and_gradient, weight_names
from ..energies.mlp import MLPEnergy


class WeightSpace:
    """Names, shapes and order of an energy's trainable parameters, which make one vector of P numbers a replicate.

    Args:
        energy: any replicated energy of R replicates, its parameters (R, *shape). What does not require gradient stays
            as it is.

    Attributes:
        shapes: by name, without the replicate axis. size: P.
        matrices: names of those that are weights and not biases, which priors and penalties are of.
    """

    def __init__(self, energy: nn.Module) -> None:
        self.energy = energy
        trainable = {name: p for name, p in energy.named_parameters() if p.requires_grad}
        self.num_replicates = cast("int", energy.num_replicates)
        self.shapes = {name: p.shape[1:] for name, p in trainable.items()}
        self.size = sum(shape.numel() for shape in self.shapes.values())
        self.matrices = tuple(weight_names(energy))

    def current(self) -> dict[str, torch.Tensor]:
        """The energy's own parameters, (R, *shape) each, without gradient."""
        return {name: self.energy.get_parameter(name).detach().clone() for name in self.shapes}

    def flat(self, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Weights (*batch, *shape) by name as vectors (*batch, P)."""
        parts = [
            weights[name].flatten(-len(shape)) if shape else weights[name].unsqueeze(-1)
            for name, shape in self.shapes.items()
        ]
        return torch.cat(parts, -1)

    def named(self, flat: torch.Tensor) -> dict[str, torch.Tensor]:
        """Vectors (*batch, P) as weights (*batch, *shape) by name."""
        parts = flat.split([shape.numel() for shape in self.shapes.values()], -1)
        return {
            name: part.reshape(*flat.shape[:-1], *shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def at(self, weights: Mapping[str, torch.Tensor]) -> WeightedEnergy:
        """The energy at S sets of weights, (S, R, *shape) each."""
        return WeightedEnergy(self.energy, weights)


class _Call(nn.Module):
    """What `torch.func.functional_call` calls: it knows modules only, and only their `forward`."""

    def __init__(self, energy: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.energy = energy
        self.function = function

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        return self.function(self.energy, x, y)


class WeightedEnergy(nn.Module):
    """An energy of R replicates at S sets of weights: x (S or 1, R or 1, *n, dx), y alike -> (S, R, *n).

    Differentiable in the weights and in y.
    """

    def __init__(self, energy: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.energy = energy
        self.weights = {f"energy.{name}": value for name, value in weights.items()}
        self.num_draws = next(iter(weights.values())).shape[0]

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self._mapped(lambda energy, x, y: energy(x, y), x, y)
        return result

    def energy_and_gradient(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """E (S, R, *n) and dE/dy (S, R, *n, dy), differentiable in the weights where gradients are on."""
        wanted = torch.is_grad_enabled()
        with torch.enable_grad():  # an energy without a derivative of its own gets one inside the map over draws
            value, gradient = self._mapped(energy_and_gradient, x, y)
        return (value, gradient) if wanted else (value.detach(), gradient.detach())

    @in_turn  # a functional call puts its parameters into the module, which all threads share, and takes them out again
    def _mapped(self, function: Callable[..., Any], x: torch.Tensor, y: torch.Tensor) -> Any:
        call = _Call(self.energy, function)
        if self.num_draws == 1:
            own = {name: value[0] for name, value in self.weights.items()}
            result = torch.func.functional_call(call, own, (x[0], y[0]))
            return torch.utils._pytree.tree_map(lambda part: part.unsqueeze(0), result)
        if isinstance(self.energy, MLPEnergy):
            return self._merged(call, x, y)
        # A draw's activations should stay in cache, so few draws go at once where points are many.
        points = math.prod(torch.broadcast_shapes(x.shape[1:-1], y.shape[1:-1]))
        chunk = max(1, BLOCK_POINTS[y.device.type] // max(points, 1))
        axes = tuple(0 if value.shape[0] > 1 else None for value in (x, y))
        given = tuple(value if axis == 0 else value[0] for value, axis in zip((x, y), axes, strict=True))

        def one(weights: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> Any:
            return torch.func.functional_call(call, weights, (x, y))

        return torch.func.vmap(one, in_dims=(0, *axes), chunk_size=chunk)(self.weights, *given)

    def _merged(self, call: _Call, x: torch.Tensor, y: torch.Tensor) -> Any:
        """The package's own network knows its replicates by its weights alone: S · R are one batched product."""
        draws, replicates = self.num_draws, cast("int", self.energy.num_replicates)
        merged = {name: value.flatten(0, 1) for name, value in self.weights.items()}
        for name, value in call.named_parameters():
            if name not in merged:
                merged[name] = value.expand(draws, *value.shape).flatten(0, 1)

        def flat(value: torch.Tensor) -> torch.Tensor:
            if value.shape[:2].numel() == 1:
                return value[0]
            return value.expand(draws, replicates, *value.shape[2:]).flatten(0, 1)

        result = torch.func.functional_call(call, merged, (flat(x), flat(y)))
        return torch.utils._pytree.tree_map(lambda part: part.unflatten(0, (draws, replicates)), result)
