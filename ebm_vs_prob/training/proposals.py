"""Proposals for importance sampling and noise contrast in training: draws of a data kernel, made of given noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field

from ..core.spaces import Box, reflected
from ..models.data_kernel import NUM_CENTERS, WIDTHS, coordinate_major
from .batches import Batch, Noise
from .smoothing import Blur, SmoothingOptions

if TYPE_CHECKING:
    from ..models.model import Model
    from ..tasks.base import Task

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
        stratified: draws are stratified over the parts of q. Where an answer is told from few draws, each of them has
            to have the law q by itself.

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
        stratified: bool = True,
    ) -> None:
        setting = model.setting
        size = setting.budget.batch_size
        self.kernel = kernel = model.data_kernel
        self.shared = model.tasks[0].x_space.dim == 0 and centers == "neighbours"
        self._stratified = stratified or self.shared
        self.queries, self.count = (1, size * options.proposals) if self.shared else (size, options.proposals)
        # Noise with a single query, when it is common, broadcasts.
        self._noise_queries = 1 if getattr(options, "common_draws", False) else self.queries
        self._replicates = torch.arange(setting.num_replicates, device=kernel.y.device, dtype=torch.int64).unsqueeze(1)
        self._neighbours: torch.Tensor | None = None
        if centers == "neighbours" and not (self.shared and batch_centers):
            count = kernel.num_centers if self.shared else options.neighbours
            self._neighbours = coordinate_major(kernel.centers(kernel.x, count, leave_out and not self.shared))
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
        return self.kernel.propose(centers, self.widths, normal, uniform, self._stratified)

    def log_density(self, y: torch.Tensor, centers: torch.Tensor) -> torch.Tensor:
        """ln q at one point an example, y (R, B, dy): (R, B), in nats."""
        along = 1 if self.shared else 2
        return self.kernel.log_density(y.unsqueeze(along), centers, self.widths).squeeze(along)


class ProposalDraws(NamedTuple):
    """A minibatch and what its proposal drew.

    Attributes:
        batch: its y (R, B, dy) are the right answers, blurred where that was asked for.
        centers: of the proposal's kernels, (R, Q, C, dy).
        samples: the draws (R, Q, M, dy), Q = B queries or one that all share.
        log_density: ln q of the draws in nats, (R, Q, M).
        proposal: what drew them.
    """

    batch: Batch
    centers: torch.Tensor
    samples: torch.Tensor
    log_density: torch.Tensor
    proposal: KernelProposal

    def negative_energy(self, model: Model) -> torch.Tensor:
        """Energies of the draws, (R, Q, M)."""
        energy: torch.Tensor = model.module(self.proposal.queried(self.batch.x), self.samples)
        return energy

    def energies(self, model: Model) -> tuple[torch.Tensor, torch.Tensor]:
        """Energies of the right answers (R, B) and of the draws (R, Q, M)."""
        return model.module(self.batch.x, self.batch.y), self.negative_energy(model)

    def log_densities(self) -> tuple[torch.Tensor, torch.Tensor]:
        """ln q at the same points."""
        return self.proposal.log_density(self.batch.y, self.centers), self.log_density


class ProposedAnswers:
    """What the methods of either family read of a minibatch that learn from draws of a kernel proposal.

    Args:
        blur: of the right answers. proposal: what draws.
        centers: the centres of a minibatch's kernels, (R, Q, C, dy); the proposal's own by default.

    Attributes:
        noise: all that has to be drawn at each step.
    """

    def __init__(
        self,
        blur: Blur,
        proposal: KernelProposal,
        centers: Callable[[KernelProposal, Batch], torch.Tensor] = KernelProposal.centers,
    ) -> None:
        self.blur, self.proposal, self._centers = blur, proposal, centers
        self.noise = {**proposal.noise, **blur.noise}

    @classmethod
    def of(cls, model: Model) -> ProposedAnswers:
        """Those of a model whose options are `KernelProposalOptions` and no more."""
        blur = Blur(model)
        return cls(blur, KernelProposal(model, model.setting.options, blur.sigma.flatten()))

    def blurred(self, batch: Batch) -> torch.Tensor:
        """The right answers (R, B, dy), with the blur where that was asked for, inside the box."""
        y = self.blur(batch)
        # A density on the box has nothing beyond it: one blurred answer there would make the loss infinite.
        return reflected(y, self.proposal.kernel.box.bounds) if self.blur.noise else y

    def __call__(self, batch: Batch) -> ProposalDraws:
        centers = self._centers(self.proposal, batch)
        samples, log_density = self.proposal.draw(batch, centers)
        return ProposalDraws(batch._replace(y=self.blurred(batch)), centers, samples, log_density, self.proposal)


def kernel_multiply_adds(options: Any, task: Task, points: float, kernels: int | None = None, widths: int = 0) -> float:
    """Multiply-adds of a kernel proposal's density at points of one example: a distance to each kernel, and a kernel of
    each width.

    Args:
        options: `KernelProposalOptions`. kernels: by default those of neighbours in x, or without x of the data kernel.
        widths: beside those of the proposal.
    """
    if not isinstance(task.y_space, Box):
        return 0.0
    if kernels is None:
        kernels = options.neighbours if getattr(task.x_space, "dim", 0) else NUM_CENTERS
    return points * kernels * (task.y_space.dim + len(getattr(options, "widths", None) or WIDTHS) + widths)


def proposal_evaluations(options: Any) -> float:
    """Energy evaluations of a step for each example: of its answer and its draws, forward 1 and backward 2 each."""
    return 3.0 * (1 + options.proposals)
