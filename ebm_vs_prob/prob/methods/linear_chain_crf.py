"""The linear-chain conditional random field, fitted by maximum likelihood with the exact forward algorithm."""

from __future__ import annotations

from typing import cast

from ...core.registry import METHODS
from ...core.spaces import Sequences
from ...models.building import build_graph_energy
from ...models.model import Model
from ...models.record import Training
from ...models.setting import Setting
from ...training.method import Method
from ..densities.enumerated import DiscreteDensityModel
from ..observed_site import maximise_likelihood


@METHODS.register
class LinearChainCRF(Method):
    """P(y | x) = exp(-Σ_t f(x_t)[y_t] - Σ_{t>0} W[y_{t-1}, y_t]) / Z(x) (Lafferty, McCallum and Pereira 2001, eq. 1).

    ln Z(x) is the forward algorithm, T K² a sequence, inside the distribution of the one observed site; the same field
    with a site for each symbol is `model.pyro_model(x)`.
    """

    name = "linear_chain_crf"
    twin = "pseudo_likelihood"
    family = "prob"
    principle = "likelihood"
    normalised = True
    summary = "linear-chain conditional random field by maximum likelihood (Lafferty, McCallum and Pereira 2001)"
    references = ("lafferty2001conditional",)
    y_spaces = (Sequences,)

    @classmethod
    def build(cls, setting: Setting) -> DiscreteDensityModel:
        return DiscreteDensityModel(cls, setting, build_graph_energy(setting))

    @classmethod
    def train(cls, model: Model) -> Training:
        return maximise_likelihood(model, cast("DiscreteDensityModel", model).gibbs)
