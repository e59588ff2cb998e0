"""The inverse temperature at which an unnormalised energy is best read as a probability."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from ..core.discrete_energies import DiscreteEnergy
from ..core.factor_graphs import FactorGraph
from ..energies.evaluation import energy_in_blocks
from .density import GibbsBoltzmann
from .normalizers.minima import Minima
from .normalizers.quadrature import Quadrature

#: Validation pairs of a replicate; of them, by output dimension, those that get a partition function where x varies:
#: one costs hundreds of energies in one dimension and up to 1e5 in two.
PAIRS, QUERIES = 256, {1: 64, 2: 16}
#: Nodes that one of these may have. On a line smooth energies take hundreds, at whatever scale; what takes more is
#: rough down to its rounding, and all others of a batch are padded to it.
MOST_NODES = {1: 1 << 15, 2: 1 << 18}
#: Queries and proposals of importance sampling beyond two dimensions.
IMPORTANCE_QUERIES, PROPOSALS = 32, 1024
#: Draws of the density itself over all queries, and of each at least: near beta = 1 their weights hardly differ.
DRAWS, FEWEST_DRAWS = 4096, 64
#: ln beta moves at most this far on one set of nodes, which was refined for another beta.
REACH = 2.0
#: beta stays within these, over the range of the energy on a lattice: at the first the density is uniform to .1 %.
LIMITS = (1e-3, 1e9)
#: Range that an energy without any counts as having, so that the limits are finite, in single precision too.
LEAST_RANGE = 1e-20
TOLERANCE, MAX_ROUNDS = 5e-3, 30
#: Of ln beta, of discrete answers.
GRAPH_TOLERANCE = 1e-3
#: Rounds after which ln beta goes half the way to what the last nodes say.
WHOLE_ROUNDS = 3
RTOL = 1e-3


@torch.no_grad()
def fit_beta(
    energy: nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    bounds: tuple[float, float],
    trained: torch.Tensor,
    propose: Callable[[torch.Tensor, int], tuple[torch.Tensor, torch.Tensor]],
    by_draws: bool = False,
) -> torch.Tensor:
    """The beta > 0 that maximises the mean of -beta E(x, y) - ln Z(x; beta) over validation pairs, (R,) float64.

    Temperature scaling (Guo et al. 2017, section 4.2; beta is 1/T) of a density. Up to two output dimensions ln Z is a
    quadrature whose nodes are refined at one beta, reused to find the next, and refined again until ln beta is stable
    to 5e-3; beyond, it is importance sampling on fixed proposals. The objective is convex in beta.

    An energy that is no lower at the data than elsewhere gets the smallest beta, at which the density is all but
    uniform; NaN for a replicate whose energies are not finite or whose training failed.

    Args:
        energy: R replicated energies.
        x, y: the pairs, (R, n, dx) and (R, n, dy); of a varying x the first of them are used, as many as can be paid.
        bounds: of the y-box.
        trained: (R,) bool, False where training failed.
        propose: draws (R, n, K, dy) of a proposal at x (R, n, dx) and their log-densities (R, n, K), of which K is
            asked for; called beyond two output dimensions only, or where ln Z is found by draws.
        by_draws: find ln Z by importance sampling in any dimension, of few draws: best where these are the density's.
    """
    dim = y.shape[-1]
    if not x.shape[-1]:
        x = x[:, :1]
    else:
        count = QUERIES.get(dim, IMPORTANCE_QUERIES)
        x, y = x[:, :count], y[:, :count]
    found = energy(x, y).double()
    sound = found.isfinite().all(1) & trained
    if by_draws or dim not in QUERIES:
        samples, log_density = propose(x, max(FEWEST_DRAWS, DRAWS // x.shape[1]) if by_draws else PROPOSALS)
        nodes = energy_in_blocks(energy, x.unsqueeze(2), samples).double()
        guess, limits = _first_guess(found, nodes, dim)
        return _search(found, nodes, -log_density.double(), guess, sound, limits, reach=40.0)
    low, high = bounds
    lattice = (low + (high - low) * _lattice(dim)).to(y).expand(len(found), 1, -1, -1)
    beta, limits = _first_guess(found, energy_in_blocks(energy, x.unsqueeze(2), lattice), dim)
    settled = torch.zeros_like(sound)
    refined = _Nodes(energy, x.expand(len(found), -1, -1), dim, bounds)
    for number in range(MAX_ROUNDS):
        nodes, log_weights = refined.at(beta)
        fitted = _search(found, nodes, log_weights, beta, sound, limits)
        moved = (fitted / beta).log().abs()  # of a replicate that failed it is NaN, which moves no more
        # Two sets of nodes can each lead to the other's beta: half the way ends the round trip.
        step = fitted if number < WHOLE_ROUNDS else (beta * fitted).sqrt()
        # What has settled stays, or it would depend on how long others of its batch take.
        beta = torch.where(settled, beta, step)
        settled |= ~(moved > TOLERANCE)
        if bool(settled.all()):
            break
    return beta


@torch.no_grad()
def fit_graph_beta(graph: DiscreteEnergy, variables: torch.Tensor, trained: torch.Tensor) -> torch.Tensor:
    """`fit_beta` of discrete answers, whose ln Z is exact: (R,) float64, NaN where training failed.

    Minus the log-likelihood is convex in beta, so that golden sections find its minimum, of all replicates at once.

    Args:
        graph: the energies of all answers at the x of the pairs, of batch (R, n).
        variables: the pairs' answers, (R, n, T) int64.
        trained: (R,) bool, False where training failed.
    """
    if isinstance(graph, FactorGraph):
        graph = graph.map(torch.Tensor.double)
    energy = graph.energy(variables).double()
    # The mean is over latents too: at another temperature than that of its latents a lattice sums over all strings.
    depth = (graph.at(0.0).free_energy(0.0).double() - graph.min_sum()[1].double()).amax(1)
    depth = torch.where(depth.isfinite() & (depth > 0), depth, 1.0)
    sound = energy.isfinite().all(1) & trained

    def loss(log_beta: torch.Tensor) -> torch.Tensor:
        beta = log_beta.exp()
        own = graph.at(beta.unsqueeze(1))
        gap = own.energy(variables).double().mean(1) - own.free_energy(beta.unsqueeze(1)).double().mean(1)
        return torch.where(sound, beta * gap, 0.0)

    low, high = ((limit / depth).log() for limit in LIMITS)
    golden = (math.sqrt(5) - 1) / 2
    inner, outer = high - golden * (high - low), low + golden * (high - low)
    at_inner, at_outer = loss(inner), loss(outer)
    while bool((high - low > GRAPH_TOLERANCE).any()):
        left = at_inner < at_outer
        low, high = torch.where(left, low, inner), torch.where(left, outer, high)
        # One of the two places of the new interval was a place of the old one.
        kept, at_kept = torch.where(left, inner, outer), torch.where(left, at_inner, at_outer)
        new = torch.where(left, high - golden * (high - low), low + golden * (high - low))
        at_new = loss(new)
        inner, at_inner = torch.where(left, new, kept), torch.where(left, at_new, at_kept)
        outer, at_outer = torch.where(left, kept, new), torch.where(left, at_kept, at_new)
    return torch.where(sound, ((low + high) / 2).exp(), math.nan)


def _lattice(dim: int) -> torch.Tensor:
    """(K, dim) midpoints of a lattice on the unit cube, some 500 of them."""
    per_axis = round(512 ** (1 / dim))
    axis = (torch.arange(per_axis, dtype=torch.float64, device="cpu") + 0.5) / per_axis
    return torch.cartesian_prod(*[axis] * dim).reshape(-1, dim)


def _first_guess(energy: torch.Tensor, elsewhere: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(R,) the beta at which the data's mean energy above the lowest is that of a quadratic well, dim / (2 beta).

    And (2, R) the limits that beta keeps.
    """
    seen = torch.cat([energy, elsewhere.flatten(1)], 1)
    spread = seen.amax(1) - seen.amin(1)
    spread = torch.where(spread == 0, 1.0, spread)  # a constant energy says the same at any beta
    limits = torch.tensor(LIMITS, dtype=torch.float32, device="cpu").to(seen).unsqueeze(1) / spread
    guess = (dim / 2) / (energy.mean(1) - seen.amin(1)).clamp_min(LEAST_RANGE)
    return guess.clamp(*limits), limits


class _Nodes:
    """Quadratures of R energies at x (R, n, dx) at one beta after the other; minima are looked for at the first."""

    def __init__(self, energy: nn.Module, x: torch.Tensor, dim: int, bounds: tuple[float, float]) -> None:
        self._energy, self._x, self._dim, self._bounds = energy, x, dim, bounds
        self._quadrature = Quadrature(rtol=RTOL, max_nodes=MOST_NODES[dim], probes=8)
        self._known: tuple[Minima, torch.Tensor] | None = None

    def at(self, beta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Energies and log quadrature weights (R, n, K) at nodes refined for `beta`, (R,)."""
        usable = torch.where(beta.isfinite(), beta, 1.0).reshape(-1, 1)
        density = GibbsBoltzmann(
            self._energy, y_dim=self._dim, x=self._x, beta=usable, bounds=self._bounds, validate_args=False
        )
        each = density.beta.double().flatten()
        if self._known is None:
            self._known = self._quadrature.minima(density.target), each
        minima, first = self._known
        cells = self._quadrature.cells(density.target, minima.scaled(each / first))
        log_density = cells.log_density.reshape(*density.batch_shape, -1)
        return -log_density / usable.double().unsqueeze(-1), cells.log_weights().reshape(log_density.shape)


def _search(
    energy: torch.Tensor,
    nodes: torch.Tensor,
    log_weights: torch.Tensor,
    beta: torch.Tensor,
    sound: torch.Tensor,
    limits: torch.Tensor,
    reach: float = REACH,
) -> torch.Tensor:
    """(R,) the beta within exp(±reach) of the given one, and the limits, of highest likelihood on nodes (R, n, K)."""
    # Nodes without weight pad a replicate to the neediest of its batch; summed along, they would change its last bits.
    used = [(weights > -math.inf).any(0) for weights in log_weights]
    own = [(nodes[r][:, use], log_weights[r][:, use]) for r, use in enumerate(used)]

    def loss(log_beta: float, r: int) -> float:
        beta, (at, weights) = math.exp(log_beta), own[r]
        return beta * float(energy[r].mean()) + float(torch.logsumexp(weights - beta * at, -1).mean())

    near = beta.log() + torch.tensor([[-reach], [reach]], dtype=torch.float32, device="cpu").to(beta)
    within = torch.stack([torch.maximum(near[0], limits[0].log()), torch.minimum(near[1], limits[1].log())])
    return _minimisers(loss, sound, within)


def _minimisers(loss: Callable[[float, int], float], sound: torch.Tensor, within: torch.Tensor) -> torch.Tensor:
    """(R,) float64 the beta of each replicate r that minimises loss(ln beta, r), ln beta within the bounds (2, R)."""
    from scipy.optimize import minimize_scalar

    result = []
    for r, bounds in enumerate(within.T.tolist()):
        if not bool(sound[r]) or not all(map(math.isfinite, bounds)):  # energies may overflow away from the data
            result.append(math.nan)
            continue
        found = minimize_scalar(loss, args=(r,), bounds=bounds, method="bounded", options={"xatol": 5e-4})
        result.append(math.exp(found.x) if math.isfinite(found.fun) else math.nan)
    return torch.tensor(result, dtype=torch.float64, device=within.device)
