"""All that a fit knows, and the data that follow from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..core.errors import invalid
from ..core.memory import once
from ..core.options import OptionBatch
from ..core.spaces import Box, Space
from ..energies.mlp import Network

if TYPE_CHECKING:
    from ..core.budget import Budget
    from ..tasks.base import Split, Task


def box_dims(setting: Setting) -> tuple[int, int]:
    """(dx, dy) of a setting whose spaces are boxes."""
    task = setting.tasks[0]
    if not (isinstance(task.x_space, Box) and isinstance(task.y_space, Box)):
        raise invalid("task", task, "a task with real x and y (Box spaces)")
    return task.x_space.dim, task.y_space.dim


@dataclass(frozen=True)
class Setting:
    """All that a fit knows: R tasks with their seeds and options, one network shape, one budget, where to compute."""

    tasks: tuple[Task, ...]
    seeds: tuple[int, ...]
    options: OptionBatch
    network: Network | Callable[[Task], nn.Module]
    budget: Budget
    dtype: torch.dtype
    device: str
    compile: bool

    @property
    def num_replicates(self) -> int:
        return len(self.tasks)

    def twice(self) -> Setting:
        """This setting of one replicate with a copy of it."""
        options = OptionBatch(self.options.replicates * 2, "options")
        return replace(self, tasks=self.tasks * 2, seeds=self.seeds * 2, options=options)

    def placed(self, value: torch.Tensor, space: Space) -> torch.Tensor:
        """A value of a task's space on the setting's device: real vectors in its dtype, symbols as int64."""
        placed = value.to(device=self.device, dtype=self.dtype if isinstance(space, Box) else torch.int64)
        return placed.clone() if placed.is_inference() else placed  # autograd refuses tensors made in inference mode


def same_spaces(tasks: Sequence[Task]) -> None:
    """Raise a `ValueError` unless all tasks are of one kind with equal spaces: replicates share shapes."""
    first = tasks[0]
    for task in tasks[1:]:
        if type(task) is not type(first) or (task.x_space, task.y_space) != (first.x_space, first.y_space):
            raise invalid("task", [repr(first), repr(task)], "tasks of one kind with the same spaces")


def training_data(setting: Setting) -> tuple[torch.Tensor, torch.Tensor]:
    """The training pairs of every replicate, (R, N, dx) and (R, N, dy) or symbols, placed by the setting."""
    return stacked_pairs(setting, setting.budget.examples, "train")


def stacked_pairs(setting: Setting, count: int, split: Split) -> tuple[torch.Tensor, torch.Tensor]:
    """`count` pairs (R, n, ...) of a split for every replicate, from its own seed, placed by the setting."""

    def drawn() -> tuple[torch.Tensor, torch.Tensor]:
        first = setting.tasks[0]
        pairs = [task.sample(count, seed, split) for task, seed in zip(setting.tasks, setting.seeds, strict=True)]
        x, y = (torch.stack(part) for part in zip(*pairs, strict=True))
        return setting.placed(x, first.x_space), setting.placed(y, first.y_space)

    where = [str(setting.dtype), str(setting.device), torch.is_inference_mode_enabled()]
    return once(setting.tasks, f"{split} pairs", [count, *setting.seeds], where, compute=drawn)
