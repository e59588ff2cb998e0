"""Draws task_discontinuous.png: samples of the steps, the circle and the hyperbola on their exact log-density.

Run it as `python docs/figures/task_discontinuous.py`; seconds.
"""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch
from drawing import save

import ebm_vs_prob as evp

SHAPES = ("step", "circle", "hyperbola")
EXTENT = 1.4
DEPTH = 8.0  # nats below the maximum at which the shading ends


def main() -> None:
    x = torch.linspace(-1.0, 1.0, 601, dtype=torch.float64)
    y = torch.linspace(-EXTENT, EXTENT, 601, dtype=torch.float64)
    figure, panels = plt.subplots(1, len(SHAPES), figsize=(8.2, 2.9), sharey=True, layout="constrained")
    for panel, shape in zip(panels, SHAPES, strict=True):
        task = evp.get_task("discontinuous", shape=shape, thickness=0.05)
        density = task.reference.log_density(x[:, None, None], y[None, :, None])
        shade = (density - density.max(dim=1, keepdim=True).values).clamp_min(-DEPTH)
        panel.pcolormesh(x, y, shade.T, cmap="Blues", vmin=-DEPTH, vmax=DEPTH / 2, rasterized=True)
        panel.scatter(*(part[:, 0] for part in task.sample(500)), s=1.5, color="#c1440e")
        values = task.values(x.unsqueeze(-1))
        mean = values @ values.new_tensor(task.weights)
        panel.plot(x, mean, "k--", linewidth=1.2, label="mean of y given x")
        panel.set(xlim=(-1, 1), ylim=(-EXTENT, EXTENT), xlabel="x")
        panel.set_title(f"{shape}, entropy {task.reference.entropy():.2f} nats", fontsize=9)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("y")
    panels[2].legend(fontsize=8, loc="upper center")
    save(figure, __file__)


if __name__ == "__main__":
    main()
