"""A learned factor e^s in front of an energy of the user's own: what `Network(learned_scale=True)` is elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from ..core.errors import invalid
from ..core.factor_graphs import FactorGraph
from ..energies.mlp import LearnedScale
from .own_modules import Called, named

if TYPE_CHECKING:
    from ..tasks.base import Task


def scaled(energy: Callable[[Task], nn.Module]) -> Callable[[Task], nn.Module]:
    """Energies of the user's own times e^s, s learned, one number a replicate, from 0.

    How sharp such an energy is becomes one number's matter. It goes wherever `energy` does: `fit(energy=scaled(Ring))`,
    and of a study the name of what this gives. `weight_norm` leaves s out. An objective that falls with the energy at
    the data alone, as `energy_loss` and `latent_free_energy` do, takes s down without end.

    Args:
        energy: maps a task to an `nn.Module`, as of `fit`: one a replicate, or one with `num_replicates`.
    """

    @wraps(energy)
    def made(task: Task) -> nn.Module:
        module = energy(task)
        if not isinstance(module, nn.Module):
            raise invalid("energy", module, "a callable that maps a task to an nn.Module")
        return _ScaledReplicas(module) if hasattr(module, "num_replicates") else _ScaledModule(module)

    return made


class _ScaledModule(Called):
    """e^s times a user's module of one replicate, whatever its forward takes beside x."""

    def __init__(self, energy: nn.Module) -> None:
        super().__init__(energy)
        self.log_scale = nn.Parameter(torch.zeros(1, dtype=torch.float32, device="cpu"))

    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        value = self.energy(*given)
        if not isinstance(value, torch.Tensor):
            raise invalid("the energy", value, "a tensor, one number an example, from forward(x, y)")
        return self.log_scale.exp() * value


class _ScaledReplicas(Called):
    """e^s times each of R energies that a user's module holds side by side, and what else it says of them."""

    def __init__(self, energy: nn.Module) -> None:
        super().__init__(energy)
        self.num_replicates = cast("int", energy.num_replicates)
        self.scale = LearnedScale(self.num_replicates, wanted=True)

    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        return self.scale(self.energy(*given))

    def __getattr__(self, name: str) -> Any:
        """What the package asks of an energy where it has it: the user's own, multiplied where it is of energies."""
        if name in ("multiply_adds", "weight_norm"):
            return getattr(self.energy, name)
        if name in ("graph", "energy_and_gradient"):
            own = getattr(self.energy, name)
            return self._graph if name == "graph" else lambda x, y: tuple(self.scale(part) for part in own(x, y))
        return super().__getattr__(name)

    def _graph(self, x: torch.Tensor) -> FactorGraph:
        graph = self.energy.graph(x)  # type: ignore[operator]
        if not isinstance(graph, FactorGraph):
            raise invalid(f"{named(self)}: graph(x)", graph, "an evp.FactorGraph, whose factors can be scaled")
        return graph.map(self.scale)
