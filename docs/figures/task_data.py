"""Draws task_data.png: rows of one's own in their parts, as models see them, and a model's density in the user's units.

Run it as `python docs/figures/task_data.py`; a minute.
"""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from drawing import save

import ebm_vs_prob as evp

COLOURS = {"train": "#8a8a8a", "validation": "#2c6fbb", "test": "#c1440e"}
DEPTH = 8.0  # nats below the maximum at which the shading ends


def main() -> None:
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 500)
    points = np.stack([30 * np.cos(angle), 2 * np.sin(angle)], 1) + rng.normal(size=(500, 2)) * (1.0, 0.1)
    task = evp.task_from_arrays(points, name="points")
    model = evp.fit("mixture_density", task, budget=evp.Budget(steps=2000, examples=300), components=16)
    figure, panels = plt.subplots(1, 3, figsize=(9.6, 3.1), layout="constrained")
    for split, colour in COLOURS.items():
        rows = torch.from_numpy(task.parts[split].y)
        panels[0].scatter(*task.y_scaling.undo(rows).T, s=3, color=colour, label=f"{split}, {len(rows)} rows")
        panels[1].scatter(*rows.T, s=3, color=colour)
    low, high = task.y_space.bounds
    panels[1].add_patch(plt.Rectangle((low, low), high - low, high - low, fill=False, linestyle="--", linewidth=0.8))
    axes = [torch.linspace(start, end, 301, dtype=torch.float64) for start, end in ((-40, 40), (-2.8, 2.8))]
    grid = torch.cartesian_prod(*axes)
    with torch.no_grad():
        log_q = model.log_prob(torch.empty(len(grid), 0), task.y_scaling.apply(grid))[0].double() - task.log_unit
    log_q = log_q.reshape(301, 301)
    shade = (log_q - log_q.max()).clamp_min(-DEPTH)
    panels[2].pcolormesh(*axes, shade.T, cmap="Blues", vmin=-DEPTH, vmax=DEPTH / 2, rasterized=True)
    panels[2].scatter(*task.y_scaling.undo(torch.from_numpy(task.parts["test"].y)).T, s=3, color=COLOURS["test"])
    for panel, title in zip(panels, ("yours", "the task's units and y-box", "ln q, nats in your units"), strict=True):
        panel.set_title(title, fontsize=9)
        panel.set_xlabel("width")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("height")
    panels[0].legend(fontsize=7, frameon=False, loc="center")
    save(figure, __file__)


if __name__ == "__main__":
    main()
