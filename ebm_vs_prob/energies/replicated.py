"""Any energy module as R independent copies trained as one program."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..core.errors import invalid


class Replicated(nn.Module):
    """R modules of one architecture, their parameters stacked, evaluated by `torch.func.vmap`.

    Each module is `forward(x (n, dx), y (n, dy)) -> (n,)`; the stack is a replicated energy.
    """

    def __init__(self, modules: Sequence[nn.Module], widths: tuple[int, int] = (0, 1)) -> None:
        super().__init__()
        self._widths = widths
        self.num_replicates = len(modules)
        parameters, buffers = torch.func.stack_module_state(list(modules))
        self._names = tuple(parameters)
        self._stacked = nn.ParameterList([nn.Parameter(value.detach().clone()) for value in parameters.values()])
        self._buffer_names = tuple(buffers)
        for number, value in enumerate(buffers.values()):
            self.register_buffer(f"stacked_{number}", value.clone())
        # A tuple hides it from the module tree, because only its structure is used, never its parameters.
        self._template = (modules[0],)

    @property
    def template(self) -> nn.Module:
        """One of the modules, whose parameters are not those that are trained."""
        return self._template[0]

    def scales(self) -> list[nn.Parameter]:
        """The parameters that the modules call a `log_scale`: no weights, but a factor in front of the energy."""
        return [p for name, p in zip(self._names, self._stacked, strict=True) if name.endswith("log_scale")]

    def _apply(self, fn: Any, recurse: bool = True) -> Replicated:
        self._template[0]._apply(fn)
        super()._apply(fn, recurse)
        return self

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        shape = torch.broadcast_shapes((self.num_replicates, *[1] * (y.ndim - 2)), x.shape[:-1], y.shape[:-1])
        count = math.prod(shape[1:])
        flat_x = x.expand(*shape, x.shape[-1]).reshape(shape[0], count, x.shape[-1])
        flat_y = y.expand(*shape, y.shape[-1]).reshape(shape[0], count, y.shape[-1])
        parameters = dict(zip(self._names, self._stacked, strict=True))
        buffers = {name: getattr(self, f"stacked_{number}") for number, name in enumerate(self._buffer_names)}

        def one(state: dict[str, torch.Tensor], a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            energy: torch.Tensor = torch.func.functional_call(self._template[0], state, (a, b))
            if not isinstance(energy, torch.Tensor):
                raise invalid("the energy", energy, f"a tensor ({len(b)},): one number an example from forward(x, y)")
            return energy

        energies = torch.func.vmap(one, randomness="different")({**parameters, **buffers}, flat_x, flat_y)
        if energies.shape != flat_y.shape[:2]:
            raise invalid(
                "shape of the energy",
                tuple(energies.shape[1:]),
                f"({flat_y.shape[1]},): one number an example from forward(x, y)",
            )
        return energies.reshape(shape)

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of one energy of one example, counted by torch from the shapes of its products."""
        from torch.utils.flop_counter import FlopCounterMode

        x_dim, y_dim = self._widths
        device, dtype = self._stacked[0].device, self._stacked[0].dtype
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            self._template[0](
                torch.zeros(1, x_dim, device=device, dtype=dtype), torch.zeros(1, y_dim, device=device, dtype=dtype)
            )
        return counter.get_total_flops() / 2
