"""The rules of a method's random numbers: everything follows from a replicate's own seed, and from nothing else.

What differs by chance alone is compared with data, weights and everything else held equal, so these checks are exact:
a right method never fails them. One thing is taken for noise that is none: a schedule that moves the loss of weights
which do not move.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .rules import rule

if TYPE_CHECKING:
    import torch

    from ..models.model import Model
    from ..tasks.base import Task
    from ..training.method import Method

#: Relative change of a loss, over steps that move no weight, that rounding does not make.
MOVED = 1e-4
STEPS = 32
#: A rate at which no weight moves by a digit.
NO_RATE = 1e-12
#: By which share of the widest the gaps of a grid may differ that was rounded.
EVEN = 1e-3
#: What a method raises that cannot do with what it is given.
REFUSALS = (ValueError, LookupError, ArithmeticError, RuntimeError)


def check_initial_weights(method: type[Method], task: Task, who: str) -> None:
    """Initial weights follow from the seed: all that learn vary between two, but for evenly spaced values."""
    import torch

    if method.principle == "exact":
        return
    first, second = (_built(method, task, seed) for seed in (0, 1))
    same = [name for name, value in first.items() if _is_uneven(value) and torch.equal(value, second[name])]
    valid = "initial weights must follow from the seed, or be spaced evenly"
    rule(not same, who, f"{valid}, but {', '.join(same)} are the same for two")


def _built(method: type[Method], task: Task, seed: int) -> dict[str, torch.Tensor]:
    model = method.build(_setting(method, task, [seed], {}))
    return {name: value.detach() for name, value in model.module.named_parameters() if value.requires_grad}


def _is_uneven(value: torch.Tensor) -> bool:
    """Whether values look drawn: those of a constant, an identity and a grid are at even distances."""
    gaps = value.flatten().unique().diff()
    return len(gaps) > 1 and bool(gaps.max() - gaps.min() > EVEN * gaps.max())


def check_noise(method: type[Method], task: Task, who: str) -> None:
    """Each replicate has noise of its own in training: with one example, one set of weights and no step, losses that
    change from step to step differ between two replicates.

    Nothing is asked of a method that refuses to learn from one example and learns from the task's.
    """
    import torch

    # Costs of decisions are annealed: their loss moves by a schedule, and no noise is in it.
    if not method.batchable or method.principle in ("exact", "decision"):
        return

    class Alike(method):  # type: ignore[valid-type,misc]
        @classmethod
        def build(cls, setting: Any) -> Model:
            model = method.build(setting)
            _make_alike(model)
            return model

    one = _with_one_example(task)
    try:
        plain, fixed = (_setting(Alike, each, [0, 1], {"learning_rate": NO_RATE}) for each in (task, one))
    except ValueError:
        return  # its options have no rate at which weights stay
    try:
        training = Alike.fit(fixed).training
    except REFUSALS:
        try:
            Alike.fit(plain)
        except REFUSALS as error:
            message = f"two replicates of the same weights must train at a rate of {NO_RATE:g}, but: {error!r}"
            raise AssertionError(f"{who}: {message}") from error
        return
    loss = training.loss.double()
    if loss.shape[-1] < 2 or not bool(loss.isfinite().all()):
        return
    spread = (loss - loss[:, :1]).abs().amax() / loss.abs().amax().clamp_min(1e-30)
    if spread > MOVED:
        rule(
            not torch.equal(loss[0], loss[1]),
            who,
            "each replicate must have noise of its own in training, but two have one",
        )


def check_streams_of_draws(model: Model, x: torch.Tensor, who: str) -> None:
    """Two replicates of equal weights draw different answers, where an answer is drawn at all.

    Args:
        model: of two replicates or more; a copy of it is looked at.
    """
    import torch

    if model.num_replicates < 2 or model.method.family == "control":
        return
    alike = copy.deepcopy(model)
    _make_alike(alike)
    drawn = alike.sample(x, num_samples=6, seed=4)
    varied = bool((drawn[0] != drawn[0][:, :1]).any())
    rule(not varied or not torch.equal(drawn[0], drawn[1]), who, "sample: each replicate must have a stream of its own")


def _make_alike(model: Model) -> None:
    """Give every replicate the weights of the first: what a model of that one alone has of another shape."""
    import torch

    from ..core.options import OptionBatch

    method: Any = model.method
    setting = model.setting
    options = OptionBatch(setting.options.replicates[:1], "options")
    one = replace(setting, tasks=setting.tasks[:1], seeds=setting.seeds[:1], options=options)
    shapes = {name: value.shape for name, value in _tensors(method.build(one).module)}
    with torch.no_grad():
        for name, value in _tensors(model.module):
            if value.shape[:1] == (model.num_replicates,) and value.shape != shapes.get(name):
                value.copy_(value[:1].expand_as(value).clone())


def _tensors(module: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]


def _with_one_example(task: Task) -> Task:
    """The same task, whose data are its first example over and over, whatever the seed."""

    class OneExample(type(task)):  # type: ignore[misc]
        def sample_with_latent(self, n: int, seed: int = 0, split: Any = "train") -> tuple[torch.Tensor, ...]:
            first = super().sample_with_latent(1, 0, split)
            return tuple(part.expand(n, *part.shape[1:]).clone() for part in first)

    return OneExample(**task.options.model_dump())


def _setting(method: type[Method], task: Task, seeds: list[int], options: dict[str, Any]) -> Any:
    import torch

    from ..core.budget import Budget
    from ..energies.mlp import Network
    from ..training.fitting import prepare

    known = {name: value for name, value in options.items() if name in method.Options.model_fields}
    return prepare(
        method,
        task,
        seeds,
        energy=None,
        network=Network(hidden=(8, 8)),
        budget=Budget(steps=STEPS, batch_size=16, examples=64),
        dtype=torch.float32,
        device="cpu",
        compile=False,
        options=known,
    )
