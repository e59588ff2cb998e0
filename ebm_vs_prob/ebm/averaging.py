"""Weights averaged over the steps of a training: the average of perceptrons stands for their vote."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..models.model import Model
from ..models.record import Training


def trained_to_average(model: Model, recency: float, train: Callable[[Callable[[int], None]], Training]) -> Training:
    """Train, and leave the model with the average of the weights that it had after each step.

    w̄ <- w̄ + (η + 1) / (t + η) (w - w̄) after step t, in float64 (Shamir and Zhang 2013, polynomial decay): the plain
    mean at η = 0, as Collins 2002 takes it.

    Args:
        model: whose trainable parameters are averaged.
        recency: η >= 0, by which later steps count more.
        train: trains the model, given what is to be called after each step with the number of steps taken.
    """
    parameters = [parameter for parameter in model.module.parameters() if parameter.requires_grad]
    means = [torch.zeros_like(parameter, dtype=torch.float64) for parameter in parameters]

    def after_step(taken: int) -> None:
        for mean, parameter in zip(means, parameters, strict=True):
            mean += (recency + 1.0) / (recency + taken) * (parameter.detach() - mean)

    training = train(after_step)
    with torch.no_grad():
        for mean, parameter in zip(means, parameters, strict=True):
            parameter.copy_(mean)
    return training
