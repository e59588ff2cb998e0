"""Measures what training steps take on this machine: `python -m ebm_vs_prob.study.step_probe` prints `StepTimes`.

The step is that of denoising score matching, at three shapes, which tell what is done once a step, for each unit of the
network and for each of its products.
"""

from __future__ import annotations

import statistics
import time
from itertools import islice, pairwise

import numpy as np
import torch
from scipy.optimize import nnls

from ..core.budget import Budget
from ..core.process_state import default_state
from ..core.programs import Program
from ..core.registry import METHODS, TASKS
from ..core.streams import printed_aside
from ..energies.evaluation import energy_and_gradient
from ..energies.mlp import Network
from ..training.batches import Batch, Noise, draws
from ..training.fitting import prepare
from ..training.optimizers import ReplicatedAdam
from ..training.step import Step, Traces
from .cost import widths
from .step_times import StepTime, StepTimes, machine

#: Replicates and hidden widths.
SHAPES = ((2, (32, 32)), (32, (32, 32)), (8, (128, 128)))
BATCH_SIZE = 64
EVALUATIONS = 9.0  # of the energy, an example: see `DenoisingScoreMatching.energy_evaluations`
STEPS, ROUNDS = 100, 5
SIGMA = 0.1


def measured() -> StepTimes:
    """The constants of this machine, in a process that does nothing else.

    `compile` is measured with the compiler's headers at hand: those are made once for all programs.
    """
    torch.set_num_threads(1)
    rows, recorded, compiled, compiling = [], [], [], []
    with default_state():
        for replicates, hidden in SHAPES:
            layers, program, inputs = _program(replicates, hidden)
            evaluations = EVALUATIONS * BATCH_SIZE * replicates
            rows.append([1.0, evaluations * sum(layers), evaluations * sum(a * b for a, b in pairwise(layers))])
            recorded.append(_seconds(program, inputs))
            seconds = _compiled(program)
            if seconds is not None:
                compiling.append(seconds)
                compiled.append(_seconds(program, inputs))
    if len(compiled) < len(SHAPES):
        compiled, compiling = recorded, []
    return StepTimes(
        machine=machine(),
        recorded=_constants(rows, recorded),
        compiled=_constants(rows, compiled),
        compile=statistics.mean(compiling[1:]) if compiling else None,
    )


def _constants(rows: list[list[float]], seconds: list[float]) -> StepTime:
    """The constants, none negative, whose predictions are nearest in ratio."""
    table = np.array(rows) / np.array(seconds)[:, None]
    launch, unit, multiply_add = map(float, nnls(table, np.ones(len(table)))[0])
    return StepTime(launch=launch, unit=unit, multiply_add=multiply_add)


def _program(replicates: int, hidden: tuple[int, ...]) -> tuple[tuple[int, ...], Program, list[list[torch.Tensor]]]:
    task, network = TASKS.get("circle")(), Network(hidden=hidden)
    method = METHODS.get("denoising_score_matching")
    setting = prepare(
        method,
        task,
        range(replicates),
        energy=None,
        network=network,
        budget=Budget(steps=STEPS, batch_size=BATCH_SIZE),
        dtype=torch.float32,
        device="cpu",
        compile=False,
        options={},
    )
    model = method.build(setting)

    def loss(batch: Batch) -> torch.Tensor:
        _, gradient = energy_and_gradient(model.module, batch.x, batch.y + SIGMA * batch.noise["y"])
        return (SIGMA * gradient - batch.noise["y"]).square().sum(-1).mean(-1)

    optimizer = ReplicatedAdam(model.module, setting.options.learning_rate)
    step = Step(setting, loss, ["y"], optimizer, Traces())
    noise = {"y": Noise("normal", (BATCH_SIZE, model.y_box.dim))}
    inputs = [
        [drawn_rows, *drawn.values(), *optimizer.inputs(number, STEPS)]
        for number, (drawn_rows, drawn) in enumerate(islice(draws(setting, noise, STEPS), STEPS))
    ]
    step(*inputs[0])
    return widths(task, network), step.recorded(*inputs[0]), inputs


def _seconds(program: Program, inputs: list[list[torch.Tensor]]) -> float:
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for given in inputs:
            program(*given)
        times.append((time.perf_counter() - started) / len(inputs))
    return statistics.median(times)


def _compiled(program: Program) -> float | None:
    """Seconds that compiling takes, as if it were the first time; None where no compiler works."""
    from torch._inductor import config

    started = time.perf_counter()
    try:
        with config.patch(force_disable_caches=True):
            program.compile()
    except RuntimeError:
        return None
    return time.perf_counter() - started


if __name__ == "__main__":
    with printed_aside():
        found = measured()
    print(found.model_dump_json())
