"""Draws task_horn.png: samples of the horn on the ellipses of five inputs, and its semi-axes.

Run it as `python docs/figures/task_horn.py`; seconds.
"""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch
from drawing import save

import ebm_vs_prob as evp


def main() -> None:
    task = evp.get_task("horn")
    figure, (plane, axes) = plt.subplots(1, 2, figsize=(8.2, 3.4), layout="constrained", width_ratios=(1.1, 1.0))
    shown = torch.linspace(0, 1, 5, dtype=torch.float64).unsqueeze(1)
    colours = plt.get_cmap("viridis")
    for x, answers in zip(shown, task.reference.answers(shown), strict=True):
        closed = torch.cat([answers, answers[:1]])
        plane.plot(*closed.T, color=colours(float(x)), linewidth=0.8)
    x, y = task.sample(300)
    points = plane.scatter(*y.T, c=x[:, 0], s=3, cmap="viridis", vmin=0, vmax=1)
    plane.set(aspect="equal", xlabel="$y_1$", ylabel="$y_2$")
    figure.colorbar(points, ax=plane, label="x")
    inputs = torch.linspace(0, 1, 101, dtype=torch.float64).unsqueeze(1)
    for number, line in enumerate(task.axes(inputs).T):
        axes.plot(inputs, line, color=("#1b6ca8", "#c1440e")[number], label=rf"$\rho_{number + 1}(x)$")
    axes.set(xlabel="x", ylabel="semi-axis", ylim=(0, None))
    axes.legend(fontsize=8)
    for panel in (plane, axes):
        panel.spines[["top", "right"]].set_visible(False)
    save(figure, __file__)


if __name__ == "__main__":
    main()
