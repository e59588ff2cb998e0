"""Draws task_three_modes.png: samples of the modes and circles on their exact log-density, without and with a bridge.

Run it as `python docs/figures/task_three_modes.py`; seconds.
"""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch
from drawing import save

import ebm_vs_prob as evp

KINDS = (("modes", 0.0), ("modes", 0.2), ("circles", 0.0), ("circles", 0.2))
EXTENT = {"modes": 1.6, "circles": 2.5}
COLOURS = ("#c1440e", "#2a9d3a", "#7b3fa0")
DEPTH = 12.0  # nats below the maximum at which the shading ends


def main() -> None:
    figure, panels = plt.subplots(1, len(KINDS), figsize=(8.4, 2.6), layout="constrained")
    for panel, (shape, bridge) in zip(panels, KINDS, strict=True):
        task = evp.get_task("three_modes", shape=shape, bridge=bridge, thickness=0.1)
        axis = torch.linspace(-EXTENT[shape], EXTENT[shape], 301, dtype=torch.float64)
        grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)
        density = task.reference.log_density(grid[..., :0], grid)
        shade = (density - density.max()).clamp_min(-DEPTH)
        panel.pcolormesh(axis, axis, shade, cmap="Blues", vmin=-DEPTH, vmax=DEPTH / 2, rasterized=True)
        x, y = task.sample(500)
        branch = task.reference.branch(x, y)
        panel.scatter(y[:, 0], y[:, 1], s=1.5, color=[COLOURS[k] for k in branch])
        weights = ", ".join(f"{float(weight):.2f}".lstrip("0") for weight in task.reference.branch_weights(x[:1])[0])
        panel.set(xlim=(axis[0], axis[-1]), ylim=(axis[0], axis[-1]), aspect="equal", xlabel="$y_1$")
        panel.set_title(f"{shape}, bridge {bridge:g}\nweights {weights}", fontsize=9)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("$y_2$")
    save(figure, __file__)


if __name__ == "__main__":
    main()
