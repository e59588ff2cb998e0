"""Proposals for importance sampling and noise contrast in training: draws of a data kernel, made of given noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import Field

from .batches import Batch, Noise
from .smoothing import SmoothingOptions

if TYPE_CHECKING:
    from ..models.model import Model

Centers = Literal["neighbours", "answer"]


class KernelProposalOptions(SmoothingOptions):
    """Options of every method that draws from a kernel proposal, of data that it may blur."""

    proposals: Annotated[int, Field(ge=2, description="draws of the proposal an example")] = 8
    neighbours: Annotated[int, Field(ge=1, description="training answers that centre the proposal's kernels")] = 16
    widths: Annotated[
        tuple[Annotated[float, Field(gt=0)], ...] | None,
        Field(min_length=1, description="the proposal's kernel widths in units of `scale`; learned where not given"),
    ] = None


class KernelProposal:
    """q(y | x) of every example of a minibatch: kernels on training answers and a uniform share, as in `DataKernel`.

    Without x one proposal serves the minibatch and gets the draws of all its examples: Q = 1 query of B·K draws. With
    x, or where each example's kernels sit on its own answer, there are Q = B queries of K draws.

    Args:
        model: its data kernel, options and batch size are used.
        options: with `proposals`, `neighbours`, `widths` and `scale`; and `common_draws`, where it has that.
        smoothing: standard deviation of the blur that q must cover, (R,), units of y.
        centers: where kernels sit. Kernels on the answer itself (Gustafsson et al. 2020) make q depend on it.
            Importance sampling is consistent as K grows wherever the kernels sit; noise contrastive estimation, which
            is consistent for any K with other centres, then needs K to grow too.
        leave_out: with x, no example's own answer is among its neighbours, so q does not know it.
        batch_centers: without x, kernels sit on the answers of the minibatch.

    Attributes:
        shared: whether one query serves the minibatch. queries, count: Q and draws a query. widths: (R, W), units of y.
    """

    def __init__(
        self,
        model: Model,
        options: Any,
        smoothing: torch.Tensor,
        centers: Centers = "neighbours",
        leave_out: bool = False,
        batch_centers: bool = False,
    ) -> None:
        setting = model.setting
        size = setting.budget.batch_size
        self.kernel = kernel = model.data_kernel
        self.shared = model.tasks[0].x_space.dim == 0 and centers == "neighbours"
        self.queries, self.count = (1, size * options.proposals) if self.shared else (size, options.proposals)
        # Noise with a single query, when it is common, broadcasts.
        self._noise_queries = 1 if getattr(options, "common_draws", False) else self.queries
        self._replicates = torch.arange(setting.num_replicates, device=kernel.y.device, dtype=torch.int64).unsqueeze(1)
        self._neighbours: torch.Tensor | None = None
        if centers == "neighbours" and not (self.shared and batch_centers):
            count = kernel.num_centers if self.shared else options.neighbours
            self._neighbours = kernel.centers(kernel.x, count, leave_out and not self.shared)
        widths = kernel.widths
        if options.widths is not None:
            widths = options.scale.to(kernel.y).reshape(-1, 1) * torch.tensor(
                options.widths, dtype=torch.float32, device="cpu"
            ).to(kernel.y)
        # The proposal must cover what the model must: the blurred data.
        self.widths = (widths.square() + smoothing.to(kernel.y).reshape(-1, 1).square()).sqrt()

    @property
    def noise(self) -> dict[str, Noise]:
        """What `draw` reads from a batch."""
        dim = self.kernel.box.dim
        return {
            "normal": Noise("normal", (self._noise_queries, self.count, dim)),
            "uniform": Noise("uniform", (self._noise_queries, self.count, 2 + dim)),
        }

    def queried(self, x: torch.Tensor) -> torch.Tensor:
        """x of the queries, to evaluate draws with: (R, Q, 1, dx) of a minibatch's (R, B, dx)."""
        return (x[:, :1] if self.shared else x).unsqueeze(2)

    def centers(self, batch: Batch) -> torch.Tensor:
        """The kernels' centres, (R, Q, C, dy)."""
        if self._neighbours is None:
            return batch.y.unsqueeze(1) if self.shared else batch.y.unsqueeze(2)
        return self._neighbours if self.shared else self._neighbours[self._replicates, batch.rows]

    def draw(self, batch: Batch, centers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Draws (R, Q, M, dy) and their log-densities (R, Q, M) in nats, +inf outside the box."""
        normal, uniform = (batch.noise[name].expand(-1, self.queries, -1, -1) for name in ("normal", "uniform"))
        return self.kernel.propose(centers, self.widths, normal, uniform)

    def log_density(self, y: torch.Tensor, centers: torch.Tensor) -> torch.Tensor:
        """ln q at one point an example, y (R, B, dy): (R, B), in nats."""
        along = 1 if self.shared else 2
        return self.kernel.log_density(y.unsqueeze(along), centers, self.widths).squeeze(along)
