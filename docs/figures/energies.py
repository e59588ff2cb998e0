"""Draws energies.png: what two objectives make of one network as the circle loses its thickness.

Run it as `python docs/figures/energies.py`; about a minute on one core.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch

import ebm_vs_prob as evp

THICKNESS = (0.3, 0.03, 0.003)
METHODS = {
    "denoising_score_matching": ("energy-based: score matching", "#1f6fb2"),
    "gibbs_maximum_likelihood": ("probabilistic: maximum likelihood", "#c1440e"),
}
EXTENT = 1.8


def scale_free(energy: torch.Tensor, at_data: torch.Tensor, at_random: torch.Tensor) -> torch.Tensor:
    """Energies (R, n) with 0 at the median over data and 1 at the median over uniform points."""
    low, high = (value.median(dim=1, keepdim=True).values for value in (at_data, at_random))
    return (energy - low) / (high - low)


def main() -> None:
    tasks = [evp.get_task("circle", thickness=thickness) for thickness in THICKNESS]
    axis = torch.linspace(-EXTENT, EXTENT, 161)
    grid = torch.cartesian_prod(axis, axis)
    radius = torch.linspace(0.0, EXTENT, 721)
    ray = torch.stack([radius, torch.zeros_like(radius)], dim=-1)
    uniform = tasks[0].y_space.uniform((2000,), torch.Generator().manual_seed(0))
    held_out = torch.stack([task.sample(500, seed=0, split="test")[1] for task in tasks])

    figure, panels = plt.subplots(3, len(tasks), figsize=(8.2, 8.0), layout="constrained")
    for row, (method, (label, colour)) in enumerate(METHODS.items()):
        model = evp.fit(method, tasks, seeds=[0] * len(tasks), budget=evp.Budget(steps=3000))

        def energy(y: torch.Tensor, model: evp.Model = model) -> torch.Tensor:
            return model.energy(torch.zeros(*y.shape[:-1], 0), y)

        at_data, at_random = energy(held_out), energy(uniform)
        landscape = scale_free(energy(grid), at_data, at_random).reshape(len(tasks), len(axis), len(axis))
        profile = scale_free(energy(ray), at_data, at_random)
        for column, panel in enumerate(panels[row]):
            panel.imshow(
                landscape[column].T, origin="lower", extent=2 * (-EXTENT, EXTENT), vmin=0, vmax=1, cmap="viridis"
            )
            panel.set_xticks([-1, 0, 1])
            panel.set_yticks([-1, 0, 1])
            panels[2, column].plot(radius, profile[column], color=colour, label=label)
        panels[row, 0].set_ylabel(label, fontsize=9, color=colour)
    for column, thickness in enumerate(THICKNESS):
        panels[0, column].set_title(f"thickness {thickness:g}", fontsize=10)
        panels[2, column].axvline(1.0, color="0.7", linewidth=0.8, zorder=0)
        panels[2, column].set(ylim=(-0.15, 0.9), xlabel="distance from the centre")
    panels[2, 0].set_ylabel("energy, scale-free", fontsize=9)
    panels[2, 0].legend(fontsize=7, frameon=False, loc="upper right")
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
