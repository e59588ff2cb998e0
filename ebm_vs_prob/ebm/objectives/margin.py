"""The ten losses of the tutorial of 2006, each a function of the right answer's energy and of the incorrect answers'.

LeCun, Chopra, Hadsell, Ranzato and Huang, "A tutorial on energy-based learning", 2006, table 1 and section 2. E is the
energy of the right answer, `positive` (...); Ē that of an incorrect one, `negative` (..., K) for K of them.

*Pair losses* (hinge, log, LVQ2, MCE, square-square, square-exponential) give one term for each incorrect answer,
(..., K). The tutorial takes the term of the most offending one, the incorrect answer of least energy: that is the loss
of answers that can be enumerated (`TutorialLoss.on_labels`), or that have a factor graph (`TutorialLoss.on_graph`).
Among continuous answers the least energy is known from a search only, so that every answer the search has found makes a
pair, and the loss is the mean of the terms.

*Losses over all answers* (energy, perceptron, NLL, MEE) compare the right answer with everything and give one number,
(...). For the last two an answer that stands for others, or counts less than one, is given with its energy moved by
-(1/beta) ln of its weight.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from ...core.errors import invalid
from ...core.factor_graphs import FactorGraph
from ...core.tensors import tensor_of
from ...energies.activations import sigmoid, softplus

#: The margin column of the tutorial's table 1.
Margin = Literal["none", "0", "m", "> 0"]
#: A number, or one for each term: anything that broadcasts with (..., K) in pair losses, (...) in the others.
Parameter = torch.Tensor | float


def energy_loss(positive: torch.Tensor, negative: torch.Tensor | None = None) -> torch.Tensor:
    """E, (...): pulls the right answer down and, whatever the incorrect ones are, nothing up (table 1).

    Collapses unless the energy itself makes other answers worse where one becomes better, as ‖y - f(x)‖² does.
    """
    return positive


def perceptron(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """E - min over all answers, the right one included, (...) and >= 0 (table 1).

    A constant energy has loss 0: there is no margin, and the loss may collapse.
    """
    _check(positive, negative)
    return torch.relu(positive - negative.amin(-1))


def hinge(positive: torch.Tensor, negative: torch.Tensor, margin: Parameter) -> torch.Tensor:
    """(m + E - Ē)₊, (..., K) (table 1)."""
    return torch.relu(margin + _paired(positive, negative) - negative)


def log_loss(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """ln(1 + e^{E - Ē}), (..., K): a soft hinge without a fixed margin (table 1)."""
    return softplus(_paired(positive, negative) - negative)


def lvq2(positive: torch.Tensor, negative: torch.Tensor, ceiling: Parameter) -> torch.Tensor:
    """min(M, (E - Ē)₊), (..., K): outliers cost no more than the ceiling M (table 1).

    A constant energy has loss 0: there is no margin, and the loss may collapse.
    """
    excess = torch.relu(_paired(positive, negative) - negative)
    return torch.minimum(excess, tensor_of(ceiling).to(excess))


def minimum_classification_error(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """1 / (1 + e^{-(E - Ē)}), (..., K): a smooth count of the errors (table 1)."""
    return sigmoid(_paired(positive, negative) - negative)


def square_square(positive: torch.Tensor, negative: torch.Tensor, margin: Parameter) -> torch.Tensor:
    """E² + ((m - Ē)₊)², (..., K) (table 1).

    For energies >= 0, as the tutorial has them; one below 0 is pulled up to it.
    """
    return _paired(positive, negative).square() + torch.relu(margin - negative).square()


def square_exponential(positive: torch.Tensor, negative: torch.Tensor, strength: Parameter) -> torch.Tensor:
    """E² + gamma e^{-Ē}, (..., K), gamma the `strength` of the push (table 1)."""
    return _paired(positive, negative).square() + strength * torch.exp(-negative)


def negative_log_likelihood(positive: torch.Tensor, negative: torch.Tensor, beta: Parameter) -> torch.Tensor:
    """E + (1/beta) ln Σ e^{-beta E} over all answers, the right one included, (...) (table 1)."""
    _check(positive, negative)
    return positive + _free_energy_gap(positive, negative, beta)


def minimum_empirical_error(positive: torch.Tensor, negative: torch.Tensor, beta: Parameter) -> torch.Tensor:
    """1 - e^{-beta E} / Σ e^{-beta E} over all answers, (...): the chance that a Gibbs draw errs (table 1)."""
    _check(positive, negative)
    return -torch.expm1(-beta * (positive + _free_energy_gap(positive, negative, beta)))


def distance_scaled_margin(distance: torch.Tensor, margin: Parameter, radius: torch.Tensor) -> torch.Tensor:
    """margin · min(1, d / radius), with d the negative's distance to the nearest training answer.

    A negative that is itself an answer is owed nothing, so where an x has many answers the perfect energy has a smaller
    loss than a constant one. All arguments broadcast.
    """
    return margin * (distance / radius).clamp(max=1.0)


@dataclass(frozen=True)
class TutorialLoss:
    """One row of the tutorial's table 1.

    Attributes:
        function: (positive, negative, ...) -> terms, (..., K) of a pair loss, (...) of one over all answers.
        margin: the margin that the loss creates: none; 0; its parameter m; some number > 0 with no parameter for it.
        pairs: whether it is a pair loss.
    """

    function: Callable[..., torch.Tensor]
    margin: Margin
    pairs: bool

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of what the function takes beside the energies."""
        return tuple(inspect.signature(self.function).parameters)[2:]

    def on_graph(self, graph: FactorGraph, y: torch.Tensor, **parameters: Any) -> torch.Tensor:
        """The loss of answers that are many but have a factor graph, (*batch): that of `on_labels`, by messages.

        The incorrect answers count as one, their free energy: at beta = inf that of the most offending one, and at the
        loss's own beta, where it has one, that of them all.

        Args:
            graph: the energies of all answers. y: the right ones, (*batch, T) int64.
            parameters: those of `function`, each a number or of shape (*batch) broadcast.

        Raises:
            ValueError: a y that does not fit, or fewer than two answers.
        """
        beta = parameters.get("beta")
        incorrect = graph.free_energy_of_incorrect(y, math.inf if beta is None else beta)
        if beta is not None:  # the free energy's measure is normalised, the losses sum
            incorrect = incorrect - graph.log_incorrect / beta
        if not self.pairs:
            return self.function(graph.energy(y), incorrect.unsqueeze(-1), **parameters)
        columns = {name: tensor_of(value).unsqueeze(-1) for name, value in parameters.items()}
        return self.function(graph.energy(y), incorrect.unsqueeze(-1), **columns).squeeze(-1)

    def on_labels(self, energies: torch.Tensor, labels: torch.Tensor, **parameters: Any) -> torch.Tensor:
        """The loss of answers that can be enumerated, (...): a pair loss at the most offending incorrect answer.

        Args:
            energies: of every answer, (..., n) with n >= 2. labels: which one is right, (...) int64 in 0 .. n-1.
            parameters: those of `function`.

        Raises:
            ValueError: shapes that do not fit, fewer than two answers, or a label outside 0 .. n-1.
        """
        positive, negative = split_answers(energies, labels)
        if not self.pairs:
            return self.function(positive, negative, **parameters)
        return self.function(positive, negative.amin(-1, keepdim=True), **parameters).squeeze(-1)


#: The tutorial's table 1, by the names of the methods.
TUTORIAL_LOSSES: dict[str, TutorialLoss] = {
    "energy_loss": TutorialLoss(energy_loss, "none", pairs=False),
    "perceptron": TutorialLoss(perceptron, "0", pairs=False),
    "hinge": TutorialLoss(hinge, "m", pairs=True),
    "log_loss": TutorialLoss(log_loss, "> 0", pairs=True),
    "lvq2": TutorialLoss(lvq2, "0", pairs=True),
    "minimum_classification_error": TutorialLoss(minimum_classification_error, "> 0", pairs=True),
    "square_square": TutorialLoss(square_square, "m", pairs=True),
    "square_exponential": TutorialLoss(square_exponential, "> 0", pairs=True),
    "negative_log_likelihood": TutorialLoss(negative_log_likelihood, "> 0", pairs=False),
    "minimum_empirical_error": TutorialLoss(minimum_empirical_error, "> 0", pairs=False),
}


def split_answers(energies: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The right answer's energy (...) and the incorrect ones' (..., n-1), of energies (..., n) and labels (...).

    Raises:
        ValueError: shapes that do not fit, fewer than two answers, or a label outside 0 .. n-1.
    """
    count = energies.shape[-1] if energies.ndim else 0
    if count < 2:
        raise invalid("energies.shape", tuple(energies.shape), "(..., n) with n >= 2 answers")
    if labels.shape != energies.shape[:-1]:
        raise invalid(
            "labels.shape", tuple(labels.shape), f"{tuple(energies.shape[:-1])}, one for each row of energies"
        )
    if labels.dtype != torch.int64 or not bool(((labels >= 0) & (labels < count)).all()):
        raise invalid("labels", "entries outside the answers", f"int64 in 0 .. {count - 1}")
    right = labels.unsqueeze(-1)
    others = torch.arange(count - 1, device=labels.device, dtype=torch.int64).expand(*labels.shape, -1)
    # The incorrect ones in their order: those from the right one on move up by one.
    return energies.gather(-1, right).squeeze(-1), energies.gather(-1, others + (others >= right))


def _check(positive: torch.Tensor, negative: torch.Tensor) -> None:
    fits = negative.ndim == positive.ndim + 1 and negative.shape[-1] > 0
    if not fits or any(n not in (1, p) for n, p in zip(negative.shape[:-1], positive.shape, strict=True)):
        raise invalid("negative.shape", tuple(negative.shape), f"{(*positive.shape, 'K')}, 1s broadcast, K >= 1")


def _paired(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    _check(positive, negative)
    return positive.unsqueeze(-1)


def _free_energy_gap(positive: torch.Tensor, negative: torch.Tensor, beta: Parameter) -> torch.Tensor:
    """(1/beta) ln Σ e^{-beta E} over all answers, (...): minus their free energy."""
    incorrect = torch.logsumexp(-tensor_of(beta).to(positive).unsqueeze(-1) * negative, -1)
    return torch.logsumexp(torch.stack(torch.broadcast_tensors(-beta * positive, incorrect), -1), -1) / beta
