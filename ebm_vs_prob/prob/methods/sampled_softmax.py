"""Maximum likelihood of strings whose partition function is estimated from a few strings drawn at each step."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, cast

import pyro
import torch
from pydantic import Field

from ...core.registry import METHODS
from ...core.spaces import Discrete, Labels, Sequences
from ...gibbs.density import GibbsBoltzmann
from ...gibbs.normalizers import ImportanceSampling
from ...models.building import build_graph_energy
from ...models.model import Model
from ...models.record import Training
from ...models.setting import Setting
from ...tasks.base import Task
from ...training.batches import Batch, Noise
from ...training.loop import train
from ...training.method import Method, MethodOptions
from ..densities.enumerated import DiscreteDensityModel
from ..objectives.bounds import ReplicatedELBO, no_guide


class SampledSoftmaxOptions(MethodOptions):
    """Options of `sampled_softmax`."""

    samples: Annotated[int, Field(ge=1, le=65536, description="answers drawn uniformly for each example and step")] = 64


@METHODS.register
class SampledSoftmax(Method):
    """P(y | x) = exp(-E(x, y)) / Z(x), Z estimated at each step from the right answer and a few uniform ones.

    Z^ = exp(-E(y)) + (K^T - 1) mean_m exp(-E(y_m)) over the draws that are not y: importance sampling (Bengio and
    Senécal 2003) with the right answer counted (Jean et al. 2015, section 3), without which the loss has no minimum.
    The expectation of Z^ is Z, and that of ln Z^ lies below ln Z, the further the more it scatters: answers that no
    draw meets are not pushed away. In evaluation Z is exact, by messages.
    """

    name = "sampled_softmax"
    family = "prob"
    principle = "likelihood"
    normalised = True
    summary = "likelihood of strings, Z from uniform draws and the right answer (Bengio and Senécal 2003)"
    references = ("bengio2003quick", "jean2015using")
    y_spaces = (Labels, Sequences)
    Options: ClassVar[type[MethodOptions]] = SampledSoftmaxOptions

    @classmethod
    def energy_evaluations(cls, options: object) -> float:
        # The graph once for the right answers and once for the drawn ones. An energy of whole strings is asked for
        # these alone, which is less wherever there are more strings than draws.
        return 6.0

    @classmethod
    def why_not(cls, task: Task) -> str | None:
        reason = super().why_not(task)
        if reason is None and getattr(task.y_space, "num_answers", 2) < 2:
            return "it has a single answer, beside which nothing can be drawn"
        return reason

    @classmethod
    def build(cls, setting: Setting) -> DiscreteDensityModel:
        return DiscreteDensityModel(cls, setting, build_graph_energy(setting))

    @classmethod
    def train(cls, model: Model) -> Training:
        graphs, elbo = cast("DiscreteDensityModel", model), ReplicatedELBO()
        size, space, count = model.setting.budget.batch_size, graphs.space, model.setting.options.samples

        def gibbs(x: torch.Tensor, y: torch.Tensor, samples: torch.Tensor, log_density: torch.Tensor) -> None:
            normalizer = ImportanceSampling(samples=samples, log_density=log_density)
            density = GibbsBoltzmann(graphs.module, x=x, normalizer=normalizer, validate_args=False, space=space)
            with pyro.plate("replicate", y.shape[0], dim=-2), pyro.plate("data", y.shape[1], dim=-1):
                pyro.sample("y", density, obs=y)

        def loss(batch: Batch) -> torch.Tensor:
            samples, log_density = with_uniform_answers(batch.y, batch.noise["answers"], space)
            return elbo.replicate_losses(gibbs, no_guide, batch.x, batch.y, samples, log_density) / size

        return train(model, loss, {"answers": Noise("uniform", (size, count, space.num_variables))})


def with_uniform_answers(y: torch.Tensor, uniform: torch.Tensor, space: Discrete) -> tuple[torch.Tensor, torch.Tensor]:
    """The right answers and uniform ones, with the log-densities that make importance sampling of them Z^.

    Args:
        y: right answers (*batch, *event) int64. uniform: numbers on [0, 1), (*batch, M, T).

    Returns:
        Answers (*batch, 1 + M, *event) int64, and log-densities (*batch, 1 + M) in nats: +inf for draws that are y
        again, so that they weigh nothing.
    """
    drawn = (uniform * space.num_values).long().clamp_max(space.num_values - 1)
    right = space.to_variables(y).unsqueeze(-2)
    again = (drawn == right).all(-1)
    others = (~again).sum(-1, keepdim=True).clamp_min(1).to(uniform.dtype)
    # The mean over 1 + M answers of exp(-E) / q is the right answer's term and K^T - 1 times the mean over the others.
    # Where every draw is y again there is no such mean: the others stand for that case too, however rare it is.
    answers, draws = space.num_answers, uniform.shape[-2]
    log_incorrect = math.log(answers - 1) - math.log1p(-math.exp(-draws * math.log(answers)))
    number = math.log(1 + draws)
    log_density = torch.where(again, math.inf, others.log() - log_incorrect - number)
    own = torch.full_like(log_density[..., :1], -number)
    return space.from_variables(torch.cat([right, drawn], -2)), torch.cat([own, log_density], -1)
