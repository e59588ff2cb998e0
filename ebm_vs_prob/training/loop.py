"""One training loop for every method that follows a gradient: R replicates, one element-wise Adam.

Replicate r sees only its own data, minibatches, noise and parameters, so it is the model that would have been trained
alone. Noise is drawn in blocks outside the loss, each replicate's from its own generators, which keeps the loss free of
random state (and so compilable).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from ..core.budget import Cost
from ..core.errors import invalid
from ..core.tensors import inner
from ..models.model import Model
from ..models.record import ReplicateStatus, Training
from .batches import Loss, Noise, batches
from .optimizers import Optimizer, ReplicatedAdam, learning_rate_schedule


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

    def before_step(self) -> dict[str, torch.Tensor]:
        """The values, (R,) each."""
        return {name: read().detach().double() for name, read in self.values.items()}

    def after_backward(self) -> dict[str, torch.Tensor]:
        """The gradient's norm, (R,)."""
        if not self.gradient_of:
            return {}
        squares = [p.grad.double().flatten(1).square().sum(1) for p in self.gradient_of if p.grad is not None]
        return {"gradient_norm": inner(torch.stack(squares)).sum(-1).sqrt()}


def train(
    model: Model,
    loss: Loss,
    noise: Mapping[str, Noise] | None = None,
    traces: Traces | None = None,
    make_optimizer: Callable[[nn.Module, torch.Tensor], Optimizer] = ReplicatedAdam,
) -> Training:
    """Minimise `loss` (one number a replicate) over the parameters of `model.module`, in place.

    The regularisers that the options weigh above 0 are added to the loss. What a step costs follows from shapes: the
    method's `step_evaluations` an example and the module's `multiply_adds` an evaluation; it turns a budget of
    multiply-adds into steps. A replicate whose loss or parameters stop being finite is marked failed with the step and
    the reason; the others go on as they were. `traces` says what is recorded beside the loss, by default nothing;
    `make_optimizer` gives another optimiser than Adam, from the module and the rates (R,).

    Raises:
        ValueError: replicates whose options cost differently would take different numbers of steps.
    """
    setting, module = model.setting, model.module
    loss, noise = model.method.regularise(model, loss, noise or {})
    evaluations = _evaluations(model)
    per_evaluation = float(module.multiply_adds)  # type: ignore[arg-type]
    steps = setting.budget.steps_for(evaluations[0] * per_evaluation)
    if any(setting.budget.steps_for(each * per_evaluation) != steps for each in evaluations):
        valid = "replicates whose steps cost the same, where a budget of multiply-adds sets their number"
        raise invalid("options", [own.model_dump() for own in setting.options.replicates], valid)
    optimizer = make_optimizer(module, setting.options.learning_rate)
    objective: Loss = torch.compile(loss) if setting.compile else loss
    history = torch.empty(steps, setting.num_replicates, dtype=torch.float32, device="cpu")
    recorded: dict[str, list[torch.Tensor]] = {}
    started = time.perf_counter()
    for step, batch in enumerate(batches(setting, noise, steps)):
        losses = objective(batch)
        seen = traces.before_step() if traces else {}
        optimizer.step(losses, learning_rate_schedule(step, steps))
        history[step] = losses.detach().to(history)
        for name, value in {**seen, **(traces.after_backward() if traces else {})}.items():
            recorded.setdefault(name, []).append(value)
    seconds = (time.perf_counter() - started) / setting.num_replicates
    costs = tuple(
        Cost(
            steps=steps,
            energy_evaluations=each * steps,
            multiply_adds=each * per_evaluation * steps,
            seconds=seconds,
        )
        for each in evaluations
    )
    stacked = {name: torch.stack(values, 1).cpu() for name, values in recorded.items()}
    return Training(history.T.contiguous(), _status(history, optimizer.parameters), costs, stacked)


def _evaluations(model: Model) -> list[float]:
    """Energy evaluations of one step of each replicate: a regulariser of weight 0 costs it nothing."""
    setting = model.setting
    pairs = zip(setting.options.replicates, setting.tasks, strict=True)
    return [model.method.step_evaluations(own, task) * setting.budget.batch_size for own, task in pairs]


def _status(history: torch.Tensor, parameters: list[nn.Parameter]) -> tuple[ReplicateStatus, ...]:
    finite = torch.stack([p.detach().reshape(p.shape[0], -1).isfinite().all(1) for p in parameters]).all(0).tolist()
    statuses = []
    for losses, sound in zip(history.T, finite, strict=True):
        bad = (~losses.isfinite()).nonzero()
        if len(bad):
            step = int(bad[0])
            statuses.append(ReplicateStatus(False, step, f"loss = {float(losses[step])} is not finite"))
        elif not sound:
            statuses.append(ReplicateStatus(False, len(losses) - 1, "parameters are not finite after the last step"))
        else:
            statuses.append(ReplicateStatus())
    return tuple(statuses)
