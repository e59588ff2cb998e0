"""One training loop for every method that follows a gradient: R replicates, one element-wise Adam.

Replicate r sees only its own data, minibatches, noise and parameters, so it is the model that would have been trained
alone. Noise is drawn in blocks outside the loss, each replicate's from its own generators, which keeps the loss free of
random state (and so compilable).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext

import torch
from torch import nn

from ..core.budget import Cost
from ..core.errors import invalid
from ..core.process_state import without_denormals
from ..core.programs import NotCompiled, NotRecordable, Program, unvalidated
from ..core.text import printable
from ..models.model import Model
from ..models.record import ReplicateStatus, Training
from .batches import Loss, Noise, draws
from .notices import warn_once
from .optimizers import Optimizer, ReplicatedAdam
from .step import Step, Traces

#: Steps from which on recording a step pays.
RECORDED = 300

log = logging.getLogger("ebm_vs_prob.training")


def train(
    model: Model,
    loss: Loss,
    noise: Mapping[str, Noise] | None = None,
    traces: Traces | None = None,
    make_optimizer: Callable[[nn.Module, torch.Tensor], Optimizer] = ReplicatedAdam,
    after_step: Callable[[int], None] | None = None,
) -> Training:
    """Minimise `loss` (one number a replicate) over the parameters of `model.module`, in place.

    The regularisers that the options weigh above 0 are added to the loss. What a step costs follows from shapes: the
    method's `step_evaluations` an example and the module's `multiply_adds` an evaluation; it turns a budget of
    multiply-adds into steps. A replicate whose loss or parameters stop being finite is marked failed with the step and
    the reason; the others go on as they were. `traces` says what is recorded beside the loss, by default nothing;
    `make_optimizer` gives another optimiser than Adam, from the module and the rates (R,); `after_step` is called with
    the number of steps taken.

    Where the setting says so a step is compiled whole, and its numbers then differ by roundings. Else, in a training of
    some length, it is recorded and replayed, which is faster and the same to the bit. What decides by values of tensors
    is taken as it is written.

    Raises:
        ValueError: replicates whose options cost differently would take different numbers of steps.
        NotCompiled: the setting says that steps are compiled, and they cannot be, which is said once. `Method.fit` then
            begins anew with a setting that does not.
    """
    setting, module = model.setting, model.module
    loss, noise = model.method.regularise(model, loss, noise or {})
    steps = steps_of(model)
    evaluations, work = _evaluations(model), multiply_adds_of_step(model)
    optimizer = make_optimizer(module, setting.options.learning_rate)
    traces = traces or Traces()
    step = Step(setting, loss, list(noise), optimizer, traces)
    # Where the model is: a loss that is fetched would have every step wait for it on a GPU.
    history = torch.empty(steps, setting.num_replicates, dtype=setting.dtype, device=setting.device)
    recorded: dict[str, list[torch.Tensor]] = {name: [] for name in traces.names}
    started, preparing = time.perf_counter(), 0.0
    run: Step | Program = step
    with without_denormals():
        for number, (rows, drawn) in enumerate(draws(setting, noise, steps)):
            inputs = [rows, *drawn.values(), *optimizer.inputs(number, steps)]
            if number == 1 and (setting.compile or steps >= RECORDED):
                begun = time.perf_counter()
                run = _program(step, inputs, setting.compile)
                preparing = time.perf_counter() - begun
            with unvalidated() if number else nullcontext():
                losses, *traced = run(*inputs)
            history[number] = losses
            for values, value in zip(recorded.values(), traced, strict=True):
                values.append(value)
            if after_step is not None:
                after_step(number + 1)
    history = history.cpu()
    seconds = (time.perf_counter() - started - preparing) / setting.num_replicates
    costs = tuple(
        Cost(
            steps=steps,
            energy_evaluations=each * steps,
            multiply_adds=step_work * steps,
            seconds=seconds,
        )
        for each, step_work in zip(evaluations, work, strict=True)
    )
    stacked = {name: torch.stack(values, 1).cpu() for name, values in recorded.items()}
    compiled = isinstance(run, Program) and run.compiled
    return Training(history.T.contiguous(), _status(history, optimizer.parameters), costs, stacked, compiled)


def steps_of(model: Model) -> int:
    """How many steps of its training the budget of a model pays for.

    Raises:
        ValueError: replicates whose options cost differently would take different numbers of steps.
    """
    setting = model.setting
    steps = {setting.budget.steps_for(each) for each in multiply_adds_of_step(model)}
    if len(steps) > 1:
        valid = "replicates whose steps cost the same, where a budget of multiply-adds sets their number"
        raise invalid("options", [own.model_dump() for own in setting.options.replicates], valid)
    return steps.pop()


def multiply_adds_of_step(model: Model) -> list[float]:
    """Multiply-adds of one step of each replicate, as its cost counts them.

    What a method counts as one energy evaluation costs, of a module that evaluates another one for each of many
    latents, `evaluation_multiply_adds`; of any other `multiply_adds`, those of itself.
    """
    setting, module = model.setting, model.module
    each = float(getattr(module, "evaluation_multiply_adds", module.multiply_adds))  # type: ignore[arg-type]
    pairs = zip(setting.options.replicates, setting.tasks, strict=True)
    return [model.method.step_multiply_adds(own, task, setting.budget.batch_size, each) for own, task in pairs]


def _program(step: Step, inputs: list[torch.Tensor], compiled: bool) -> Step | Program:
    try:
        program = step.recorded(*inputs)
    except NotRecordable as error:
        if compiled:
            warn_once("steps are not compiled", error)
            raise NotCompiled from error
        log.info("a step is taken as it is written: %s", printable(error))
        return step
    if compiled:
        try:
            program.compile()
        except (RuntimeError, OSError, SyntaxError, ImportError) as error:
            warn_once("steps are taken without the compiler, which does not work here", error)
            raise NotCompiled from error
    return program


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
