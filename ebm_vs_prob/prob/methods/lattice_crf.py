"""The conditional random field over segmentations, fitted by maximum likelihood with two forward algorithms."""

from __future__ import annotations

from functools import partial
from typing import cast

from ...core.registry import METHODS
from ...energies.lattices import LatticeEnergy
from ...models.building import build_strip_energy
from ...models.model import Model
from ...models.record import Training
from ...models.setting import Setting
from ...models.strip_models import NormalisedStripModel
from ...training.strips import StripMethod
from ..observed_site import maximise_likelihood


@METHODS.register
class LatticeCRF(StripMethod):
    """P(y | x) = Σ_z exp(-E(x, y, z)) / Z(x), E a sum over the segments of z (Sarawagi and Cohen 2004, eq. 2, with z
    summed out, and a network for their features).

    -ln P(y | x) is the free energy at 1 over the segmentations of y less that over all strings' segmentations, inside
    the distribution of the one observed site.
    """

    name = "lattice_crf"
    twin = "lattice_margin"
    family = "prob"
    principle = "likelihood"
    normalised = True
    summary = "conditional random field over segmentations by maximum likelihood (Sarawagi and Cohen 2004)"
    references = ("sarawagi2004semi", "lafferty2001conditional", "lecun1998gradient")

    @classmethod
    def build(cls, setting: Setting) -> NormalisedStripModel:
        return NormalisedStripModel(cls, setting, build_strip_energy(setting, partial(LatticeEnergy, beta=1.0)))

    @classmethod
    def train(cls, model: Model) -> Training:
        return maximise_likelihood(model, cast("NormalisedStripModel", model).gibbs)
