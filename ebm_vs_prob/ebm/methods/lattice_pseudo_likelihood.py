"""Pseudo-likelihood of strings read off a strip: what a symbol says of its neighbours, without a sum over strings."""

from __future__ import annotations

from functools import partial

from ...core.registry import METHODS
from ...core.spaces import Sequences
from ...energies.lattices import LatticeEnergy
from ...models.building import build_strip_energy
from ...models.model import Model
from ...models.record import Training
from ...models.setting import Setting
from ...models.strip_models import StripModel
from ...training.strips import StripMethod
from ..discrete_method import DiscreteMethod
from ..objectives.pseudo_likelihood import negative_log_pseudo_likelihood
from ..regularisers import RegularisedOptions


@METHODS.register
class LatticePseudoLikelihood(DiscreteMethod, StripMethod):
    """-Σ_t ln P(y_t | y_-t, x), the segmentation summed out of each of the T K strings beside the right one (Besag
    1975, on the segments of Sarawagi and Cohen 2004).

    What `lattice_crf` maximises has the sum over all strings and segmentations, one recursion over both; here each
    string has a recursion over segmentations of its own. Where the energy can be that of the data's law both have it
    for their optimum.
    """

    name = "lattice_pseudo_likelihood"
    principle = "likelihood"
    summary = "each symbol of a strip given all others, segmentations summed out (Besag 1975)"
    references = ("besag1975statistical", "sarawagi2004semi")
    Options = RegularisedOptions
    y_spaces = (Sequences,)

    @classmethod
    def build(cls, setting: Setting) -> StripModel:
        return StripModel(cls, setting, build_strip_energy(setting, partial(LatticeEnergy, beta=1.0)))

    @classmethod
    def train(cls, model: Model) -> Training:
        return cls.minimised(model, negative_log_pseudo_likelihood)
