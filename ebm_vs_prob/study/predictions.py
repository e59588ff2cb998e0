"""What an arm comes to by theory: the law that is at the optimum of its objective, which needs no training.

Likelihood, score matching and contrasts that add noise of standard deviation sigma to the data learn the law of these
blurred data. Blur is thickness: that law is the task's own at the thickness sqrt(epsilon² + sigma²). So a curvature of
1 / (epsilon² + sigma²), steps of twice its inverse and the price of smoothing (`metrics.smoothing.smoothing_price`)
need no formula here: they are measured on that law, as on any model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.registry import METHODS
from ..training.smoothing import SmoothingMethod
from .grid import arm_options, trunk_of
from .registered import look_up, task_of, tasks_at

if TYPE_CHECKING:
    from ..models.model import Model
    from ..tasks.base import Task
    from ..training.method import Method
    from .arms import Arm
    from .schema import Study

#: Options that hold an energy back from the optimum of its objective where they are not 0.
PENALTIES = ("gradient_penalty", "energy_magnitude", "weight_decay", "l1_penalty", "spectral_penalty")
#: Options that choose a family of densities, which need not hold the law: a finite mixture, the guide of a bound.
FAMILIES = ("components", "guide")
#: What reports call a potential of the method `exact`.
POTENTIALS = {
    "log_density": "exact",
    "density": "exact density",
    "constant": "constant energy",
    "mean": "exact mean",
}


@dataclass(frozen=True)
class Law:
    """A model that needs no training: a potential of the method `exact`, of data blurred by `sigma`, in units of y."""

    potential: str = "log_density"
    sigma: float = 0.0

    @property
    def name(self) -> str:
        """What reports call it."""
        return POTENTIALS[self.potential] + (f", blurred by {self.sigma:g}" if self.sigma else "")

    def fitted(self, tasks: Sequence[Task]) -> Model:
        """The law of each task's data, on its seed 0.

        Raises:
            ValueError: nothing is exactly known of a task, or not what the potential asks for.
        """
        from ..core.budget import Budget
        from ..training.fitting import fit

        exact = look_up(METHODS, "exact", "predictions")
        # Metrics ask a method what it adds to the data.
        blurring = type("Exact", (exact,), {"smoothing": classmethod(lambda cls, options: self.sigma)})
        learned = [_with_law_of_blurred(task, self.sigma) for task in tasks]
        options: dict[str, Any] = {"potential": self.potential}
        return fit(blurring, learned, seeds=[0] * len(tasks), budget=Budget(examples=256), **options)


def _with_law_of_blurred(task: Task, sigma: float) -> Task:
    """The task with its own data and spaces, whose exact truth is of data blurred by sigma."""
    if not sigma:
        return task
    own = task.with_thickness(task.thickness)
    own.reference = task.with_thickness(math.hypot(task.thickness, sigma)).reference
    return own


def predicted_law(study: Study, scale: str, arm: Arm, task: Task) -> Law | None:
    """The law that an arm has at the optimum of its objective on a task, with data and a network without end.

    None where that is not the law of data at all, as a margin's; where a penalty, a form of the network or a family
    of densities keeps the arm from it; and where the noise of the task is no isotropic one, and the arm adds some.
    """
    method: type[Method] = look_up(METHODS, arm.method, f"{study.where}: arms.{arm.name}.method")
    options = arm_options(study, arm, method, task)
    if method.why_not_with(options, task) is not None:
        return None
    if method.name == "exact":
        return Law(options.potential)
    if _is_held_back(trunk_of(study, scale, arm), options):
        return None
    if method.principle == "regression":
        return Law("mean")
    if not issubclass(method, SmoothingMethod):
        return None
    sigma = method.smoothing(options)
    curvature = method.gaussian_optimum.of(options) if method.gaussian_optimum else None
    if curvature is None or not math.isclose(curvature, 1 / (1 + sigma**2)):
        return None
    return None if sigma and (task.manifold_dim is None or not task.noise_known) else Law(sigma=sigma)


class Predictions:
    """The laws that are predicted of the arms of a study at a scale, each found once."""

    def __init__(self, study: Study, scale: str) -> None:
        self._study, self._scale = study, scale
        self._tasks: dict[tuple[str, float | None], Task] = {}
        self._laws: dict[tuple[str, str, float | None], Law | None] = {}

    def law(self, arm: str, task: str, setting: float | None) -> Law | None:
        """That of an arm on a task at one of its settings, or at none where it varies along nothing.

        None where nothing is predicted, and where the arm does not run on the task.
        """
        which, study = (arm, task, setting), self._study
        if which not in self._laws:
            if (task, setting) not in self._tasks:
                at = tasks_at(study, task, [] if setting is None else [setting])
                self._tasks[task, setting] = at[0] if at else task_of(study, task)
            own = study.arm(arm)
            runs = own.tasks is None or task in own.tasks
            found = predicted_law(study, self._scale, own, self._tasks[task, setting]) if runs else None
            self._laws[which] = found
        return self._laws[which]


def _is_held_back(trunk: Any, options: Any) -> bool:
    if isinstance(trunk, str) or trunk.form != "free" or not trunk.hidden:
        return True
    return any(getattr(options, name, 0) for name in (*PENALTIES, *FAMILIES))
