"""What the metrics of one evaluation share: held-out data, answers, samples and energies, each computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..core.errors import NotMeasured
from ..core.memory import once
from ..core.replicate_noise import ReplicateStreams, replicate_points
from ..core.seeding import stream
from ..core.spaces import Box
from ..core.tensors import stacked_to_most
from ..descent.answers import Answers, Search
from ..energies.evaluation import energy_in_blocks
from ..samplers.draws import Draws
from .options import Evaluation
from .readings import Readings, as_numpy

if TYPE_CHECKING:
    from ..models.model import Model

#: Held-out answers drawn at each input of a conditional task, for quantiles of the energy.
ANSWERS_PER_INPUT = 256
#: Radius of the truth's tube where the thickness is 0, and the share of the truth within it elsewhere.
TUBE_RADIUS_AT_ZERO, TUBE_SHARE = 0.05, 0.99
#: An answer is near the answer set within so many thicknesses of it, and within the radius where data are thinner.
NEAR_IN_THICKNESS, NEAREST_RADIUS = 3.0, 0.01


class Observation(Readings):
    """A model, one task a replicate, and what was seen of them. Tensors lead with R and follow the model's dtype."""

    def __init__(self, model: Model, tasks: Sequence[Any], evaluation: Evaluation) -> None:
        self.model = model
        self.tasks = tuple(tasks)
        self.evaluation = evaluation
        self.replicates = model.num_replicates
        self.conditional = tasks[0].x_space.dim > 0

    @property
    def box(self) -> Box:
        """The y-box.

        Raises:
            ValueError: the answers are discrete.
        """
        return self.model.y_box

    @property
    def thickness(self) -> np.ndarray:
        """(R,) of the tasks."""
        return np.array([task.thickness for task in self.tasks], dtype=np.float64)

    @property
    def log_unit(self) -> np.ndarray:
        """(R,) of the tasks."""
        return np.array([task.log_unit for task in self.tasks], dtype=np.float64)

    @cached_property
    def outside_note(self) -> str:
        """How many held-out answers lie outside the y-box, where densities over the box are 0; "" if none do."""
        space = self.tasks[0].y_space
        if not isinstance(space, Box):
            return ""
        low, high = space.bounds
        outside = ((self.test[1] < low) | (self.test[1] > high)).any(-1).sum(-1).tolist()
        return "; ".join(
            f"{count} of {self.test[1].shape[1]} held-out answers lie outside the y-box, where an energy's density is "
            f"0 (replicate {r})"
            for r, count in enumerate(outside)
            if count
        )

    @cached_property
    def tube(self) -> np.ndarray:
        """Radius (R,) round the answer set that holds .99 of the truth: ε times the .99 quantile of chi_{D-d}.

        .05 at thickness 0.
        """
        from scipy.stats import chi

        if self.tasks[0].manifold_dim is None:
            raise NotMeasured(f"{self.tasks[0].name}: the answers lie on no manifold of known thickness")
        normal_dims = self.box.dim - self.tasks[0].manifold_dim
        radius = self.thickness * chi.ppf(TUBE_SHARE, normal_dims)
        return np.where(self.thickness > 0, radius, TUBE_RADIUS_AT_ZERO)

    @cached_property
    def target(self) -> np.ndarray:
        """Radius (R,) round the answer set within which a point is near it: 3 thicknesses, and .01 at least.

        Raises:
            NotMeasured: the answers of an exact law lie on no manifold, so that its modes need not be near them.
        """
        task = self.tasks[0]
        if task.has_truth and task.manifold_dim is None:
            raise NotMeasured(f"{task.name}: the answers lie on no manifold of known thickness")
        return np.maximum(NEAR_IN_THICKNESS * self.thickness, NEAREST_RADIUS)

    @cached_property
    def test(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Held-out x (R, N, dx) and y (R, N, dy), float64: as many as asked for, and no row of the test part twice."""
        n = min([self.evaluation.test_examples, *(rows for task in self.tasks if (rows := task.test_rows) is not None)])

        def drawn(task: Any, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
            return once(task, "held-out pairs", [n, seed], compute=lambda: task.sample(n, seed=seed, split="test"))

        pairs = [drawn(task, seed) for task, seed in zip(self.tasks, self.model.seeds, strict=True)]
        return torch.stack([x for x, _ in pairs]), torch.stack([y for _, y in pairs])

    def true_log_prob(self, r: int, count: int) -> np.ndarray:
        """ln p(y | x) of the first `count` held-out pairs of a replicate, in nats of its task's own unit: (count,).

        Raises:
            NoExactReference: a task without density.
        """
        x, y = (part[r, :count] for part in self.test)
        task = self.tasks[r]
        return as_numpy(once(task, "log density", x, y, compute=lambda: task.reference.log_prob(x, y)))

    @cached_property
    def inputs(self) -> torch.Tensor:
        """The first held-out x, (R, K, dx) float64."""
        return self.test[0][:, : self.evaluation.inputs]

    @cached_property
    def distinct_inputs(self) -> torch.Tensor:
        """`inputs`, or the one empty x of an unconditional task: (R, K or 1, dx)."""
        return self.inputs if self.conditional else self.inputs[:, :1]

    @cached_property
    def answers(self) -> Answers:
        """What the model's own inference finds by line search, (R, K, starts, ...)."""
        e = self.evaluation
        return self.model.infer(self.inputs, e.starts, e.seed, Search(max_steps=e.max_steps, tolerance=e.tolerance))

    @cached_property
    def decided(self) -> torch.Tensor:
        """The one answer of least energy at every held-out x of discrete answers, (R, N, ...) int64 on the CPU."""
        return self.model.infer(self.test[0], 1).y[:, :, 0].cpu()

    @cached_property
    def law_decisions(self) -> dict[str, list[torch.Tensor | None]]:
        """What each replicate decides under its own law of y, by the metric that judges it; kept by those metrics."""
        return {}

    @cached_property
    def answered(self) -> np.ndarray:
        """Which replicates have a finite energy at one answer at least, (R,) bool; the others were not descended on."""
        return self.answers.energy.isfinite().flatten(1).any(1).cpu().numpy()

    @cached_property
    def answer_distance(self) -> np.ndarray:
        """Distance of `answers` to the answer set, (R, K, starts); NaN for a replicate that was not descended on."""
        return np.where(self.answered[:, None, None], self.distance(self.inputs, self.answers.y), np.nan)

    @cached_property
    def draws(self) -> Draws:
        """Draws of the model at `distinct_inputs`, and what is known of them."""
        each = max(2, -(-self.evaluation.samples // self.distinct_inputs.shape[1]))
        return self.model.draw(self.distinct_inputs, each, seed=self.evaluation.seed)

    @property
    def samples(self) -> torch.Tensor:
        """Those draws: (R, K or 1, M, dy)."""
        return self.draws.y

    @cached_property
    def samples_note(self) -> str:
        """R-hat and effective sample size of the chains behind `samples` at the first input; "" if there are none."""
        draws = self.draws
        if draws.trace is None:
            return ""
        found = draws.diagnostics(inputs=1)
        r_hat, ess = (found[name].flatten(1).numpy() for name in ("r_hat", "ess"))
        kept = draws.trace.shape[2] * draws.trace.shape[3]
        return "; ".join(
            f"{draws.kernel}: R-hat up to {np.nanmax(r_hat[r]):.2f}, "
            f"effective sample size from {np.nanmin(ess[r]):.0f} of {kept} at the first input (replicate {r})"
            for r in range(self.replicates)
            if np.isfinite(r_hat[r]).any()
        )

    @cached_property
    def true_samples(self) -> torch.Tensor:
        """Draws of the truth at `distinct_inputs`, on a stream apart from all data: (R, K or 1, Q, dy) float64."""
        each = ANSWERS_PER_INPUT if self.conditional else self.evaluation.test_examples

        def drawn(r: int, task: Any) -> torch.Tensor:
            x, seed = self.distinct_inputs[r], stream(self.evaluation.seed, "held out", self.model.seeds[r])
            sample = task.reference.sample
            return once(task, "true samples", x, [each, seed], compute=lambda: sample(x, each, seed=seed))

        return self.by_task(drawn)

    def only(self, r: int, model: Model) -> Observation:
        """That of replicate r as a model of one, with the data, answers, draws and densities that have been seen."""
        own, seen, at = Observation(model, self.tasks[r : r + 1], self.evaluation), vars(self), slice(r, r + 1)
        if "test" in seen:
            own.test = self.test[0][at], self.test[1][at]
        if "answers" in seen:
            found = self.answers
            z = None if found.z is None else found.z[at]
            own.answers = Answers(found.y[at], z, found.energy[at], found.steps[at], found.converged[at])
        if "draws" in seen:
            own.draws = Draws(self.draws.y[at], self.draws.kernel)
        if "log_density" in seen:
            own.log_density = self.log_density[at]
        return own

    def by_task(self, compute: Callable[[int, Any], torch.Tensor]) -> torch.Tensor:
        """compute(r, task) of every replicate, stacked."""
        return torch.stack([compute(r, task) for r, task in enumerate(self.tasks)])

    @cached_property
    def true_answers(self) -> torch.Tensor:
        """The noise-free answers at `distinct_inputs`, (R, K or 1, m, dy); NaN for those that an x has fewer."""

        def answers(task: Any, x: torch.Tensor) -> torch.Tensor:
            return once(task, "true answers", x, compute=lambda: task.reference.answers(x))

        each = [answers(task, x) for task, x in zip(self.tasks, self.distinct_inputs, strict=True)]
        return stacked_to_most(each, -2)

    def placed(self, value: torch.Tensor) -> torch.Tensor:
        """A tensor on the model's device, in its dtype."""
        return value.to(device=self.model.setting.device, dtype=self.model.setting.dtype)

    def energy(self, y: torch.Tensor) -> np.ndarray:
        """The model's energy (R, K or 1, m) of y (R, K or 1, m, dy) at `distinct_inputs`, float64.

        Raises:
            NoExactReference: an exact model of tasks without density.
        """
        x = self.placed(self.distinct_inputs.unsqueeze(2))
        return as_numpy(energy_in_blocks(self.model.module, x, self.placed(y)))

    @cached_property
    def energy_of_truth(self) -> np.ndarray:
        """Energies of `true_samples`, (R, K or 1, Q)."""
        return self.energy(self.true_samples)

    @cached_property
    def depth(self) -> np.ndarray:
        """median F(uniform) - median F(data) at each input, and of these the median: (R,), the unit of sharpness.

        Taken at each x, because what an energy adds to all y of one x changes neither answers nor densities.
        """
        streams = ReplicateStreams(self.evaluation.seed, "uniform", seeds=self.model.seeds)
        uniform = self.energy(replicate_points(streams, self.box, self.true_samples.shape[1:3]))
        return np.median(np.median(uniform, axis=2) - np.median(self.energy_of_truth, axis=2), axis=1)

    def distance(self, x: torch.Tensor, y: torch.Tensor) -> np.ndarray:
        """Distance to the answer set of y (R, k, m, dy) at x (R, k, dx): (R, k, m); NaN where y is not finite."""
        y = y.detach().cpu().double()
        known = y.isfinite().all(-1)
        y = y.where(known.unsqueeze(-1), 0.0)

        def of(r: int, task: Any) -> torch.Tensor:
            repeated = x[r].unsqueeze(1).expand(-1, y.shape[2], -1)
            return task.reference.distance(repeated.flatten(0, 1), y[r].flatten(0, 1))

        distance = self.by_task(of).reshape(y.shape[:-1])
        return as_numpy(distance.masked_fill(~known, torch.nan))


__all__ = ["ANSWERS_PER_INPUT", "TUBE_RADIUS_AT_ZERO", "Observation", "as_numpy"]
