"""Draws task_newsvendor.png: three laws of demand with their best orders, and what other orders cost.

Run it as `python docs/figures/task_newsvendor.py`; seconds.
"""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch
from drawing import save

import ebm_vs_prob as evp

DEPTH = 8.0  # nats below the maximum at which the shading ends
DEMANDS = {"gaussian": "#2a6f97", "skewed": "#c1440e", "contaminated": "#6a994e"}


def main() -> None:
    figure, panels = plt.subplots(1, 4, figsize=(11.0, 3.0), layout="constrained")
    x = torch.linspace(-1, 1, 201, dtype=torch.float64).unsqueeze(-1)
    y = torch.linspace(0, 6.5, 601, dtype=torch.float64)
    for panel, (demand, colour) in zip(panels, DEMANDS.items(), strict=False):
        task = evp.get_task("newsvendor", demand=demand)
        density = task.reference.log_density(x[:, None], y[None, :, None])
        shade = (density - density.max()).clamp_min(-DEPTH)
        panel.pcolormesh(x[:, 0], y, shade.T, cmap="Greys", vmin=-DEPTH, vmax=DEPTH / 2, rasterized=True)
        panel.plot(x, 2 + x, "k:", linewidth=1.2, label="2 + x")
        panel.plot(x, task.reference.decision(x), color=colour, label="best order")
        panel.set(xlabel="x", ylim=(0, 6.5))
        panel.set_title(f"{demand}, entropy {task.reference.entropy():.2f} nats", fontsize=9)
        panel.legend(fontsize=8, loc="upper left")
        order = torch.linspace(1, 5, 201, dtype=torch.float64).unsqueeze(-1)
        middle = torch.zeros_like(order)
        panels[-1].plot(order, task.reference.cost(middle, order), color=colour, label=demand)
        best = task.reference.decision(middle[:1])
        panels[-1].plot(best, task.reference.cost(middle[:1], best), "o", color=colour, markersize=5)
    panels[0].set_ylabel("y, demand")
    panels[-1].set(xlabel="order at x = 0", ylabel="expected cost", ylim=(0, 6))
    panels[-1].set_title("underage 4, overage 1", fontsize=9)
    panels[-1].legend(fontsize=8)
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
    save(figure, __file__)


if __name__ == "__main__":
    main()
