"""The names of tasks and methods: the package's own, and those of other packages through entry points."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from .errors import invalid, unknown

EntryT = TypeVar("EntryT", bound=type)


class Registry(Generic[EntryT]):
    """Classes by their `name`. Built-in modules and entry points load at the first look-up, not at import."""

    def __init__(self, kind: str, builtin: tuple[str, ...]) -> None:
        self.kind = kind
        self.group = f"ebm_vs_prob.{kind}s"
        self._builtin = builtin
        self._entries: dict[str, EntryT] = {}
        self._loaded = False

    def register(self, entry: EntryT) -> EntryT:
        """Add a class under its `name`; used as a decorator.

        Raises:
            ValueError: the class has no `name`, or another class holds it.
        """
        name: Any = getattr(entry, "name", None)
        if not isinstance(name, str) or not name.isidentifier():
            raise invalid(f"{self.kind} name of {entry.__qualname__}", name, "a Python identifier as class attribute")
        held = self._entries.get(name)
        if held is not None and f"{held.__module__}.{held.__qualname__}" != f"{entry.__module__}.{entry.__qualname__}":
            raise invalid(f"{self.kind} name", name, f"a name that {held.__module__}.{held.__qualname__} does not hold")
        self._entries[name] = entry
        return entry

    def unregister(self, name: str) -> None:
        """Forget a name; for tests and notebooks that register something for a while."""
        self._entries.pop(name, None)

    def get(self, name: str) -> EntryT:
        """The class of that name; a `LookupError` with the nearest valid one where there is none."""
        self._load()
        if name not in self._entries:
            raise unknown(self.kind, name, self._entries)
        return self._entries[name]

    def entries(self) -> list[EntryT]:
        """All classes, by name."""
        self._load()
        return [self._entries[name] for name in sorted(self._entries)]

    def _load(self) -> None:
        if self._loaded:
            return
        for module in self._builtin:
            importlib.import_module(module)
        for point in entry_points(group=self.group):
            self.register(point.load())
        self._loaded = True


TASKS: Registry[Any] = Registry(
    "task",
    (
        "ebm_vs_prob.tasks.circle",
        "ebm_vs_prob.tasks.three_curves",
        "ebm_vs_prob.tasks.ellipse",
        "ebm_vs_prob.tasks.horn",
        "ebm_vs_prob.tasks.gustafsson_1d",
        "ebm_vs_prob.tasks.gaussian_classes",
        "ebm_vs_prob.tasks.labelled_chain",
        "ebm_vs_prob.tasks.linear_gaussian",
        "ebm_vs_prob.tasks.thin_sphere",
        "ebm_vs_prob.tasks.digits",
    ),
)
METHODS: Registry[Any] = Registry(
    "method",
    (
        "ebm_vs_prob.ebm.methods.contrastive_divergence",
        "ebm_vs_prob.ebm.methods.latent_clustering",
        "ebm_vs_prob.ebm.methods.latent_free_energy",
        "ebm_vs_prob.ebm.methods.sparse_coding",
        "ebm_vs_prob.ebm.methods.denoising_score_matching",
        "ebm_vs_prob.ebm.methods.score_matching",
        "ebm_vs_prob.ebm.methods.margin_losses",
        "ebm_vs_prob.ebm.methods.negative_log_likelihood",
        "ebm_vs_prob.ebm.methods.noise_contrastive_estimation",
        "ebm_vs_prob.ebm.methods.importance_sampled_likelihood",
        "ebm_vs_prob.prob.methods.gibbs_ensemble",
        "ebm_vs_prob.prob.methods.gibbs_maximum_a_posteriori",
        "ebm_vs_prob.prob.methods.gibbs_maximum_likelihood",
        "ebm_vs_prob.prob.methods.gibbs_nuts",
        "ebm_vs_prob.prob.methods.gibbs_stochastic_gradient_langevin",
        "ebm_vs_prob.prob.methods.gibbs_variational_bayes",
        "ebm_vs_prob.prob.methods.latent_variable_likelihood",
        "ebm_vs_prob.prob.methods.mixture_density",
        "ebm_vs_prob.prob.methods.variational_autoencoder",
        "ebm_vs_prob.prob.methods.kernel_density",
        "ebm_vs_prob.prob.methods.two_step",
        "ebm_vs_prob.prob.methods.gaussian_process",
        "ebm_vs_prob.prob.methods.softmax_classifier",
        "ebm_vs_prob.prob.methods.linear_chain_crf",
        "ebm_vs_prob.prob.methods.normalising_flows",
        "ebm_vs_prob.control.mean_squared_error",
        "ebm_vs_prob.control.exact",
    ),
)
