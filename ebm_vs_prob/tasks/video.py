"""Video at a fork: the last frames of a moving blob are given, and the next ones are a few thin branches.

The video example of the lecture (LeCun, NYU Deep Learning 2020, week 7): what comes next is not a function of what
came before, and the mean of the futures, which regression finds, is a blurred picture of none of them. Here the
futures, their probabilities, and how far their mean is from the nearest are known.
"""

from __future__ import annotations

import itertools
import math
from functools import cached_property, partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from ..core.approximate import Approximate
from ..core.errors import NoExactReference, invalid
from ..core.registry import TASKS
from ..core.spaces import Box
from .base import Split, Task, TaskOptions, check_inputs, check_pairs
from .density_reference import DensityReference
from .geometry.nearest_point import nearest_of_three
from .images.branch_integrals import log_mean_over, nearest_on
from .images.fork_frames import FORK, GAP, RADIUS, SIDE, SPEEDS, WEIGHTS, frames_before, futures
from .images.fork_information import label_information
from .quadrature import refined

if TYPE_CHECKING:
    import torch

#: Pairs looked at together, so that their frames at all nodes stay in cache.
PAIRS = 64
#: Deviations of the noise that the box leaves room for.
_REACH = 6.5
#: Half the distance of two branches, in deviations of the noise, beyond which none comes nearer to the other: for a
#: point of it that happens with probability 1e-23, for any of a smooth curve at most exp(-(10 - 3)²/2) = 2e-11.
_ASTRAY = 10.0
#: How far a pixel of frames may be off those of some motion: float32, and motions read from them, are within 1e-6.
_FRAMES = 1e-4


class VideoOptions(TaskOptions):
    """Options of `video`."""

    past: Annotated[int, Field(ge=2, le=3, description="frames in x")] = 2
    future: Annotated[int, Field(ge=1, le=3, description="frames in y")] = 2
    speed_change: Annotated[
        float,
        Field(ge=0.0, le=0.2, description="δ: beyond the fork the speed is times a uniform factor in [1 - δ, 1 + δ]"),
    ] = 0.0


class VideoReference(DensityReference):
    """Exact truth of the fork: x says where the blob is and how fast it moves, and leaves branch and factor free."""

    def __init__(self, task: Video) -> None:
        super().__init__(task)
        self._options = task.options
        self._factors = (1.0 - task.options.speed_change, 1.0 + task.options.speed_change)

    def log_prob(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.log_density(*self._checked(x, y))

    def log_density(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln p(y | x) in nats for broadcasting x and y, unchecked: a mixture of three Gaussians, or of three families.

        With a change of speed, each branch is an integral over its factor, to 1e-8, twice differentiable by autograd.

        Raises:
            NoExactReference: at thickness 0.
            ArithmeticError: the quadrature does not settle.
        """
        import torch

        log_weights = torch.tensor(WEIGHTS, dtype=torch.float64, device=y.device).log()
        return torch.logsumexp(self._log_branches(x.double(), y.double()) + log_weights, dim=-1)

    def _log_branches(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln p(y | x, branch), (..., 3)."""
        import torch

        eps = self.noise
        shape = torch.broadcast_shapes(x.shape[:-1], y.shape[:-1])
        pairs = [part.expand(*shape, -1).reshape(-1, part.shape[-1]).split(PAIRS) for part in (x, y)]
        normalizer = 0.5 * y.shape[-1] * math.log(2.0 * math.pi * eps**2)
        parts = [self._log_branches_of(*part) for part in zip(*pairs, strict=True)]
        return torch.cat(parts).reshape(*shape, len(WEIGHTS)) - normalizer

    def _log_branches_of(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The same of x (n, dx) and y (n, dy) but for the normaliser of the noise, (n, 3)."""
        import torch

        motion, eps = self.motion(x), self.noise
        branches = []
        for branch in range(len(WEIGHTS)):

            def exponent(factor: torch.Tensor, branch: int = branch) -> torch.Tensor:
                """(n, m) for factors (n, m)."""
                frames = futures(motion.unsqueeze(1), branch, factor, self._options.future)
                return -0.5 * ((y.unsqueeze(1) - frames) / eps).square().sum(-1)

            branches.append(log_mean_over(exponent, len(y), self._factors))
        return torch.stack(branches, -1)

    def _checked(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, y = check_pairs(self.task, x, y)
        self._check_frames(x)
        return x, y

    def _check_frames(self, x: torch.Tensor) -> None:
        """Raise a `ValueError` unless x (n, dx) shows a blob on its way to the fork, whose motion goes on."""
        check_inputs(self.task, x)
        motion = self.motion(x)
        off = (frames_before(motion, self._options.past) - x.double()).abs().amax(-1)
        if not bool((off < _FRAMES).all()):
            row = int((~(off < _FRAMES)).nonzero()[0])
            valid = f"frames of a blob of radius {RADIUS:g} moving right along row {FORK[1]:g}, to {_FRAMES:g} a pixel"
            raise invalid(f"x[{row}]", f"frames that are off by {float(off[row]):.2g}", valid)

    def motion(self, x: torch.Tensor) -> torch.Tensor:
        """How far before the fork the blob is in the last frame, and its speed: (..., dx) -> (..., 2) pixels.

        Exact of frames without noise: the logarithm of a blob is linear in its place but for a term that all share.
        """
        import torch

        frames = x.double().unflatten(-1, (self._options.past, SIDE, SIDE))[..., -2:, :, :]
        line = frames.clamp_min(0.0).sum(-2)  # a blob summed over rows is a blob on the line
        column = torch.arange(SIDE, dtype=line.dtype, device=line.device)
        weight = (line[..., :-1] * line[..., 1:]).clamp_min(1e-300)
        place = (
            column[:-1] + 0.5 + RADIUS**2 * (line[..., 1:].clamp_min(1e-300) / line[..., :-1].clamp_min(1e-300)).log()
        )
        place = (weight * place).sum(-1) / weight.sum(-1)
        return torch.stack([FORK[0] - place[..., 1], place[..., 1] - place[..., 0]], -1)

    def distance(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Distance from y (n, dy) to the nearest future of x (n, dx), (n,) float64."""
        return self._nearest(*self._checked(x, y)).amin(-1)

    def branch(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The branch, 0 .. 2, whose futures come nearest to y (n, dy): (n,) int64."""
        return self._nearest(*self._checked(x, y)).argmin(-1)

    def branch_weights(self, x: torch.Tensor) -> torch.Tensor:
        """P(branch(x, Y) = k | x) of x (n, dx), the noise of Y included: (n, 3) float64.

        Without a change of speed by the masses of three cells of the plane of the futures; with one they are the
        branches' own weights, from which noise is then not enough to lead astray.

        Raises:
            NoExactReference: with a change of speed, where noise leads from a branch nearer to another one.
        """
        import torch

        self._check_frames(x)
        weights = torch.tensor(WEIGHTS, dtype=torch.float64, device=x.device)
        if self._options.speed_change > 0.0:
            largest = self._apart / (2.0 * _ASTRAY)
            if self._thickness > largest:
                raise NoExactReference(
                    f"video: with a change of speed and thickness {self._thickness:g} noise leads from one branch "
                    f"nearer to another: use a thickness of {largest:.2g} or less, or speed_change = 0"
                )
            return weights.expand(len(x), -1)
        if self._thickness == 0.0 or not len(x):
            return weights.expand(len(x), -1)
        found = torch.from_numpy(nearest_of_three(self.answers(x).cpu().numpy(), self._thickness)).to(x.device)
        return torch.einsum("j,njk->nk", weights, found)

    @cached_property
    def _apart(self) -> float:
        """The least distance of two branches, of the slowest blob that begins the furthest from the fork."""
        import torch

        motion = torch.tensor([GAP, SPEEDS[0]], dtype=torch.float64, device="cpu")
        factor = torch.linspace(*self._factors, 65, dtype=torch.float64, device="cpu")
        curves = [futures(motion, branch, factor, self._options.future) for branch in range(len(WEIGHTS))]
        return min(float(torch.cdist(one, other).amin()) for one, other in itertools.combinations(curves, 2))

    def _nearest(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Distance from y to the futures of each branch, (n, 3)."""
        import torch

        pairs = zip(x.split(PAIRS), y.split(PAIRS), strict=True)
        return torch.cat([self._nearest_of(*part) for part in pairs])

    def _nearest_of(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        import torch

        motion = self.motion(x).unsqueeze(1)
        distances = []
        for branch in range(len(WEIGHTS)):

            def square(factor: torch.Tensor, branch: int = branch) -> torch.Tensor:
                return (y.unsqueeze(1) - futures(motion, branch, factor, self._options.future)).square().sum(-1)

            distances.append(nearest_on(square, len(y), self._factors))
        return torch.stack(distances, -1)

    def answers(self, x: torch.Tensor) -> torch.Tensor:
        """The futures of each x without noise, branch by branch: (n, 3, dy), or (n, 3 · 65, dy) at even factors."""
        import torch

        self._check_frames(x)
        count = 1 if self._options.speed_change == 0.0 else 65
        low, high = self._factors
        factor = torch.linspace(low, high, count, dtype=torch.float64, device=x.device)
        motion = self.motion(x).unsqueeze(1)
        return torch.cat([futures(motion, branch, factor, self._options.future) for branch in range(len(WEIGHTS))], 1)

    def conditional_mean(self, x: torch.Tensor) -> torch.Tensor:
        """E[y | x], (n, dy) float64: what regression by least squares finds. Over factors by quadrature, to 1e-10."""
        import torch

        self._check_frames(x)
        motion = self.motion(x).unsqueeze(1)
        node, weight = (torch.from_numpy(part).to(x.device) for part in np.polynomial.legendre.leggauss(24))
        factor = 1.0 + self._options.speed_change * node
        means = [weight @ futures(motion, branch, factor, self._options.future) / 2.0 for branch in range(len(WEIGHTS))]
        return torch.stack([share * mean for share, mean in zip(WEIGHTS, means, strict=True)]).sum(0)

    def mean_distance(self, x: torch.Tensor) -> torch.Tensor:
        """Distance of `conditional_mean` to the nearest future, (n,) float64: how far off the best regression is.

        In closed form where the speed does not change: the distance between three known points and their mean.
        """
        return self.distance(x, self.conditional_mean(x))

    def entropy(self) -> Approximate:
        """h(Y | X) in nats, to 1e-6: that of the noise, and what y tells of the branch.

        Without a change of speed, y matters only in the plane of the three futures: a quadrature over motion and noise
        there.

        Raises:
            NoExactReference: at thickness 0, and with a change of speed.
        """
        if self._options.speed_change > 0.0:
            raise NoExactReference(
                "video: with a change of speed the branches are curves that blur into one another in every dimension: "
                "use reference.sampled_entropy(), or speed_change = 0"
            )
        eps = self.noise
        blurred = 0.5 * self.task.y_space.dim * (1.0 + math.log(2.0 * math.pi * eps**2))
        information = partial(label_information, self._options.future, eps)
        return blurred + refined(information, start=5, tolerance=1e-6, doublings=2)


@TASKS.register
class Video(Task):
    """x: the last frames of a blob that moves to the right towards a fork; y: the next ones, on one of three branches.

    The last frame seen is up to a pixel before the fork, the next one beyond it. z is the branch, the speed in pixels a
    frame before the fork, and the factor by which the speed is changed beyond it.
    """

    name = "video"
    summary = "the next frames of a blob at a fork given the last ones: three thin futures of unequal weight"
    truth = "futures, their weights, log-density and distance of the mean in closed form, entropy by quadrature"
    references = ("lecun2020energy",)
    Options = VideoOptions
    options: VideoOptions
    x_space: Box
    y_space: Box
    reference: VideoReference

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        room = max(0.5, _REACH * self.thickness)
        self.x_space = Box((0.0, 1.0), self.options.past * SIDE**2)
        self.y_space = Box((-room, 1.0 + room), self.options.future * SIDE**2)
        self.z_space = Box((0.0, 3.0), 3)
        self.manifold_dim = 0 if self.options.speed_change == 0.0 else 1
        self.reference = VideoReference(self)

    def _draw(self, n: int, rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        import torch

        motion = np.stack([rng.uniform(0.0, GAP, n), rng.uniform(*SPEEDS, n)], 1)
        x = frames_before(torch.from_numpy(motion), self.options.past).numpy()
        return x, *self._future(motion, rng)

    def draw(self, x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A draw for each x (n, dx) from `rng` alone: y (n, dy) and the z (n, 3) that made it, float64."""
        import torch

        return self._future(self.reference.motion(torch.tensor(x, dtype=torch.float64, device="cpu")).numpy(), rng)

    def _future(self, motion: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """y and z of each motion (n, 2): how far before the fork, and how fast."""
        import torch

        count = len(motion)
        label = rng.choice(len(WEIGHTS), size=count, p=WEIGHTS)
        factor = 1.0 + self.options.speed_change * rng.uniform(-1.0, 1.0, count)
        y = self.thickness * rng.standard_normal((count, self.y_space.dim))
        for branch in range(len(WEIGHTS)):
            own = label == branch
            given, change = torch.from_numpy(motion[own]), torch.from_numpy(factor[own])
            y[own] += futures(given, branch, change, self.options.future).numpy()
        return y, np.column_stack([label, motion[:, 1], factor])
