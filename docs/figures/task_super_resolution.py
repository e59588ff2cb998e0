"""Draws task_super_resolution.png: noisy block means, the picture behind them, and draws of the exact posterior.

Run it as `python docs/figures/task_super_resolution.py`; seconds.
"""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from drawing import save

import ebm_vs_prob as evp
from ebm_vs_prob.tasks.images.bars_and_ellipses import KINDS

DRAWS = 5


def main() -> None:
    task = evp.get_task("super_resolution", thickness=0.02)
    x, y = task.sample(4, seed=3)
    figure, panels = plt.subplots(len(x), DRAWS + 3, figsize=(9.6, 5.2), layout="constrained")
    for row, (given, picture) in enumerate(zip(x, y, strict=True)):
        drawn, z = task.draw(np.tile(given.numpy(), (2000, 1)), np.random.default_rng(row))
        shown = [given, picture, *drawn[:DRAWS], drawn.mean(0)]
        share = (z[:, 0] == 0).mean()
        titles = ["x", "y", *(KINDS[int(kind)] for kind in z[:DRAWS, 0]), f"mean; bar {share:.0%}"]
        for panel, values, title in zip(panels[row], shown, titles, strict=True):
            side = int(len(values) ** 0.5)
            panel.imshow(np.asarray(values).reshape(side, side), cmap="gray_r", vmin=0, vmax=1)
            panel.set_title(title, fontsize=9)
            panel.set(xticks=[], yticks=[])
    save(figure, __file__)


if __name__ == "__main__":
    main()
