"""Draws task_hard_strings.png: strings, and how far each next bit follows from those before it.

Run it as `python docs/figures/task_hard_strings.py`; seconds.
"""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from drawing import save

import ebm_vs_prob as evp

LENGTH, DRAWS = 16, 12


def main() -> None:
    figure, panels = plt.subplots(2, 2, figsize=(8.2, 4.6), layout="constrained")
    for (strings, shares), kind in zip(panels, ("parity", "knapsack"), strict=True):
        task = evp.get_task("hard_strings", kind=kind, length=LENGTH)
        x, y = task.sample(DRAWS, seed=1)
        strings.imshow(y, cmap="Greys", vmin=0, vmax=1.3, aspect="auto")
        strings.set(title=f"{kind}: {DRAWS} draws", xlabel="t", yticks=[])
        ones = task.reference.graph(x).conditionals(y)[..., 1]
        image = shares.imshow((2 * ones - 1).abs(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
        shares.set(title="how sure the next bit is, |2 P(1) - 1|", xlabel="t", yticks=[])
        figure.colorbar(image, ax=shares)
    save(figure, __file__)


if __name__ == "__main__":
    main()
