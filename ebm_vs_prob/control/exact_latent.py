"""The task's own latent variable as a method, minimised in place of summed out: the control of every latent energy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import nn

from ..core.budget import Cost
from ..core.registry import METHODS
from ..descent.angle import nearest_angle
from ..descent.answers import LATENT_SEARCH
from ..descent.latent import latent_nodes
from ..energies.decoders import FULL_TURN, AngleDecoder, Decoder
from ..models.energy_model import EnergyModel
from ..models.model import Model
from ..models.record import ReplicateStatus, Training
from ..models.setting import Setting, box_dims
from ..tasks.base import Task
from ..tasks.latents import HasEllipses
from ..training.method import Method

#: Angles that the search for the nearest begins at, and that are decoded to show where the latent leads.
STARTS, DECODED = 16, 512


class TaskEllipses(AngleDecoder):
    """The true ellipses of R tasks as a decoder, float64: g(x, z) = (a(x) cos z, b(x) sin z)."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        Decoder.__init__(self, torch.zeros(len(tasks), dtype=torch.float64, device="cpu"))
        self.num_replicates = len(tasks)
        self.axes, self.trunk = None, None
        self._tasks = [cast("HasEllipses", task) for task in tasks]

    def semi_axes(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.expand(self.num_replicates, *x.shape[1:])
        return torch.stack([task.axes(own) for task, own in zip(self._tasks, rows, strict=True)])


class NearestPointEnergy(nn.Module):
    """R energies F_inf(x, y) = min over z of ½ |y - g(x, z)|², g the truth.

    (R or 1, *n, dx), (R or 1, *n, 2) -> (R, *n).
    """

    multiply_adds = 0.0

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.decoder = TaskEllipses(tasks)
        self.num_replicates = len(tasks)
        self.register_buffer("nodes", latent_nodes(STARTS, 1, FULL_TURN))

    def _nearest(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """g(x, z) at the best z, (R, *n, 2), without gradient."""
        shape = torch.broadcast_shapes((self.num_replicates, *[1] * (y.ndim - 2)), x.shape[:-1], y.shape[:-1])
        x, y = x.detach().expand(*shape, -1), y.detach().expand(*shape, -1)
        z = nearest_angle(self.decoder, x, y, cast("torch.Tensor", self.nodes), LATENT_SEARCH).z
        return self.decoder.decode(x, z)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return 0.5 * (y - self._nearest(x, y)).square().sum(-1)

    def energy_and_gradient(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """F (R, *n) and dF/dy (R, *n, 2), that of E at the minimiser (the envelope theorem)."""
        gradient = y - self._nearest(x, y)
        return 0.5 * gradient.square().sum(-1), gradient


class ExactLatentModel(EnergyModel):
    """An energy that has nothing to learn, read as a density at β = 1 / ε², where it is nats of the task's noise."""

    module: NearestPointEnergy

    @property
    def beta(self) -> torch.Tensor:
        """1 / ε² of each replicate's task, (R,) float64, in one over y²; NaN at thickness 0."""
        thickness = [task.thickness or math.nan for task in self.tasks]
        return 1 / torch.tensor(thickness, dtype=torch.float64, device=self.setting.device).square()

    @property
    def joint_energy(self) -> Decoder:
        """E(x, y, z) = ½ |y - g(x, z)|² with the true g."""
        return self.module.decoder

    @property
    def latent_bounds(self) -> tuple[float, float]:
        """Least and greatest value of z."""
        return FULL_TURN

    def decoded(self, x: torch.Tensor) -> torch.Tensor:
        """g(x, z) at 512 equal angles: (R, n, 512, 2) of x (n, dx) or (R, n, dx).

        Raises:
            ValueError: shapes that do not fit the task's spaces, or non-finite values.
        """
        return self.module.decoder.decoded(self._placed("x", x), latent_nodes(DECODED, 1, FULL_TURN))


@METHODS.register
class ExactLatent(Method):
    """F_inf of the task's own latent energy ½ |y - m(x, z)|², float64; it learns nothing and costs nothing.

    What the method `exact` has summed out is minimised here, so that the two differ by that alone: read as a density,
    exp(-F_inf / ε²) / Z tends to the uniform law of arc length where that of the data is uniform in the angle.
    """

    name = "exact_latent"
    compilable = False
    groups_thickness = False
    family = "control"
    principle = "exact"
    normalised = False
    summary = "the task's own latent energy, its latent minimised: what minimising costs, and nothing else"
    references = ("canziani2020practicum", "lecun2006tutorial")

    @classmethod
    def why_not(cls, task: Task) -> str | None:
        reason = super().why_not(task)
        return reason or (None if isinstance(task, HasEllipses) else "its answers are no ellipses")

    @classmethod
    def build(cls, setting: Setting) -> ExactLatentModel:
        box_dims(setting)
        energy = NearestPointEnergy(setting.tasks)
        return ExactLatentModel(cls, replace(setting, dtype=torch.float64), energy)

    @classmethod
    def train(cls, model: Model) -> Training:
        replicates = model.num_replicates
        nothing = Cost(steps=0, energy_evaluations=0.0, multiply_adds=0.0, seconds=0.0)
        return Training(
            torch.empty(replicates, 0, dtype=torch.float64, device="cpu"),
            (ReplicateStatus(),) * replicates,
            (nothing,) * replicates,
        )
