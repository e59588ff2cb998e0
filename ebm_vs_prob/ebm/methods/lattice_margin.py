"""Energies of segmentations by a margin: nothing is normalised, and the best segmentation stands for all."""

from __future__ import annotations

from typing import Annotated, Any, cast

import torch
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
from ...tasks.base import Task
from ...training.batches import Batch
from ...training.loop import train
from ...training.strips import StripMethod
from ..margin_method import refuse_regularisers_along_y
from ..objectives.lattice import lattice_margin
from ..regularisers import RegularisedMethod, RegularisedOptions


class LatticeMarginOptions(RegularisedOptions):
    margin: Annotated[
        float,
        PER_REPLICATE,
        Field(ge=0, le=1e6, description="what each wrong symbol owes; 0: the generalised perceptron"),
    ] = 1.0


@METHODS.register
class LatticeMargin(RegularisedMethod, StripMethod):
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
    def step_evaluations(cls, options: Any, task: Task) -> float:
        return 3.0

    @classmethod
    def train(cls, model: Model) -> Training:
        refuse_regularisers_along_y(model)
        energy = cast("LatticeEnergy", model.module)
        an_example = torch.zeros(1, 1, dtype=model.setting.dtype, device=model.setting.device)
        margin = model.setting.options.column("margin", an_example)

        def loss(batch: Batch) -> torch.Tensor:
            return lattice_margin(energy.graph(batch.x), batch.y, margin).mean(-1)

        return train(model, loss)
