"""What the methods with a posterior over a Gibbs-Boltzmann model's weights have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...tasks.base import Task
from ...training.method import GaussianOptimum
from ...training.proposals import kernel_multiply_adds, proposal_evaluations
from ...training.smoothing import SmoothingMethod
from .partition_gap import resampled_gap
from .weight_posteriors import SMOOTHNESS_EVALUATIONS

if TYPE_CHECKING:
    import torch

    from .posterior import PosteriorModel
    from .weight_posteriors import PosteriorLoss


class PosteriorMethod(SmoothingMethod):
    """exp(-E_theta) / Z_theta under a prior over theta, its density the mean over draws or modes of theta.

    The prior moves the optimum by its weight over the number of examples, so of the curvature only the sign is
    declared.
    """

    family = "prob"
    principle = "likelihood"
    normalised = True
    groups_thickness = False
    gaussian_optimum = GaussianOptimum(curvature=None)

    @classmethod
    def trained_together(cls, options: Any) -> int:
        """Energies that one step moves side by side."""
        return 1

    @classmethod
    def gradient_evaluations(cls, options: Any) -> float:
        """Energy evaluations of one gradient of one energy's loss, an example: its answer, its draws and its prior."""
        return proposal_evaluations(options) + SMOOTHNESS_EVALUATIONS * (options.prior == "smoothness")

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        return cls.trained_together(options) * cls.gradient_evaluations(options)

    @classmethod
    def other_multiply_adds(cls, options: Any, task: Task, batch_size: int) -> float:
        """The proposal's density at its draws, which all energies of a step share."""
        return kernel_multiply_adds(options, task, options.proposals)

    @staticmethod
    def keep(model: PosteriorModel, draws: torch.Tensor, posterior: PosteriorLoss) -> None:
        """Make the model of these weights (R, S, P), and put on record how far off the loss's log Z is at them."""
        model.module.set_draws(draws)
        model.module.partition_gap.copy_(resampled_gap(model, posterior))
