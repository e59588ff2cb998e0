"""What proposals of maximum likelihood cost and what they are worth: the gap to the truth against seconds of training.

    python -m benchmarks.proposals --out benchmarks/proposals.json

`gibbs_maximum_likelihood` estimates ln Z(x) by importance sampling from kernels round the answers of x's neighbours. It
is trained with eight draws of them an example, as it is by default, and with four; and with one proposal that the whole
minibatch shares, whose kernels sit on the minibatch's own answers and whose draws serve every x in it.

Each is trained with several budgets, each a schedule of its own. The seconds are those that recorded steps take, from
the fifth on. The gap is the mean of ln p - ln q over held-out pairs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import pyro
import torch
import typer

from ebm_vs_prob import Budget, Evaluation, Network, evaluate, fit, get_task
from ebm_vs_prob.gibbs.density import GibbsBoltzmann
from ebm_vs_prob.gibbs.normalizers import ImportanceSampling
from ebm_vs_prob.models.model import Model
from ebm_vs_prob.models.record import Training
from ebm_vs_prob.prob.methods.gibbs_maximum_likelihood import GibbsMaximumLikelihood
from ebm_vs_prob.prob.objectives.bounds import ReplicatedELBO, no_guide
from ebm_vs_prob.tasks.base import Task
from ebm_vs_prob.training import loop
from ebm_vs_prob.training.batches import Batch, Noise
from ebm_vs_prob.training.batches import draws as draws_of_steps
from ebm_vs_prob.training.method import Method

from .paced_training import UNTIMED
from .results import keep_to_one_processor, write

#: Optimiser steps of the trainings.
BUDGETS = (300, 600, 1200, 2400, 4800)


class SharedProposal(GibbsMaximumLikelihood):
    """The same with one proposal for a minibatch: kernels on its answers, whose `proposals` draws serve every x of it.

    As many energies are computed as with proposals of their own; the kernels' densities are computed once.
    """

    name = "gibbs_maximum_likelihood_shared_proposal"

    @classmethod
    def train(cls, model: Model) -> Training:
        energy, elbo, options = model.module, ReplicatedELBO(), model.setting.options
        kernel, bounds = model.data_kernel, model.y_box.bounds
        size, dim, draws = model.setting.budget.batch_size, model.y_box.dim, options.proposals

        def gibbs(x: torch.Tensor, y: torch.Tensor, samples: torch.Tensor, log_density: torch.Tensor) -> None:
            normalizer = ImportanceSampling(samples=samples, log_density=log_density)
            density = GibbsBoltzmann(energy, y_dim=dim, x=x, bounds=bounds, normalizer=normalizer, validate_args=False)
            with pyro.plate("replicate", y.shape[0], dim=-2), pyro.plate("data", y.shape[1], dim=-1):
                pyro.sample("y", density, obs=y)

        def loss(batch: Batch) -> torch.Tensor:
            centers, noise = batch.y.unsqueeze(1), batch.noise
            samples, log_density = kernel.propose(centers, kernel.widths, noise["normal"], noise["uniform"])
            each = samples.expand(-1, size, -1, -1), log_density.expand(-1, size, -1)
            return elbo.replicate_losses(gibbs, no_guide, batch.x, batch.y, *each) / size

        drawn = {"normal": Noise("normal", (1, draws, dim)), "uniform": Noise("uniform", (1, draws, 2 + dim))}
        return loop.train(model, loss, drawn)


#: The ways that are compared: the method and its draws, an example or a minibatch.
WAYS: dict[str, tuple[type[Method], int]] = {
    "8 draws an example": (GibbsMaximumLikelihood, 8),
    "4 draws an example": (GibbsMaximumLikelihood, 4),
    "8 draws a minibatch": (SharedProposal, 8),
    "64 draws a minibatch": (SharedProposal, 64),
}


def timing(usual: Callable[..., Iterator[Any]], begun: list[float]) -> Callable[..., Iterator[Any]]:
    """The loop's minibatches, with the time at which each is asked for."""

    def draws(*given: Any) -> Iterator[Any]:
        for step in usual(*given):
            begun.append(time.perf_counter())
            yield step

    return draws


def trained(way: str, task: Task, seeds: int, steps: int) -> dict[str, Any]:
    """One training of a way: the seconds of its steps, and the gap of each replicate, in nats."""
    method, draws = WAYS[way]
    budget, network = Budget(steps=steps, batch_size=64, examples=1000), Network(hidden=(32, 32))
    begun: list[float] = []
    with patch.object(loop, "RECORDED", 1), patch.object(loop, "draws", timing(draws_of_steps, begun)):
        model = fit(method, task, range(seeds), budget=budget, network=network, proposals=draws)
    table = evaluate(model, task, Evaluation(metrics=("likelihood_gap",)))
    gaps = table[table["metric"] == "likelihood_gap"].sort_values("replicate")["value"].tolist()
    step = (begun[-1] - begun[UNTIMED]) / (len(begun) - 1 - UNTIMED)
    return {"steps": steps, "seconds": step * steps, "gap": gaps}


def at_seconds(points: Sequence[tuple[float, float]], seconds: float) -> float:
    """The gap after so many seconds, on the lines between the points (seconds, gap); outside of them the nearest."""
    times, gaps = zip(*sorted(points), strict=True)
    return float(np.interp(np.log(seconds), np.log(times), gaps))


def points(found: dict[str, Any]) -> list[tuple[float, float]]:
    """Seconds and the median gap of each training of a way."""
    return [(each["seconds"], statistics.median(each["gap"])) for each in found["trainings"]]


def main(
    task: Annotated[str, typer.Option(help="a task with inputs, whose density is known")] = "three_curves",
    thickness: Annotated[float, typer.Option(help="of its data")] = 0.1,
    seeds: Annotated[int, typer.Option(min=1, help="replicates")] = 10,
    steps: Annotated[list[int], typer.Option(help="of a training; may be repeated")] = list(BUDGETS),  # noqa: B006
    out: Annotated[Path | None, typer.Option(help="write every training as JSON here")] = None,
) -> None:
    """Print the gap of each way after the same seconds."""
    if min(steps) < UNTIMED + 2 or any(one >= other for one, other in pairwise(steps)):
        raise typer.BadParameter(f"steps {steps}: numbers from {UNTIMED + 2} on, from small to large")
    keep_to_one_processor()
    torch.set_num_threads(1)
    data = get_task(task, thickness=thickness)
    rows = []
    for way in WAYS:
        trainings = [trained(way, data, seeds, count) for count in steps]
        step = trainings[-1]["seconds"] / trainings[-1]["steps"]
        rows.append({"way": way, "seconds_a_step": step, "trainings": trainings})
        said = ", ".join(f"{gap:.4f} after {seconds:.2f} s" for seconds, gap in points(rows[-1]))
        print(f"{way}: {1e3 * step:.3f} ms a step; gap {said}", flush=True)
    common = min(points(each)[-1][0] for each in rows)
    after = {each["way"]: at_seconds(points(each), common) for each in rows}
    print(f"after {common:.2f} s: " + ", ".join(f"{way} {gap:.4f}" for way, gap in after.items()))
    chosen = {"task": [task, {"thickness": thickness}], "seeds": seeds}
    write(out, "proposals", None, **chosen, ways=rows, common_seconds=common, gap_after_common_seconds=after)


if __name__ == "__main__":
    typer.run(main)
