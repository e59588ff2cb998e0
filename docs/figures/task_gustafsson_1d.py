"""Draws task_gustafsson_1d.png: samples of the toy on its exact log-density, at three thicknesses.

Run it as `python docs/figures/task_gustafsson_1d.py`; seconds.
"""

from __future__ import annotations

import math

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch
from drawing import save

import ebm_vs_prob as evp
from ebm_vs_prob.tasks.gustafsson_1d import LOG_SCALE, WEIGHTS

THICKNESS = (0.15, 0.075, 0.01)
EXTENT = (-1.5, 2.0)
DEPTH = 8.0  # nats below the maximum at which the shading ends


def main() -> None:
    x = torch.linspace(-3.0, 3.0, 601, dtype=torch.float64)
    y = torch.linspace(*EXTENT, 701, dtype=torch.float64)
    figure, panels = plt.subplots(1, len(THICKNESS), figsize=(8.2, 2.9), sharey=True, layout="constrained")
    for panel, thickness in zip(panels, THICKNESS, strict=True):
        task = evp.get_task("gustafsson_1d", thickness=thickness)
        density = task.reference.log_density(x[:, None, None], y[None, :, None])
        shade = (density - density.max(dim=1, keepdim=True).values).clamp_min(-DEPTH)
        panel.pcolormesh(x, y, shade.T, cmap="Blues", vmin=-DEPTH, vmax=DEPTH / 2, rasterized=True)
        panel.scatter(*(part[:, 0] for part in task.sample(500)), s=1.5, color="#c1440e")
        branches = (WEIGHTS[0] - WEIGHTS[1]) * x.sin()
        mean = torch.where(x < 0, branches, math.expm1(0.5 * (LOG_SCALE * thickness) ** 2))
        panel.plot(x, mean, "k--", linewidth=1.2, label="mean of y given x")
        panel.set(xlim=(-3, 3), ylim=EXTENT, xlabel="x")
        panel.set_title(f"thickness {thickness:g}, entropy {task.reference.entropy():.2f} nats", fontsize=9)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("y")
    panels[0].legend(fontsize=8, loc="lower right")
    save(figure, __file__)


if __name__ == "__main__":
    main()
