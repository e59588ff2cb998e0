"""A loss made of Pyro's handlers, recorded once as the tensor operations that it comes to.

Handlers, plates and distributions do the same at every step of a training, and cost more than the operations on small
networks. Recorded by `torch.fx`, they run once; what is replayed is differentiable in the same parameters, and a
compiler finds one graph where it would break at every handler.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx.experimental.proxy_tensor import make_fx

from ...training.batches import Batch, Loss


class RecordedLoss:
    """`loss` as a graph of tensor operations, recorded from its first batch.

    The loss must do the same operations for every batch: no control flow on values, no random state, one shape. Its
    parameters and buffers are held by reference, so that training changes them in place.

    Args:
        loss: maps a batch to one number a replicate, (R,).
        compiled: compile the graph.
    """

    def __init__(self, loss: Loss, compiled: bool = False) -> None:
        self.loss, self.compiled = loss, compiled
        self._graph: Any = None
        self._names: tuple[str, ...] = ()
        # Who compiles the whole must not look in here. To say so loads the compiler, which takes others a second.
        self._play: Loss = torch.compiler.disable(self._replay, recursive=False) if compiled else self._replay

    def __call__(self, batch: Batch) -> torch.Tensor:
        return self._play(batch)

    def _replay(self, batch: Batch) -> torch.Tensor:
        if self._graph is None:
            self._record(batch)
        result: torch.Tensor = self._graph(*batch[:3], *(batch.noise[name] for name in self._names))
        return result

    def _record(self, batch: Batch) -> None:
        names = tuple(batch.noise)

        def flat(x: torch.Tensor, y: torch.Tensor, rows: torch.Tensor, *noise: torch.Tensor) -> torch.Tensor:
            return self.loss(Batch(x, y, rows, dict(zip(names, noise, strict=True))))

        graph: Any = make_fx(flat)(*batch[:3], *batch.noise.values())
        self._names, self._graph = names, torch.compile(graph) if self.compiled else graph
