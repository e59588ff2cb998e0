"""Pseudo-likelihood of discrete answers: what a symbol says of another is learned without a sum over all answers."""

from __future__ import annotations

from ...core.registry import METHODS
from ...models.model import Model
from ...models.record import Training
from ..discrete_method import DiscreteMethod
from ..objectives.pseudo_likelihood import negative_log_pseudo_likelihood
from ..regularisers import RegularisedOptions


@METHODS.register
class PseudoLikelihood(DiscreteMethod):
    """-Σ_t ln P(y_t | y_-t, x), each a softmax over the K values of one symbol (Besag 1975).

    What `linear_chain_crf` maximises is a sum over K^T answers, this a product of T sums over K: consistent where the
    energy can be the truth, and otherwise another compromise than the likelihood's.
    """

    name = "pseudo_likelihood"
    twin = "linear_chain_crf"
    principle = "likelihood"
    summary = "each symbol given all others, without a partition function (Besag 1975)"
    references = ("besag1975statistical",)
    Options = RegularisedOptions

    @classmethod
    def train(cls, model: Model) -> Training:
        return cls.minimised(model, negative_log_pseudo_likelihood)
