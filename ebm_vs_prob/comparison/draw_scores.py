"""Log-densities of data under every draw of a fitted model, with what speaks against them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from ..core.errors import check_count, invalid
from ..core.seeding import check_seed
from ..gibbs.trust import MAX_PARTITION_GAP, doubts_asked_for, lines_of
from ..models.capabilities import DiagnosesChains, DoubtsDensity, DoubtsPosterior, HasPosterior
from ..models.density_model import DensityModel
from ..models.energy_model import EnergyModel
from ..models.model import Model
from ..models.setting import training_data
from ..samplers.diagnostics import MAX_R_HAT, MIN_ESS
from ..tasks.base import Task

DataSplit = Literal["test", "train"]


@dataclass(frozen=True)
class DrawScores:
    """ln q(y | x, draw) of D draws at n pairs, (D, n) nats in the units that the data came in; the replicate of each
    draw; what to be warned of."""

    log_likelihood: torch.Tensor
    replicates: tuple[int, ...]
    warnings: tuple[str, ...]


def scored_draws(model: Model, x: torch.Tensor, y: torch.Tensor, replicate: int | None) -> DrawScores:
    """The log-densities of pairs x (n, dx), y (n, ...) under every draw of the replicates, or of the one asked for.

    Raises:
        NotNormalised: a model that stands for no density.
        ValueError: no replicate whose training did not fail.
    """
    said = [
        f"replicate {r} is left out: its training failed at step {status.step}: {status.reason}"
        for r, status in enumerate(model.status)
        if not status.ok and replicate in (None, r)
    ]
    members = [r for r, status in enumerate(model.status) if status.ok and replicate in (None, r)]
    if not members:
        raise invalid("model", model, f"a replicate whose training did not fail ({'; '.join(said)})")
    with torch.no_grad(), doubts_asked_for():
        each, doubtful = _each_draw(model, x, y, members)
    said += [*doubtful, *chain_warnings(model, members)]
    owners = tuple(r for r in members for _ in range(each.shape[1]))
    scores = each[members].flatten(0, 1).double().cpu() - model.tasks[0].log_unit
    return DrawScores(scores, owners, tuple(said))


def _each_draw(
    model: Model, x: torch.Tensor, y: torch.Tensor, members: list[int]
) -> tuple[torch.Tensor, tuple[str, ...]]:
    """ln q(y | x) of each replicate and draw, (R, S, n), and what speaks against those of the members."""
    if isinstance(model, HasPosterior):
        said = model.posterior_warnings(x, members) if isinstance(model, DoubtsPosterior) else ()
        return model.posterior_log_prob(x, y), said
    integrates = isinstance(model, EnergyModel) and not model.normalised
    if integrates or type(model).log_prob is DensityModel.log_prob:
        density = model.gibbs(x)
        found = density.log_prob(y.unsqueeze(0)).unsqueeze(1)
        return found, lines_of({reason: where[members] for reason, where in density.doubts().items()})
    said = model.log_prob_warnings(x, y) if isinstance(model, DoubtsDensity) else ()
    return model.log_prob(x, y).unsqueeze(1), said


def chain_warnings(model: Model, members: list[int]) -> list[str]:
    """R-hat, effective sample size and divergences of the chains behind a posterior's draws, where they are bad."""
    found = model.posterior_diagnostics() if isinstance(model, DiagnosesChains) else None
    if found is None:
        return []
    said = []
    for r in members:
        r_hat, ess = float(found.r_hat[r].max()), float(found.ess[r].min())
        if not r_hat <= MAX_R_HAT:
            said.append(f"replicate {r}: R-hat up to {r_hat:.2f}: its chains do not agree")
        if not ess >= MIN_ESS:
            said.append(f"replicate {r}: effective sample size from {ess:.0f}, below {MIN_ESS}")
        divergences = float(found.divergences[r].nansum())
        if divergences:
            said.append(f"replicate {r}: {divergences:.0f} divergent transitions")
    return said


def weight_draws(model: Model, members: list[int]) -> dict[str, torch.Tensor]:
    """Weights by name, (D, ...): of each draw of each member."""
    if isinstance(model, HasPosterior):
        return {name: value[members].flatten(0, 1) for name, value in model.posterior_weights().items()}
    return {name: value[members] for name, value in model.module.named_parameters()}


def pairs(
    model: Model, task: Task, split: DataSplit, replicate: int | None, examples: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The pairs x (n, dx) and y (n, ...) that a model is scored on, after checks of everything."""
    check_count("examples", examples)
    check_seed(seed)
    count = model.num_replicates
    if replicate is not None and (isinstance(replicate, bool) or not isinstance(replicate, int)):
        raise invalid("replicate", replicate, "an integer, or None for all replicates")
    if replicate is not None and not 0 <= replicate < count:
        raise invalid("replicate", replicate, f"in 0 .. {count - 1}")
    if split not in ("test", "train"):
        raise invalid("split", split, "'test' or 'train'")
    own = model.tasks[0]
    if not isinstance(task, Task) or (task.x_space, task.y_space) != (own.x_space, own.y_space):
        raise invalid("task", task, f"a task with the spaces of {own!r}, which the model was fitted to")
    if split == "test":
        rows = task.test_rows
        return task.sample(examples if rows is None else min(examples, rows), seed, "test")
    if replicate is None and count > 1:
        raise invalid("replicate", replicate, f"one of 0 .. {count - 1} on split = 'train': each has its own examples")
    r = replicate or 0
    if model.tasks[r].specification() != task.specification():
        raise invalid("task", task, f"{model.tasks[r]!r} on split = 'train', which the model was fitted to")
    x, y = training_data(model.setting)
    return x[r, :examples].cpu(), y[r, :examples].cpu()


def training_warnings(model: Model, members: list[int]) -> list[str]:
    """Replicates of a posterior that was trained on an ln Z too far from its draws' own."""
    if not isinstance(model, DoubtsPosterior):
        return []
    worst = {r: float(model.partition_gap[r].max()) for r in members}
    return [
        f"replicate {r}: trained on an ln Z off by up to {gap:.2f} nats"
        for r, gap in worst.items()
        if gap > MAX_PARTITION_GAP
    ]
