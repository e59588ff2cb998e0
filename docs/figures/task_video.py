"""Draws task_video.png: frames before the fork, the three futures, draws, and the mean that is none of them.

Run it as `python docs/figures/task_video.py`; seconds.
"""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from drawing import save

import ebm_vs_prob as evp
from ebm_vs_prob.tasks.images.fork_frames import SIDE, WEIGHTS


def main() -> None:
    task = evp.get_task("video", thickness=0.05)
    x, _ = task.sample(3, seed=4)
    answers, mean = task.reference.answers(x), task.reference.conditional_mean(x)
    drawn = task.reference.sample(x, 2, seed=1)
    named = [("x", x), *((f"answer, {weight:g}", answers[:, k]) for k, weight in enumerate(WEIGHTS))]
    named += [(f"draw {k + 1}", drawn[:, k]) for k in range(2)] + [("mean", mean)]
    figure, panels = plt.subplots(len(x), len(named), figsize=(10.6, 2.5), layout="constrained")
    for row in range(len(x)):
        for panel, (title, values) in zip(panels[row], named, strict=True):
            show(panel, values[row])
            if row == 0:
                panel.set_title(title, fontsize=9)
        panels[row][-1].set_xlabel(f"{float(task.reference.mean_distance(x)[row]):.2f} from the nearest", fontsize=7)
    save(figure, __file__)


def show(panel: plt.Axes, frames: torch.Tensor) -> None:
    """Two frames side by side, a line between them."""
    panel.imshow(np.hstack(frames.reshape(-1, SIDE, SIDE).numpy()), cmap="gray_r", vmin=0, vmax=1)
    panel.axvline(SIDE - 0.5, color="#c1440e", linewidth=0.8)
    panel.set(xticks=[], yticks=[])


if __name__ == "__main__":
    main()
