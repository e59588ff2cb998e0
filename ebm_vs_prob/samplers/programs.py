"""A kernel's step compiled whole, potential included, for chains long enough to pay for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch

from ..core.programs import NotRecordable, Program
from .base import Info, State

#: One step of a kernel: state, normals and, where it takes them, uniforms to the next state and what happened.
TakeStep = Callable[[Any, torch.Tensor, torch.Tensor | None], tuple[Any, Info]]


def compiled_step(step: TakeStep, state: State, noise: torch.Tensor, uniform: torch.Tensor | None) -> TakeStep:
    """The step as machine code for states and noise of these shapes, the same but for roundings; `step` itself where
    its potential decides by values.

    Raises:
        RuntimeError: there is no compiler, or it does not make it.
    """
    kind, width = type(state), len(fields(state))

    def flat(*inputs: torch.Tensor) -> list[torch.Tensor]:
        drawn = inputs[width:]
        after, info = step(kind(*inputs[:width]), drawn[0], drawn[1] if uniform is not None else None)
        return [*_tensors(after), *_tensors(info)]

    try:
        program = Program(flat, [], _inputs(state, noise, uniform))
    except NotRecordable:
        return step
    program.compile()

    def run(state: Any, noise: torch.Tensor, uniform: torch.Tensor | None) -> tuple[Any, Info]:
        found = program(*_inputs(state, noise, uniform))
        return kind(*found[:width]), Info(*found[width:])

    return run


def _inputs(state: State, noise: torch.Tensor, uniform: torch.Tensor | None) -> list[torch.Tensor]:
    # Machine code is for one layout and does not look at it: what is drawn for many steps at once has that of its
    # block, and a state that of the operations that it came from.
    drawn = [noise] if uniform is None else [noise, uniform]
    return [tensor.contiguous() for tensor in (*_tensors(state), *drawn)]


def _tensors(value: Any) -> list[torch.Tensor]:
    return [getattr(value, field.name) for field in fields(value)]
