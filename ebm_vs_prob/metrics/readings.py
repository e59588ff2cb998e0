"""A model's densities of held-out pairs: its own, and those of its energy at beta = 1 and at a fitted beta."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..core.errors import NotMeasured
from ..core.spaces import Box
from ..energies.evaluation import distinct
from ..gibbs.normalizers import ImportanceSampling, Quadrature
from ..gibbs.temperature import DRAWS, FEWEST_DRAWS
from ..gibbs.trust import doubts_asked_for
from ..models.capabilities import DoubtsDensity
from ..models.energy_model import EnergyModel
from ..models.model import MAX_QUADRATURE_DIM
from .options import Evaluation

if TYPE_CHECKING:
    from ..gibbs.normalizers.partition import Normalizer
    from ..models.model import Model

#: Held-out pairs whose density is taken where each x costs an importance sampling, and x whose partition is checked.
IMPORTANCE_PAIRS, CHECKED_PARTITIONS = 32, 8
#: Dimensions of y up to which the partition function of an energy is computed: beyond, proposals miss most of Z and a
#: gap would come out below 0, as if the energy were nearer to the truth than the truth.
MOST_DIMS = 16
#: A model read at another beta than its own: its second reading is exact to some .001 nats.
SECOND_READING = Quadrature(rtol=1e-3, probes=8)


class Readings:
    """What an `Observation` knows of densities. Tensors lead with R and follow the model's dtype."""

    model: Model
    tasks: tuple[Any, ...]
    evaluation: Evaluation
    conditional: bool
    replicates: int

    @property
    @abstractmethod
    def test(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Held-out x (R, N, dx) and y (R, N, dy)."""

    @property
    @abstractmethod
    def distinct_inputs(self) -> torch.Tensor:
        """The x that are answered at, (R, K or 1, dx)."""

    @abstractmethod
    def placed(self, value: torch.Tensor) -> torch.Tensor:
        """A tensor on the model's device, in its dtype."""

    @cached_property
    def beta(self) -> np.ndarray:
        """(R,) the inverse temperature that validation data ask of either family: a normalised model's too is fitted.

        That of an unnormalised energy is as given (`gibbs_beta`), or fitted.
        """
        model = self.model
        own = isinstance(model, EnergyModel) and not model.normalised
        return as_numpy(model.beta if own else model.fit_beta())

    @cached_property
    def nats(self) -> np.ndarray:
        """(R,) by which the energy is multiplied to be in nats.

        1 of a normalised model, and of an energy whose method has minus a log-density for its optimum, as likelihood,
        score matching and noise contrast have. `beta` of one whose scale means nothing: it makes up for part of the
        width of a valley, as much as the density along the manifold allows, and for all of it where there is no along.
        """
        model = self.model
        scaled = [model.method.in_nats(options) for options in model.setting.options.replicates]
        return np.ones(self.replicates) if model.normalised or all(scaled) else np.where(scaled, 1.0, self.beta)

    @property
    def estimates_partitions(self) -> bool:
        """Whether the model's densities rest on partition functions that are computed, and not known."""
        return self.model.sampling_kernel not in ("exact", "ancestral", "none")

    @cached_property
    def log_density(self) -> np.ndarray:
        """ln q(y | x) of the held-out pairs, (R, N) nats; of the first 32 where each x costs an importance sampling.

        Raises:
            NotNormalised: the model has none.
        """
        dear = self.conditional and self.estimates_partitions and self.model.y_box.dim > MAX_QUADRATURE_DIM
        x, y = (part[:, : IMPORTANCE_PAIRS if dear else None] for part in self.test)
        with torch.no_grad(), doubts_asked_for():
            return as_numpy(self.model.log_prob(x, y))

    @cached_property
    def gibbs_log_density(self) -> np.ndarray:
        """-beta E - ln Z of the held-out pairs at the fitted `beta`, (R, N) nats, of either family; of the first
        `evaluation.partitions` where each x has a partition function of its own to compute.

        Raises:
            NotMeasured: the model stands for no density, or its partition functions are too dear.
        """
        model = self.model
        self.check_gibbs()
        x, y = self._gibbs_pairs
        with torch.no_grad(), doubts_asked_for():
            if not model.normalised:
                return as_numpy(model.gibbs(x).log_prob(y))
            known = np.isfinite(self.beta)
            beta = torch.from_numpy(np.where(known, self.beta, 1.0))
            found = as_numpy(model.gibbs(x, beta, self._second_normalizer(x)).log_prob(y))
            return np.where(known[:, None], found, np.nan)

    @cached_property
    def unit_log_density(self) -> np.ndarray:
        """The same at beta = 1, where a normalised model is its own density: `log_density`, of as many pairs.

        Raises:
            NotMeasured: the model stands for no density, or its partition functions are too dear.
        """
        if self.model.normalised:
            return self.log_density
        self.check_gibbs()
        x, y = self._gibbs_pairs
        with torch.no_grad(), doubts_asked_for():
            return as_numpy(self.model.gibbs(x, 1.0, self._second_normalizer(x)).log_prob(y))

    @property
    def _gibbs_pairs(self) -> tuple[torch.Tensor, ...]:
        own = self.conditional and isinstance(self.tasks[0].y_space, Box)
        return tuple(part[:, : self.evaluation.partitions if own else None] for part in self.test)

    def check_gibbs(self) -> None:
        """Whether exp(-beta E) / Z can be had.

        Raises:
            NotMeasured: the model stands for no density, or its partition functions are too dear.
        """
        model, space = self.model, self.tasks[0].y_space
        if not (model.normalised or isinstance(model, EnergyModel)):
            raise NotMeasured(f"{model.method.name} stands for no density")
        if isinstance(space, Box) and space.dim > MOST_DIMS and not model.draws_exactly:
            raise NotMeasured(
                f"{model.method.name}: a partition function in {space.dim} dimensions is too dear: at most {MOST_DIMS}"
            )

    def _second_normalizer(self, x: torch.Tensor) -> Normalizer | None:
        """What finds partition functions at another beta than the model's own: of a normalised model its draws."""
        if not isinstance(self.tasks[0].y_space, Box):
            return None
        if not self.model.draws_exactly:
            return SECOND_READING if self.model.y_box.dim <= MAX_QUADRATURE_DIM else None
        x = distinct(self.placed(x))
        samples, log_density = self.model.propose(x, max(FEWEST_DRAWS, DRAWS // x.shape[1]))
        return ImportanceSampling(samples=samples, log_density=log_density)

    @cached_property
    def partition_note(self) -> str:
        """What is to be known of the integrals behind this model's log-densities; "" if nothing."""
        if not self.estimates_partitions:
            model = self.model
            return "; ".join(model.log_prob_warnings(*self.test)) if isinstance(model, DoubtsDensity) else ""
        with torch.no_grad():
            doubts = self.model.gibbs(self.distinct_inputs[:, :CHECKED_PARTITIONS]).doubts()
        return "; ".join(
            f"{what} at {share:.0%} of the {where.shape[1]} inputs checked (replicate {r})"
            for what, where in ((what, as_numpy(where)) for what, where in doubts.items())
            for r, share in enumerate(where.mean(axis=1))
            if share > 0 and self.model.status[r].ok
        )


def as_numpy(value: torch.Tensor) -> np.ndarray:
    """A tensor as a float64 array on the CPU."""
    array: np.ndarray = value.detach().cpu().double().numpy()
    return array
