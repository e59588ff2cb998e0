"""The same tasks twice: normalised Gibbs-Boltzmann models in Pyro and unnormalised energy-based models, measured.

The public names below load their modules when first used, so that importing the package stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "tasks": ("Task", "TaskOptions", "Reference", "get_task", "list_tasks", "register_task"),
    "method": ("Method", "MethodOptions"),
    "fitting": ("fit", "get_method", "list_methods", "register_method"),
    "model": ("Model", "Answers"),
    "persistence": ("load_model",),
    "budget": ("Budget", "Cost"),
    "energies": ("Network",),
    "free_energies": ("free_energy",),
    "factor_graphs": ("FactorGraph",),
    "latent_inference": ("infer_latent",),
    "prob.gibbs": ("GibbsBoltzmann",),
    "prob.posteriors.simulation_based_calibration": ("simulation_based_calibration",),
    "prob.comparison": ("compare_models", "inference_data"),
    "errors": ("NormalizerWarning",),
    "metrics": ("evaluate", "Evaluation"),
    "study": ("run_study", "load_results", "plan_study", "list_studies"),
    "spaces": ("Box", "Labels", "Sequences"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME_OF)]

if TYPE_CHECKING:
    from .budget import Budget, Cost
    from .energies import Network
    from .errors import NormalizerWarning
    from .factor_graphs import FactorGraph
    from .fitting import fit, get_method, list_methods, register_method
    from .free_energies import free_energy
    from .latent_inference import infer_latent
    from .method import Method, MethodOptions
    from .metrics import Evaluation, evaluate
    from .model import Answers, Model
    from .persistence import load_model
    from .prob.comparison import compare_models, inference_data
    from .prob.gibbs import GibbsBoltzmann
    from .prob.posteriors.simulation_based_calibration import simulation_based_calibration
    from .spaces import Box, Labels, Sequences
    from .study import list_studies, load_results, plan_study, run_study
    from .tasks import Reference, Task, TaskOptions, get_task, list_tasks, register_task


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
