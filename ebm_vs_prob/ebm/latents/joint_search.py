"""Models whose energy has a latent variable: answers come with their z, found on the free energy or jointly with it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from ...core.errors import check_count, invalid
from ...core.tensors import tensor_of
from ...descent.answers import ANSWER_SEARCH, LATENT_SEARCH, Answers, LatentAnswers, Search, checked_search
from ...descent.search import Bounds, descend
from ...models.energy_model import EnergyModel


@dataclass(frozen=True)
class JointSearch:
    """The minimisation of E(x, y, z) over y and z side by side.

    Attributes:
        energy: replicated energy of what is given and (y, u), where u stands for z.
        given: what stays as it is, (R or 1, *n, ·).
        start: u to begin with, (R, *n, du).
        bounds: of u, low and high, (du,) or numbers.
        latent: z (R, *n, ...) from u (R, *n, du).
        within: the same search inside finite bounds, where `bounds` have no end and a minimum has; for the rule whose
            populations fill the box.
    """

    energy: nn.Module
    given: torch.Tensor
    start: torch.Tensor
    bounds: Bounds
    latent: Callable[[torch.Tensor], torch.Tensor]
    within: JointSearch | None = None


class LatentVariableModel(EnergyModel):
    """An energy with a latent variable: `infer` finds (y, z)."""

    @abstractmethod
    def _joint_search(self, x: torch.Tensor, y: torch.Tensor) -> JointSearch:
        """The search over (y, z) from y (R, n, starts, dy) at x (R or 1, n, 1, dx)."""

    def infer_latent(self, x: torch.Tensor, y: torch.Tensor, search: Search = LATENT_SEARCH) -> LatentAnswers:
        """z of lowest energy at each (x, y), F_inf (R, n) and whether its search converged.

        Where z is enumerated or convex it is exact, and `search` has no effect.

        Raises:
            ValueError: shapes that do not fit the task's spaces, or non-finite values.
        """
        found: LatentAnswers = self.module.infer_latent(*self._paired(x, y), search)  # type: ignore[operator]
        return found

    def infer(
        self,
        x: torch.Tensor,
        n_starts: int = 16,
        seed: int = 0,
        search: Search = ANSWER_SEARCH,
        jointly: bool = False,
    ) -> Answers:
        """Answers with their z, from `n_starts` uniform points of the y-box: as `Model.infer`, and

        either y by minimising the free energy F(x, .), in which z is minimised or summed out at every step, and the
        best z of that y; or, `jointly`, y and z by minimising E(x, ., .) over both at once from the best z of each
        start. The energy returned is what was minimised; the tolerance is then of moves of (y, z). `derivative_free`
        looks for z inside finite bounds that hold the minimum: one turn of an angle, and of a sparse code, of which
        the tolerance is then a share, what no answer better than its start exceeds.

        Raises:
            ValueError: a bad count, or `derivative_free` jointly where nothing bounds z.
        """
        if not jointly:
            found = super().infer(x, n_starts, seed, search)
            z = self.module.infer_latent(self._placed("x", x).unsqueeze(2), found.y).z  # type: ignore[operator]
            return replace(found, z=z)
        check_count("n_starts", n_starts)
        checked_search(search)
        x = self._placed("x", x).unsqueeze(2)
        y = self.starts(x.shape[1], n_starts, seed).to(x)
        with torch.no_grad():
            joint = self._joint_search(x, y)
        if search.step_rule == "derivative_free":
            joint = joint.within or joint
            if not all(bool(tensor_of(bound).isfinite().all()) for bound in joint.bounds):
                raise invalid(
                    "step_rule", search.step_rule, "a rule that follows a gradient: no finite box holds every good z"
                )
        width = y.shape[-1]
        low, high = (
            torch.cat(
                [
                    y.new_full((width,), own),
                    torch.as_tensor(other, dtype=y.dtype, device=y.device).expand(joint.start.shape[-1]),
                ]
            )
            for own, other in zip(self.y_box.bounds, joint.bounds, strict=True)
        )
        found = descend(
            joint.energy,
            joint.given,
            torch.cat([y, joint.start], -1),
            bounds=(low, high),
            search=search,
            scale=self.setting.options.scale.to(x),
            seed=seed,
        )
        return replace(found, y=found.y[..., :width], z=joint.latent(found.y[..., width:]))
