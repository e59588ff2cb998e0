"""Draws task_linear_gaussian.png: samples of the line on its exact log-density, and the eigenvalues of its Hessian.

Run it as `python docs/figures/task_linear_gaussian.py`; a few seconds.
"""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch
from drawing import save

import ebm_vs_prob as evp

THICKNESS = (0.3, 0.1, 0.01)
EXTENT = 3.0
DEPTH = 8.0  # nats below the maximum at which the shading ends


def main() -> None:
    axis = torch.linspace(-EXTENT, EXTENT, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    figure, panels = plt.subplots(1, len(THICKNESS) + 1, figsize=(10.4, 2.9), layout="constrained")
    for panel, thickness in zip(panels, THICKNESS, strict=False):
        task = evp.get_task("linear_gaussian", thickness=thickness)
        density = task.reference.log_prob(torch.empty(len(grid), 0), grid).reshape(len(axis), -1)
        shade = (density - density.max()).clamp_min(-DEPTH)
        panel.pcolormesh(axis, axis, shade.T, cmap="Blues", vmin=-DEPTH, vmax=DEPTH / 2, rasterized=True)
        panel.plot(*task.reference.answers(torch.empty(1, 0))[0].T, "k--", linewidth=0.6)
        panel.scatter(*task.sample(400)[1].T, s=1.5, color="#c1440e")
        panel.set(xlim=(-EXTENT, EXTENT), ylim=(-EXTENT, EXTENT), aspect="equal", xlabel="$y_1$")
        panel.set_title(f"thickness {thickness:g}, entropy {task.reference.entropy():.2f} nats", fontsize=9)
    panels[0].set_ylabel("$y_2$")
    thin = torch.logspace(-4, 0, 41, dtype=torch.float64).tolist()
    tasks = [evp.get_task("linear_gaussian", thickness=value) for value in thin]
    values = torch.stack([torch.linalg.eigvalsh(task.reference.hessian()) for task in tasks])
    panels[-1].loglog(thin, values[:, 1], color="#c1440e", label="across the line")
    panels[-1].loglog(thin, values[:, 0], color="#2c6fbb", label="along it")
    panels[-1].loglog(thin, [1 / value**2 for value in thin], "k:", linewidth=1.0, label="1 / thickness²")
    panels[-1].set(xlabel="thickness", title="")
    panels[-1].set_title("eigenvalues of the Hessian", fontsize=9)
    panels[-1].legend(fontsize=8, frameon=False)
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
    save(figure, __file__)


if __name__ == "__main__":
    main()
