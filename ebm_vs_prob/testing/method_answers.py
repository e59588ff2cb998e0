"""The rules of a method's answers, draws and probabilities."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..core.errors import NotNormalised
from ..core.spaces import Discrete
from .rules import every_answer, expect, integral, rule

if TYPE_CHECKING:
    import torch

    from ..models.model import Model


def check_answering(model: Model, x: torch.Tensor, who: str) -> None:
    """`infer` and `sample`: shapes, finite numbers or symbols of the space, the same for the same seed."""
    import torch

    space = model.tasks[0].y_space
    shape = (model.num_replicates, len(x), 3, *space.event_shape)
    draws: dict[str, Callable[[int], torch.Tensor]] = {"infer": lambda seed: model.infer(x, n_starts=3, seed=seed).y}
    if model.method.family != "control":
        draws["sample"] = lambda seed: model.sample(x, num_samples=3, seed=seed)
    for name, draw in draws.items():
        drawn = draw(0)
        rule(drawn.shape == shape, who, f"{name} must be (R, n, k, ...) = {shape}, not {tuple(drawn.shape)}")
        rule(drawn.isfinite().all(), who, f"{name} must be finite")
        if isinstance(space, Discrete):
            space.check(f"{who}: {name}", drawn)
        rule(torch.equal(draw(0), drawn), who, f"{name}: same seed, same answers")
    if "sample" in draws:
        rule(not torch.equal(draws["sample"](0), draws["sample"](1)), who, "sample: another seed, other draws")


def check_least(model: Model, space: Discrete, x: torch.Tensor, who: str) -> None:
    """No discrete answer has less energy than the one that is found."""
    rivals = every_answer(space)
    if rivals is not None:
        least = model.energy(x.expand(len(rivals), -1), rivals).amin(1)
        found = model.infer(x, n_starts=1).energy[:, 0, 0]
        rule(
            (found <= least + 1e-5).all(), who, "infer must give the answer of least energy where answers are discrete"
        )


def check_probability(model: Model, x: torch.Tensor, y: torch.Tensor, who: str) -> None:
    """`log_prob` of a normalised model is that of a law; of any other it is refused, and `gibbs` named."""
    if not model.normalised:
        error = expect(NotNormalised, who, "log_prob of an unnormalised model", lambda: model.log_prob(x, y))
        rule("gibbs" in str(error), who, f"the error of log_prob must name model.gibbs, not say {str(error)!r}")
        return
    shape = (model.num_replicates, len(x))
    log_prob = model.log_prob(x, y)
    rule(log_prob.shape == shape, who, f"log_prob must be (R, n) = {shape}, not {tuple(log_prob.shape)}")
    rule(log_prob.isfinite().all(), who, "log_prob must be finite on test data")
    space = model.tasks[0].y_space

    def first(answers: torch.Tensor) -> torch.Tensor:
        return model.log_prob(x[:1].expand(len(answers), -1), model.setting.placed(answers, space))[0]

    if isinstance(space, Discrete):
        answers = every_answer(space)
        total = 1.0 if answers is None else float(first(answers).double().exp().sum())
        rule(abs(total - 1) < 1e-4, who, f"exp(log_prob) must sum to 1 over all answers, not {total:.5f}")
    elif space.dim <= 2:
        mass = integral(first, space, (space.bounds[1] - space.bounds[0]) / 200)
        rule(abs(mass - 1) < 1e-2, who, f"exp(log_prob) must integrate to 1 over the y-box, not {mass:.5f}")
