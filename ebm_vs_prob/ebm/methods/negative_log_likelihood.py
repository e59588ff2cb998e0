"""The negative log-likelihood loss, its integral over all answers by importance sampling from a data kernel."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field

from ...core.options import PER_REPLICATE
from ...core.registry import METHODS
from ...energies.evaluation import distinct
from ...models.model import Model
from ...models.record import Training
from ...tasks.base import Task
from ...training.batches import Batch, Noise
from ...training.loop import train
from ...training.method import GaussianOptimum, MethodOptions
from ...training.proposals import kernel_multiply_adds, proposal_evaluations
from ..margin_method import MarginMethod
from ..objectives import margin as losses
from ..regularisers import RegularisedOptions


class NegativeLogLikelihoodOptions(RegularisedOptions):
    beta: Annotated[float, PER_REPLICATE, Field(gt=0, description="inverse temperature, 1 / energy")] = 1.0
    proposals: Annotated[int, Field(ge=1, description="importance samples of the integral an example")] = 8
    neighbours: Annotated[int, Field(ge=1, description="training answers that centre the proposal's kernels")] = 16


@METHODS.register
class NegativeLogLikelihood(MarginMethod):
    """E(x, y) + (1/beta) ln ∫ e^{-beta E(x, y')} dy' (LeCun et al. 2006, table 1): any margin > 0.

    The integral is the mean of e^{-beta E} / q over draws from a proposal q and over the right answer, which is an
    answer like any other. With it in the mean, the loss is that of telling the right answer from the draws: it has a
    lower bound, and at its minimum e^{-beta E} is the data's density up to a factor however few the draws are (Ma and
    Collins 2018, on ranking). Over discrete answers the integral is a sum, and exact.
    """

    name = "negative_log_likelihood"
    twin = "softmax_classifier"
    principle = "likelihood"
    summary = "energy plus log-partition function by importance sampling, right answer included (LeCun et al. 2006)"
    references = ("lecun2006tutorial", "ma2018noise")
    version = 2
    Options: ClassVar[type[MethodOptions]] = NegativeLogLikelihoodOptions
    gaussian_optimum = GaussianOptimum(curvature=lambda options: 1 / options.beta)

    @classmethod
    def in_nats(cls, options: Any) -> bool:
        return float(options.beta) == 1.0

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        return proposal_evaluations(options)

    @classmethod
    def other_multiply_adds(cls, options: Any, task: Task, batch_size: int) -> float:
        return kernel_multiply_adds(options, task, options.proposals + 1)

    @classmethod
    def train_on_vectors(cls, model: Model) -> Training:
        setting, options, energy = model.setting, model.setting.options, model.module
        size, y_dim = setting.budget.batch_size, model.y_box.dim
        kernel = model.data_kernel
        # Without x one integral serves the whole minibatch, and gets the proposals of all its examples.
        shared = not kernel.x.shape[-1]
        queries, proposals = (1, size * options.proposals) if shared else (size, options.proposals)
        centers = kernel.centers(kernel.x, kernel.num_centers if shared else options.neighbours, not shared)
        replicates = torch.arange(len(centers), device=centers.device, dtype=torch.int64).unsqueeze(1)
        beta = options.beta.to(centers).reshape(-1, 1)

        def loss(batch: Batch) -> torch.Tensor:
            own = centers if shared else centers[replicates, batch.rows]
            # The right answer is told from few draws of its x: q must not know it, and each draw must have the law q.
            noise = batch.noise["normal"], batch.noise["uniform"]
            draws, log_density = kernel.propose(own, kernel.widths, *noise, stratified=shared)
            right = batch.y.unsqueeze(1) if shared else batch.y.unsqueeze(2)
            log_right = kernel.log_density(right, own, kernel.widths).flatten(1)
            # An answer drawn with density q stands for 1 / q others: its energy moves by (1/beta) ln q.
            positive = energy(batch.x, batch.y) + log_right / beta
            drawn = energy(distinct(batch.x).unsqueeze(2), draws) + log_density / beta.unsqueeze(-1)
            negative = -torch.logsumexp(-beta.unsqueeze(-1) * drawn, -1, keepdim=True) / beta.unsqueeze(-1)
            total = losses.negative_log_likelihood(positive, negative, beta)
            return (total - (log_right + math.log(proposals + 1)) / beta).mean(-1)

        noise = {
            "normal": Noise("normal", (queries, proposals, y_dim)),
            "uniform": Noise("uniform", (queries, proposals, 2 + y_dim)),
        }
        return train(model, loss, noise)
