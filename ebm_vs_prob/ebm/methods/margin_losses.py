"""The losses of the tutorial of 2006 as methods (LeCun et al. 2006, table 1).

Of continuous answers every incorrect one that was found makes a pair, and a loss of pairs is their mean. The share
s = min(1, d / radius) of the margin that it is owed scales m where the loss has that parameter. Where the margin is any
number > 0, so that there is no m to scale, s scales what the incorrect answer counts. Either way an answer that is
itself right is owed nothing. With `margin_by = "constant"` s is 1 throughout and no distance is taken.
Discrete answers are compared with all others (`ebm.tutorial`).

Which of them collapse follows from the margin column. `energy_loss` does, unless a regulariser holds it; `perceptron`
and `lvq2` may, because a constant energy already has loss 0; the others have their minimum below any constant energy's.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field

from ...core.options import PER_REPLICATE
from ...core.registry import METHODS
from ...models.model import Model
from ...models.record import Training
from ...training.loop import train
from ...training.method import MethodOptions
from ..margin_method import MarginMethod
from ..objectives import margin as losses
from ..search_method import (
    ComparedEnergies,
    DistanceOptions,
    DistanceScaledMethod,
    Objective,
    OptionColumn,
    SearchMethod,
)


class MarginOptions(DistanceOptions):
    margin: Annotated[float, PER_REPLICATE, Field(gt=0, description="energy gap owed far from every answer")] = 1.0


class CeilingOptions(DistanceOptions):
    ceiling: Annotated[
        float, PER_REPLICATE, Field(gt=0, description="largest loss of a pair: what an outlier costs")
    ] = 1.0


class StrengthOptions(DistanceOptions):
    strength: Annotated[
        float, PER_REPLICATE, Field(gt=0, description="weight of the push on incorrect answers, beside E squared")
    ] = 1.0


class TemperatureOptions(DistanceOptions):
    beta: Annotated[float, PER_REPLICATE, Field(gt=0, description="inverse temperature, 1 / energy")] = 1.0


@METHODS.register
class EnergyLoss(MarginMethod):
    """E(x, y) alone (LeCun et al. 2006, table 1): margin none.

    Collapses: nothing is pulled up, so that a network's energy falls everywhere until training ends, unless a
    regulariser bounds it (`energy_magnitude`). It declares no optimum on N(0, I): a quadratic's curvature falls without
    bound.
    """

    name = "energy_loss"
    summary = "the energy of the right answer, nothing pulled up: collapses (LeCun et al. 2006)"
    references = ("lecun2006tutorial",)
    sees_level = True

    @classmethod
    def train_on_vectors(cls, model: Model) -> Training:
        energy = model.module
        return train(model, lambda batch: losses.energy_loss(energy(batch.x, batch.y)).mean(-1))


@METHODS.register
class Perceptron(SearchMethod):
    """E(x, y) less the least energy found, the right answer's included (LeCun et al. 2006, table 1): margin 0.

    A constant energy has loss 0, and on continuous answers nothing better has: data that spread never all lie at the
    minimum, so that the energy flattens. It has no optimum on N(0, I) to declare but that constant.
    """

    name = "perceptron"
    summary = "energy above the least one found; a constant energy has loss 0 (LeCun et al. 2006)"
    references = ("lecun2006tutorial", "collins2002discriminative")

    @classmethod
    def objective(cls, model: Model) -> Objective:
        return lambda batch, offending, positive, negative: losses.perceptron(positive, negative)


@METHODS.register
class Hinge(DistanceScaledMethod):
    """(m s + E(x, y) - E(x, y'))₊ over incorrect answers y' (LeCun et al. 2006, table 1, its margin scaled).

    With a plain ball round one answer in place of s, a constant energy would tie with the perfect one wherever an x has
    many answers.
    """

    name = "hinge"
    summary = "hinge loss, distance-scaled margin, negatives by noise and own descent (LeCun et al. 2006)"
    references = ("lecun2006tutorial", "taskar2003max")
    Options: ClassVar[type[MethodOptions]] = MarginOptions

    @classmethod
    def terms(cls, found: ComparedEnergies, option: OptionColumn) -> torch.Tensor:
        return losses.hinge(found.positive, found.negative, option("margin") * found.share)


@METHODS.register
class LogLoss(DistanceScaledMethod):
    """s ln(1 + e^{E(x, y) - E(x, y')}) over incorrect answers y' (LeCun et al. 2006, table 1): any margin > 0."""

    name = "log_loss"
    summary = "log loss of pairs, weighted by distance from the answers (LeCun et al. 2006)"
    references = ("lecun2006tutorial",)

    @classmethod
    def terms(cls, found: ComparedEnergies, option: OptionColumn) -> torch.Tensor:
        return found.share * losses.log_loss(found.positive, found.negative)


@METHODS.register
class LVQ2(DistanceScaledMethod):
    """s min(M, (E(x, y) - E(x, y'))₊) over incorrect answers y' (LeCun et al. 2006, table 1): margin 0.

    A constant energy has loss 0, as with the perceptron, and the loss may collapse to it: it declares no optimum on
    N(0, I).
    """

    name = "lvq2"
    summary = "capped energy excess of pairs; a constant energy has loss 0 (LeCun et al. 2006)"
    references = ("lecun2006tutorial", "kohonen1990improved")
    Options: ClassVar[type[MethodOptions]] = CeilingOptions
    gaussian_optimum = None

    @classmethod
    def terms(cls, found: ComparedEnergies, option: OptionColumn) -> torch.Tensor:
        return found.share * losses.lvq2(found.positive, found.negative, option("ceiling"))


@METHODS.register
class MinimumClassificationError(DistanceScaledMethod):
    """s / (1 + e^{E(x, y') - E(x, y)}) over incorrect answers y' (LeCun et al. 2006, table 1): any margin > 0."""

    name = "minimum_classification_error"
    summary = "smooth count of wrongly ordered pairs, weighted by distance (LeCun et al. 2006)"
    references = ("lecun2006tutorial", "juang1997minimum")

    @classmethod
    def terms(cls, found: ComparedEnergies, option: OptionColumn) -> torch.Tensor:
        return found.share * losses.minimum_classification_error(found.positive, found.negative)


@METHODS.register
class SquareSquare(DistanceScaledMethod):
    """E(x, y)² + ((m s - E(x, y'))₊)² over incorrect answers y' (LeCun et al. 2006, table 1): margin m.

    The squares fix the energy's scale, which no other loss of the table does: every answer is held at 0 and every other
    at m, so that m sets the depth of the energy whatever the dimension. On N(0, I) the answers' own energies are of the
    order of curvature times d / 2, so the curvature found is proportional to m and falls like m / d.
    """

    name = "square_square"
    summary = "squared energy of the answer, squared shortfall of incorrect ones below m (LeCun et al. 2006)"
    references = ("lecun2006tutorial", "lecun2005loss")
    Options: ClassVar[type[MethodOptions]] = MarginOptions
    sees_level = True

    @classmethod
    def terms(cls, found: ComparedEnergies, option: OptionColumn) -> torch.Tensor:
        return losses.square_square(found.positive, found.negative, option("margin") * found.share)


@METHODS.register
class SquareExponential(DistanceScaledMethod):
    """E(x, y)² + gamma s e^{-E(x, y')} over incorrect answers y' (LeCun et al. 2006, table 1): any margin > 0.

    As with `square_square` the depth is fixed, here by gamma, and the curvature found on N(0, I) falls like 1 / d.
    """

    name = "square_exponential"
    summary = "squared energy of the answer, exponential push on incorrect ones (LeCun et al. 2006)"
    references = ("lecun2006tutorial", "chopra2005learning")
    Options: ClassVar[type[MethodOptions]] = StrengthOptions
    sees_level = True

    @classmethod
    def terms(cls, found: ComparedEnergies, option: OptionColumn) -> torch.Tensor:
        return losses.square_exponential(found.positive, found.negative, option("strength") * found.share)


@METHODS.register
class MinimumEmpiricalError(DistanceScaledMethod):
    """1 - e^{-beta E(x, y)} / Z, Z = e^{-beta E(x, y)} + Σ s e^{-beta E(x, y')} (LeCun et al. 2006, table 1).

    Any margin > 0. The sum over the incorrect answers found, y', stands for the tutorial's integral: the loss is the
    chance that a Gibbs draw among all of them and the right answer errs. A density in place of that chance would leave
    it without a lower bound.
    """

    name = "minimum_empirical_error"
    summary = "chance that a Gibbs draw among all the answers found errs (LeCun et al. 2006)"
    references = ("lecun2006tutorial", "ljolje1990estimation")
    Options: ClassVar[type[MethodOptions]] = TemperatureOptions

    @classmethod
    def terms(cls, found: ComparedEnergies, option: OptionColumn) -> torch.Tensor:
        beta = option("beta")
        # An answer that counts s times has the energy of s answers, its own less (1/beta) ln s.
        share = found.share.clamp_min(torch.finfo(found.share.dtype).tiny)
        weighted = found.negative - share.log() / beta
        return losses.minimum_empirical_error(found.positive, weighted, beta[..., 0])
