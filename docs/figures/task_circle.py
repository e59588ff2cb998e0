"""Draws task_circle.png: samples of the circle on its exact log-density, at three thicknesses.

Run it as `python docs/figures/task_circle.py`; seconds.
"""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch
from drawing import save

import ebm_vs_prob as evp

THICKNESS = (0.3, 0.1, 0.01)
EXTENT = 1.9
DEPTH = 8.0  # nats below the maximum at which the shading ends


def main() -> None:
    axis = torch.linspace(-EXTENT, EXTENT, 401, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)
    figure, panels = plt.subplots(1, len(THICKNESS), figsize=(8.2, 3.2), sharey=True, layout="constrained")
    for panel, thickness in zip(panels, THICKNESS, strict=True):
        task = evp.get_task("circle", thickness=thickness)
        density = task.reference.log_density(grid[..., :0], grid)
        shade = (density - density.max()).clamp_min(-DEPTH)
        panel.pcolormesh(axis, axis, shade, cmap="Blues", vmin=-DEPTH, vmax=DEPTH / 2, rasterized=True)
        panel.scatter(*task.sample(400)[1].T, s=1.5, color="#c1440e")
        panel.set(xlim=(-EXTENT, EXTENT), ylim=(-EXTENT, EXTENT), aspect="equal", xlabel="$y_1$")
        panel.set_title(f"thickness {thickness:g}, entropy {task.reference.entropy():.2f} nats", fontsize=9)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("$y_2$")
    save(figure, __file__)


if __name__ == "__main__":
    main()
