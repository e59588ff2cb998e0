"""What trials will cost in work, time and bytes, counted from shapes before anything is built."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ..core.errors import invalid
from ..core.spaces import Box, Sequences

if TYPE_CHECKING:
    from ..core.budget import Budget
    from ..energies.mlp import Network
    from ..metrics import Evaluation
    from ..tasks.base import Task
    from ..training.method import Method

#: Energies that measuring a trial asks for: to fit a temperature, for a partition function with what is read at it, and
#: for each step that a descent from a start may take, in the descents of all rules and lengths.
ENERGIES_OF_BETA, ENERGIES_A_PARTITION, ENERGIES_A_STEP = 100_000, 2_500, 30
#: Seconds that one of them takes: the median over the methods of the headline study on an AMD EPYC, .2 a trial.
SECONDS_AN_ENERGY = 6e-7

#: Bytes that a trial's record takes in a store, compressed, and the arrays of one at the first seed: means of the
#: headline study.
RECORD_BYTES = 2_700
ARRAY_BYTES = 155_000

#: What one trial may ask for at most: a mistake in a file is told before a machine is filled or a year is spent.
MOST_MULTIPLY_ADDS = 1e18
MOST_BYTES = 2.0**40


def widths(task: Task, network: Network) -> tuple[int, ...]:
    """Widths of the network's layers on a task, from input to output."""
    space = task.y_space
    inputs = sum(own.dim for own in (task.x_space, space) if isinstance(own, Box))
    if isinstance(space, Sequences) and network.factors == "whole":
        inputs += space.num_variables * space.num_values
    return (inputs, *network.hidden, 1)


def answers_asked(task: Task, network: Network) -> int:
    """Answers that the network is asked for where a method wants the energies of one example: of whole strings all."""
    space = task.y_space
    return space.num_answers if isinstance(space, Sequences) and network.factors == "whole" else 1


def examples_asked(task: Task, network: Network, batch_size: int) -> int:
    """Examples of a minibatch that whole strings are asked for: one where all have the same, empty x."""
    alike = network.factors == "whole" and isinstance(task.x_space, Box) and task.x_space.dim == 0
    return 1 if alike and isinstance(task.y_space, Sequences) else batch_size


def steps_and_multiply_adds(
    method: type[Method], options: Any, task: Task, layers: tuple[int, ...], budget: Budget, answers: int = 1
) -> tuple[int, float]:
    """Estimated steps and multiply-adds of one trial's training, where an energy evaluation is the trunk's products,
    times `answers_asked`."""
    if method.principle == "exact":
        return 0, 0.0
    products = answers * float(sum(before * after for before, after in pairwise(layers)))
    step = method.step_multiply_adds(options, task, budget.batch_size, products)
    if budget.multiply_adds is not None:
        return budget.steps_for(step), budget.multiply_adds
    return budget.steps, step * budget.steps


def seconds_to_measure(evaluation: Mapping[str, Any]) -> float:
    """Estimated seconds that a core measures a trial for, from the counts of its evaluation alone.

    Six pairs of method and task, as the studies measure them, took between a fifth and 1.2 times as long: without x one
    partition function serves all, and metrics that are not asked for cost nothing.
    """
    energies = ENERGIES_OF_BETA + ENERGIES_A_PARTITION * evaluation["partitions"]
    energies += ENERGIES_A_STEP * evaluation["inputs"] * evaluation["starts"] * evaluation["max_steps"]
    energies += evaluation["samples"] + evaluation["test_examples"]
    return float(SECONDS_AN_ENERGY * energies)


def check_affordable(
    where: str, layers: tuple[int, ...], evaluations: float, work: float, budget: Budget, evaluation: Evaluation
) -> None:
    """Raise a `ValueError` where one trial asks for absurd work or memory.

    Args:
        where: the trial, in words.
        layers: `widths` of its network.
        evaluations: energy evaluations that an example costs in a step, all of which may be in memory at once.
        work: multiply-adds of its training.
        budget: its budget.
        evaluation: how it is measured.
    """
    units, parameters = sum(layers), sum((before + 1) * after for before, after in pairwise(layers))
    inference = evaluation.inputs * evaluation.starts + evaluation.samples + evaluation.test_examples
    numbers = 4 * parameters + units * max(evaluations * budget.batch_size, inference) + layers[0] * budget.examples
    if not work <= MOST_MULTIPLY_ADDS:
        raise invalid(f"{where}: multiply-adds of one trial", f"{work:.3g}", f"at most {MOST_MULTIPLY_ADDS:.0e}")
    if not 8.0 * numbers <= MOST_BYTES:
        raise invalid(f"{where}: bytes of one trial", f"{8.0 * numbers:.3g}", f"at most {MOST_BYTES:.3g}")


def stored_bytes(trials: int, with_arrays: int) -> int:
    """Estimated bytes of the records of trials, of which some keep arrays."""
    return trials * RECORD_BYTES + with_arrays * ARRAY_BYTES
