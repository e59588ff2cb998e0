"""The rules of a method's random numbers: everything follows from a replicate's own seed, and from nothing else.

What differs by chance alone is compared with data, weights and everything else held equal, so these checks are exact:
a right method never fails them. One thing is taken for noise that is none: a schedule that moves the loss of weights
which do not move.
"""

from __future__ import annotations

import copy
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


def check_initial_weights(method: type[Method], task: Task, who: str) -> None:
    """Initial weights follow from the seed: some that vary within a replicate vary between two."""
    import torch

    if method.principle == "exact":
        return
    pair = [_built(method, task, seed) for seed in (0, 1)]
    drawn = [
        name
        for name, value in pair[0].items()
        if value.is_floating_point() and value[0].numel() > 1 and not bool((value[0] == value[0].flatten()[0]).all())
    ]
    same = [name for name in drawn if torch.equal(pair[0][name], pair[1][name])]
    rule(not drawn or same != drawn, who, f"initial weights must follow from the seed, but {', '.join(same)} do not")


def _built(method: type[Method], task: Task, seed: int) -> dict[str, torch.Tensor]:
    model = method.build(_setting(method, task, [seed], {}))
    return {name: value.detach() for name, value in model.module.named_parameters()}


def check_noise(method: type[Method], task: Task, who: str) -> None:
    """Each replicate has noise of its own in training: with one example, one set of weights and no step, losses that
    change from step to step differ between two replicates."""
    import torch

    # Costs of decisions are annealed: their loss moves by a schedule, and no noise is in it.
    if not method.batchable or method.principle in ("exact", "decision"):
        return
    fixed = _with_one_example(task)

    class Alike(method):  # type: ignore[valid-type,misc]
        @classmethod
        def build(cls, setting: Any) -> Model:
            model = method.build(setting)
            _make_alike(model)
            return model

    try:
        training = Alike.fit(_setting(Alike, fixed, [0, 1], {"learning_rate": NO_RATE}, examples=16)).training
    except (ValueError, LookupError, ArithmeticError, RuntimeError):
        return  # one example is too few for what the method does with data before it trains
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
    """Give every replicate the weights of the first."""
    import torch

    with torch.no_grad():
        for value in [*model.module.parameters(), *model.module.buffers()]:
            if value.ndim and value.shape[0] == model.num_replicates:
                value.copy_(value[:1].expand_as(value).clone())


def _with_one_example(task: Task) -> Task:
    """The same task, whose data are its first example over and over, whatever the seed."""

    class OneExample(type(task)):  # type: ignore[misc]
        def sample_with_latent(self, n: int, seed: int = 0, split: Any = "train") -> tuple[torch.Tensor, ...]:
            first = super().sample_with_latent(1, 0, split)
            return tuple(part.expand(n, *part.shape[1:]).clone() for part in first)

    return OneExample(**task.options.model_dump())


def _setting(method: type[Method], task: Task, seeds: list[int], options: dict[str, Any], examples: int = 64) -> Any:
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
        budget=Budget(steps=STEPS, batch_size=16, examples=examples),
        dtype=torch.float32,
        device="cpu",
        compile=False,
        options=known,
    )
