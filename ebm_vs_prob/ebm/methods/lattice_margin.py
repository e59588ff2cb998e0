"""Energies of segmentations by a margin: nothing is normalised, and the best segmentation stands for all."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from pydantic import Field

from ...core.options import PER_REPLICATE
from ...core.registry import METHODS
from ...core.spaces import Sequences
from ...energies.lattices import LatticeEnergy
from ...models.building import build_strip_energy
from ...models.model import Model
from ...models.record import Training
from ...models.setting import Setting
from ...models.strip_models import StripModel
from ...training.strips import StripMethod
from ..averaging import trained_to_average
from ..discrete_method import DiscreteMethod
from ..objectives.lattice import lattice_margin
from ..regularisers import RegularisedOptions


class LatticeMarginOptions(RegularisedOptions):
    margin: Annotated[
        float,
        PER_REPLICATE,
        Field(ge=0, le=1e6, description="what each wrong symbol owes; 0: the generalised perceptron"),
    ] = 1.0


@METHODS.register
class LatticeMargin(DiscreteMethod, StripMethod):
    """F_inf(y) - min_{y', z} (E(y', z) - m · Hamming(y, y')), z minimised in both (LeCun et al. 2006, section 6;
    Taskar, Guestrin and Koller 2003).

    What `lattice_crf` does with sums over segmentations this does with the best of them: two min-sums a step. As a
    probability it is read at its beta with the segmentations summed.
    """

    name = "lattice_margin"
    twin = "lattice_crf"
    principle = "margin"
    summary = "structured hinge on the best segmentations; margin 0 is the generalised perceptron (LeCun et al. 2006)"
    references = ("lecun2006tutorial", "taskar2003max", "lecun1998gradient")
    Options = LatticeMarginOptions
    y_spaces = (Sequences,)

    @classmethod
    def build(cls, setting: Setting) -> StripModel:
        return StripModel(cls, setting, build_strip_energy(setting, LatticeEnergy))

    @classmethod
    def train(cls, model: Model) -> Training:
        margin = model.setting.options.column("margin", cls.an_example(model))
        return cls.minimised(model, lambda graph, y: lattice_margin(graph, y, margin))


class LatticePerceptronOptions(RegularisedOptions):
    recency: Annotated[
        float,
        Field(ge=0, le=1e6, description="η: step t counts about t^η in the average of weights; 0 is the plain mean"),
    ] = 3.0


@METHODS.register
class LatticePerceptron(DiscreteMethod, StripMethod):
    """F_inf(y) - min_{y', z} E(y', z), with weights averaged over steps: Collins 2002 on lattices.

    The loss of `lattice_margin` at margin 0, that of graph transformer networks (LeCun et al. 1998, section VI), which
    a constant energy satisfies. The average stands for a vote of all weights that training passes through, as in
    `structured_perceptron`.
    """

    name = "lattice_perceptron"
    principle = "margin"
    summary = "generalised perceptron on the best segmentations, its weights averaged over steps (Collins 2002)"
    references = ("collins2002discriminative", "shamir2013stochastic", "lecun1998gradient")
    Options = LatticePerceptronOptions
    y_spaces = (Sequences,)

    @classmethod
    def build(cls, setting: Setting) -> StripModel:
        return StripModel(cls, setting, build_strip_energy(setting, LatticeEnergy))

    @classmethod
    def train(cls, model: Model) -> Training:
        minimised = partial(cls.minimised, model, lambda graph, y: lattice_margin(graph, y, 0.0))
        return trained_to_average(model, model.setting.options.recency, minimised)
