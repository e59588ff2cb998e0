"""Three modes, or three concentric circles, of unequal weight: the case in which a score does not see the weights.

Between modes that are many deviations apart there are no data, so the score of their mixture is that of the nearest
mode, whatever the weights (Wenliang and Kanagawa 2020; Zhang et al. 2022). A bridge, a small share of the mass on
lines from mode to mode, makes them visible again.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ..core.approximate import Approximate
from ..core.registry import TASKS
from ..core.spaces import Box, Labels
from .base import Split, Task, TaskOptions, check_inputs, check_pairs
from .density_reference import DensityReference
from .geometry.planar import Piece, Point, Ring, Segment, panels, radius_cdf
from .quadrature import refined

if TYPE_CHECKING:
    import torch

#: Share of each branch, of what is not on a bridge.
WEIGHTS = (0.5, 0.3, 0.2)
#: Modes lie at these angles on the unit circle, 1.73 from each other; bridges of the circles lie at them too.
ANGLES = (math.pi / 2, math.pi * 7 / 6, math.pi * 11 / 6)
#: Radii of the circles.
RADII = (0.5, 1.25, 2.0)
#: Radii half-way between neighbouring circles.
MIDDLES = (0.875, 1.625)
#: Distance of neighbouring answers.
SPACING = math.pi / 64


class ThreeModesOptions(TaskOptions):
    """Options of `three_modes`."""

    shape: Annotated[Literal["modes", "circles"], Field(description="points of the plane, or concentric circles")] = (
        "modes"
    )
    bridge: Annotated[float, Field(ge=0.0, le=0.5, description="share of the mass on lines between the branches")] = 0.0
    ambient_dim: Annotated[
        int, Field(ge=2, le=1024, description="dimension D of y: beyond the plane of the branches there is noise alone")
    ] = 2


class ThreeModesReference(DensityReference):
    """Exact truth of the modes and circles: a mixture of blurred pieces of the plane."""

    task: ThreeModes

    def log_density(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln p(y) in nats for x (..., 0) and y (..., D), unchecked; twice differentiable."""
        import torch

        eps, planar, normal = self.noise, y.double()[..., :2], y.double()[..., 2:]
        each = torch.stack([piece.log_density(planar, eps) for piece in self.task.pieces], dim=-1)
        density = torch.logsumexp(each + each.new_tensor(self.task.shares).log(), dim=-1)
        density = density - 0.5 * (normal / eps).square().sum(-1) - normal.shape[-1] * self._normal_constant
        return density.expand(torch.broadcast_shapes(x.shape[:-1], density.shape))

    @property
    def _normal_constant(self) -> float:
        """ln of the normaliser of one coordinate of noise."""
        return math.log(self.noise) + 0.5 * math.log(2.0 * math.pi)

    def distance(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Distance from y (n, D) to the branches and bridges, (n,) float64."""
        import torch

        y = check_pairs(self.task, x, y)[1]
        return torch.hypot(self._distances(y[:, :2], self.task.pieces).amin(-1), y[:, 2:].norm(dim=-1))

    def conditional_mean(self, x: torch.Tensor) -> torch.Tensor:
        """E[y] for each x (n, 0), (n, D) float64: the middles of all pieces by their shares."""
        import torch

        check_inputs(self.task, x)
        evenly = (np.arange(64) + 0.5) / 64
        middles = np.array([piece.at(evenly).mean(0) for piece in self.task.pieces])
        mean = self.task.embed(np.array(self.task.shares)[None] @ middles)
        return torch.from_numpy(mean).to(x.device).expand(len(x), -1)

    def branch(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The mode or circle nearest to y (n, D), (n,) int64 in the order of `WEIGHTS`; a bridge is no branch."""
        return self._nearest(check_pairs(self.task, x, y)[1][:, :2])

    def branch_weights(self, x: torch.Tensor) -> torch.Tensor:
        """P(branch = k), bridge and noise included: (n, 3) float64.

        Modes: in closed form with Owen's T function; circles: Rice's law, over the bridge by quadrature to 1e-9.
        """
        import torch

        check_inputs(self.task, x)
        return torch.from_numpy(self._branch_weights).to(x.device).expand(len(x), -1)

    @cached_property
    def _branch_weights(self) -> np.ndarray:
        shares = np.array(self.task.shares)
        own, bridge = shares[: len(WEIGHTS)], float(shares[len(WEIGHTS) :].sum())
        if self.task.options.shape == "modes":
            stays = _stays(self._thickness)
            return own * stays + (own.sum() - own) * (1.0 - stays) / 2 + bridge / len(WEIGHTS)
        return own @ _bands(np.array(RADII), self._thickness) + bridge * _bands_of_bridge(self._thickness)

    def answers(self, x: torch.Tensor) -> torch.Tensor:
        """The modes, or points at equal distances on all circles and bridges: (n, m, D) float64.

        One storage serves every x, so do not write to it.
        """
        import torch

        check_inputs(self.task, x)
        counts = [max(1, round(piece.length / SPACING)) for piece in self.task.pieces]
        points = [piece.at((np.arange(m) + 0.5) / m) for piece, m in zip(self.task.pieces, counts, strict=True)]
        return torch.from_numpy(self.task.embed(np.concatenate(points))).to(x.device).expand(x.shape[0], -1, -1)

    def entropy(self) -> Approximate:
        """h(Y) in nats, to 1e-8: the mean surprise over each piece, by quadrature over its blurred law, and
        ½ ln(2πe ε²) for each dimension beyond the plane.

        Raises:
            NoExactReference: at thickness 0.
        """
        eps = self.noise
        plane = refined(lambda resolution: self._entropy(resolution, eps), start=4, tolerance=3e-9, doublings=4)
        return plane + (self.task.y_space.dim - 2) * (self._normal_constant + 0.5)

    def _entropy(self, resolution: int, eps: float) -> float:
        import torch

        shares, pieces = self.task.shares, self.task.pieces
        if self.task.options.shape == "circles" and len(pieces) > len(WEIGHTS):  # what a third of a turn maps to itself
            shares, pieces = (*shares[: len(WEIGHTS)], self.task.options.bridge), pieces[: len(WEIGHTS) + 1]
        total = 0.0
        for share, piece in zip(shares, pieces, strict=True):
            points, weight = piece.nodes(eps, resolution)
            y = torch.from_numpy(points)
            mass = torch.from_numpy(weight) * piece.log_density(y, eps).exp()
            total -= share * float(mass @ self.log_density(y[:, :0], y))  # without further dimensions
        return total

    def _nearest(self, y: torch.Tensor) -> torch.Tensor:
        return self._distances(y, self.task.pieces[: len(WEIGHTS)]).argmin(-1)

    def nearest(self, points: np.ndarray) -> np.ndarray:
        """`branch` of an array (n, 2), without checks."""
        import torch

        found: np.ndarray = self._nearest(torch.from_numpy(points)).numpy()
        return found

    @staticmethod
    def _distances(y: torch.Tensor, pieces: tuple[Piece, ...]) -> torch.Tensor:
        import torch

        return torch.stack([piece.distance(y) for piece in pieces], dim=-1)


@TASKS.register
class ThreeModes(Task):
    """Three points or concentric circles of weights .5, .3, .2, with lines between them where there is a bridge.

    The latent is the branch nearest to the noise-free point: the one that it is of, or the nearer end of a bridge.
    """

    name = "three_modes"
    summary = "three separated modes or circles of unequal weight, with or without a bridge; unconditional"
    truth = "log-density in closed form, entropy by quadrature, weights of the branches"
    references = ("wenliang2020blindness", "zhang2022healing")
    Options = ThreeModesOptions
    options: ThreeModesOptions
    x_space: Box
    y_space: Box
    reference: ThreeModesReference

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        reach = 1.0 if self.options.shape == "modes" else max(RADII)
        extent = max(2.0 + reach, reach + 6.0 * self.thickness)
        self.x_space = Box((0.0, 1.0), 0)
        self.y_space = Box((-extent, extent), self.options.ambient_dim)
        self.z_space = Labels(len(WEIGHTS))
        shape, bridge = self.options.shape, self.options.bridge
        branches, bridges = _modes() if shape == "modes" else _circles(bridge > 0.0)
        #: The branches, in the order of `WEIGHTS`, and the bridges if there are any; and the share of each.
        self.pieces: tuple[Piece, ...] = (*branches, *bridges) if bridge > 0.0 else branches
        own = [(1.0 - bridge) * weight for weight in WEIGHTS]
        self.shares = (*own, *[bridge / len(bridges)] * len(bridges)) if bridge > 0.0 else tuple(own)
        self.manifold_dim = 0 if shape == "modes" and bridge == 0.0 else 1
        self.reference = ThreeModesReference(self)

    def _draw(self, n: int, rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x = np.empty((n, 0))
        return x, *self.draw(x, rng)

    def draw(self, x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A draw for each x (n, 0) from `rng` alone: y (n, D) float64 and its branch (n,) int64."""
        n = len(x)
        label = rng.choice(len(self.shares), size=n, p=self.shares)
        share, noise = rng.random(n), rng.standard_normal((n, self.options.ambient_dim))
        clean = np.empty((n, 2))
        for k in np.unique(label):
            clean[label == k] = self.pieces[k].at(share[label == k])
        if label.max() >= len(WEIGHTS):
            label = np.where(label < len(WEIGHTS), label, self.reference.nearest(clean))
        return self.embed(clean) + self.thickness * noise, label

    def embed(self, points: np.ndarray) -> np.ndarray:
        """Points (n, 2) of the plane of the branches as points (n, D) of all of space."""
        return np.pad(points, ((0, 0), (0, self.options.ambient_dim - 2)))


def _modes() -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """The modes and the sides of their triangle."""
    places = [(math.cos(angle), math.sin(angle)) for angle in ANGLES]
    sides = zip(places, places[1:] + places[:1], strict=True)
    return tuple(map(Point, places)), tuple(Segment(start, end) for start, end in sides)


def _circles(bridged: bool) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """The circles and the spokes from the innermost to the outermost; only if bridged are the circles not alone."""
    inner, middle, outer = RADII

    def at(radius: float, angle: float) -> tuple[float, float]:
        return radius * math.cos(angle), radius * math.sin(angle)

    spokes = tuple(Segment(at(inner, angle), at(outer, angle), marks=(middle - inner,)) for angle in ANGLES)
    return tuple(Ring(radius, ANGLES if bridged else ()) for radius in RADII), spokes


def _stays(eps: float) -> float:
    """P(a blurred mode is nearest to its own mode).

    Its cell is the wedge of 60 degrees to either side of it, hence the chance that two normal variables of mean
    sqrt(3)/2, deviation eps and correlation 1/2 are both positive (Owen 1956).
    """
    from scipy.special import ndtr, owens_t

    if eps == 0.0:
        return 1.0
    h = math.sqrt(3.0) / 2.0 / eps
    return float(ndtr(h) - 2.0 * owens_t(h, 1.0 / math.sqrt(3.0)))


def _bands(center: np.ndarray, eps: float) -> np.ndarray:
    """P(circle k is the nearest) for points at the distances `center` (m,) from the origin, blurred: (m, 3)."""
    below = [(center <= edge).astype(float) if eps == 0.0 else radius_cdf(edge, center, eps) for edge in MIDDLES]
    return np.diff(np.stack([0.0 * center, *below, 1.0 + 0.0 * center], axis=1), axis=1)


def _bands_of_bridge(eps: float) -> np.ndarray:
    """The same for points uniform on a spoke, (3,)."""
    place, weight = panels(RADII[0], RADII[-1], MIDDLES, eps, 32)
    return weight @ _bands(place, eps) / (RADII[-1] - RADII[0])
