"""The same tasks twice: normalised Gibbs-Boltzmann models in Pyro and unnormalised energy-based models, measured.

The public names below load their modules when first used, so that importing the package stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .core.version import __version__

_HOMES = {
    "tasks": (
        "Task",
        "TaskOptions",
        "Reference",
        "get_task",
        "list_tasks",
        "register_task",
    ),
    "training.method": (
        "Method",
        "MethodOptions",
    ),
    "training.fitting": (
        "fit",
        "get_method",
        "list_methods",
        "register_method",
    ),
    "models.model": ("Model",),
    "descent.answers": ("Answers",),
    "training.loading": ("load_model",),
    "core.budget": (
        "Budget",
        "Cost",
    ),
    "energies.mlp": ("Network",),
    "core.free_energies": ("free_energy",),
    "core.factor_graphs": ("FactorGraph",),
    "descent.latent": ("infer_latent",),
    "gibbs.density": ("GibbsBoltzmann",),
    "prob.posteriors.simulation_based_calibration": ("simulation_based_calibration",),
    "comparison.compare": ("compare_models",),
    "comparison.containers": ("inference_data",),
    "core.errors": ("NormalizerWarning",),
    "metrics.evaluate": ("evaluate",),
    "metrics": ("Evaluation",),
    "study": (
        "run_study",
        "load_results",
        "plan_study",
        "list_studies",
    ),
    "core.spaces": (
        "Box",
        "Labels",
        "Sequences",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME_OF)]

if TYPE_CHECKING:
    from .comparison.compare import compare_models
    from .comparison.containers import inference_data
    from .core.budget import Budget, Cost
    from .core.errors import NormalizerWarning
    from .core.factor_graphs import FactorGraph
    from .core.free_energies import free_energy
    from .core.spaces import Box, Labels, Sequences
    from .descent.answers import Answers
    from .descent.latent import infer_latent
    from .energies.mlp import Network
    from .gibbs.density import GibbsBoltzmann
    from .metrics import Evaluation, evaluate
    from .models.model import Model
    from .prob.posteriors.simulation_based_calibration import simulation_based_calibration
    from .study import list_studies, load_results, plan_study, run_study
    from .tasks import Reference, Task, TaskOptions, get_task, list_tasks, register_task
    from .training.fitting import fit, get_method, list_methods, register_method
    from .training.loading import load_model
    from .training.method import Method, MethodOptions


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
