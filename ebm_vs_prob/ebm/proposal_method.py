"""What the methods share that contrast the data with draws of a kernel proposal: options, training, levels."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, ClassVar, cast

import torch
from pydantic import Field

from ..models.model import Model
from ..models.record import Training
from ..models.setting import Setting
from ..tasks.base import Task
from ..training.batches import Batch
from ..training.loop import train
from ..training.method import GaussianOptimum, MethodOptions
from ..training.proposals import (
    Centers,
    KernelProposal,
    KernelProposalOptions,
    ProposalDraws,
    ProposedAnswers,
    kernel_multiply_adds,
    proposal_evaluations,
)
from ..training.smoothing import Blur, SmoothingMethod
from .log_normalizer import LogNormalizerModel, build_log_normalizer
from .regularisers import RegularisedMethod, RegularisedOptions


class ProposalOptions(RegularisedOptions, KernelProposalOptions):
    """Options of an unnormalised energy that learns from draws of a kernel proposal."""

    centers: Annotated[
        Centers,
        Field(description="where kernels sit: answers of `neighbours` in x, or each example's own `answer` alone"),
    ] = "neighbours"
    common_draws: Annotated[
        bool,
        Field(
            description="with x, displace every example of a minibatch by the same numbers, as Gustafsson et al. 2020 "
            "did: cheaper, and errors of the estimate that do not average out over the minibatch"
        ),
    ] = False


def gaussian_curvature(options: Any) -> float | None:
    """The curvature at the optimum on N(0, I), with proposals that do not depend on the answer.

    Without x the draws of a minibatch are pooled, so ln Z^ is biased by one over the batch size times `proposals`.
    Kernels on each example's own answer make an objective that is not linear in the draws lean to answers near them: by
    one over `proposals`, as widths, box and dimension have it. With widths .5 and 1.5 on N(0, 1) eight draws give ML-IS
    1.15 and the ranking contrast 1.10, and two leave ML-IS without a minimum. Only the sign is declared there.
    """
    if options.centers == "answer":
        return None
    return 1 / (1 + float(options.sigma * options.scale) ** 2)


class ProposalMethod(RegularisedMethod, SmoothingMethod):
    """An unnormalised energy that learns from the data, blurred where asked for, and from draws of a proposal."""

    adds_noise: ClassVar[bool] = True  # False: the objective takes the density of the noise, not draws of it
    weighs_answers: ClassVar[bool] = False  # True: it takes the proposal's density at the right answers too
    Options: ClassVar[type[MethodOptions]] = ProposalOptions
    gaussian_optimum = GaussianOptimum(curvature=gaussian_curvature)

    @classmethod
    @abstractmethod
    def objective(cls, model: Model, drawn: ProposalDraws) -> torch.Tensor:
        """What one step minimises, (R,)."""

    @classmethod
    def proposal(cls, model: Model, smoothing: torch.Tensor) -> KernelProposal:
        """The proposal for data blurred by `smoothing` (R,), units of y."""
        return KernelProposal(model, model.setting.options, smoothing, model.setting.options.centers)

    @classmethod
    def centers(cls, proposal: KernelProposal, batch: Batch) -> torch.Tensor:
        """The centres of a minibatch's kernels, (R, Q, C, dy)."""
        return proposal.centers(batch)

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        return proposal_evaluations(options)

    @classmethod
    def other_multiply_adds(cls, options: Any, task: Task, batch_size: int) -> float:
        kernels = 1 if options.centers == "answer" else None
        return kernel_multiply_adds(options, task, options.proposals + cls.weighs_answers, kernels)

    @classmethod
    def train(cls, model: Model) -> Training:
        blur = Blur(model, cls.adds_noise)
        answers = ProposedAnswers(blur, cls.proposal(model, blur.sigma.flatten()), cls.centers)
        return train(model, lambda batch: cls.objective(model, answers(batch)), answers.noise)


class LogNormalizerMethod(ProposalMethod):
    """The same with a log-normaliser b(x) learned beside the energy, which `model.log_normalizer(x)` gives."""

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        # The log-normaliser, a network of the energy's size, once an example.
        return super().energy_evaluations(options) + 3.0

    @classmethod
    def build(cls, setting: Setting) -> LogNormalizerModel:
        return LogNormalizerModel(cls, setting, build_log_normalizer(setting))

    @classmethod
    def train(cls, model: Model) -> Training:
        cast("LogNormalizerModel", model).start_log_normalizer()
        return super().train(model)

    @classmethod
    def level(cls, model: Model, drawn: ProposalDraws) -> torch.Tensor:
        """b at the x of each example, (R, B), or (R, 1) without x."""
        return cast("LogNormalizerModel", model).module.log_normalizer(drawn.batch.x)
