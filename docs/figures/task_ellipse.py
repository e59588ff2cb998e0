"""Draws task_ellipse.png: samples of the ellipse on its exact log-density, at three thicknesses.

Run it as `python docs/figures/task_ellipse.py`; half a minute.
"""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch
from drawing import save

import ebm_vs_prob as evp
from ebm_vs_prob.tasks.ellipse import AXES

THICKNESS = (0.3, 0.05, 0.01)
EXTENT = 3.0
DEPTH = 8.0  # nats below the maximum at which the shading ends


def main() -> None:
    axis = torch.linspace(-EXTENT, EXTENT, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    angle = torch.linspace(0, 2 * torch.pi, 201, dtype=torch.float64)
    gap = AXES[0] ** 2 - AXES[1] ** 2
    figure, panels = plt.subplots(1, len(THICKNESS), figsize=(8.2, 3.1), sharey=True, layout="constrained")
    for panel, thickness in zip(panels, THICKNESS, strict=True):
        task = evp.get_task("ellipse", thickness=thickness)
        density = task.reference.log_prob(torch.empty(len(grid), 0), grid).reshape(len(axis), -1)
        shade = (density - density.max()).clamp_min(-DEPTH)
        panel.pcolormesh(axis, axis, shade.T, cmap="Blues", vmin=-DEPTH, vmax=DEPTH / 2, rasterized=True)
        panel.scatter(*task.sample(400)[1].T, s=1.5, color="#c1440e")
        panel.plot(gap / AXES[0] * angle.cos() ** 3, gap / AXES[1] * angle.sin() ** 3, "k--", linewidth=0.8)
        panel.set(xlim=(-EXTENT, EXTENT), ylim=(-2.5, 2.5), aspect="equal", xlabel="$y_1$")
        panel.set_title(f"thickness {thickness:g}, entropy {task.reference.entropy():.2f} nats", fontsize=9)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("$y_2$")
    save(figure, __file__)


if __name__ == "__main__":
    main()
