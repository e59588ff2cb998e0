"""Whether what a density rests on has been written to since it was last looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class Snapshot:
    """The tensors behind an energy, each with the number of writes to it that torch counts.

    They are the parameters and buffers of the energy where it is a module, a method of one or of an object whose
    `module` is one, and what else is given. Of other callables nothing is seen; nor are writes through `.data`, and
    those to inference tensors, which torch does not count.

    Args:
        energy: any callable. others: further tensors.

    Attributes:
        has_buffers: whether there are tensors that an evaluation of the energy may write.
    """

    def __init__(self, energy: Callable[..., Any] | Any, *others: torch.Tensor) -> None:
        # The tensors are held, so that no new one takes the identity of one that is gone.
        module = _module(energy)
        self.has_buffers = module is not None and next(module.buffers(), None) is not None
        self.tensors = [*_tensors(energy), *others]
        self.states = [_state(tensor) for tensor in self.tensors]

    def is_of(self, energy: Callable[..., Any] | Any, *others: torch.Tensor) -> bool:
        """Whether a snapshot taken now would be the same."""
        now = [*_tensors(energy), *others]
        return (
            len(now) == len(self.tensors)
            and all(one is other for one, other in zip(now, self.tensors, strict=True))
            and [_state(tensor) for tensor in now] == self.states
        )


def _module(energy: Any) -> torch.nn.Module | None:
    owner = getattr(energy, "__self__", energy)
    module = owner if isinstance(owner, torch.nn.Module) else getattr(owner, "module", None)
    return module if isinstance(module, torch.nn.Module) else None


def _tensors(energy: Any) -> list[torch.Tensor]:
    module = _module(energy)
    return [] if module is None else [*module.parameters(), *module.buffers()]


def _state(tensor: torch.Tensor) -> tuple[int, int] | None:
    """Writes so far and where the numbers lie; None of tensors that have neither, as within `torch.func.vmap`."""
    if tensor.is_inference() or torch.compiler.is_compiling():
        return None
    try:
        return tensor._version, tensor.data_ptr()
    except RuntimeError:
        return None


__all__ = ["Snapshot"]
