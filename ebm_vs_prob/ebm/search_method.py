"""From a loss of right and incorrect answers to a method: one way of finding incorrect continuous answers for all.

Incorrect answers are points near a right one, points anywhere in the box, and what the energy's own descent finds from
there: the most offending ones (LeCun et al. 2006, definition 2). The tutorial looks for them outside a ball round the
right answer. Where an x has many answers that would ask the others to be bad, so a distance takes the ball's place: an
incorrect answer at distance d from the nearest training answer is owed the share min(1, d / radius) of the full margin.

That distance tells the loss where the answers are, which losses of other principles are not told. With
`margin_by = "constant"` every incorrect answer found is owed the full margin, and the loss learns of the answers from
their energies alone.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator

from ..core.options import PER_REPLICATE
from ..core.spaces import Box
from ..core.tensors import power
from ..models.data_kernel import coordinate_major
from ..models.model import Model
from ..models.record import Training
from ..tasks.base import Task
from ..training.batches import Batch, Noise
from ..training.loop import train
from ..training.method import GaussianOptimum, MethodOptions
from .margin_method import MarginMethod
from .negatives.noise import descended, nearest_distance, noisy_answers
from .objectives.margin import distance_scaled_margin
from .regularisers import RegularisedOptions

#: Without x, distances are taken to all training answers up to this many.
MAX_SHARED_ANSWERS = 1024

#: The loss of each pair (R, B, K), or of each example (R, B), from a batch, its incorrect answers (R, B, K, dy), and
#: the energies of right and incorrect ones, (R, B) and (R, B, K).
Objective = Callable[[Batch, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
#: The option of that name, (R, 1, 1).
OptionColumn = Callable[[str], torch.Tensor]


class ComparedEnergies(NamedTuple):
    """Energies that a loss with a margin compares.

    Attributes:
        positive: of the right answers, (R, B).
        negative: of the incorrect answers found, (R, B, K).
        share: what part of the full margin each of those is owed, in [0, 1], (R, B, K).
    """

    positive: torch.Tensor
    negative: torch.Tensor
    share: torch.Tensor


class SearchOptions(RegularisedOptions):
    """Where incorrect answers are looked for."""

    radius: Annotated[float, PER_REPLICATE, Field(gt=0, description="last move of a descent, in units of `scale`")] = (
        0.3
    )
    min_width: Annotated[
        float, PER_REPLICATE, Field(gt=0, description="narrowest noise of a negative, in units of `scale`")
    ] = 0.03
    max_width: Annotated[
        float, PER_REPLICATE, Field(gt=0, description="widest noise of a negative, in units of `scale`")
    ] = 0.5
    noise_negatives: Annotated[int, Field(ge=1, description="noisy answers an example")] = 2
    descent_negatives: Annotated[int, Field(ge=1, description="points an example found by descent from the box")] = 1
    descent_steps: Annotated[int, Field(ge=1, description="moves of each descent")] = 4

    @model_validator(mode="after")
    def _widths_are_ordered(self) -> Self:
        if self.max_width < self.min_width:
            raise ValueError(f"a max_width >= min_width = {self.min_width}")
        return self


class DistanceOptions(SearchOptions):
    """What an incorrect answer is owed: by its distance to the nearest training answer, or everything."""

    margin_by: Annotated[
        Literal["distance", "constant"],
        Field(
            description="what an incorrect answer is owed: the more the farther it is from the training answers, up to "
            "`radius`, or the full margin wherever it is, without a look at them"
        ),
    ] = "distance"

    radius: Annotated[
        float,
        PER_REPLICATE,
        Field(gt=0, description="distance at which the full margin is owed, in units of `scale`"),
    ] = 0.3
    answers: Annotated[
        int, Field(ge=1, description="nearest training answers to measure a distance to; without x all, up to 1024")
    ] = 64


class SearchMethod(MarginMethod):
    """A loss of the right answer and of incorrect ones found by noise and by the energy's own descent."""

    Options: ClassVar[type[MethodOptions]] = SearchOptions

    @classmethod
    @abstractmethod
    def objective(cls, model: Model) -> Objective:
        """What one step minimises the mean of."""

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        found, descent = options.descent_negatives, options.descent_negatives * options.descent_steps
        return 3.0 * (descent + 1 + options.noise_negatives + 2 * found)

    @classmethod
    def train_on_vectors(cls, model: Model) -> Training:
        setting, options, energy = model.setting, model.setting.options, model.module
        size, y_dim, bounds = setting.budget.batch_size, model.y_box.dim, model.y_box.bounds
        noisy, found, steps = options.noise_negatives, options.descent_negatives, options.descent_steps
        like = model.data_kernel.y
        objective = cls.objective(model)

        def lengths_of(values: torch.Tensor) -> torch.Tensor:
            return (values * options.scale).to(like).reshape(-1, 1, 1, 1)

        widths = lengths_of(options.min_width), lengths_of(options.max_width)
        # From a quarter of the box down to the radius: far starts arrive, and the last moves are as fine as the margin.
        first = 0.25 * (bounds[1] - bounds[0])
        fractions = torch.linspace(0, 1, steps, device=like.device, dtype=like.dtype).reshape(-1, 1, 1, 1, 1)
        moves = first * power((lengths_of(options.radius).unsqueeze(0) / first).clamp_max(1.0), fractions)

        def loss(batch: Batch) -> torch.Tensor:
            box = bounds[0] + (bounds[1] - bounds[0]) * batch.noise["box"]
            near = noisy_answers(batch.y, batch.noise["near"], batch.noise["width"], widths)
            x = batch.x.unsqueeze(2)
            offending = torch.cat([near, box, descended(energy, x, box, moves, bounds)], 2)
            positive = energy(x, batch.y.unsqueeze(2)).squeeze(2)
            terms = objective(batch, offending, positive, energy(x, offending))
            return terms.mean(tuple(range(1, terms.ndim)))

        noise = {
            "near": Noise("normal", (size, noisy, y_dim)),
            "width": Noise("uniform", (size, noisy, 1)),
            "box": Noise("uniform", (size, found, y_dim)),
        }
        return train(model, loss, noise)


class DistanceScaledMethod(SearchMethod):
    """A loss with a margin, of which an incorrect answer is owed the more the farther it is from every answer.

    Or all of it (`margin_by`). A constant margin asks incorrect answers near a right one to be as bad as far ones,
    which no smooth energy gives: the loss trades them off.
    """

    Options: ClassVar[type[MethodOptions]] = DistanceOptions
    gaussian_optimum: ClassVar[GaussianOptimum | None] = GaussianOptimum(curvature=None)

    @classmethod
    def other_multiply_adds(cls, options: Any, task: Task, batch_size: int) -> float:
        """Distances of incorrect answers to training answers, without x to as many as there may be."""
        if options.margin_by == "constant" or not isinstance(task.y_space, Box):
            return 0.0
        points = options.noise_negatives + 2 * options.descent_negatives
        answers = options.answers if getattr(task.x_space, "dim", 0) else MAX_SHARED_ANSWERS
        return float(points * task.y_space.dim * answers)

    @classmethod
    @abstractmethod
    def terms(cls, found: ComparedEnergies, option: OptionColumn) -> torch.Tensor:
        """The loss of each pair (R, B, K), or of each example (R, B)."""

    @classmethod
    def objective(cls, model: Model) -> Objective:
        options, kernel = model.setting.options, model.data_kernel

        def option(name: str) -> torch.Tensor:
            values: torch.Tensor = getattr(options, name)
            return values.to(kernel.y).reshape(-1, 1, 1)

        def blind(
            batch: Batch, offending: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor
        ) -> torch.Tensor:
            return cls.terms(ComparedEnergies(positive, negative, torch.ones_like(negative)), option)

        if options.margin_by == "constant":
            return blind
        # Without x every training answer is an answer: (R, 1, N, dy); else those nearest in x: (R, N, C, dy).
        count = options.answers if kernel.x.shape[-1] else MAX_SHARED_ANSWERS
        answers, fused = coordinate_major(kernel.centers(kernel.x, count)), model.setting.compile
        replicates = torch.arange(len(answers), device=answers.device, dtype=torch.int64).unsqueeze(1)
        radius = (options.radius * options.scale).to(answers).reshape(-1, 1, 1)

        def loss(batch: Batch, offending: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
            own = answers if answers.shape[1] == 1 else answers[replicates, batch.rows]
            share = distance_scaled_margin(nearest_distance(offending, own, fused), 1.0, radius)
            return cls.terms(ComparedEnergies(positive, negative, share), option)

        return loss
