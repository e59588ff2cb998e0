"""Draws task_thin_sphere.png: the law of the sphere's radius, and its entropy against thickness.

Run it as `python docs/figures/task_thin_sphere.py`; seconds.
"""

from __future__ import annotations

import math

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from drawing import save

import ebm_vs_prob as evp
from ebm_vs_prob.tasks.geometry.spheres import log_area

THICKNESS, DIMS = (0.3, 0.1, 0.03), (2, 3, 8, 64)
COLOURS = ("#2a6f97", "#c1440e", "#6a994e", "#6d597a")


def main() -> None:
    figure, panels = plt.subplots(1, 3, figsize=(9.6, 3.1), layout="constrained")
    for thickness, colour in zip(THICKNESS, COLOURS, strict=False):
        density_of_radius(panels[0], 3, thickness, f"ε = {thickness:g}", colour)
    panels[0].set(title="radius in D = 3", xlabel="|y|", ylabel="density", xlim=(0, 2.2))
    for dim, colour in zip(DIMS, COLOURS, strict=True):
        density_of_radius(panels[1], dim, 0.1, f"D = {dim}", colour)
    panels[1].set(title="radius at ε = 0.1", xlabel="|y|", xlim=(0.5, 1.8))
    thin = np.logspace(-4, math.log10(0.3), 25)
    for dim, colour in zip(DIMS, COLOURS, strict=True):
        entropies = [evp.get_task("thin_sphere", thickness=float(e), ambient_dim=dim).reference.entropy() for e in thin]
        panels[2].semilogx(thin, entropies, color=colour, label=f"D = {dim}")
        law = log_area(dim) + np.log(thin) + 0.5 * math.log(2 * math.pi * math.e)
        panels[2].semilogx(thin, law, color=colour, linestyle="--", linewidth=0.9)
    panels[2].set(title="entropy (dashed: the law)", xlabel="thickness ε", ylabel="nats")
    for panel in panels:
        panel.legend(frameon=False, fontsize=8)
        panel.spines[["top", "right"]].set_visible(False)
        panel.title.set_fontsize(9)
    save(figure, __file__)


def density_of_radius(panel: plt.Axes, dim: int, thickness: float, label: str, colour: str) -> None:
    task = evp.get_task("thin_sphere", thickness=thickness, ambient_dim=dim)
    radius = np.linspace(1e-3, 2.4, 2000)
    y = torch.zeros(len(radius), dim, dtype=torch.float64)
    y[:, 0] = torch.from_numpy(radius)
    log_density = task.reference.log_prob(torch.empty(len(y), 0), y).numpy() + log_area(dim)
    panel.plot(radius, np.exp(log_density + (dim - 1) * np.log(radius)), color=colour, label=label)
    drawn = task.sample(2000)[1].norm(dim=1).numpy()
    panel.hist(drawn, bins=40, density=True, color=colour, alpha=0.25)


if __name__ == "__main__":
    main()
