"""Draws bracket.png and prints the tables of docs/normalizers.md: estimates and bounds of a thin shell's ln Z.

Run it as `python docs/figures/bracket.py`; two minutes.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.gibbs.normalizers import (
    AnnealedImportanceSampling,
    Bracket,
    ImportanceSampling,
    Quadrature,
    bidirectional_monte_carlo,
)
from ebm_vs_prob.tasks.geometry.spheres import RadialEnergy

DIMS, THICKNESS, TEMPERATURES, CHAINS = (2, 8), (0.3, 0.1, 0.03, 0.01), (100, 300, 1000), 500
NORMALIZERS = {
    "quadrature": Quadrature(),
    "importance, 10⁵ uniform draws": ImportanceSampling(num_samples=100_000),
    "the same, smoothed": ImportanceSampling(num_samples=100_000, pareto_smoothed=True),
    "annealed, 500 chains, K = 1000": AnnealedImportanceSampling(),
}
COLOURS = ("#2a6f97", "#c1440e", "#6a994e", "#6d597a")


def main() -> None:
    estimates()
    print()
    brackets()
    from_normal()


def estimates() -> None:
    print("| D | ε | " + " | ".join(NORMALIZERS) + " |")
    print("|" + "---|" * (2 + len(NORMALIZERS)))
    for dim in (2, 3, 8):
        for thickness in (0.1, 0.01):
            cells = [estimate(dim, thickness, normalizer) for normalizer in NORMALIZERS.values()]
            print(f"| {dim} | {thickness} | " + " | ".join(cells) + " |")


def estimate(dim: int, thickness: float, normalizer: Any) -> str:
    """What it is off by, its stated error, and an exclamation mark where it says not to trust it."""
    if isinstance(normalizer, Quadrature) and dim > 3:
        return ""
    energy = RadialEnergy(thickness)
    density = evp.GibbsBoltzmann(energy, y_dim=dim, bounds=(-3.0, 3.0), normalizer=normalizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", evp.NormalizerWarning)
        value, error = density.log_partition()
    doubted = " (!)" if density.warnings() else ""
    return f"{float(value) - energy.log_partition(dim):+.1g} ± {float(error):.1g}{doubted}"


def brackets() -> None:
    print("| D | ε | exact ln Z | " + " | ".join(f"K = {k}" for k in TEMPERATURES) + " |")
    print("|" + "---|" * (3 + len(TEMPERATURES)))
    figure, panels = plt.subplots(1, len(DIMS), figsize=(8.2, 3.2), layout="constrained")
    for panel, dim in zip(panels, DIMS, strict=True):
        for thickness, colour in zip(THICKNESS, COLOURS, strict=True):
            exact = RadialEnergy(thickness).log_partition(dim)
            found = [bracket(dim, thickness, temperatures) for temperatures in TEMPERATURES]
            print(f"| {dim} | {thickness} | {exact:.3f} | " + " | ".join(map(cell, found)) + " |")
            for sign, side in ((-1, "lower"), (1, "upper")):
                off = [float(getattr(each, side)) - exact for each in found]
                errors = [float(getattr(each, f"{side}_error")) for each in found]
                label = f"ε = {thickness:g}" if sign > 0 else None
                panel.errorbar(TEMPERATURES, off, errors, color=colour, marker="o", markersize=3, label=label)
        panel.axhline(0, color="black", linewidth=0.8)
        panel.set(xscale="log", xlabel="temperatures K", title=f"D = {dim}")
        panel.set_yscale("symlog", linthresh=0.1)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("bound - ln Z [nats]")
    panels[1].legend(frameon=False, fontsize=8)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=100)


def from_normal() -> None:
    """The thinnest shells again, from N(0, I)."""
    for dim in DIMS:
        normal = torch.distributions.Normal(torch.zeros(dim, dtype=torch.float64), 1.0)
        initial = torch.distributions.Independent(normal, 1)
        gap = float(bracket(dim, THICKNESS[-1], TEMPERATURES[-1], initial).gap)
        print(f"from N(0, I): D = {dim}, ε = {THICKNESS[-1]}, K = {TEMPERATURES[-1]}: gap {gap:.2f}")


def bracket(dim: int, thickness: float, temperatures: int, initial: Any = None) -> Bracket:
    energy = RadialEnergy(thickness)
    density = evp.GibbsBoltzmann(energy, y_dim=dim, bounds=(-3.0, 3.0))
    annealing = AnnealedImportanceSampling(CHAINS, temperatures, initial, step_size=thickness)
    return bidirectional_monte_carlo(density, energy.sample(CHAINS, dim), annealing)


def cell(found: Bracket) -> str:
    return (
        f"{float(found.lower):.3f} ± {float(found.lower_error):.3f} to "
        f"{float(found.upper):.3f} ± {float(found.upper_error):.3f}"
    )


if __name__ == "__main__":
    main()
