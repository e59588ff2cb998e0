"""Models of strings read off a strip: answers by search, and the same weights on strips of another length."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, cast

import torch

from ..core.connectionist import ConnectionistEnergy
from ..core.errors import check_count, invalid
from ..core.lattices import SegmentLattice
from ..descent.answers import ANSWER_SEARCH, Answers, Search, checked_search
from ..energies.lattices import StripEnergy
from .graph_model import GraphModel, NormalisedGraphModel

if TYPE_CHECKING:
    from ..tasks.base import Task


class StripModel(GraphModel):
    """R unnormalised energies over strings read off a strip."""

    module: StripEnergy

    def infer(self, x: torch.Tensor, n_starts: int = 16, seed: int = 0, search: Search = ANSWER_SEARCH) -> Answers:
        """The string of least energy, what it was read off summed out: y (R, n, n_starts, T), the same for every start.

        By search among prefixes (`most_probable` of a lattice). It has converged where no other string is proven to
        have less energy. `seed` and `search` have no effect.

        Raises:
            ValueError: a bad x, count or search.
        """
        check_count("n_starts", n_starts)
        checked_search(search)
        with torch.no_grad():
            found, least, proven = cast("SegmentLattice | ConnectionistEnergy", self.graph(x)).most_probable()
        energy = least.unsqueeze(2).expand(-1, -1, n_starts)
        return Answers(
            y=found.unsqueeze(2).expand(-1, -1, n_starts, -1),
            z=None,
            energy=energy,
            steps=torch.zeros_like(energy, dtype=torch.int64),
            converged=energy.isfinite() & proven.unsqueeze(2),
        )

    def for_task(self, task: Task) -> Self:
        """The same weights on strips of another length: a model of `task`, whose answers are to it as these to theirs.

        A fitted beta comes along; one that was not fitted yet would be fitted to strips of that task.

        Raises:
            ValueError: a task without strips, or one whose columns or symbols are others.
        """
        own, other = self.module.strip, task.strip
        kept = ("rows", "narrowest", "widest", "overlap")
        alike = other is not None and all(getattr(own, field) == getattr(other, field) for field in kept)
        if not alike or getattr(task.y_space, "num_values", None) != self.space.num_values:
            raise invalid("task", task, f"one whose strips differ from those of {self.tasks[0]} in length alone")
        method: Any = self.method
        model = method.build(replace(self.setting, tasks=(task,) * self.num_replicates))
        model.module.load_state_dict(self.module.state_dict())
        model.restore(self.beside())
        return cast("Self", model.finished(self.training))


class NormalisedStripModel(StripModel, NormalisedGraphModel):
    """R distributions over strings read off a strip, exact."""
