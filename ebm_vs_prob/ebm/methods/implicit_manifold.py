"""Implicit manifolds: answers as the zero set of a map whose derivative keeps full rank."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Self, cast

import torch
from pydantic import Field, model_validator

from ...core.errors import invalid
from ...core.options import PER_REPLICATE
from ...core.registry import METHODS
from ...energies.implicit import RETURNS, ZeroSetEnergy
from ...energies.mlp import Network
from ...models.building import build_energy, unscaled
from ...models.energy_model import EnergyModel
from ...models.model import Model
from ...models.record import Training
from ...models.setting import Setting, box_dims, training_data
from ...tasks.base import Task
from ...training.batches import Batch, Noise
from ...training.loop import train
from ...training.method import MethodOptions
from ..negatives.noise import descended
from ..objectives.implicit import norm, saturating_reward, singular_value_penalty
from ..regularisers import RegularisedMethod, RegularisedOptions

#: First and last move of a descent, as shares of the width of the y-box.
MOVES = (0.25, 0.02)


class ImplicitManifoldOptions(RegularisedOptions):
    manifold_dim: Annotated[
        int | None,
        Field(ge=0, le=1023, description="d of the zero set; None is the task's own, and F has D - d values"),
    ] = None
    rank_weight: Annotated[
        float, PER_REPLICATE, Field(ge=0, le=1e6, description="μ, of the penalty on singular values of F's derivative")
    ] = 1.0
    min_singular_value: Annotated[
        float, PER_REPLICATE, Field(gt=0, le=1e6, description="least one that costs nothing at the data")
    ] = 1.0
    max_singular_value: Annotated[
        float, PER_REPLICATE, Field(gt=0, le=1e6, description="largest one that costs nothing at the data")
    ] = 1.0
    negative_weight: Annotated[
        float,
        PER_REPLICATE,
        Field(
            ge=0, lt=1, description="w, of what keeps F from 0 off the data; below 1, the weight of the data; 0 is none"
        ),
    ] = 0.0
    negative_level: Annotated[
        float,
        PER_REPLICATE,
        Field(gt=0, le=1e6, description="size that F would have there, in half widths of the y-box"),
    ] = 1.0
    descent_steps: Annotated[
        int,
        Field(ge=0, le=1000, description="moves of the energy's descent from a uniform point to where F is 0 in vain"),
    ] = 6
    density: Annotated[
        bool, Field(description="learn an energy along the zero set too, by constrained Langevin chains from the data")
    ] = False
    langevin_steps: Annotated[int, Field(ge=1, le=10_000, description="steps of each chain")] = 5
    langevin_step: Annotated[
        float, PER_REPLICATE, Field(gt=0, le=1e6, description="size of a step, in units of `scale`")
    ] = 0.2

    @model_validator(mode="after")
    def _singular_values_are_ordered(self) -> Self:
        if self.max_singular_value < self.min_singular_value:
            raise ValueError(f"a max_singular_value >= min_singular_value = {self.min_singular_value}")
        return self


class ImplicitManifoldModel(EnergyModel):
    """Answers are where the map is 0."""

    module: ZeroSetEnergy

    def map(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """F(x, y) of every replicate, (R, n, D - d), for x and y of (n, d) or (R, n, d); differentiable in y.

        Raises:
            ValueError: shapes that do not fit the task's spaces, or non-finite values.
        """
        return self.module.map(*self._paired(x, y))


@METHODS.register
class ImplicitManifold(RegularisedMethod):
    """min E ‖F(x, y)‖ - w E ‖F(x, y⁻)‖ + μ E [(s_min - ‖Jᵀv‖/‖v‖)₊² + (‖Jᵀv‖/‖v‖ - s_max)₊²]: Ross et al. 2024.

    F: R^D -> R^(D - d), J its derivative in y at the data, v normal. Full rank makes the zero set a manifold of
    dimension d, of any topology. With both bounds at 1, the default, ‖F‖ is the distance from it to first order, and
    the energy, ½ ‖F‖², half the squared distance. Negatives y⁻ are where the energy's own descent from uniform points
    ends after a few moves, so that zeros off the data are found and pushed away; the paper takes Langevin samples.
    By default w is 0, and there are none.
    w E ‖F(y⁻)‖² / (2 level) beside them bounds what they gain. On the manifold itself the data win, as w < 1.

    That energy knows where answers are and not how many lie where. With `density` a second one, V, is learned beside
    it, by contrastive divergence whose chains are constrained to the zero set: from the answers' nearest points there,
    `langevin_steps` steps in the tangent space, each brought back by Newton's (the paper keeps a buffer of chains and
    minimises V with F done). The whole is V + ½ ‖F‖² / τ², τ² the mean square of an entry of F at the training answers:
    a density of thickness τ round the paper's, which is its limit. Where answers cross, as curves of `three_curves`
    do, they are no manifold, and no map of full rank is 0 on them.
    """

    name = "implicit_manifold"
    principle = "regularised"
    summary = "the zero set of a map of full rank, and a density along it where asked for (Ross et al. 2024)"
    references = ("ross2024implicit",)
    Options: ClassVar[type[MethodOptions]] = ImplicitManifoldOptions

    @classmethod
    def why_not(cls, task: Task) -> str | None:
        reason = super().why_not(task)
        if reason is None and task.manifold_dim is None:
            return "the dimension of its answers is not known, nor that of what is 0 on them: give `manifold_dim`"
        if reason is None and task.manifold_dim == task.y_space.event_shape[0]:
            return "its answers fill the space, and no map is 0 on them alone"
        return reason

    @classmethod
    def why_not_with(cls, options: Any, task: Task) -> str | None:
        if options.manifold_dim is None:
            return cls.why_not(task)
        return super().why_not(task)

    @classmethod
    def build(cls, setting: Setting) -> ImplicitManifoldModel:
        x_dim, y_dim = box_dims(setting)
        if not isinstance(setting.network, Network):
            raise invalid("energy", setting.network, "None: the map is made of a Network")
        given, own = setting.options.manifold_dim, {task.manifold_dim for task in setting.tasks}
        if given is None and len(own) > 1:
            raise invalid("task.manifold_dim", own, "one dimension: replicates share shapes")
        dim = cast("int", own.pop() if given is None else given)
        if dim >= y_dim:
            raise invalid("manifold_dim", dim, f"less than the {y_dim} dimensions of y")
        along = build_energy(setting) if setting.options.density else None
        # A scale is that of the energy along the zero set: the map has singular values, which the loss holds at 1.
        network = unscaled(setting.network) if along is None else setting.network
        energy = ZeroSetEnergy(setting.seeds, x_dim, y_dim, y_dim - dim, network, along)
        return ImplicitManifoldModel(cls, setting, energy.to(device=setting.device, dtype=setting.dtype))

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        # Forward 1 and its backward to y 2; the backward of the loss goes back through all three.
        return 9.0 + (3.0 + 3.0 * options.descent_steps) * (options.negative_weight > 0)

    @classmethod
    def step_evaluations(cls, options: Any, task: Task) -> float:
        own = super().step_evaluations(options, task)
        if not options.density:
            return own
        dim = task.manifold_dim if options.manifold_dim is None else options.manifold_dim
        derivative = 1.0 + 2.0 * (task.y_space.event_shape[0] - cast("int", dim))
        # A step takes a derivative, the slope of the energy along, and returns; the loss two energies, backwards too.
        return own + derivative + RETURNS + options.langevin_steps * (derivative + 3.0 + RETURNS) + 6.0

    @classmethod
    def train(cls, model: Model) -> Training:
        setting, options, energy = model.setting, model.setting.options, cast("ZeroSetEnergy", model.module)
        like = torch.zeros(1, 1, dtype=setting.dtype, device=setting.device)
        rank, weight = (options.column(name, like[0]) for name in ("rank_weight", "negative_weight"))
        low, high = (options.column(f"{end}_singular_value", like) for end in ("min", "max"))
        bounds = model.y_box.bounds
        width = bounds[1] - bounds[0]
        level = options.column("negative_level", like) * 0.5 * width
        first, last = (math.log10(share * width) for share in MOVES)
        moves = torch.logspace(first, last, options.descent_steps, dtype=setting.dtype, device=setting.device).reshape(
            -1, 1, 1, 1, 1
        )
        along, third = energy.along, like.unsqueeze(-1)
        step = options.column("langevin_step", third) * options.column("scale", third)
        pushes = bool((weight > 0).any())

        def loss(batch: Batch) -> torch.Tensor:
            directions = batch.noise["direction"]
            value, products = energy.map_and_products(batch.x, batch.y, directions)
            total = norm(value).mean(-1) + rank * singular_value_penalty(products, directions, low, high)
            if along is not None:
                near, drawn = energy.constrained_steps(batch.x, batch.y, batch.noise["chain"], step, bounds)
                total = total + (along(batch.x, near) - along(batch.x, drawn)).mean(-1)
            if pushes:
                start = bounds[0] + width * batch.noise["start"].unsqueeze(2)
                negative = descended(energy, batch.x.unsqueeze(2), start, moves, bounds).squeeze(2)
                total = total + weight * saturating_reward(norm(energy.map(batch.x, negative)), level)
            return total

        size = setting.budget.batch_size
        noise = {"direction": Noise("normal", (size, energy.trunk.sizes[-1]))}
        if pushes:
            noise["start"] = Noise("uniform", (size, model.y_box.dim))
        if along is not None:
            noise["chain"] = Noise("normal", (options.langevin_steps, size, model.y_box.dim))
        training = train(model, loss, noise)
        if along is not None:
            with torch.no_grad():
                energy.thickness.copy_(energy.map(*training_data(setting)).square().mean((1, 2)).sqrt())
        return training
