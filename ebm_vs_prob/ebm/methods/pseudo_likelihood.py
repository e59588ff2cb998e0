"""Pseudo-likelihood of discrete answers: what a symbol says of another is learned without a sum over all answers."""

from __future__ import annotations

from typing import Any, cast

import torch

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
from ..margin_method import refuse_regularisers_along_y
from ..objectives.pseudo_likelihood import negative_log_pseudo_likelihood
from ..regularisers import RegularisedMethod, RegularisedOptions


@METHODS.register
class PseudoLikelihood(RegularisedMethod):
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
    y_spaces = (Labels, Sequences)

    @classmethod
    def build(cls, setting: Setting) -> GraphModel:
        return GraphModel(cls, setting, build_graph_energy(setting))

    @classmethod
    def step_evaluations(cls, options: Any, task: Task) -> float:
        return 3.0

    @classmethod
    def train(cls, model: Model) -> Training:
        refuse_regularisers_along_y(model)
        graphs = cast("GraphModel", model)

        def loss(batch: Batch) -> torch.Tensor:
            y = graphs.space.to_variables(batch.y)
            return negative_log_pseudo_likelihood(graphs.module.graph(batch.x), y).mean(-1)

        return train(model, loss)
