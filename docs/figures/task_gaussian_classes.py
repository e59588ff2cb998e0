"""Draws task_gaussian_classes.png: samples of the classes on their Bayes decisions, at three thicknesses.

Run it as `python docs/figures/task_gaussian_classes.py`; seconds.
"""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch
from drawing import save

import ebm_vs_prob as evp

THICKNESS = (0.2, 0.5, 1.0)
EXTENT = 2.4
COLOURS = ("#2a6f97", "#c1440e", "#6a994e", "#6d597a")


def main() -> None:
    side = torch.linspace(-EXTENT, EXTENT, 301, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    hues = torch.tensor([mpl.colors.to_rgb(colour) for colour in COLOURS], dtype=torch.float64)
    figure, panels = plt.subplots(1, len(THICKNESS), figsize=(8.2, 3.6), sharey=True, layout="constrained")
    for panel, thickness in zip(panels, THICKNESS, strict=True):
        task = evp.get_task("gaussian_classes", thickness=thickness)
        posterior = (-task.reference.graph(grid).unary[:, 0]).softmax(-1)
        chance, label = posterior.max(-1)
        strength = 0.45 * ((chance - 0.25) / 0.75).unsqueeze(-1)
        shade = (1 - strength) + strength * hues[label]
        panel.imshow(shade.reshape(301, 301, 3).transpose(0, 1), origin="lower", extent=(-EXTENT, EXTENT) * 2)
        x, y = task.sample(400)
        panel.scatter(x[:, 0], x[:, 1], s=6, c=[COLOURS[k] for k in y], edgecolors="none")
        panel.set(xlim=(-EXTENT, EXTENT), ylim=(-EXTENT, EXTENT), xlabel="x₀", aspect="equal")
        error, entropy = task.reference.bayes_error(), task.reference.entropy()
        panel.set_title(f"thickness {thickness:g}\nBayes error {error:.3f}, entropy {entropy:.2f} nats", fontsize=9)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("x₁")
    save(figure, __file__)


if __name__ == "__main__":
    main()
