"""Gaussian process regression: y given x Gaussian round a smooth mean, its hyper-parameters by marginal likelihood."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, cast

import pyro
import pyro.contrib.gp as gp
import torch
from pydantic import Field
from pyro.infer import TraceMeanField_ELBO
from pyro.nn import PyroParam
from torch import nn
from torch.distributions import constraints

from ...core.budget import Cost
from ...core.errors import check_count, invalid
from ...core.process_state import in_turn
from ...core.registry import METHODS
from ...core.replicate_noise import replicate_noise
from ...core.spaces import Box
from ...energies.mlp import Network
from ...gibbs.snapshot import Snapshot
from ...models.density_model import DensityModel
from ...models.model import Model
from ...models.record import ReplicateStatus, Training
from ...models.setting import Setting, box_dims, training_data
from ...tasks.base import Task
from ...training.method import MethodOptions
from ...training.smoothing import SmoothingMethod, SmoothingOptions
from ..densities.conditioned import Remembered

#: Examples beyond which the cube of their number is more than a step may cost.
MOST_EXAMPLES = 4000
#: Added to the diagonal of the kernel's matrix, in units of the prior variance.
JITTER = 1e-6
HYPER_PARAMETERS = ("length", "variance", "noise")
#: How far the search may move each from where it starts, as factors: where the mean is flat or straight the likelihood
#: has no highest length or variance.
REACH = {"length": (1e-2, 30.0), "variance": (1e-3, 1e3), "noise": (1e-5, 1e2)}


class GaussianProcessOptions(SmoothingOptions):
    """Options of `gaussian_process`. The search for hyper-parameters sets its own steps: `learning_rate` has no
    effect."""

    iterations: Annotated[
        int, Field(ge=1, description="iterations of L-BFGS on the marginal likelihood; the budget's steps if fewer")
    ] = 40


class GaussianProcessEnergy(nn.Module):
    """R energies E(x, y) = -ln N(y; m(x), v(x) I) in nats, the predictive density of Gaussian processes.

    The dimensions of y are independent given x and share one kernel, variance · exp(-|x - x'|² / (2 length²)).
    Predictions are those of Pyro's `GPRegression` in float64, whose Cholesky factor is kept.

    Args:
        x: (R, N, dx). y: (R, N, dy), the training pairs. sigma: (R,) noise beyond that of the data, units of y.
    """

    x: torch.Tensor
    y: torch.Tensor
    sigma: torch.Tensor
    length: torch.Tensor
    variance: torch.Tensor
    noise: torch.Tensor

    def __init__(self, x: torch.Tensor, y: torch.Tensor, sigma: torch.Tensor) -> None:
        super().__init__()
        self.num_replicates = len(y)
        one = torch.ones(len(y), dtype=torch.float64, device="cpu")
        for name, value in (("x", x), ("y", y), ("sigma", sigma)):
            self.register_buffer(name, value)
        for name in HYPER_PARAMETERS:  # in units of x, and of y squared
            self.register_buffer(name, one.clone())
        self._factors: list[tuple[gp.models.GPRegression, torch.Tensor]] | None = None
        self._seen: Snapshot | None = None  # the data and hyper-parameters that the factors are of
        self._given: Remembered[tuple[torch.Tensor, torch.Tensor]] = Remembered(self._predictive)

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of one predictive density: a triangular solve."""
        examples, y_dim = self.y.shape[1:]
        return float(examples * (examples // 2 + self.x.shape[2] + y_dim))

    @in_turn
    def process(self, replicate: int) -> gp.models.GPRegression:
        """The Pyro model of a replicate at its hyper-parameters, its y (dy, N) less `mean`: float64, detached."""
        x, y = self.x[replicate].double(), self.y[replicate].double()
        length, variance, noise = (getattr(self, name)[replicate].double() for name in HYPER_PARAMETERS)
        with pyro.settings.context(module_local_params=True):
            kernel = gp.kernels.RBF(x.shape[1], variance.clone(), length.clone())
            return gp.models.GPRegression(x, (y - y.mean(0)).T, kernel, noise.clone(), jitter=float(JITTER * variance))

    def predictive(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """m(x) (R, *n, dy) and v(x) (R, *n) of x (R or 1, *n, dx), without gradient: float64."""
        if self._seen is None or not self._seen.is_of(self):
            self.settled()
            self._seen = Snapshot(self)
        return self._given(x)

    @in_turn
    @pyro.settings.context(module_local_params=True)
    def _predictive(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self._factors is None:
            self._factors = [self._factor(r) for r in range(self.num_replicates)]
        means, variances = [], []
        for r, (process, factor) in enumerate(self._factors):
            own = x[r if len(x) > 1 else 0].double()
            loc, variance = gp.util.conditional(own.flatten(0, -2), process.X, process.kernel, process.y, None, factor)
            means.append((loc.T + self.y[r].double().mean(0)).reshape(*own.shape[:-1], -1))
            # One variance for all dimensions of y, which Pyro repeats for each.
            variances.append((variance[0] + process.noise + self.sigma[r].double() ** 2).reshape(own.shape[:-1]))
        return torch.stack(means), torch.stack(variances)

    def _factor(self, replicate: int) -> tuple[gp.models.GPRegression, torch.Tensor]:
        process = self.process(replicate)
        covariance = process.kernel(process.X)
        covariance.diagonal().add_(process.noise + process.jitter)
        factor, failed = torch.linalg.cholesky_ex(covariance)
        return process, factor.fill_(math.nan) if bool(failed) else factor

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.energy_and_gradient(x, y)[0]

    def energy_and_gradient(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """E (R, *n) and dE/dy (R, *n, dy)."""
        mean, variance = (value.to(y) for value in self.predictive(x))
        misfit = y - mean
        constant = 0.5 * y.shape[-1] * (2 * math.pi * variance).log()
        return 0.5 * misfit.square().sum(-1) / variance + constant, misfit / variance.unsqueeze(-1)

    def __deepcopy__(self, memo: dict[int, Any]) -> GaussianProcessEnergy:
        copied = GaussianProcessEnergy(self.x.clone(), self.y.clone(), self.sigma.clone())
        copied.load_state_dict(self.state_dict())
        return copied.to(self.length)

    def _apply(self, *args: Any, **kwargs: Any) -> GaussianProcessEnergy:
        self.settled()
        return cast("GaussianProcessEnergy", super()._apply(*args, **kwargs))

    def settled(self) -> None:
        """Say that data or hyper-parameters have changed."""
        self._given.forget()
        self._factors = None


class GaussianProcessModel(DensityModel):
    """A Gaussian for each x: normalised as it stands, one answer, exact ancestral samples."""

    module: GaussianProcessEnergy

    def process(self, replicate: int = 0) -> gp.models.GPRegression:
        """The fitted process of one replicate as Pyro's `GPRegression`, whose y is (dy, N), less its mean over N.

        Raises:
            ValueError: a replicate that does not exist.
        """
        if isinstance(replicate, bool) or not isinstance(replicate, int) or not 0 <= replicate < self.num_replicates:
            raise invalid("replicate", replicate, f"an integer in 0 .. {self.num_replicates - 1}")
        return self.module.process(replicate)

    def log_prob(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return -self.energy(x, y)

    def sample(self, x: torch.Tensor, num_samples: int = 1, seed: int = 0) -> torch.Tensor:
        check_count("num_samples", num_samples)
        mean, variance = self.module.predictive(self._placed("x", x))
        shape = (mean.shape[1], num_samples, mean.shape[2])
        noise = replicate_noise(self._streams(seed), shape, dtype=torch.float64)
        drawn = mean.unsqueeze(2) + variance.sqrt()[..., None, None] * noise.to(mean)
        return drawn.to(self.setting.dtype)

    @property
    def sampling_kernel(self) -> str:
        return "ancestral"


@METHODS.register
class GaussianProcess(SmoothingMethod):
    """q(y | x) = N(y; m(x), v(x) I), a Gaussian process with a squared-exponential kernel (Rasmussen and Williams 2006,
    eq. 2.25, 2.26), its length, variance and noise those of highest exact marginal likelihood (eq. 5.8).

    It has one answer for each x by construction: where the truth has several it puts them into one wide Gaussian, and
    its noise does not depend on x. With `sigma` above 0 it is convolved with the noise, N(y; m(x), (v(x) + sigma²) I).
    A marginal likelihood costs the cube of the number of examples; replicates are fitted one after the other.
    """

    name = "gaussian_process"
    compilable = False
    family = "prob"
    principle = "likelihood"
    normalised = True
    summary = "Gaussian process, one answer an x, exact marginal likelihood (Rasmussen and Williams 2006)"
    references = ("rasmussen2006gaussian",)
    Options: ClassVar[type[MethodOptions]] = GaussianProcessOptions

    @classmethod
    def why_not(cls, task: Task) -> str | None:
        reason = super().why_not(task)
        if reason is None and not (isinstance(task.x_space, Box) and task.x_space.dim):
            return "it is a regression on real x, and this task has none"
        return reason

    @classmethod
    def build(cls, setting: Setting) -> GaussianProcessModel:
        if not isinstance(setting.network, Network):
            raise invalid("energy", setting.network, "None: a Gaussian process has no network")
        examples = setting.budget.examples
        if examples > MOST_EXAMPLES:
            valid = f"at most {MOST_EXAMPLES} with gaussian_process, whose steps cost the cube of their number"
            raise invalid("budget.examples", examples, valid)
        x, y = (
            torch.zeros(setting.num_replicates, examples, dim, dtype=torch.float32, device="cpu")
            for dim in box_dims(setting)
        )
        energy = GaussianProcessEnergy(x, y, setting.options.sigma * setting.options.scale)
        return GaussianProcessModel(cls, setting, energy.to(device=setting.device, dtype=setting.dtype))

    @classmethod
    def train(cls, model: Model) -> Training:
        setting, energy = model.setting, cast("GaussianProcessEnergy", model.module)
        x, y = training_data(setting)
        energy.x.copy_(x)
        energy.y.copy_(y)
        energy.length.copy_(x.std((1, 2)))
        energy.variance.copy_(y.var(1).mean(-1))
        energy.noise.copy_(0.1 * energy.variance)
        iterations = min(setting.options.iterations, setting.budget.steps)
        histories, statuses, costs = [], [], []
        for r in range(setting.num_replicates):
            started = time.perf_counter()
            losses, status, steps = maximise_marginal_likelihood(energy, r, iterations)
            histories.append(torch.tensor(losses, dtype=torch.float32, device="cpu") / x.shape[1])
            statuses.append(status)
            each = _marginal_multiply_adds(x.shape[1], x.shape[2], y.shape[2])
            costs.append(
                Cost(
                    steps=steps,
                    energy_evaluations=3.0 * len(losses) * x.shape[1],
                    multiply_adds=3.0 * len(losses) * each,
                    seconds=time.perf_counter() - started,
                )
            )
        energy.settled()
        # The record has as many numbers whatever the company: the first evaluations, and the last one to the end.
        first = [history[: iterations - 1] for history in histories]
        last = [h[-1:].expand(iterations - len(f)) for h, f in zip(histories, first, strict=True)]
        loss = torch.stack([torch.cat(parts) for parts in zip(first, last, strict=True)])
        return Training(loss, tuple(statuses), tuple(costs))


def maximise_marginal_likelihood(
    energy: GaussianProcessEnergy, replicate: int, iterations: int
) -> tuple[list[float], ReplicateStatus, int]:
    """L-BFGS on -ln p(y | x) of one replicate, whose hyper-parameters are set in place.

    Returns:
        The loss in nats at each evaluation, the status, and the iterations taken.
    """
    process = energy.process(replicate)
    homes = {"length": (process.kernel, "lengthscale"), "variance": (process.kernel, "variance")}
    homes["noise"] = (process, "noise")
    with pyro.settings.context(module_local_params=True):
        for name, (home, attribute) in homes.items():
            start = getattr(home, attribute).detach().clone()
            low, high = (float(factor * start) for factor in REACH[name])
            setattr(home, attribute, PyroParam(start, constraints.interval(low, high)))
    elbo = TraceMeanField_ELBO()
    losses: list[float] = []

    def loss(program: Callable, guide: Callable) -> torch.Tensor:
        value: torch.Tensor = elbo.differentiable_loss(program, guide)
        losses.append(float(value.detach()))
        return value

    optimizer = torch.optim.LBFGS(process.parameters(), max_iter=iterations, line_search_fn="strong_wolfe")
    reason = ""
    with pyro.settings.context(module_local_params=True):
        try:
            gp.util.train(process, optimizer, loss, num_steps=1)
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            reason = f"the kernel's matrix has no Cholesky factor: {' '.join(str(error).split())}"
        for name, (home, attribute) in homes.items():
            getattr(energy, name)[replicate] = getattr(home, attribute).detach()
    steps = int(optimizer.state[optimizer.param_groups[0]["params"][0]].get("n_iter", 0))
    if not reason and not all(math.isfinite(value) for value in losses):
        reason = "the marginal likelihood is not finite"
    return losses or [math.nan], ReplicateStatus(not reason, steps if reason else None, reason), steps


def _marginal_multiply_adds(examples: int, x_dim: int, y_dim: int) -> float:
    """Of one marginal likelihood: the kernel, its Cholesky factor and the triangular solves."""
    return float(examples**2 * x_dim + examples**3 / 6 + examples**2 * y_dim / 2)
