"""One pass of a network for each symbol of a strip: it looks where that symbol is on average, and says which it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch

from ...core.factor_graphs import FactorGraph
from ...core.registry import METHODS
from ...core.spaces import Sequences
from ...core.strips import StripShape
from ...energies.lattices import StripEnergy
from ...energies.mlp import LearnedScale, Network, ReplicatedMLP
from ...models.building import build_strip_energy
from ...models.graph_model import GraphModel
from ...models.model import Model
from ...models.record import Training
from ...models.setting import Setting
from ...models.strip_models import NormalisedStripModel
from ...training.batches import Batch
from ...training.loop import train
from ...training.strips import StripMethod

#: Columns that are seen on either side of a symbol's place, in widths of the widest.
REACH = 2


class PlaceEnergy(StripEnergy):
    """A network gives each symbol at a place an energy, looking at the columns round the place; E is their sum.

    Places are equal parts of the cells, so that the middle is where a symbol lies on average, and two widths of the
    widest symbol are seen on either side of it.
    """

    def __init__(self, seeds: Sequence[int], space: Sequences, strip: StripShape, network: Network) -> None:
        super().__init__(space, strip)
        self.reach = REACH * strip.widest
        inputs = (2 * self.reach + 1) * strip.rows
        self.trunk = ReplicatedMLP(seeds, (inputs, *network.hidden, space.num_values), network.activation)
        self.num_replicates = self.trunk.num_replicates
        self.scale = LearnedScale(self.num_replicates, network.learned_scale)

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of the energies of the symbols of all places."""
        return self.strip.length * self.trunk.multiply_adds

    def graph(self, x: torch.Tensor) -> FactorGraph:
        strip, count = self.strip, self.space.num_values
        places = torch.arange(strip.length, dtype=torch.int64, device=x.device)
        middle = (2 * places + 1) * (strip.cells + strip.overlap) // (2 * strip.length)
        around = torch.arange(2 * self.reach + 1, dtype=torch.int64, device=x.device)
        seen = self.columns(x, self.reach, self.reach)[..., middle[:, None] + around, :].flatten(-2)
        energies = self.scale(self.trunk(seen))
        return FactorGraph(energies, energies.new_zeros(*energies.shape[:-2], strip.length - 1, count, count))


class PlaceModel(NormalisedStripModel):
    """R distributions over strings whose symbols are independent given the strip."""

    infer = GraphModel.infer


@METHODS.register
class PlaceClassifier(StripMethod):
    """P(y | x) = Π_t softmax(f(columns round place t))[y_t], by maximum likelihood: feed-forward,
    nothing is searched for.

    What an energy over segmentations finds by looking for the boundaries, one pass has to know by itself (LeCun et al.
    1998, section VII, on reading without segmentation). Like theirs its weights do not know how long the strip is.
    """

    name = "place_classifier"
    family = "prob"
    principle = "likelihood"
    normalised = True
    summary = "one pass for each symbol of a strip, looking where it is on average (LeCun et al. 1998)"
    references = ("lecun1998gradient",)

    @classmethod
    def build(cls, setting: Setting) -> PlaceModel:
        return PlaceModel(cls, setting, build_strip_energy(setting, PlaceEnergy))

    @classmethod
    def train(cls, model: Model) -> Training:
        energy = cast("PlaceEnergy", model.module)

        def loss(batch: Batch) -> torch.Tensor:
            log_chances = (-energy.graph(batch.x).unary).log_softmax(-1)
            return -log_chances.gather(-1, batch.y.unsqueeze(-1)).squeeze(-1).sum(-1).mean(-1)

        return train(model, loss)
