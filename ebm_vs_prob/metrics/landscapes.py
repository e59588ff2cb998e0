"""What a figure of a model needs, as plain arrays: its energy on a grid, data, answers and samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..core.errors import NoExactReference, NotNormalised
from ..core.spaces import Box
from ..energies.evaluation import energy_in_blocks
from .evaluate import checked_tasks
from .observation import Observation
from .options import Evaluation

if TYPE_CHECKING:
    from ..models.model import Model
    from ..tasks.base import Task

#: Nodes along each axis of the energy's grid.
GRID = 161


def landscapes(
    model: Model,
    tasks: Task | Sequence[Task],
    evaluation: Evaluation | None = None,
    observed: Observation | None = None,
) -> list[dict[str, np.ndarray]]:
    """Arrays of each replicate, float32, for a report that never sees a model.

    `axis_0` and `axis_1` (1-D) and `energy` (len axis_0, len axis_1): over y_0 and y_1 of an unconditional task in two
    dimensions, over x and y where both are numbers; absent otherwise. `data_x` (m, dx) and `data_y` (m, dy), or symbols
    (m, T), are held-out pairs; `answers_x`, `answers_y` what inference found, `samples_x`, `samples_y` what the model
    drew; absent where it cannot. `data_log_likelihood` (m,) is ln q(y | x) of the data in nats, in the units that they
    came in, of a normalised model that was evaluated at all of them. `observed` as in `evaluate`.
    """
    observed = observed or Observation(model, checked_tasks(model, tasks), evaluation or Evaluation())
    arrays: list[dict[str, np.ndarray]] = [{} for _ in range(model.num_replicates)]
    _add(arrays, "data", *observed.test)
    for add in (_add_energy, _add_answers, _add_samples, _add_log_likelihood):
        try:
            add(observed, arrays)
        except (NoExactReference, NotNormalised):
            continue
    return arrays


def _add_energy(observed: Observation, arrays: list[dict[str, np.ndarray]]) -> None:
    x_box: Any = observed.tasks[0].x_space
    if not isinstance(observed.tasks[0].y_space, Box):
        return
    y_axis = observed.placed(_axis(observed.box))
    if (x_box.dim, observed.box.dim) == (0, 2):
        first = y_axis
        y = torch.cartesian_prod(y_axis, y_axis).unsqueeze(0)
        x = y[..., :0]
    elif (x_box.dim, observed.box.dim) == (1, 1):
        first = observed.placed(_axis(x_box))
        grid = torch.cartesian_prod(first, y_axis).unsqueeze(0)
        x, y = grid[..., :1], grid[..., 1:]
    else:
        return
    energy = energy_in_blocks(observed.model.module, x, y).reshape(-1, GRID, GRID)
    for r, row in enumerate(arrays):
        row["axis_0"], row["axis_1"], row["energy"] = _float32(first), _float32(y_axis), _float32(energy[r])


def _axis(box: Box) -> torch.Tensor:
    low, high = box.bounds
    return torch.linspace(low, high, GRID, dtype=torch.float64, device="cpu")


def _add_answers(observed: Observation, arrays: list[dict[str, np.ndarray]]) -> None:
    _add_sets(arrays, "answers", observed.inputs, observed.answers.y)


def _add_samples(observed: Observation, arrays: list[dict[str, np.ndarray]]) -> None:
    _add_sets(arrays, "samples", observed.distinct_inputs, observed.samples)


def _add_log_likelihood(observed: Observation, arrays: list[dict[str, np.ndarray]]) -> None:
    if observed.model.normalised and observed.log_density.shape[1] == observed.test[1].shape[1]:
        for r, row in enumerate(arrays):
            row["data_log_likelihood"] = (observed.log_density[r] - observed.log_unit[r]).astype(np.float32)


def _add_sets(arrays: list[dict[str, np.ndarray]], name: str, x: torch.Tensor, y: torch.Tensor) -> None:
    """Several y for each x, (R, k, m, dy), written out as pairs."""
    _add(arrays, name, x.unsqueeze(2).expand(-1, -1, y.shape[2], -1).flatten(1, 2), y.flatten(1, 2))


def _add(arrays: list[dict[str, np.ndarray]], name: str, x: torch.Tensor, y: torch.Tensor) -> None:
    for r, row in enumerate(arrays):
        row[f"{name}_x"], row[f"{name}_y"] = _float32(x[r]), _float32(y[r].reshape(y.shape[1], -1))


def _float32(value: torch.Tensor) -> np.ndarray:
    array: np.ndarray = value.detach().cpu().float().numpy()
    return array
