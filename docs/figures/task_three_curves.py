"""Draws task_three_curves.png: samples of the three curves on their exact log-density, at three thicknesses.

Run it as `python docs/figures/task_three_curves.py`; seconds.
"""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch
from drawing import save

import ebm_vs_prob as evp

THICKNESS = (0.3, 0.1, 0.01)
EXTENT = 1.8
DEPTH = 8.0  # nats below the maximum at which the shading ends


def main() -> None:
    x = torch.linspace(-1.0, 1.0, 401, dtype=torch.float64)
    y = torch.linspace(-EXTENT, EXTENT, 601, dtype=torch.float64)
    figure, panels = plt.subplots(1, len(THICKNESS), figsize=(8.2, 3.0), sharey=True, layout="constrained")
    for panel, thickness in zip(panels, THICKNESS, strict=True):
        task = evp.get_task("three_curves", thickness=thickness)
        density = task.reference.log_density(x[:, None, None], y[None, :, None])
        shade = (density - density.max()).clamp_min(-DEPTH)
        panel.pcolormesh(x, y, shade.T, cmap="Blues", vmin=-DEPTH, vmax=DEPTH / 2, rasterized=True)
        panel.scatter(*(part[:, 0] for part in task.sample(500)), s=1.5, color="#c1440e")
        mean = task.reference.conditional_mean(x[:, None])
        panel.plot(x, mean, "k--", linewidth=1.2, label="mean of y given x")
        panel.set(xlim=(-1, 1), ylim=(-EXTENT, EXTENT), xticks=(-1, 0, 1), xlabel="x")
        panel.set_title(f"thickness {thickness:g}, entropy {task.reference.entropy():.2f} nats", fontsize=9)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("y")
    panels[0].legend(fontsize=8, loc="lower right")
    save(figure, __file__)


if __name__ == "__main__":
    main()
