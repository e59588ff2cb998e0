"""Random energies whose partition functions are known, in one to six dimensions, and how normalisers fare on them.

    python tests/gibbs/random_energies.py --count 400

counts, by kind and dimension, silent errors (off by more than three stated errors, without a warning) and false
warnings (a warning although it is right).
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import gammaln, ndtr

import ebm_vs_prob as evp
from ebm_vs_prob.gibbs.trust import doubts_asked_for

LOW, HIGH = -8.0, 8.0
DIMS = (1, 2, 3, 4, 5, 6)
#: Rounding of some 1e4 sums is the floor of any stated error.
ROUNDING = 1e-9


@dataclass(frozen=True)
class RandomEnergy:
    """E(x, y) over [-8, 8]^dim and its ln Z at beta = 1."""

    kind: str
    dim: int
    energy: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    log_z: float


@dataclass(frozen=True)
class Verdict:
    """What a normaliser said of a random energy: by how much it is off, its stated error, and its warnings."""

    each: RandomEnergy
    off: float
    error: float
    warnings: tuple[str, ...]
    seconds: float

    @property
    def right(self) -> bool:
        return self.off <= 3 * self.error + ROUNDING

    @property
    def silent(self) -> bool:
        return not self.right and not self.warnings

    @property
    def false_warning(self) -> bool:
        return self.right and bool(self.warnings)


def random_energies(count: int, seed: int = 0, dims: tuple[int, ...] = DIMS) -> Iterator[RandomEnergy]:
    """`count` energies, kinds and dimensions by turns; shells begin at two dimensions."""
    kinds = tuple(MAKERS)
    for index in range(count):
        kind, dim = kinds[index % len(kinds)], dims[index // len(kinds) % len(dims)]
        kind = "mixture" if kind == "shell" and dim == 1 else kind
        energy, log_z = MAKERS[kind](np.random.default_rng([seed, index]), dim)
        yield RandomEnergy(kind, dim, energy, log_z)


def verdict(each: RandomEnergy, annealed_from: int = 4) -> Verdict:
    """Quadrature below `annealed_from` dimensions, annealed importance sampling from there on, at their defaults."""
    normalizer = "quadrature" if each.dim < annealed_from else "annealed"
    begin = time.perf_counter()
    density = evp.GibbsBoltzmann(each.energy, y_dim=each.dim, normalizer=normalizer)
    with doubts_asked_for():
        value, error = density.log_partition()
    off = abs(float(value) - each.log_z)
    return Verdict(each, off, float(error), density.warnings(), time.perf_counter() - begin)


Made = tuple[Callable[[torch.Tensor, torch.Tensor], torch.Tensor], float]


def _gaussians(shares: np.ndarray, places: np.ndarray, widths: np.ndarray) -> Made:
    """A mixture of Gaussians of places and widths (modes, dim); masses within the box by the normal integral."""
    inside = (ndtr((HIGH - places) / widths) - ndtr((LOW - places) / widths)).prod(1)
    heights = np.log(shares) - np.log(widths * (2 * math.pi) ** 0.5).sum(1)
    log_heights, at, width = (torch.tensor(part) for part in (heights, places, widths))

    def energy(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        squares = ((y.unsqueeze(-2) - at) / width).square().sum(-1)
        return -(log_heights - squares / 2).logsumexp(-1)

    return energy, math.log(float(shares @ inside))


def _log_uniform(rng: np.random.Generator, low: float, high: float, *shape: int) -> np.ndarray:
    return np.exp(rng.uniform(math.log(low), math.log(high), shape))


def _mixture(rng: np.random.Generator, dim: int) -> Made:
    """One to four isotropic Gaussians, widths .03 to 1."""
    modes = int(rng.integers(1, 5))
    shares, places = rng.dirichlet(np.full(modes, 2.0)), rng.uniform(-6, 6, (modes, dim))
    return _gaussians(shares, places, np.broadcast_to(_log_uniform(rng, 0.03, 1.0, modes, 1), (modes, dim)).copy())


def _needles(rng: np.random.Generator, dim: int) -> Made:
    """Three isotropic Gaussians, one as narrow as can be asked for: .001 on a line, .02 in a plane, else .03 to .28."""
    narrowest, widest = {1: (0.001, 1.0), 2: (0.02, 1.0)}.get(dim, (0.03, 0.28))
    widths = np.concatenate([[[narrowest], [widest]], _log_uniform(rng, narrowest, widest, 1, 1)])
    return _gaussians(rng.dirichlet(np.full(3, 2.0)), rng.uniform(-6, 6, (3, dim)), np.tile(widths, (1, dim)))


def _edge(rng: np.random.Generator, dim: int) -> Made:
    """One or two isotropic Gaussians whose middles lie within two widths of a face of the box, or just outside."""
    modes = int(rng.integers(1, 3))
    widths = _log_uniform(rng, 0.05, 1.0, modes, 1)
    near = HIGH - widths * rng.uniform(-1, 2, (modes, dim))
    at_face = rng.random((modes, dim)) < 1 / dim
    at_face[:, 0] = True
    places = np.where(at_face, rng.choice([-1, 1], (modes, dim)) * near, rng.uniform(-6, 6, (modes, dim)))
    return _gaussians(rng.dirichlet(np.full(modes, 2.0)), places, np.tile(widths, (1, dim)))


def _turned(rng: np.random.Generator, dim: int) -> Made:
    """One to three Gaussians of widths .03 to .5 along axes of their own, so far inside that no mass is outside."""
    modes = int(rng.integers(1, 4))
    shares, at = rng.dirichlet(np.full(modes, 2.0)), torch.tensor(rng.uniform(-4, 4, (modes, dim)))
    widths = _log_uniform(rng, 0.03, 0.5, modes, dim)
    axes = torch.tensor(np.linalg.qr(rng.standard_normal((modes, dim, dim)))[0] / widths[:, None, :])
    log_heights = torch.tensor(np.log(shares) - np.log(widths * (2 * math.pi) ** 0.5).sum(1))

    def energy(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        standard = torch.einsum("...md,mde->...me", y.unsqueeze(-2) - at, axes)
        return -(log_heights - standard.square().sum(-1) / 2).logsumexp(-1)

    return energy, 0.0


def _product(rng: np.random.Generator, dim: int) -> Made:
    """A bowl with ripples along every axis, each axis a factor whose integral is done on 400 cells of 20 nodes."""
    depth, wave, phase = rng.uniform(0, 3, dim), rng.uniform(0.5, 4, dim), rng.uniform(0, 2 * math.pi, dim)
    middle, width = rng.uniform(-5, 5, dim), _log_uniform(rng, 0.3, 4.0, dim)
    parts = [torch.tensor(part) for part in (depth, wave, phase, middle, width)]

    def energy(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        a, k, shift, at, scale = parts
        return (a * torch.cos(k * y + shift) + ((y - at) / scale).square() / 2).sum(-1)

    nodes, weights = np.polynomial.legendre.leggauss(20)
    half = (HIGH - LOW) / 800
    t = (LOW + half * (2 * np.arange(400)[:, None] + 1) + half * nodes)[..., None]
    each = np.exp(-depth * np.cos(wave * t + phase) - ((t - middle) / width) ** 2 / 2)
    return energy, float(np.log(half * np.einsum("cqd,q->d", each, weights)).sum())


def _rectangle(rng: np.random.Generator, dim: int) -> tuple[torch.Tensor, torch.Tensor, float]:
    low = rng.uniform(-6, 4, dim)
    sides = rng.uniform(0.5, 3.0, dim)
    return torch.tensor(low), torch.tensor(low + sides), float(np.log(sides).sum())


def _wall(rng: np.random.Generator, dim: int) -> Made:
    """0 within a rectangle, infinite outside."""
    low, high, log_volume = _rectangle(rng, dim)

    def energy(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.where(((y > low) & (y < high)).all(-1), 0.0, math.inf).double()

    return energy, log_volume


def _step(rng: np.random.Generator, dim: int) -> Made:
    """-height within a rectangle, 0 outside."""
    low, high, log_volume = _rectangle(rng, dim)
    height = float(rng.uniform(1, 6))

    def energy(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return -height * ((y > low) & (y < high)).all(-1).double()

    return energy, float(np.logaddexp(dim * math.log(HIGH - LOW), log_volume + math.log(math.expm1(height))))


def _shell(rng: np.random.Generator, dim: int) -> Made:
    """(|y - c| - r)² / (2 t²): the sphere's surface times a radial integral, all of it within the box."""
    center, radius = torch.tensor(rng.uniform(-3, 3, dim)), float(rng.uniform(1, 3))
    thickness = float(np.exp(rng.uniform(math.log(0.02), math.log(0.2))))
    nodes, weights = np.polynomial.legendre.leggauss(400)
    reach = min(10 * thickness, radius)
    r = radius + reach * nodes
    radial = float(reach * weights @ (r ** (dim - 1) * np.exp(-0.5 * ((r - radius) / thickness) ** 2)))
    log_surface = math.log(2) + dim / 2 * math.log(math.pi) - float(gammaln(dim / 2))

    def energy(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return 0.5 * (((y - center).norm(dim=-1) - radius) / thickness).square()

    return energy, log_surface + math.log(radial)


MAKERS: dict[str, Callable[[np.random.Generator, int], Made]] = {
    "mixture": _mixture,
    "wall": _wall,
    "step": _step,
    "shell": _shell,
    "needles": _needles,
    "edge": _edge,
    "turned": _turned,
    "product": _product,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dims", type=int, nargs="+", default=list(DIMS))
    parser.add_argument("--kinds", nargs="+", default=list(MAKERS))
    parser.add_argument("--annealed-from", type=int, default=4, metavar="D")
    given = parser.parse_args()
    found: dict[tuple[str, int], list[Verdict]] = {}
    for each in random_energies(given.count, given.seed, tuple(given.dims)):
        if each.kind in given.kinds:
            said = verdict(each, given.annealed_from)
            found.setdefault((each.kind, each.dim), []).append(said)
            if said.silent or said.false_warning:
                word = "silent" if said.silent else "false: " + "; ".join(said.warnings)
                print(f"{each.kind:8} {each.dim}  off {said.off:.2g}  stated {said.error:.2g}  {word}")
    print("kind     D    n  silent  false warnings  median off  median stated  seconds")
    for (kind, dim), row in sorted(found.items()):
        off, stated, took = (float(np.median([getattr(v, n) for v in row])) for n in ("off", "error", "seconds"))
        silent, false = sum(v.silent for v in row), sum(v.false_warning for v in row)
        print(f"{kind:8} {dim} {len(row):4} {silent:7} {false:15} {off:11.2g} {stated:14.2g} {took:8.2f}")
    every = [v for row in found.values() for v in row]
    right = sum(v.right for v in every)
    print(f"{sum(v.silent for v in every)} silent errors of {len(every)}; ", end="")
    print(f"{sum(v.false_warning for v in every)} false warnings of {right} that are right")


if __name__ == "__main__":
    main()
