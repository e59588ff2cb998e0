"""What methods of this family have in common that learn energies of discrete answers, which are found exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, cast

import torch

from ..core.spaces import Labels, Sequences, Space
from ..models.building import build_graph_energy
from ..models.graph_model import GraphModel
from ..models.model import Model
from ..models.record import Training
from ..models.setting import Setting
from ..tasks.base import Task
from ..training.batches import Batch
from ..training.loop import train
from .margin_method import refuse_regularisers_along_y
from .regularisers import RegularisedMethod

#: The loss of each example, (R, B), from the energies at x, of batch (R, B), and the right answers (R, B, T) int64.
Terms = Callable[[Any, torch.Tensor], torch.Tensor]


class DiscreteMethod(RegularisedMethod):
    """Energies of labels or sequences, trained by a loss of each example's energies and its right answer."""

    y_spaces: ClassVar[tuple[type[Space], ...]] = (Labels, Sequences)

    @classmethod
    def build(cls, setting: Setting) -> GraphModel:
        return GraphModel(cls, setting, build_graph_energy(setting))

    @classmethod
    def step_evaluations(cls, options: Any, task: Task) -> float:
        return 3.0

    @classmethod
    def minimised(cls, model: Model, terms: Terms, after_step: Callable[[int], None] | None = None) -> Training:
        """Minimise the mean of `terms`.

        Raises:
            ValueError: a regulariser along y, which has no gradient.
        """
        refuse_regularisers_along_y(model)
        graphs = cast("GraphModel", model)

        def loss(batch: Batch) -> torch.Tensor:
            return terms(graphs.module.graph(batch.x), graphs.space.to_variables(batch.y)).mean(-1)

        return train(model, loss, after_step=after_step)

    @classmethod
    def an_example(cls, model: Model) -> torch.Tensor:
        """(1, 1) in the dtype and on the device of training: what options become columns like."""
        return torch.zeros(1, 1, dtype=model.setting.dtype, device=model.setting.device)
