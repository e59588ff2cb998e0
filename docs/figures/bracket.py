"""Draws bracket.png and prints its table: bounds of a thin shell's ln Z from both ends of an annealed path.

Run it as `python docs/figures/bracket.py`; a minute and a half.
"""

from __future__ import annotations

import time
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

import ebm_vs_prob as evp
from ebm_vs_prob.prob.normalizers import AnnealedImportanceSampling, Bracket, bidirectional_monte_carlo
from ebm_vs_prob.tasks.spheres import RadialEnergy

DIMS, THICKNESS, TEMPERATURES, CHAINS = (2, 8), (0.3, 0.1, 0.03, 0.01), (100, 300, 1000), 500
COLOURS = ("#2a6f97", "#c1440e", "#6a994e", "#6d597a")


def main() -> None:
    print("| D | ε | exact ln Z | " + " | ".join(f"K = {k}" for k in TEMPERATURES) + " | seconds |")
    print("|" + "---|" * (4 + len(TEMPERATURES)))
    figure, panels = plt.subplots(1, len(DIMS), figsize=(8.2, 3.2), layout="constrained")
    for panel, dim in zip(panels, DIMS, strict=True):
        for thickness, colour in zip(THICKNESS, COLOURS, strict=True):
            exact = RadialEnergy(thickness).log_partition(dim)
            started = time.perf_counter()
            found = [bracket(dim, thickness, temperatures) for temperatures in TEMPERATURES]
            seconds = time.perf_counter() - started
            print(f"| {dim} | {thickness} | {exact:.3f} | " + " | ".join(map(cell, found)) + f" | {seconds:.0f} |")
            for sign, side in ((-1, "lower"), (1, "upper")):
                off = [float(getattr(each, side)) - exact for each in found]
                errors = [float(getattr(each, f"{side}_error")) for each in found]
                label = f"ε = {thickness:g}" if sign > 0 else None
                panel.errorbar(TEMPERATURES, off, errors, color=colour, marker="o", markersize=3, label=label)
        panel.axhline(0, color="black", linewidth=0.8)
        panel.set(xscale="log", xlabel="temperatures K", title=f"D = {dim}", yscale="symlog")
        panel.set_yscale("symlog", linthresh=0.1)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("bound - ln Z [nats]")
    panels[1].legend(frameon=False, fontsize=8)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=100)


def bracket(dim: int, thickness: float, temperatures: int) -> Bracket:
    energy = RadialEnergy(thickness)
    density = evp.GibbsBoltzmann(energy, y_dim=dim, bounds=(-3.0, 3.0))
    annealing = AnnealedImportanceSampling(CHAINS, temperatures, step_size=thickness)
    return bidirectional_monte_carlo(density, energy.sample(CHAINS, dim), annealing)


def cell(found: Bracket) -> str:
    return (
        f"{float(found.lower):.3f} ± {float(found.lower_error):.3f} to "
        f"{float(found.upper):.3f} ± {float(found.upper_error):.3f}"
    )


if __name__ == "__main__":
    main()
