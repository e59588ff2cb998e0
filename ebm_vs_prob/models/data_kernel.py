"""A kernel density of the training data given x: where margins measure distance and importance sampling proposes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from ..core.process_state import readable
from ..core.replicate_noise import ReplicateStreams, replicate_noise
from ..core.spaces import Box

#: Kernel widths of the default proposal, in bandwidths: one fits the data, one what the model puts around them.
WIDTHS = (1.0, 4.0)
#: Kernels of a query, where there are as many training answers.
NUM_CENTERS = 64
#: Share of the proposal that is uniform on the box: it bounds the importance weights wherever the model has mass.
UNIFORM_SHARE = 0.125
#: Dimensions up to which distances are taken by differences.
BY_DIFFERENCES = 8
#: Distances from queries to training inputs that are held at once, and those of one replicate from which in few
#: dimensions a tree that finds the nearest without the others is worth building.
HELD, MANY = 2**25, 2**22


def coordinate_major(points: torch.Tensor) -> torch.Tensor:
    """The same points (..., n, d), all first coordinates first in memory: what is compared with many points reads them
    in one go."""
    return points.mT.contiguous().mT


def squared_distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Squared Euclidean distances (..., n, m) between the rows of (..., n, d) and (..., m, d).

    From differences in few dimensions, where answers may be close; by products they would lose their small digits.
    """
    dim = a.shape[-1]
    if dim > BY_DIFFERENCES:
        norms = a.square().sum(-1).unsqueeze(-1) + b.square().sum(-1).unsqueeze(-2)
        return (norms - 2 * a @ b.mT).clamp_min(0.0)
    # Coordinates are taken one after the other, because strided columns would be read one number at a time.
    columns, rows = a.mT.unsqueeze(-1), b.mT.contiguous().unsqueeze(-2)
    difference = columns[..., 0, :, :] - rows[..., 0, :, :]
    squared = difference * difference
    for k in range(1, dim):
        difference = columns[..., k, :, :] - rows[..., k, :, :]
        squared = torch.addcmul(squared, difference, difference)
    return squared


class DataKernel:
    """The training answers of each replicate, and a Gaussian kernel density over those whose x is nearest.

    Given x, the centres are the y of its nearest training x (Euclidean); without x, the first training answers, which
    are as good a random subset as any.

    Args:
        x: training inputs (R, N, dx). y: training answers (R, N, dy). box: the task's y-space.
        num_centers: kernels a query.
    """

    def __init__(self, x: torch.Tensor, y: torch.Tensor, box: Box, num_centers: int = NUM_CENTERS) -> None:
        self.x = x
        self.y = y
        self.box = box
        self.num_centers = min(num_centers, y.shape[1] - 1)
        self._bandwidth: torch.Tensor | None = None

    def centers(self, x: torch.Tensor, count: int | None = None, leave_out: bool = False) -> torch.Tensor:
        """The answers nearest in x: (R, n, count, dy) for queries (R, n, dx); (R, 1, count, dy) without x.

        With `leave_out` the queries are the first n training inputs, and none is its own neighbour.
        """
        count = min(count or self.num_centers, self.y.shape[1])
        if not x.shape[-1]:
            return self.y[:, None, :count]
        many = x.shape[1] * self.x.shape[1] > MANY and x.shape[-1] <= BY_DIFFERENCES
        nearest = (self._nearest_by_tree if many and readable(x) else self._nearest)(x, count, leave_out)
        replicates = torch.arange(self.y.shape[0], device=self.y.device, dtype=torch.int64).reshape(-1, 1, 1)
        return self.y[replicates, nearest]

    def _nearest(self, x: torch.Tensor, count: int, leave_out: bool) -> torch.Tensor:
        """Indices (R, n, count) of the training inputs nearest to queries, by all distances."""
        size, found = max(1, HELD // self.x[..., 0].numel()), []
        for i, part in enumerate(x.split(size, 1)):
            squared = squared_distances(part, self.x)
            if leave_out:
                squared.diagonal(offset=size * i, dim1=1, dim2=2).fill_(math.inf)
            found.append(squared.topk(count, largest=False).indices)
        return torch.cat(found, 1)

    def _nearest_by_tree(self, x: torch.Tensor, count: int, leave_out: bool) -> torch.Tensor:
        """The same by a tree (Maneewongvatana and Mount 1999), which asks only for those nearby."""
        from scipy.spatial import KDTree

        found = []
        for own, queries in zip(self.x.cpu().numpy(), x.expand(len(self.x), -1, -1).cpu().numpy(), strict=True):
            asked = min(count + leave_out, len(own))
            index = KDTree(own).query(queries, np.arange(1, asked + 1))[1]
            if leave_out:
                # Of equal inputs the query itself need not be among those found: then the last of them is one too many.
                itself = index == np.arange(len(queries))[:, None]
                itself[:, -1] |= ~itself.any(1)
                index = index[~itself].reshape(len(queries), -1)
            found.append(torch.from_numpy(index))
        return torch.stack(found).to(self.x.device)

    @property
    def bandwidth(self) -> torch.Tensor:
        """Kernel width of highest leave-one-out likelihood on up to 256 training pairs, (R,), units of y."""
        if self._bandwidth is None:
            low, high = self.box.bounds
            grid = torch.logspace(-4, -0.5, 36, dtype=self.y.dtype, device=self.y.device) * (high - low)
            count = self.num_centers
            if self.x.shape[-1]:
                rows = slice(0, 256)
                centers = self.centers(self.x[:, rows], count, leave_out=True)
            else:
                rows = slice(count, count + 256)
                centers = self.centers(self.x)
            squared = (self.y[:, rows].unsqueeze(2) - centers).square().sum(-1)
            scores = [(-squared / (2 * w**2)).logsumexp(-1).mean(-1) - self.box.dim * w.log() for w in grid]
            self._bandwidth = grid[torch.stack(scores).argmax(0)]
        return self._bandwidth

    @property
    def widths(self) -> torch.Tensor:
        """The default proposal's kernel widths, (R, K), units of y."""
        return self.bandwidth.unsqueeze(1) * self.bandwidth.new_tensor(WIDTHS)

    def propose(
        self,
        centers: torch.Tensor,
        widths: torch.Tensor,
        normal: torch.Tensor,
        uniform: torch.Tensor,
        stratified: bool = True,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draws from the proposal, made of given noise, and their log-density under it.

        The proposal is an equal mixture over centres and widths, with `UNIFORM_SHARE` uniform on the box. The draws are
        stratified over these parts, so that of eight at least one is in the box, whatever its dimension: their mean is
        that of q, and the law of a single one is not. Each has the law q where they are not. A draw outside the box
        gets log-density +inf, hence no weight: the model is normalised on the box.

        Args:
            centers: (R, Q, C, dy). widths: (R, K), units of y.
            normal: standard normals (R, Q, M, dy). uniform: uniforms on [0, 1), (R, Q, M, 2 + dy).

        Returns:
            Draws (R, Q, M, dy) and log-densities (R, Q, M) in nats.
        """
        low, high = self.box.bounds
        count, dim = centers.shape[2:]
        pick = (uniform[..., :1] * count).long().clamp_max(count - 1)
        center = centers.gather(2, pick.expand(-1, -1, -1, dim))
        strata = torch.arange(uniform.shape[2], dtype=uniform.dtype, device=uniform.device)
        place = (strata + uniform[..., 1]) / uniform.shape[2] if stratified else uniform[..., 1]
        share = (place - UNIFORM_SHARE) / (1 - UNIFORM_SHARE)
        which = (share.clamp_min(0) * widths.shape[1]).long().clamp_max(widths.shape[1] - 1)
        width = widths.gather(1, which.flatten(1)).reshape(which.shape).unsqueeze(-1)
        anywhere = low + (high - low) * uniform[..., 2:]
        samples = coordinate_major(torch.where(share.unsqueeze(-1) < 0, anywhere, center + width * normal))
        outside = ((samples < low) | (samples > high)).any(-1)
        log_density = self.log_density(samples, centers, widths)
        return samples, log_density.masked_fill(outside, math.inf)

    def log_density(self, y: torch.Tensor, centers: torch.Tensor, widths: torch.Tensor) -> torch.Tensor:
        """ln of the proposal's density at y (R, Q, M, dy), in nats, (R, Q, M)."""
        count, dim = centers.shape[2:]
        replicates, queries, draws, _ = y.shape
        squared = squared_distances(y.flatten(0, 1), centers.flatten(0, 1)).reshape(replicates, queries, draws, count)
        nearest = squared.amin(-1, keepdim=True)
        excess = nearest - squared
        norm = math.log((1 - UNIFORM_SHARE) / (count * widths.shape[1])) - 0.5 * dim * math.log(2 * math.pi)
        parts = [torch.full_like(squared[..., 0], math.log(UNIFORM_SHARE) - self.box.log_volume)]
        for width in widths.T[:, :, None, None]:
            precision = 0.5 / width.square()
            # Below e^-40 a kernel adds nothing to the nearest one; unclamped, exp would spend its time on denormals.
            others = (excess * precision.unsqueeze(-1)).clamp_min_(-40.0).exp_().sum(-1).log()
            parts.append(others - nearest[..., 0] * precision + norm - dim * width.log())
        return torch.stack(parts).logsumexp(0)

    def draw(self, x: torch.Tensor, num_samples: int, seeds: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """`num_samples` proposals for each query (R, n, dx), each replicate's from its own seed.

        Returns:
            Draws (R, n, num_samples, dy) and log-densities (R, n, num_samples) in nats, in the dtype of x.
        """
        wanted, x = x.dtype, x.to(self.y)
        centers = self.centers(x, min(self.num_centers, 16)).expand(-1, x.shape[1], -1, -1)
        streams, dim = ReplicateStreams(0, "proposal", seeds=seeds), self.box.dim
        count, dtype, device = (x.shape[1], num_samples), x.dtype, x.device
        normal = replicate_noise(streams, (*count, dim), dtype=dtype, device=device)
        uniform = replicate_noise(streams, (*count, 2 + dim), "uniform", dtype=dtype, device=device)
        points, log_density = self.propose(centers, self.widths, normal, uniform)
        return points.to(wanted), log_density.to(wanted)
