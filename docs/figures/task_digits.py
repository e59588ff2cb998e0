"""Draws task_digits.png: sketches of held-out digits, and the held-out digits that share them.

Run it as `python docs/figures/task_digits.py`; seconds.
"""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from drawing import save

import ebm_vs_prob as evp

ROWS, MOST = 4, 7


def main() -> None:
    task = evp.get_task("digits")
    x, y = task.sample(100, split="test")
    answers = task.reference.answers(x)
    count = (~answers.isnan()).all(-1).sum(-1)
    shown = ((count > 1) & (count <= MOST)).nonzero()[:ROWS, 0]
    figure, panels = plt.subplots(ROWS, 2 + MOST, figsize=(8.2, 3.8), layout="constrained")
    for panel in panels.flat:
        panel.set_axis_off()
    for row, pair in zip(panels, shown.tolist(), strict=True):
        pictures = (x[pair].reshape(4, 4), y[pair].reshape(8, 8), *answers[pair, : count[pair]].reshape(-1, 8, 8))
        for panel, picture in zip(row, pictures, strict=False):
            panel.set_axis_on()
            panel.imshow(picture, cmap="Greys", vmin=0, vmax=1)
            panel.set(xticks=[], yticks=[])
    for panel, title in zip(panels[0], ("x", "y", "answers …"), strict=False):
        panel.set_title(title, fontsize=9)
    save(figure, __file__)


if __name__ == "__main__":
    main()
