"""What a fit returns: one interface for both families."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import isfunction
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import nn

from ..core.budget import Cost
from ..core.errors import NotNormalised, check_count, invalid
from ..core.process_state import default_state
from ..core.replicate_noise import ReplicateStreams, replicate_points
from ..core.spaces import Box
from ..descent.answers import ANSWER_SEARCH, Answers, Search, checked_search
from ..descent.search import descend
from ..energies.evaluation import distinct
from ..gibbs.density import GibbsBoltzmann
from ..gibbs.normalizers import ImportanceSampling, Quadrature
from ..gibbs.normalizers.partition import Normalizer
from ..gibbs.temperature import PAIRS, fit_beta
from ..samplers import sample_from_descent
from ..samplers.draws import Draws
from ..samplers.from_descent import MALA_FROM_DESCENT
from .capabilities import DoubtsDensity, ModelMethod
from .data_kernel import DataKernel
from .record import ReplicateStatus, Training
from .saving import save_model
from .setting import Setting, stacked_pairs, training_data

#: Beyond this many output dimensions a normaliser is estimated by importance sampling and samples are drawn by MALA.
MAX_QUADRATURE_DIM = 2
IMPORTANCE_SAMPLES = 256
#: Densities, of all replicates and x, up to which the last are kept with their nodes: samples and doubts share them.
KEPT_DENSITIES = 1 << 10
#: Kernels whose draws are those of the density, and the seed of draws that are proposals, apart from that of samples.
EXACT_KERNELS, PROPOSAL_SEED = ("exact", "ancestral"), 2**62


class Model:
    """R replicates of one method. Subclasses say how they answer; metrics and reports see only this interface.

    Attributes:
        module: the replicated energy: `module(x, y)` takes (R or 1, *n, dx), (R or 1, *n, dy) and gives (R, *n).
        setting: tasks, seeds, options, network, budget, dtype and device of the fit.
        training: losses, status and cost.
    """

    normalised: ClassVar[bool] = False

    training: Training

    def __init_subclass__(cls, **keywords: Any) -> None:
        """What a subclass answers in its own way it answers in torch's default state too, as `Model` does."""
        super().__init_subclass__(**keywords)
        for name, function in list(vars(cls).items()):
            if isfunction(function) and not name.startswith("_"):
                setattr(cls, name, default_state()(function))

    def __init__(self, method: ModelMethod, setting: Setting, module: nn.Module) -> None:
        self.method = method
        self.setting = setting
        self.module = module
        self._data_kernel: DataKernel | None = None
        self._density: GibbsBoltzmann | None = None  # the last one asked for as usual: its nodes serve every call

    def finished(self, training: Training) -> Self:
        """The model with its training on record and its parameters frozen."""
        self.training = training
        self._density = None
        self.module.requires_grad_(False).eval()
        return self

    @property
    def num_replicates(self) -> int:
        return self.setting.num_replicates

    @property
    def tasks(self) -> tuple[Any, ...]:
        return self.setting.tasks

    @property
    def seeds(self) -> tuple[int, ...]:
        return self.setting.seeds

    @property
    def status(self) -> tuple[ReplicateStatus, ...]:
        return self.training.status

    @property
    def cost(self) -> tuple[Cost, ...]:
        return self.training.cost

    @property
    def beta(self) -> torch.Tensor:
        """Inverse temperature of each replicate's Gibbs-Boltzmann density, (R,); 1 for normalised models."""
        return torch.ones(self.num_replicates, dtype=torch.float64, device="cpu")

    @default_state()
    def energy(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """E(x, y) of every replicate, (R, n), for x and y of (n, d) or (R, n, d); differentiable in y.

        Raises:
            ValueError: shapes that do not fit the task's spaces, or non-finite values.
        """
        result: torch.Tensor = self.module(*self._paired(x, y))
        return result

    @default_state()
    def infer(self, x: torch.Tensor, n_starts: int = 16, seed: int = 0, search: Search = ANSWER_SEARCH) -> Answers:
        """Answers by minimising E(x, .) from `n_starts` uniform points of the task's y-box, by `search`.

        The rule `scaled` multiplies its step by the square of the method's `scale` option. A start has converged once
        a step moves it by less than the search's tolerance (units of y).

        Raises:
            ValueError: a bad x, count, seed or search.
        """
        x = self._placed("x", x)
        check_count("n_starts", n_starts)
        return descend(
            self.module,
            x.unsqueeze(2),
            self.starts(x.shape[1], n_starts, seed).to(x),
            bounds=self.y_box.bounds,
            search=checked_search(search),
            scale=self.setting.options.scale.to(x),
            seed=seed,
        )

    def starts(self, n: int, n_starts: int, seed: int) -> torch.Tensor:
        """Where descents begin: uniform in the y-box, on each replicate's own stream, (R, n, n_starts, dy) float64.

        Replicates of one seed start at the same points, whatever method trained them.
        """
        return replicate_points(ReplicateStreams(seed, "descent", seeds=self.seeds), self.y_box, (n, n_starts))

    @default_state()
    def sample(self, x: torch.Tensor, num_samples: int = 1, seed: int = 0) -> torch.Tensor:
        """Draws of y given each x from the Gibbs-Boltzmann density at `beta`: (R, n, num_samples, dy).

        Up to two output dimensions the draws are exact up to quadrature; beyond, they end MALA chains
        (`sampling_kernel` says which, `draw` how good they are).
        """
        check_count("num_samples", num_samples)
        if self.y_box.dim > MAX_QUADRATURE_DIM:
            return self._chains(x, num_samples, seed, "mala").y
        with torch.no_grad():
            drawn: torch.Tensor = self.gibbs(x).sample(torch.Size((num_samples,)), generators=self._streams(seed))
        return drawn.movedim(0, 2)

    @default_state()
    def draw(self, x: torch.Tensor, num_samples: int = 1, seed: int = 0, kernel: str | None = None) -> Draws:
        """`sample` with what is known of the draws: their kernel and, where they end chains, R-hat and effective sample
        sizes over the `num_samples` chains of each x, which ArviZ computes when asked for.

        With a `kernel`, "mala", "hmc", "nuts" or "tempering", they end chains of that, whatever `sample` takes."""
        if kernel is None and self.sampling_kernel != MALA_FROM_DESCENT:
            return Draws(self.sample(x, num_samples, seed), self.sampling_kernel)
        check_count("num_samples", num_samples)
        return self._chains(x, num_samples, seed, kernel or "mala")

    def _chains(self, x: torch.Tensor, num_samples: int, seed: int, kernel: str) -> Draws:
        x, box, beta = self._placed("x", x), self.y_box, self.beta
        return sample_from_descent(self.module, x, box, num_samples, beta.to(x), self._streams(seed), kernel=kernel)

    def _streams(self, seed: int) -> ReplicateStreams:
        return ReplicateStreams(seed, "sample", seeds=self.seeds)

    @property
    def sampling_kernel(self) -> str:
        """The kernel behind `sample`, for the record."""
        return "quadrature" if self.y_box.dim <= MAX_QUADRATURE_DIM else MALA_FROM_DESCENT

    def log_prob(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln q(y | x) in nats, (R, n); normalised models only.

        Raises:
            NotNormalised: the model is an unnormalised energy.
        """
        raise NotNormalised(
            f"{self.method.name} is an unnormalised energy and has no log_prob: normalise it, with an error bar, "
            "through model.gibbs(x), whose log_prob(y) and log_partition() are those of exp(-beta E) at the fitted beta"
        )

    @default_state()
    def gibbs(
        self, x: torch.Tensor, beta: torch.Tensor | float | None = None, normalizer: str | Normalizer | None = None
    ) -> GibbsBoltzmann:
        """The density exp(-beta E(x, .)) / Z(x) of every replicate and x: a distribution of batch shape (R, n).

        Args:
            beta: inverse temperature, in one over the energy's unit; `self.beta` by default.
            normalizer: as `GibbsBoltzmann` takes it. By default quadrature up to two output dimensions, importance
                sampling from a kernel density of the training data beyond.
        """
        x = self._placed("x", x).expand(self.num_replicates, -1, -1)
        shape = x.shape[:-1]
        x = distinct(x)  # without x one partition function serves all
        usual = beta is None and normalizer is None and not x.requires_grad
        known = self._density
        if usual and known is not None and known.energy is self.module and torch.equal(known.x, x):
            return known.expand(shape)
        density = GibbsBoltzmann(
            self.module,
            space=self.y_box,
            x=x,
            beta=torch.as_tensor(self.beta if beta is None else beta, dtype=x.dtype, device=x.device).reshape(-1, 1),
            normalizer=self._usual_normalizer(x) if normalizer is None else normalizer,
            validate_args=None if beta is not None else False,  # a replicate that failed has no beta
        )
        if usual and x.shape[:-1].numel() <= KEPT_DENSITIES:
            self._density = density
        return density.expand(shape)

    @default_state()
    def fit_beta(self) -> torch.Tensor:
        """The inverse temperature of highest validation likelihood, (R,) float64, whatever `gibbs_beta` says.

        Of a normalised model too: how much flatter or steeper its density should have been.
        """
        x, y = stacked_pairs(self.setting, PAIRS, "validation")
        trained, box = self._trained(), self.y_box.bounds
        return fit_beta(self.module, x, y, box, trained, self.propose, by_draws=self.draws_exactly)

    def _usual_normalizer(self, x: torch.Tensor) -> Normalizer:
        if self.y_box.dim <= MAX_QUADRATURE_DIM:
            return Quadrature()
        samples, log_density = self.propose(x, IMPORTANCE_SAMPLES)
        return ImportanceSampling(samples=samples, log_density=log_density)

    @property
    def draws_exactly(self) -> bool:
        """Whether draws of the model and their log-densities are exact: the best proposal for its density at any beta
        near 1."""
        return self.normalised and self.sampling_kernel in EXACT_KERNELS and not isinstance(self, DoubtsDensity)

    def propose(self, x: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Draws (R, n, count, dy) at x (R, n, dx) for importance sampling and their log-densities (R, n, count).

        The model's own where these are exact, else of a kernel density of the training data.
        """
        if not self.draws_exactly:
            return self.data_kernel.draw(x, count, self.seeds)
        with torch.no_grad():
            y = self.sample(x, count, seed=PROPOSAL_SEED)
            repeated = x.unsqueeze(2).expand(*y.shape[:-1], -1)
            log_density = self.log_prob(repeated.flatten(1, 2), y.flatten(1, 2))
        return y, log_density.reshape(y.shape[:-1])

    @property
    def data_kernel(self) -> DataKernel:
        """The kernel density of each replicate's training data: proposal of importance sampling."""
        if self._data_kernel is None:
            self._data_kernel = DataKernel(*training_data(self.setting), self.y_box)
        return self._data_kernel

    def save(self, path: str | Path) -> None:
        """Write parameters and specification to one safetensors file, atomically. `evp.load_model` reads it back."""
        save_model(path, self.method, self.setting, self.training, self.module.state_dict(), self.beside())

    def beside(self) -> dict[str, torch.Tensor]:
        """What the model knows beside its parameters and its training, by name: part of its file."""
        return {}

    def restore(self, arrays: Mapping[str, torch.Tensor]) -> None:
        """Take back what `beside` gave, from all arrays of a file."""

    @property
    def y_box(self) -> Box:
        space = self.tasks[0].y_space
        if not isinstance(space, Box):
            raise invalid("task.y_space", space, "a Box: gradient descent and densities need real y")
        return space

    def _placed(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """`value` checked against the task's space, as (R or 1, n, *event) where and as training data are."""
        space = self.tasks[0].x_space if name == "x" else self.tasks[0].y_space
        space.check(name, value)
        event = space.event_shape
        whole = value.unsqueeze(0) if value.ndim == 1 + len(event) else value
        if whole.ndim != 2 + len(event) or whole.shape[0] not in (1, self.num_replicates) or not whole.shape[1]:
            one = "".join(["n", *(f", {size}" for size in event)])
            raise invalid(f"{name}.shape", tuple(value.shape), f"({one}) or ({self.num_replicates}, {one}), n > 0")
        return self.setting.placed(whole, space)

    def _paired(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, y = self._placed("x", x), self._placed("y", y)
        if x.shape[1] != y.shape[1]:
            raise invalid("shapes of x, y", (tuple(x.shape), tuple(y.shape)), "one n")
        return x, y

    def _trained(self) -> torch.Tensor:
        """Which replicates' training went well, (R,) bool."""
        return torch.tensor([status.ok for status in self.status], dtype=torch.bool, device=self.setting.device)

    def __repr__(self) -> str:
        failed = sum(not status.ok for status in self.status)
        return f"{type(self).__name__}({self.method.name}, {self.num_replicates} replicates, {failed} failed)"
