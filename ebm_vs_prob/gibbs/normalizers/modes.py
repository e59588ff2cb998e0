"""Isolated modes of a density: looked for all over its box, measured by their curvature, and sampled by themselves.

A mode is isolated where the energy's curvature along every direction is that of a well much narrower than the box.
Chains that begin anywhere find wide modes; the ball round a narrow one from which a path leads into it may be too small
for any of them, while among many more points of a scan some lie in it. What points tell is read by what the modes
known so far predict: a Gaussian of their height and curvature. Descents begin where the density is higher than that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ...core.seeding import stream, torch_generator
from .minima import descended
from .partition import Target, value_and_slope

#: Rounds of a search, each with points of its own and descents from at most so many of them, one for this many points.
_ROUNDS, _STARTS, _POINTS_A_START = 8, 48, 2500
#: Most modes that are kept, those of largest mass by Laplace's approximation, down to this many nats below the largest.
_MODES, _NEGLIGIBLE = 64, 14.0
#: Nats above what known modes predict from which a point is a start.
_UNEXPLAINED = 1.0
#: An isolated mode is narrower than this share of the box.
_NARROW = 0.25
#: Steps of differences of gradients, as shares of the box.
_DIFFERENCE = {torch.float64: 1e-6, torch.float32: 1e-4}
#: Minima nearer to each other than this many standard deviations are one.
_SAME_MODE = 0.5
#: Degrees of freedom of the proposals, whose tails are heavier than a Gaussian mode's.
_DEGREES_OF_FREEDOM = 4


@dataclass(frozen=True)
class Modes:
    """Up to K modes for each of B elements: places (B, K, dim), heights (B, K) of the log-density, -inf where none is.

    Attributes:
        factor: (B, K, dim, dim) lower triangular, with precision = factor factor^T.
        log_mass: (B, K) by Laplace's approximation, -inf where there is none.
    """

    y: torch.Tensor
    height: torch.Tensor
    factor: torch.Tensor
    log_mass: torch.Tensor

    @property
    def any(self) -> bool:
        """Whether any element has any."""
        return bool((self.height > -math.inf).any())

    def squares(self, y: torch.Tensor, k: int) -> torch.Tensor:
        """(B, N) squared distances of points (B, N, dim) from the k-th mode in its standard deviations; inf of none."""
        away = (y - self.y[:, k, None]) @ self.factor[:, k]
        return away.square().sum(-1).masked_fill((self.height[:, k] == -math.inf)[:, None], math.inf)

    def predicted(self, y: torch.Tensor) -> torch.Tensor:
        """(B, N) the highest of the modes' quadratics at points (B, N, dim)."""
        found = torch.full(y.shape[:2], -math.inf, dtype=torch.float64, device=y.device).expand(len(self.y), -1)
        for k in range(self.y.shape[1]):
            found = torch.maximum(found, self.height[:, k, None] - self.squares(y, k) / 2)
        return found

    def inside(self, y: torch.Tensor) -> torch.Tensor:
        """(B, N) whether points (B, N, dim) lie in an ellipsoid that holds all but 1e-4 of a Gaussian mode's mass."""
        radius = math.sqrt(y.shape[-1]) + 3
        found = torch.zeros(y.shape[:2], dtype=torch.bool, device=y.device)
        for k in range(self.y.shape[1]):
            found = found | (self.squares(y, k) <= radius**2)
        return found

    def draws(self, count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Draws (B, count, dim) of a mixture of Student distributions at the modes, and their log-density (B, count).

        Shares are half equal and half by mass, drawn systematically. Every element sees the same random numbers; one
        without modes gets NaN.
        """
        batch, modes, dim = self.y.shape
        generator = torch_generator(seed, "modes")
        uniform = torch.rand((), dtype=torch.float64, generator=generator, device="cpu")
        normal = torch.randn(count, dim + _DEGREES_OF_FREEDOM, dtype=torch.float64, generator=generator, device="cpu")
        normal = normal[torch.randperm(count, generator=generator, dtype=torch.int64, device="cpu")].to(self.y.device)
        there = (self.height > -math.inf).double()
        shares = (self.log_mass.softmax(1) + there / there.sum(1, keepdim=True)) / 2
        ladder = (torch.arange(count, dtype=torch.float64, device=self.y.device) + uniform.to(self.y.device)) / count
        cumulative = shares.cumsum(1)
        which = torch.searchsorted(cumulative, (ladder * cumulative[:, -1:]).contiguous()).clamp_max(modes - 1)
        standard = normal[:, :dim] * (_DEGREES_OF_FREEDOM / normal[:, dim:].square().sum(1, keepdim=True)).sqrt()
        rows = torch.arange(batch, device=self.y.device, dtype=torch.int64)[:, None]
        away = torch.linalg.solve_triangular(
            self.factor[rows, which].transpose(-1, -2), standard.expand(batch, -1, -1).unsqueeze(-1), upper=True
        )
        y = self.y[rows, which] + away.squeeze(-1)
        log_density = torch.full((batch, count), -math.inf, dtype=torch.float64, device=y.device)
        freedom = _DEGREES_OF_FREEDOM
        half = (freedom + dim) / 2
        constant = math.lgamma(half) - math.lgamma(freedom / 2) - dim / 2 * math.log(freedom * math.pi)
        for k in range(modes):
            scale = self.factor[:, k].diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
            each = constant + scale - half * torch.log1p(self.squares(y, k) / freedom)
            log_density = torch.logaddexp(log_density, shares[:, k, None].log() + each)
        return y, log_density

    def joined(self, other: Modes) -> Modes:
        """The modes of both, each once, in the order of their masses and as many as are kept."""
        y, height, factor, log_mass = (
            torch.cat(pair, 1)
            for pair in zip(
                (self.y, self.height, self.factor, self.log_mass),
                (other.y, other.height, other.factor, other.log_mass),
                strict=True,
            )
        )
        log_mass, order = log_mass.sort(dim=1, descending=True, stable=True)
        rows = torch.arange(len(y), device=y.device, dtype=torch.int64)[:, None]
        y, height, factor = y[rows, order], height[rows, order], factor[rows, order]
        every = Modes(y, height, factor, log_mass)
        kept = log_mass > log_mass[:, :1] - _NEGLIGIBLE
        for k in range(y.shape[1] - 1):
            same = every.squares(y[:, k + 1 :], k) < _SAME_MODE**2
            kept[:, k + 1 :] &= ~(same & kept[:, k, None])
        order = (~kept).to(torch.uint8).argsort(dim=1, stable=True)[:, : min(_MODES, int(kept.sum(1).amax()))]
        gone = ~kept[rows, order]
        height, log_mass = (value[rows, order].masked_fill(gone, -math.inf) for value in (height, log_mass))
        return Modes(y[rows, order], height, factor[rows, order], log_mass)


@dataclass(frozen=True)
class Scan:
    """What a search saw: the modes, and ln Z (B,) by its `count` points alone with one standard error, nats."""

    modes: Modes
    log_z: torch.Tensor
    error: torch.Tensor
    count: int


def scanned(target: Target, count: int, seed: int) -> Scan:
    """Look for isolated modes at `count` scrambled Sobol points and by descents from those that are unexplained."""
    (low, high), dim, batch = target.bounds, target.dim, target.batch_shape.numel()
    sobol = torch.quasirandom.SobolEngine(dim, scramble=True, seed=stream(seed, "scan") % (1 << 31))
    first_move = (high - low) / max(count, 1) ** (1 / dim) / 4
    num_starts = min(max(count // _POINTS_A_START, 2), _STARTS)
    modes: Modes | None = None
    log_sums = []
    for _ in range(_ROUNDS):
        points = (low + (high - low) * sobol.draw(max(1, count // _ROUNDS), dtype=torch.float64)).to(target.device)
        wide = points.to(target.dtype).expand(batch, -1, -1)
        values = target.at(wide).nan_to_num(-math.inf, math.inf, -math.inf)
        log_sums.append(torch.stack([values.logsumexp(1), (2 * values).logsumexp(1)]))
        unexplained = (values > -math.inf) & (values < math.inf)
        if modes is not None:
            unexplained &= values > modes.predicted(points[None]) + _UNEXPLAINED
        starts, sound = _starts(points, values.masked_fill(~unexplained, -math.inf), num_starts)
        if not starts.shape[1]:
            continue
        y, height, _ = descended(target, starts, first_move)
        found = _measured(target, y, height.masked_fill(~sound, -math.inf))
        modes = found.joined(found) if modes is None else modes.joined(found)
    total, squares = torch.stack(log_sums).logsumexp(0)
    seen = max(1, count // _ROUNDS) * _ROUNDS
    # The variance of the mean over its square, by the sums of values and of squares.
    relative = ((squares - 2 * total).exp() - 1 / seen).clamp_min(0.0)
    if modes is None:
        empty = torch.zeros(batch, 0, dtype=torch.float64, device=target.device)
        modes = Modes(
            empty[..., None].expand(-1, -1, dim), empty, empty[..., None, None].expand(-1, -1, dim, dim), empty
        )
    return Scan(modes, total - math.log(seen) + dim * math.log(high - low), relative.sqrt(), seen)


def _starts(points: torch.Tensor, values: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Half of the starts are the highest points (N, dim) by values (B, N), half are spread evenly over the others.

    Returns:
        Starts (B, P, dim), and whether each is one (B, P): values of -inf are none.
    """
    most = int((values > -math.inf).sum(1).amax())
    ordered, order = values.sort(dim=1, descending=True, stable=True)
    first = min((count + 1) // 2, most)
    number = (values > -math.inf).sum(1, keepdim=True)
    spread = torch.arange(min(count - first, most - first), dtype=torch.int64, device=values.device)
    place = first + spread * (number - first).clamp_min(0) // max(1, len(spread))
    place = torch.cat([torch.arange(first, dtype=torch.int64, device=values.device).expand(len(values), -1), place], 1)
    place = place.clamp_max(values.shape[1] - 1)
    return points[order.gather(1, place)], ordered.gather(1, place) > -math.inf


def _measured(target: Target, y: torch.Tensor, height: torch.Tensor) -> Modes:
    """The isolated modes among minima of the energy at y (B, P, dim), by differences of gradients there.

    At the edge of the box the density falls off as exp(-g distance), whose precision is g².
    """
    (low, high), dim = target.bounds, target.dim
    step = (high - low) * _DIFFERENCE.get(target.dtype, 1e-4)
    moves = step * torch.eye(dim, dtype=torch.float64, device=y.device)
    places = torch.stack([y[..., None, :] + moves, y[..., None, :] - moves], -2)
    batch, count = height.shape
    _, slopes = value_and_slope(target.at, places.flatten(1, -2))
    ahead, behind = slopes.reshape(batch, count, dim, 2, dim).unbind(-2)
    precision = (behind - ahead) / (2 * step)
    precision = (precision + precision.transpose(-1, -2)) / 2
    slope = ((ahead + behind) / 2).diagonal(dim1=-2, dim2=-1)
    held = ((y <= low) & (slope < 0)) | ((y >= high) & (slope > 0))
    precision = precision + torch.diag_embed(torch.where(held, slope.square(), 0.0))
    sound = precision.isfinite().flatten(-2).all(-1) & height.isfinite()
    eye = torch.eye(dim, dtype=torch.float64, device=y.device)
    usable = torch.where(sound[..., None, None], precision, eye)
    sound &= torch.linalg.eigvalsh(usable)[..., 0] > (_NARROW * (high - low)) ** -2
    factor = torch.linalg.cholesky(torch.where(sound[..., None, None], usable, eye))
    log_mass = height + dim / 2 * math.log(2 * math.pi) - factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return Modes(y, height.masked_fill(~sound, -math.inf), factor, log_mass.masked_fill(~sound, -math.inf))
