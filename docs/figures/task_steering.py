"""Draws task_steering.png: the two ways past an obstacle, the law of the wheel angle, and the best decision by costs.

Run it as `python docs/figures/task_steering.py`; seconds.
"""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from drawing import save

import ebm_vs_prob as evp
from ebm_vs_prob.tasks.steering import geometry

DEPTH = 8.0  # nats below the maximum at which the shading ends
COLOURS = {"left": "#2a6f97", "right": "#c1440e", "abstain": "#6a994e"}


def main() -> None:
    figure, (road, law, costs) = plt.subplots(1, 3, figsize=(9.2, 3.3), layout="constrained")
    task = evp.get_task("steering", answer="continuous", thickness=0.05)

    x = torch.tensor([[0.3, 0.0]], dtype=torch.float64)
    angles, bearing = geometry(x)
    draws = task.reference.sample(x, 60, seed=0)[0, :, 0].numpy()
    reach = np.linspace(0.0, 2.0, 2)
    for angle in draws:
        side = "left" if angle > float(bearing[0]) else "right"
        road.plot(-np.tan(angle) * reach, reach, color=COLOURS[side], linewidth=0.5, alpha=0.4)
    road.add_patch(plt.Circle((-0.15, 2.0), 0.6, color="0.4"))
    mean = 0.8 * float(angles[0, 0]) + 0.2 * float(angles[0, 1])
    road.plot(-np.tan(mean) * reach, reach, "k--", linewidth=1.2, label="mean angle")
    road.set(xlim=(-1.6, 1.6), ylim=(0, 2.6), xlabel="across the lane", ylabel="ahead", aspect="equal")
    road.set_title("60 drivers at one x", fontsize=9)
    road.legend(fontsize=8, loc="lower right")

    offset = torch.linspace(-1, 1, 201, dtype=torch.float64)
    line = torch.stack([offset, torch.zeros_like(offset)], -1)
    y = torch.linspace(-0.9, 0.9, 601, dtype=torch.float64)
    density = task.reference.log_density(line[:, None], y[None, :, None])
    shade = (density - density.max(dim=1, keepdim=True).values).clamp_min(-DEPTH)
    law.pcolormesh(offset, y, shade.T, cmap="Blues", vmin=-DEPTH, vmax=DEPTH / 2, rasterized=True)
    law.plot(offset, geometry(line)[1], color="0.4", linewidth=1.2, label="obstacle")
    law.plot(offset, geometry(line)[0] @ torch.tensor([0.8, 0.2], dtype=torch.float64), "k--", label="mean")
    law.set(xlabel="x₀, offset of the obstacle (x₁ = 0)", ylabel="y, wheel angle")
    law.set_title(f"thickness .05, entropy {task.reference.entropy():.2f} nats", fontsize=9)
    law.legend(fontsize=8, loc="lower right")

    roomier = evp.get_task("steering", preferred="roomier", abstention=0.35)
    left = roomier.reference.sides(line)[:, 0]
    each = roomier.decisions.expected(torch.stack([left, 1 - left], -1))
    for k, (name, colour) in enumerate(COLOURS.items()):
        costs.plot(offset, each[:, k], color=colour, label=name)
    costs.plot(offset, each.amin(-1), "k:", linewidth=2.0, label="Bayes decision")
    costs.set(xlabel="x₀", ylabel="expected cost", ylim=(0, 1))
    costs.set_title("roomier side, abstention .35", fontsize=9)
    costs.legend(fontsize=8, loc="upper center", ncol=2)
    for panel in (road, law, costs):
        panel.spines[["top", "right"]].set_visible(False)
    save(figure, __file__)


if __name__ == "__main__":
    main()
