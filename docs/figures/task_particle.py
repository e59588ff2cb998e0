"""Draws task_particle.png: episodes of the oracle in the plane, and its action against the distance from goal 1.

Run it as `python docs/figures/task_particle.py`; seconds.
"""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from drawing import save

from ebm_vs_prob.tasks.particle import Particle
from ebm_vs_prob.tasks.point_mass import TURNING, begin, distances, rollout

EPISODES = 3
COLOURS = ("#c1440e", "#2a6f97", "#7b3fa0")


def main() -> None:
    figure, panels = plt.subplots(1, 3, figsize=(8.4, 2.9), layout="constrained")
    start = begin(EPISODES, 2, np.random.default_rng(11))
    for panel, first_goal in zip(panels, (1.0, 0.5), strict=False):
        task = Particle(first_goal=first_goal)
        steps = rollout(start, task.oracle(seed=1), in_order=first_goal == 1.0)
        states = torch.stack([x for x, _ in steps], dim=1)
        for k, colour in enumerate(COLOURS):
            goals = task.goals(start[k])
            panel.plot(*states[k, :, :2].T, ".-", color=colour, markersize=2.5, linewidth=0.6)
            panel.plot(*start[k, :2], "o", color=colour, markerfacecolor="white", markersize=5)
            for number, goal in enumerate(goals, 1):
                panel.plot(*goal, "s", color=colour, markersize=10, alpha=0.35)
                panel.text(*goal, str(number), ha="center", va="center", fontsize=8)
        panel.set(xlim=(-0.05, 1.05), ylim=(-0.05, 1.05), aspect="equal")
        modes = "goal 1 first" if first_goal == 1.0 else "either goal first"
        panel.set_title(f"{modes}: success {task.success_rate(task.oracle(), 100)[0]:g}", fontsize=9)
    task = Particle(thickness=0.02)
    x, y = task.sample(1500)
    ends = task.goals(x)
    along = ((y - ends[:, 0]) * (ends[:, 1] - ends[:, 0])).sum(1) / (ends[:, 1] - ends[:, 0]).square().sum(1)
    moving = (x[:, 2:4] != 0).any(1)
    panels[2].scatter(distances(x)[moving, 0], along[moving], s=1.5, color=COLOURS[1])
    panels[2].axvline(TURNING, color="black", linestyle="--", linewidth=0.8)
    panels[2].set(xlim=(0, 0.6), ylim=(-0.4, 1.4), xlabel="distance from goal 1", ylabel="y from goal 1 to goal 2")
    panels[2].set_title("actions of moving particles", fontsize=9)
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
    save(figure, __file__)


if __name__ == "__main__":
    main()
