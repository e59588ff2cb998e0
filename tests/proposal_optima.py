"""The curvature a that minimises the expected objective of a method with proposals on N(0, 1) data, E = a y² / 2.

One dimension, each example's kernels on its own answer. No draw is simulated: given the answer the M draws are
independent, each from the parts of the proposal that its stratum meets, so that for weights w = exp(-E) / q

    E ln Σ_m w_m = ∫_0^∞ (e^-t - Π_m E e^(-t w_m)) dt / t

(Frullani's integral for the logarithm), one quadrature over t of products of one-dimensional ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from ebm_vs_prob.models.data_kernel import UNIFORM_SHARE

#: Half the side of the y-box.
HALF = 8.0


@dataclass(frozen=True)
class Proposal:
    """The proposal round each of the answers y (n, 1), whose Gauss-Hermite weights are `mass` (n,)."""

    draws: int
    widths: tuple[float, ...]

    def __post_init__(self) -> None:
        node, weight = np.polynomial.hermite_e.hermegauss(48)
        normal, normal_weight = np.polynomial.hermite_e.hermegauss(64)
        point, point_weight = np.polynomial.legendre.leggauss(320)
        y = node[:, None]
        parts = [(np.broadcast_to(HALF * point, (len(node), len(point))), point_weight / 2)]
        parts += [(y + w * normal, normal_weight / math.sqrt(2 * math.pi)) for w in self.widths]
        object.__setattr__(self, "y", node)
        object.__setattr__(self, "mass", weight / weight.sum())
        object.__setattr__(self, "parts", [(p, m, self.log_density(p - y)) for p, m in parts])

    def log_density(self, displacement: np.ndarray) -> np.ndarray:
        """ln q at a displacement from the answer."""
        share = (1 - UNIFORM_SHARE) / len(self.widths)
        total = np.full(np.shape(displacement), UNIFORM_SHARE / (2 * HALF))
        for w in self.widths:
            total = total + share * np.exp(-0.5 * (displacement / w) ** 2) / (w * math.sqrt(2 * math.pi))
        return np.log(total)

    def strata(self) -> np.ndarray:
        """What share of each draw's stratum lies in each part, (M, 1 + W)."""
        width = (1 - UNIFORM_SHARE) / len(self.widths)
        edge = np.cumsum([0.0, UNIFORM_SHARE, *[width] * len(self.widths)])
        low = np.arange(self.draws)[:, None] / self.draws
        overlap = np.minimum(low + 1 / self.draws, edge[1:]) - np.maximum(low, edge[:-1])
        return self.draws * overlap.clip(0)

    def mean(self, value) -> np.ndarray:
        """E value(y', ln q(y')) over one draw of q round each answer, (n,)."""
        share = [UNIFORM_SHARE, *[(1 - UNIFORM_SHARE) / len(self.widths)] * len(self.widths)]
        return sum(s * (value(p, q) @ m) for s, (p, m, q) in zip(share, self.parts, strict=True))

    def mean_log_sum(self, a: float, own: np.ndarray | None = None) -> float:
        """E ln Σ_m w_m over answers and draws; of Σ_m w_m + w(y) where the answers' ln w is given, (n,)."""
        # The integrand is analytic to ±iπ/2, so that the rule is off by e^(-π² / step), 3e-9 of it.
        step = 0.5
        s = np.arange(-32.0, 36.0, step)
        t = np.exp(s)
        # Weights of each answer are measured in e^scale, so that one range of t serves all.
        scale = -0.5 * a * self.y**2
        transforms = []
        for p, m, q in self.parts:
            w = np.exp(-0.5 * a * p**2 - q - scale[:, None])
            transforms.append(np.stack([np.exp(-each * w) @ m for each in t], -1))
        log_product = sum(
            np.log(np.maximum(sum(share * f for share, f in zip(row, transforms, strict=True)), 1e-300))
            for row in self.strata()
        )
        if own is not None:
            log_product = log_product - t * np.exp(own - scale)[:, None]
        integral = (np.exp(-t) - np.exp(log_product)).sum(-1) * step
        return float(self.mass @ (integral + scale))


def expected(method: str, proposal: Proposal, a: float, level: float = 0.0, sigma: float = 0.0) -> float:
    """The expected objective of a method at curvature a, nats up to a constant."""
    y, mass = proposal.y, proposal.mass
    positive = float(mass @ (0.5 * a * y**2))
    if method == "importance_sampled_likelihood":
        return positive + proposal.mean_log_sum(a)
    if method == "kl_divergence_importance_sampling":
        return positive + 0.5 * a * sigma**2 + proposal.mean_log_sum(a)
    at_answer = float(proposal.log_density(np.zeros(())))
    if method == "ranking_noise_contrastive_estimation":
        own = -0.5 * a * y**2 - at_answer
        return proposal.mean_log_sum(a, own) - float(mass @ own)
    if method == "self_normalised_likelihood":
        ratio = proposal.mean(lambda p, q: np.exp(-0.5 * a * p**2 - level - q))
        return positive + level + float(mass @ ratio) - 1
    offset = level + math.log(proposal.draws)
    noise = proposal.mean(lambda p, q: np.logaddexp(0, -0.5 * a * p**2 - offset - q))
    return float(mass @ (np.logaddexp(0, 0.5 * a * y**2 + offset + at_answer) + proposal.draws * noise))


def optimum(method: str, draws: int, widths: tuple[float, ...], sigma: float = 0.0) -> float:
    """The curvature that minimises the expected objective."""
    proposal = Proposal(draws, widths)
    if method in ("noise_contrastive_estimation", "self_normalised_likelihood"):
        found = minimize(lambda v: expected(method, proposal, v[0], v[1]), [1.0, 0.9], tol=1e-10)
        return float(found.x[0])
    found = minimize_scalar(lambda a: expected(method, proposal, a, sigma=sigma), bounds=(0.3, 4), method="bounded")
    return float(found.x)
