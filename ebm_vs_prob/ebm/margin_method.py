"""What the ten losses of the tutorial of 2006 have in common as methods, and their training on discrete answers."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch

from ..core.errors import invalid
from ..core.spaces import Box, Discrete, Labels, Sequences
from ..models.building import build_energy, build_graph_energy
from ..models.energy_model import EnergyModel
from ..models.graph_model import GraphModel
from ..models.model import Model
from ..models.record import Training
from ..models.setting import Setting
from ..tasks.base import Task
from ..training.batches import Batch
from ..training.loop import train
from ..training.method import MethodOptions, Principle
from .objectives.margin import TUTORIAL_LOSSES, TutorialLoss
from .regularisers import RegularisedMethod, RegularisedOptions


class MarginMethod(RegularisedMethod):
    """What the ten losses have in common: an unnormalised energy, its answer the least, and regularisers if wanted.

    Labels and sequences are compared with all other answers, by enumeration and by messages: nothing is searched for,
    and the options of a search have no effect.
    """

    principle: ClassVar[Principle] = "margin"
    Options: ClassVar[type[MethodOptions]] = RegularisedOptions
    sees_level: ClassVar[bool] = False  # whether a constant added to every energy changes the loss
    y_spaces = (Box, Labels, Sequences)

    @classmethod
    def build(cls, setting: Setting) -> EnergyModel:
        if isinstance(setting.tasks[0].y_space, Discrete):
            return GraphModel(cls, setting, build_graph_energy(setting))
        return EnergyModel(cls, setting, build_energy(setting, level=cls.sees_level))

    @classmethod
    def train(cls, model: Model) -> Training:
        if isinstance(model, GraphModel):
            return train_on_graphs(model, TUTORIAL_LOSSES[cls.name])
        return cls.train_on_vectors(model)

    @classmethod
    @abstractmethod
    def train_on_vectors(cls, model: Model) -> Training:
        """`train` for real answers."""

    @classmethod
    def step_evaluations(cls, options: Any, task: Task) -> float:
        """As of every method; where all answers are enumerated one evaluation of the energy gives them all."""
        if isinstance(task.y_space, Discrete):
            return 3.0
        return super().step_evaluations(options, task)


def train_on_graphs(model: GraphModel, loss: TutorialLoss) -> Training:
    """Minimise a loss of the tutorial, its parameters the options of their names, over discrete answers.

    Raises:
        ValueError: a regulariser along y, which has no directions.
    """
    options = model.setting.options
    refuse_regularisers_along_y(model)
    an_example = torch.zeros(1, 1, dtype=model.setting.dtype, device=model.setting.device)
    parameters = {name: options.column(name, an_example) for name in loss.parameters}

    def mean_loss(batch: Batch) -> torch.Tensor:
        graph, y = model.module.graph(batch.x), model.space.to_variables(batch.y)
        return loss.on_graph(graph, y, **parameters).mean(-1)

    return train(model, mean_loss)


def refuse_regularisers_along_y(model: Model) -> None:
    """Raise a `ValueError` where a regulariser is taken along y, and answers are discrete and have no directions."""
    for name in ("gradient_penalty", "energy_magnitude"):
        weights = getattr(model.setting.options, name)
        if bool((weights > 0).any()):
            raise invalid(name, float(weights.max()), "0 where answers are discrete: it is taken along real y")
