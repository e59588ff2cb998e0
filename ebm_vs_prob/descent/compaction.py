"""The state of many searches run side by side, of which those that have finished stop costing anything."""

from __future__ import annotations

import torch

from ..energies.products import ROWS

#: What a search knows of its points, each tensor (R, P, ...); `active` (R, P) bool says which still move.
State = dict[str, torch.Tensor]

#: Points that have finished are removed from the arrays once in this many iterations.
COMPACT_EVERY = 8


class Compacted:
    """The state of the points still active, (R, width, ...), and where they belong among all points."""

    def __init__(self, state: State) -> None:
        self._all = dict(state)
        self.state = dict(state)
        self._index: torch.Tensor | None = None

    def keep_active(self, iteration: int) -> bool:
        """Drop finished points now and then; False once none is left."""
        if iteration % COMPACT_EVERY:
            return True
        active = self.state["active"]
        left = int(active.sum(1).max()) if active.numel() else 0
        width = -(-left // ROWS) * ROWS  # some that have finished make up what networks would pad
        if 0 < width <= 0.75 * active.shape[1]:
            chosen = active.int().argsort(dim=1, descending=True, stable=True)[:, :width]
            self.whole()
            self._index = chosen if self._index is None else self._index.gather(1, chosen)
            self.state = {name: _take(value, self._index) for name, value in self._all.items()}
        return left > 0

    def whole(self) -> State:
        """The state of all points, (R, P, ...)."""
        if self._index is None:
            self._all = dict(self.state)
        else:
            for name, value in self.state.items():
                index = self._index.reshape(*self._index.shape, *[1] * (value.ndim - 2)).expand_as(value)
                self._all[name] = self._all[name].scatter(1, index, value)
        return self._all


def _take(value: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return value.gather(1, index.reshape(*index.shape, *[1] * (value.ndim - 2)).expand(*index.shape, *value.shape[2:]))
