"""What models decide under their own laws of y, on a line or of labels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..core.errors import NotMeasured
from ..core.spaces import Box
from ..gibbs.normalizers import Quadrature
from ..gibbs.normalizers.quadrature import JoinedPartition

if TYPE_CHECKING:
    from ..models.model import Model
    from ..tasks.decisions import Decisions

#: Answers (n, M, *event) at each x of a replicate, and their probabilities (n, M).
Law = tuple[torch.Tensor, torch.Tensor]
#: Points in a cell of the quadrature, among which a quantile is interpolated.
MIDPOINTS = 128


def decided_by_law(
    model: Model, x: torch.Tensor, costs: Sequence[Sequence[Decisions]]
) -> list[list[torch.Tensor | None]]:
    """The decisions of least mean cost under the model's law of y at x (R, n, dx), for several sets of costs at once.

    The laws are those of all labels, or of points of a quadrature on a line; of many x they are held for some at a
    time. A replicate whose law is not finite everywhere decides nothing.

    Args:
        costs: sets of the costs of each replicate.

    Returns:
        Of each set and replicate the decisions (n, *event), or None.

    Raises:
        NotMeasured: y is real and has several dimensions.
    """
    laws = _on_line if isinstance(model.tasks[0].y_space, Box) else _of_labels
    found: list[list[list[torch.Tensor | None]]] = [[[] for _ in each] for each in costs]
    for at, each_law in laws(model, x):
        for r, (y, weights) in enumerate(each_law):
            sound = bool(weights.isfinite().all())
            for parts, each in zip(found, costs, strict=True):
                parts[r].append(each[r].best(x[r, at], y, weights) if sound else None)
    return [[_whole(parts) for parts in each] for each in found]


def _whole(parts: list[torch.Tensor | None]) -> torch.Tensor | None:
    known = [part for part in parts if part is not None]
    return torch.cat(known) if len(known) == len(parts) else None


def _of_labels(model: Model, x: torch.Tensor) -> Iterator[tuple[slice, list[Law]]]:
    """Every label with its probabilities, of each replicate and all x."""
    space: Any = model.tasks[0].y_space
    labels = space.every_answer()
    log_prob = model.gibbs(x).log_prob(labels[:, None, None].to(model.setting.device))
    chances = log_prob.movedim(0, -1).double().exp().cpu()
    yield slice(None), [(labels.expand(own.shape), own) for own in chances]


def _on_line(model: Model, x: torch.Tensor) -> Iterator[tuple[slice, list[Law]]]:
    """Points of a quadrature with their shares of its mass, of each replicate and some x after the other.

    A Gauss rule knows its integral better than where between its nodes a quantile lies: the cells that it settled on
    are filled with midpoints, each of which stands for its own width.
    """
    if model.y_box.dim > 1:
        raise NotMeasured(f"decisions are taken by quadrature on a line, and y has {model.y_box.dim} dimensions")
    replicates, (_, end) = x.shape[0], model.y_box.bounds
    partition: Any = Quadrature().partition(model.gibbs(x).target)
    parts = partition.parts if isinstance(partition, JoinedPartition) else (partition,)
    used = torch.cat([(part.cells.half_width > 0).sum(1).reshape(replicates, -1) for part in parts], 1)
    # A row is as long as the neediest of its replicate, whatever the others need: sums round as rows are long.
    lengths = (MIDPOINTS * used.amax(1)).tolist()
    start = 0
    for part in parts:
        centers, half_width = part.cells.centers, part.cells.half_width.unsqueeze(-1)
        steps = torch.arange(MIDPOINTS, dtype=torch.float64, device=centers.device)
        steps = (2.0 * steps + 1.0) / MIDPOINTS - 1.0
        nowhere = half_width == 0
        # Points without weight lie beyond all others, so that no quantile is interpolated at one.
        y = (centers + half_width * steps).masked_fill(nowhere, end)
        log_density = part.target.at(y.flatten(1).unsqueeze(-1)).reshape(y.shape)
        mass = (log_density + half_width.log()).masked_fill(nowhere, -math.inf)
        rows = [value.flatten(1).unflatten(0, (replicates, -1)).cpu() for value in (y, mass)]
        laws = []
        for points, own, length in zip(*rows, lengths, strict=True):
            points, own = (
                nn.functional.pad(value, (0, length - value.shape[1]), value=fill)
                for value, fill in ((points, end), (own, -math.inf))
            )
            laws.append((points.unsqueeze(-1), own.softmax(-1)))
        stop = start + len(laws[0][0])
        yield slice(start, stop), laws
        start = stop
