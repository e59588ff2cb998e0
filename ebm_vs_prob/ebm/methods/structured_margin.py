"""Structured hinge and averaged perceptron: energies of whole answers, learned from the most offending one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, cast

import torch
from pydantic import Field

from ...core.options import PER_REPLICATE
from ...core.registry import METHODS
from ...core.spaces import Labels, Sequences
from ...models.building import build_graph_energy
from ...models.graph_model import GraphModel
from ...models.model import Model
from ...models.record import Training
from ...models.setting import Setting
from ...tasks.base import Task
from ...training.batches import Batch
from ...training.loop import train
from ...training.method import MethodOptions
from ..margin_method import refuse_regularisers_along_y
from ..objectives.structured import structured_hinge
from ..regularisers import RegularisedMethod, RegularisedOptions


class StructuredHingeOptions(RegularisedOptions):
    margin: Annotated[
        float, PER_REPLICATE, Field(gt=0, le=1e6, description="energy gap owed for each symbol that is wrong")
    ] = 1.0


class StructuredPerceptronOptions(RegularisedOptions):
    recency: Annotated[
        float,
        Field(ge=0, le=1e6, description="η: step t counts about t^η in the average of weights; 0 is the plain mean"),
    ] = 3.0


class StructuredMethod(RegularisedMethod):
    """What the two have in common: discrete answers, found exactly, and a margin for each wrong symbol."""

    principle = "margin"
    y_spaces = (Labels, Sequences)

    @classmethod
    def build(cls, setting: Setting) -> GraphModel:
        return GraphModel(cls, setting, build_graph_energy(setting))

    @classmethod
    def step_evaluations(cls, options: Any, task: Task) -> float:
        return 3.0

    @classmethod
    @abstractmethod
    def margin(cls, model: Model, like: torch.Tensor) -> torch.Tensor:
        """m of each replicate, (R, 1), in the dtype of `like` (1, 1)."""

    @classmethod
    def trained(cls, model: Model, after_step: Callable[[int], None] | None = None) -> Training:
        """Minimise the mean structured hinge."""
        refuse_regularisers_along_y(model)
        graphs = cast("GraphModel", model)
        margin = cls.margin(model, torch.zeros(1, 1, dtype=model.setting.dtype, device=model.setting.device))

        def loss(batch: Batch) -> torch.Tensor:
            y = graphs.space.to_variables(batch.y)
            return structured_hinge(graphs.module.graph(batch.x), y, margin).mean(-1)

        return train(model, loss, after_step=after_step)


@METHODS.register
class StructuredHinge(StructuredMethod):
    """max_y' (m Δ(y, y') + E(x, y) - E(x, y'))  (Taskar, Guestrin and Koller 2003; Tsochantaridis et al. 2005).

    Δ counts the symbols that differ: `hinge` asks one margin of the most offending incorrect answer, however wrong it
    is. Decoding against Δ is min-sum on energies each of whose wrong symbols is m lower. A weight decay above 0 makes
    it the maximum-margin Markov network; here the weights of a network bound the energy in its place.
    """

    name = "structured_hinge"
    summary = "margin for each wrong symbol, by loss-augmented decoding (Taskar, Guestrin and Koller 2003)"
    references = ("taskar2003max", "tsochantaridis2005large")
    Options: ClassVar[type[MethodOptions]] = StructuredHingeOptions

    @classmethod
    def margin(cls, model: Model, like: torch.Tensor) -> torch.Tensor:
        return model.setting.options.column("margin", like)

    @classmethod
    def train(cls, model: Model) -> Training:
        return cls.trained(model)


@METHODS.register
class StructuredPerceptron(StructuredMethod):
    """E(x, y) - min_y' E(x, y'), with weights averaged over steps (Collins 2002, his averaged parameters).

    The loss is that of `perceptron`, and a constant energy has loss 0. The average stands for a vote of all weights
    that training passes through, the last of which have no claim to be the best where data are not separable. Collins
    takes the plain mean, of the weights of a linear energy. A network's first weights lie far from its last, so that
    here later ones count more: w̄ <- w̄ + (η + 1) / (t + η) (w - w̄) after step t (Shamir and Zhang 2013, polynomial
    decay).
    """

    name = "structured_perceptron"
    summary = "perceptron on whole answers, its weights averaged over steps (Collins 2002)"
    references = ("collins2002discriminative", "shamir2013stochastic")
    Options: ClassVar[type[MethodOptions]] = StructuredPerceptronOptions

    @classmethod
    def margin(cls, model: Model, like: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(like)

    @classmethod
    def train(cls, model: Model) -> Training:
        parameters = [parameter for parameter in model.module.parameters() if parameter.requires_grad]
        means = [torch.zeros_like(parameter, dtype=torch.float64) for parameter in parameters]
        recency: float = model.setting.options.recency

        def after_step(taken: int) -> None:
            for mean, parameter in zip(means, parameters, strict=True):
                mean += (recency + 1.0) / (recency + taken) * (parameter.detach() - mean)

        training = cls.trained(model, after_step)
        with torch.no_grad():
            for mean, parameter in zip(means, parameters, strict=True):
                parameter.copy_(mean)
        return training
