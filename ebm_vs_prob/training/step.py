"""One training step of R replicates as a function of tensors: minibatch, loss, gradient and optimiser in one piece.

It changes parameters and the optimiser's memory in place and gives losses and traces. Everything random comes from
outside, so that a step is the same operations every time and can be recorded and compiled whole (`core.programs`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..core.programs import Program
from ..core.tensors import inner
from .batches import Examples, Loss
from .optimizers import Optimizer

if TYPE_CHECKING:
    from ..models.setting import Setting


@dataclass(frozen=True)
class Traces:
    """What a method has recorded at each step of its training beside the loss, in float64.

    Attributes:
        gradient_of: parameters (R, ...); the Euclidean norm of the whole loss's gradient in them, regularisers
            included, is recorded as `gradient_norm`. None by default, and then nothing is computed.
        values: numbers (R,) of the module by name, as they are when that gradient is taken: before the step.
    """

    gradient_of: Sequence[nn.Parameter] = ()
    values: Mapping[str, Callable[[], torch.Tensor]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Of what is recorded, in its order."""
        return [*self.values, *(["gradient_norm"] if self.gradient_of else [])]

    def of(self, parameters: Sequence[nn.Parameter], gradients: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """What is recorded of a step, (R,) each, from the loss's gradient in all parameters."""
        found = [read().detach().double() for read in self.values.values()]
        if self.gradient_of:
            wanted = {id(parameter) for parameter in self.gradient_of}
            pairs = zip(parameters, gradients, strict=True)
            squares = [slope.double().flatten(1).square().sum(1) for p, slope in pairs if id(p) in wanted]
            found.append(inner(torch.stack(squares)).sum(-1).sqrt())
        return found


class Step:
    """A training step: `step(rows, *noise, *optimizer.inputs(...))` gives the losses (R,) and the traces.

    Args:
        setting: whose data it takes.
        loss: one number a replicate.
        noise: names of the noise, in the order in which it is given.
        optimizer: what moves the parameters.
        traces: what is recorded beside the losses.
    """

    def __init__(
        self, setting: Setting, loss: Loss, noise: Sequence[str], optimizer: Optimizer, traces: Traces
    ) -> None:
        self._examples, self._loss, self._noise = Examples(setting), loss, tuple(noise)
        self._optimizer, self._traces = optimizer, traces

    def __call__(self, rows: torch.Tensor, *others: torch.Tensor) -> list[torch.Tensor]:
        drawn, inputs = others[: len(self._noise)], others[len(self._noise) :]
        parameters = self._optimizer.parameters
        losses = self._loss(self._examples.batch(rows, dict(zip(self._noise, drawn, strict=True))))
        gradients = torch.autograd.grad(losses.sum(), parameters, allow_unused=True, materialize_grads=True)
        with torch.no_grad():
            traced = self._traces.of(parameters, gradients)
            self._optimizer.move(gradients, inputs)
        return [losses.detach(), *traced]

    def recorded(self, *inputs: torch.Tensor) -> Program:
        """The step as a program for inputs such as these.

        Raises:
            NotRecordable: the loss decides by values.
        """
        return Program(self, [*self._optimizer.parameters, *self._optimizer.state], inputs)
