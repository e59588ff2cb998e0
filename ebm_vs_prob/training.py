"""One training loop for every method that follows a gradient: R replicates, one element-wise Adam.

Replicate r sees only its own data, minibatches, noise and parameters, so it is the model that would have been trained
alone. Noise is drawn in blocks outside the loss, each replicate's from its own generators, which keeps the loss free of
random state (and so compilable).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import torch
from torch import nn

from .budget import Cost
from .errors import invalid
from .model import Model, ReplicateStatus, Training
from .seeding import torch_generator

if TYPE_CHECKING:
    from .method import Setting
    from .tasks.base import Split

BLOCK = 64  # steps of noise drawn at once, fewer where one step of one replicate already asks for many numbers
BLOCK_NUMBERS = 2**18
WARM_UP = 0.05  # share of the steps over which the learning rate rises


class Batch(NamedTuple):
    """One minibatch of every replicate: x (R, B, dx), y (R, B, dy), rows (R, B) of the training data, named noise.

    Labels y are (R, B) int64, sequences (R, B, T).
    """

    x: torch.Tensor
    y: torch.Tensor
    rows: torch.Tensor
    noise: dict[str, torch.Tensor]


@dataclass(frozen=True)
class Noise:
    """What a loss asks to be drawn at each step, for each replicate: standard normals or uniforms on [0, 1)."""

    kind: Literal["normal", "uniform"]
    shape: tuple[int, ...]


Loss = Callable[[Batch], torch.Tensor]


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
        return {"gradient_norm": torch.stack(squares).sum(0).sqrt()}


def training_data(setting: Setting) -> tuple[torch.Tensor, torch.Tensor]:
    """The training pairs of every replicate, (R, N, dx) and (R, N, dy) or symbols, placed by the setting."""
    return stacked_pairs(setting, setting.budget.examples, "train")


def stacked_pairs(setting: Setting, count: int, split: Split) -> tuple[torch.Tensor, torch.Tensor]:
    """`count` pairs (R, n, ...) of a split for every replicate, from its own seed, placed by the setting."""
    first = setting.tasks[0]
    pairs = [task.sample(count, seed, split) for task, seed in zip(setting.tasks, setting.seeds, strict=True)]
    x, y = (torch.stack(part) for part in zip(*pairs, strict=True))
    return setting.placed(x, first.x_space), setting.placed(y, first.y_space)


class Optimizer(Protocol):
    """What the loop asks of an optimiser over stacked parameters: those it moves, and a step of all replicates."""

    parameters: list[nn.Parameter]

    def step(self, losses: torch.Tensor, schedule: float) -> None:
        """One step down the sum of `losses` (R,), at `schedule` times the peak rates."""


class ReplicatedAdam:
    """Adam over stacked parameters with one learning rate a replicate.

    torch's Adam is element-wise, so one instance serves all replicates; a rate of shape (R, 1, ..., 1) it refuses, so
    rates that differ scale each replicate's update instead, which for Adam is the same thing.
    """

    def __init__(self, module: nn.Module, rates: torch.Tensor) -> None:
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.peak = float(rates.max())
        self.ratios = None if bool((rates == rates[0]).all()) else rates / self.peak
        self.adam = torch.optim.Adam(self.parameters, lr=self.peak, fused=True)

    def step(self, losses: torch.Tensor, schedule: float) -> None:
        """One step down the sum of `losses` (R,), at `schedule` times the peak rates."""
        self.adam.zero_grad(set_to_none=True)
        losses.sum().backward()
        self.adam.param_groups[0]["lr"] = self.peak * schedule
        before = None if self.ratios is None else [p.detach().clone() for p in self.parameters]
        self.adam.step()
        if before is not None and self.ratios is not None:
            with torch.no_grad():
                for parameter, old in zip(self.parameters, before, strict=True):
                    ratio = self.ratios.to(old).reshape(-1, *[1] * (old.ndim - 1))
                    parameter.copy_(torch.lerp(old, parameter, ratio))


def learning_rate_schedule(step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine to 0: the share of the peak learning rate at `step`."""
    warm_up = max(1, round(WARM_UP * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def batches(setting: Setting, noise: Mapping[str, Noise], steps: int) -> Iterator[Batch]:
    """The minibatches and noise of `steps` steps; rows are drawn with replacement.

    Minibatches come from a stream that does not know the method: every method at one seed sees the same ones.
    """
    x, y = training_data(setting)
    replicates = torch.arange(setting.num_replicates, device=setting.device).unsqueeze(1)
    largest = max((math.prod(spec.shape) for spec in noise.values()), default=1)
    length = min(BLOCK, max(1, BLOCK_NUMBERS // largest))
    size = (length, setting.budget.batch_size)
    pick = [torch_generator(seed, "minibatch") for seed in setting.seeds]
    sources = {name: [torch_generator(seed, "noise", name) for seed in setting.seeds] for name in noise}

    def draw(spec: Noise, generator: torch.Generator) -> torch.Tensor:
        sampler = torch.randn if spec.kind == "normal" else torch.rand
        return sampler(length, *spec.shape, generator=generator, dtype=setting.dtype)

    for start in range(0, steps, length):
        rows = torch.stack([torch.randint(setting.budget.examples, size, generator=g) for g in pick], 1).to(x.device)
        block = {name: torch.stack([draw(noise[name], g) for g in gs], 1).to(x.device) for name, gs in sources.items()}
        for k in range(min(length, steps - start)):
            yield Batch(x[replicates, rows[k]], y[replicates, rows[k]], rows[k], {n: b[k] for n, b in block.items()})


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
    loss, noise = model.method.Options.regularised(model, loss, noise or {})
    evaluations = _evaluations(model)
    per_evaluation = float(module.multiply_adds)  # type: ignore[arg-type]
    steps = setting.budget.steps_for(evaluations[0] * per_evaluation)
    if any(setting.budget.steps_for(each * per_evaluation) != steps for each in evaluations):
        valid = "replicates whose steps cost the same, where a budget of multiply-adds sets their number"
        raise invalid("options", [own.model_dump() for own in setting.options.replicates], valid)
    optimizer = make_optimizer(module, setting.options.learning_rate)
    objective: Loss = torch.compile(loss) if setting.compile else loss
    history = torch.empty(steps, setting.num_replicates)
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
