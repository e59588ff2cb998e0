"""Draws task_manifold.png: samples of each shape on its surface, coloured by the exact log-density by area.

Run it as `python docs/figures/task_manifold.py`; seconds.
"""

from __future__ import annotations

import math

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from drawing import save

import ebm_vs_prob as evp
from ebm_vs_prob.tasks.manifold import DIMENSIONS

TITLES = {
    "klein_bottle": "Klein bottle: its first three of four coordinates",
    "swiss_roll": "Swiss roll",
    "polynomial": "polynomial surface",
}
THICKNESS = 0.02


def main() -> None:
    figure = plt.figure(figsize=(12, 6.2), layout="constrained")
    for place, shape in enumerate(DIMENSIONS, start=1):
        task = evp.get_task("manifold", shape=shape, thickness=THICKNESS)
        panel = figure.add_subplot(2, math.ceil(len(DIMENSIONS) / 2), place, projection="3d")
        _, y, z = task.sample_with_latent(2500)
        law = task.reference.log_surface_density(z).numpy()
        y = np.pad(y.numpy(), ((0, 0), (0, max(0, 3 - y.shape[1]))))
        order = [0, 2, 1] if shape == "swiss_roll" else [0, 1, 2]  # the roll lies on its side
        panel.scatter(*y[:, order].T, c=np.maximum(law, np.quantile(law, 0.05)), s=3, cmap="viridis", linewidth=0)
        answers = task.reference.answers(torch.empty(1, 0))[0].numpy()
        if shape not in ("sphere", "swiss_roll"):
            panel.plot_wireframe(
                *(part.reshape(32, 32) for part in answers.T[[k for k in order if k < task.y_space.dim]]),
                color="0.6",
                linewidth=0.25,
            )
        panel.set_aspect("equal")
        if shape == "swiss_roll":
            panel.view_init(elev=12, azim=-86)
        panel.set_title(TITLES.get(shape, shape).replace(": ", ":\n"), fontsize=9)
        panel.set(xticks=[], yticks=[], zticks=[])
    save(figure, __file__)


if __name__ == "__main__":
    main()
