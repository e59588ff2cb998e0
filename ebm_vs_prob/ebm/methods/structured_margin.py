"""Structured hinge and averaged perceptron: energies of whole answers, learned from the most offending one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from ...core.options import PER_REPLICATE
from ...core.registry import METHODS
from ...models.model import Model
from ...models.record import Training
from ...training.method import MethodOptions
from ..averaging import trained_to_average
from ..discrete_method import DiscreteMethod
from ..objectives.structured import structured_hinge
from ..regularisers import RegularisedOptions


class StructuredHingeOptions(RegularisedOptions):
    margin: Annotated[
        float, PER_REPLICATE, Field(gt=0, le=1e6, description="energy gap owed for each symbol that is wrong")
    ] = 1.0


class StructuredPerceptronOptions(RegularisedOptions):
    recency: Annotated[
        float,
        Field(ge=0, le=1e6, description="η: step t counts about t^η in the average of weights; 0 is the plain mean"),
    ] = 3.0


class StructuredMethod(DiscreteMethod):
    """What the two have in common: a margin for each wrong symbol."""

    principle = "margin"

    @classmethod
    @abstractmethod
    def margin(cls, model: Model) -> torch.Tensor:
        """m of each replicate, (R, 1) or (1, 1)."""

    @classmethod
    def trained(cls, model: Model, after_step: Callable[[int], None] | None = None) -> Training:
        """Minimise the mean structured hinge."""
        margin = cls.margin(model)
        return cls.minimised(model, lambda graph, y: structured_hinge(graph, y, margin), after_step)


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
    def margin(cls, model: Model) -> torch.Tensor:
        return model.setting.options.column("margin", cls.an_example(model))

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
    def margin(cls, model: Model) -> torch.Tensor:
        return cls.an_example(model)

    @classmethod
    def train(cls, model: Model) -> Training:
        return trained_to_average(model, model.setting.options.recency, partial(cls.trained, model))
