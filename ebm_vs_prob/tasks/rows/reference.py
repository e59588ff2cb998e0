"""What is known of a user's data: the held-out rows, and the distance to a manifold that the user says. No more."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.approximate import Approximate
from ...core.errors import NoExactReference, invalid
from ...core.seeding import numpy_generator
from ...core.spaces import Box
from ...core.text import shown
from ..base import check_inputs, check_pairs
from ..reference import Reference

if TYPE_CHECKING:
    import torch

#: How far a projection of points that are projected already may lie from them, as a share of the way to them: a user's
#: projection may be an iteration that is not at its end, and distances that are taken for one are half the way off.
_SHARE = 0.1
#: What rounding in float32 adds to that, as a share of the size of what is rounded.
_ROUNDING = 1e-6
#: Held-out answers of one x that metrics look at: distances between all of them are taken.
MOST_HELD_OUT = 2000


class DataReference(Reference):
    """No truth: what the generating law would answer raises `NoExactReference`, a sentence each.

    Args:
        task: the `Data` whose rows these are.
    """

    def __init__(self, task: Any) -> None:
        self.task = task

    def log_prob(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Always raises `NoExactReference`."""
        raise NoExactReference(
            f"{self.task.called}: the law that made these rows is not known, so there is no exact log_prob: compare "
            "log scores of models with each other"
        )

    log_density = log_prob

    def entropy(self) -> Approximate:
        """Always raises `NoExactReference`."""
        raise NoExactReference(
            f"{self.task.called}: the law that made these rows is not known, so there is no exact entropy: no log "
            "score can be said to be the best"
        )

    def answers(self, x: torch.Tensor) -> torch.Tensor:
        """Always raises `NoExactReference`."""
        raise NoExactReference(
            f"{self.task.called}: what the answers to an x would be without noise, or all of them, is not known: "
            "reference.held_out has the held-out rows"
        )

    def distance(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Distance of y (n, dy) to the manifold that the task was given, in the user's units, (n,) float64.

        Raises:
            NoExactReference: it was given none.
            ValueError: the manifold gives neither distances (n,) >= 0 nor projections (n, dy). What has the shape of y
                is held to be a projection: halfway to the nearest point, and there, the nearest point is the same.
        """
        import torch

        manifold, scaling = self.task.manifold, self.task.y_scaling
        if manifold is None or scaling is None:
            raise NoExactReference(
                f"{self.task.called}: no manifold is known, so there is no distance to it: task_from_arrays takes one "
                "as `manifold`"
            )
        x, y = check_pairs(self.task, x, y)
        own = scaling.undo(y).detach().cpu().numpy()
        given = () if x.shape[1] == 0 else (self.task.x_scaling.undo(x).detach().cpu().numpy(),)
        found = _asked(manifold, given, own)
        if found.ndim == 2:
            _check_projections(manifold, given, own, found, scaling.unit)
            found = np.linalg.norm(own - found, axis=1)
        return torch.from_numpy(found).to(y.device)

    def held_out(self, x: torch.Tensor) -> torch.Tensor:
        """The answers of the test rows whose x this is: (n, m, dy) float64 or (n, m) int64, in the task's units.

        m is the size of the largest set, at most 2000; real rows left over are NaN. At an x that no test row has all
        are.

        Raises:
            ValueError: x that does not fit the task; labels at x that have not as many held-out answers as each other.
        """
        import torch

        test, members = self.task.parts["test"], [rows[:MOST_HELD_OUT] for rows in self._members(x)]
        most = max(1, *(len(rows) for rows in members)) if members else 1
        if not isinstance(self.task.y_space, Box):
            if any(len(rows) != most for rows in members):
                raise invalid("x", "inputs with different numbers of held-out labels", "inputs with equally many")
            found = np.array([test.y[rows] for rows in members], dtype=np.int64).reshape(len(members), most)
            return torch.from_numpy(found).to(x.device)
        found = np.full((len(members), most, test.y.shape[1]), np.nan)
        for index, rows in enumerate(members):
            found[index, : len(rows)] = test.y[rows]
        return torch.from_numpy(found).to(x.device)

    def sample(self, x: torch.Tensor, num_samples: int, seed: int = 0) -> torch.Tensor:
        """Test rows of that x, drawn evenly with replacement: (n, num_samples, dy) float64 or (n, num_samples) int64.

        The empirical law of the held-out rows, no exact one.

        Raises:
            ValueError: an x that no test row has.
        """
        import torch

        check_inputs(self.task, x, num_samples)
        members = self._members(x)
        if any(len(rows) == 0 for rows in members):
            raise invalid("x", "an input of no test row", "inputs of the test split, in float64")
        y = self.task.parts["test"].y
        drawn = np.empty((len(members), num_samples, *y.shape[1:]), dtype=y.dtype)
        for row, rows in enumerate(members):
            drawn[row] = y[numpy_generator(seed, "reference", self.task.name, row).choice(rows, size=num_samples)]
        return torch.from_numpy(drawn).to(x.device)

    @cached_property
    def _rows_of(self) -> dict[bytes, list[int]]:
        rows: dict[bytes, list[int]] = {}
        for row, given in enumerate(self.task.parts["test"].x):
            rows.setdefault(given.tobytes(), []).append(row)
        return rows

    def _members(self, x: torch.Tensor) -> list[np.ndarray]:
        check_inputs(self.task, x)
        values = x.detach().double().cpu().numpy() + 0.0
        return [np.array(self._rows_of.get(given.tobytes(), []), dtype=np.int64) for given in values]


def _valid(own: np.ndarray) -> str:
    return f"distances ({len(own)},) >= 0, or projections {own.shape}, of finite numbers"


def _asked(manifold: Any, given: tuple[np.ndarray, ...], own: np.ndarray) -> np.ndarray:
    """What the user's code says of y (n, dy): distances (n,) or what has the shape of projections, float64.

    Raises:
        ValueError: it is neither.
    """
    answer = manifold(*(part.copy() for part in (*given, own)))
    try:
        answer = np.asarray(answer)
    except (TypeError, ValueError, RuntimeError):  # rows of several lengths, or a tensor that carries a gradient
        raise invalid("manifold(y)", type(answer).__name__, _valid(own)) from None
    if answer.shape not in (own.shape[:1], own.shape) or answer.dtype.kind not in "iuf":
        raise invalid("manifold(y)", f"{answer.dtype} {answer.shape}", _valid(own))
    found: np.ndarray = answer.astype(np.float64)
    bad = ~np.isfinite(found) if found.ndim == 2 else ~(np.isfinite(found) & (found >= 0))
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        raise invalid(f"manifold(y) at y = {shown(own[row].tolist(), 100)}", found[row].tolist(), _valid(own))
    return found


def _check_projections(
    manifold: Any, given: tuple[np.ndarray, ...], own: np.ndarray, found: np.ndarray, unit: np.ndarray
) -> None:
    """Raise unless what has the shape of y is what projections are: of points on the way to them, and of themselves.

    Of one column, distances (n, 1) have that shape too.
    """
    tolerance = _SHARE * np.linalg.norm(own - found, axis=1)
    tolerance += _ROUNDING * (np.linalg.norm(unit) + np.linalg.norm(found, axis=1))
    for share, where in ((0.5, "halfway there"), (1.0, "there")):
        again = _asked(manifold, given, own + share * (found - own))
        if again.shape != found.shape:
            raise invalid("manifold(y)", f"of shape {found.shape}, then {again.shape}", _valid(own))
        moved = np.linalg.norm(again - found, axis=1) > tolerance
        if moved.any():
            row = int(moved.argmax())
            raise invalid(
                f"manifold(y) of shape {found.shape} at y = {shown(own[row].tolist(), 100)}",
                found[row].tolist(),
                f"a projection, the same {where}, not {shown(again[row].tolist(), 100)}; or distances ({len(own)},)",
            )
