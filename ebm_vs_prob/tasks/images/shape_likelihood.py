"""The likelihood of a picture and its reduction, given the kind and angles of the shape: brightness in closed form.

A picture is linear in its brightness c, so that c leaves of the likelihood a Gaussian integral over an interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .bars_and_ellipses import BRIGHTNESS, block_means, table

if TYPE_CHECKING:
    import torch


def log_brightness_integral(precision: torch.Tensor, best: torch.Tensor) -> torch.Tensor:
    """ln of the mean of exp(-½ A (c - best)²) over uniform c, for a precision A > 0: any shape, smooth everywhere."""
    import torch

    low, high = ((bound - best) * precision.sqrt() for bound in BRIGHTNESS)
    flipped = low + high > 0
    low, high = torch.where(flipped, -high, low), torch.where(flipped, -low, high)
    outer, inner = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    mass = inner + torch.log1p(-torch.exp(outer - inner))
    return mass + 0.5 * (math.log(2.0 * math.pi) - precision.log()) - math.log(BRIGHTNESS[1] - BRIGHTNESS[0])


@dataclass(frozen=True)
class OnLattice:
    """A likelihood at nodes: -½ A (c - best)² + peak in the brightness c, all (B, 2, N)."""

    precision: torch.Tensor
    best: torch.Tensor
    peak: torch.Tensor

    @property
    def integrated(self) -> torch.Tensor:
        """Its logarithm with c integrated out, (B, 2, N)."""
        return self.peak + log_brightness_integral(self.precision, self.best)

    @property
    def largest(self) -> torch.Tensor:
        """Its logarithm with the best c that there is, (B, 2, N)."""
        return self.peak - 0.5 * self.precision * (self.best - self.best.clamp(*BRIGHTNESS)).square()


class Likelihood:
    """exp(-½ |x - c a|² / s² - ½ |y - c m|² / ε²) of pictures c m and their reductions c a.

    Args:
        noise: ε, infinite where only x counts. input_noise: s, infinite where only y counts.
    """

    def __init__(self, noise: float, input_noise: float) -> None:
        self.weights = (1.0 / input_noise**2, 1.0 / noise**2)

    @property
    def longest_step(self) -> float:
        """By how many deviations of the noise (x, y) may differ where the pictures differ by 1: block means by ¼."""
        return math.sqrt(self.weights[0] / 16.0 + self.weights[1])

    def on_lattice(self, x: torch.Tensor, y: torch.Tensor | None) -> OnLattice:
        """The likelihood at every node of the table, for x (B, 16) and y (B, 256), or whatever y."""
        _, drawn, reduced = table()
        terms = [(x, reduced, self.weights[0])] + ([] if y is None else [(y, drawn, self.weights[1])])
        precision = _total([w * image.square().sum(-1) for _, image, w in terms])
        product = _total([w * (given @ image.mT).movedim(0, 1) for given, image, w in terms])
        square = _total([w * given.square().sum(-1) for given, _, w in terms])[:, None, None]
        best = product / precision
        return OnLattice(precision.expand_as(best), best, -0.5 * (square - best * product))

    def at(self, x: torch.Tensor, y: torch.Tensor, picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same of pictures (..., 256) of brightness 1, from differences, which keep their digits where ε is small.

        Args:
            x: (..., 16). y: (..., 256).
        """
        precision, best = self.brightness(x, y, picture)
        reduced = block_means(picture)

        def fit(c: torch.Tensor) -> torch.Tensor:
            misfits = [given - c.unsqueeze(-1) * image for given, image in ((x, reduced), (y, picture))]
            return _total([-0.5 * w * part.square().sum(-1) for part, w in zip(misfits, self.weights, strict=True)])

        return fit(best) + log_brightness_integral(precision, best), fit(best.clamp(*BRIGHTNESS))

    def brightness(self, x: torch.Tensor, y: torch.Tensor, picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The precision of the brightness and its best value, (...) each, where it has no bounds."""
        terms = list(zip((x, y), (block_means(picture), picture), self.weights, strict=True))
        precision = _total([w * image.square().sum(-1) for _, image, w in terms])
        return precision, _total([w * (given * image).sum(-1) for given, image, w in terms]) / precision


def _total(terms: list[torch.Tensor]) -> torch.Tensor:
    """The sum of a few tensors that broadcast."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
