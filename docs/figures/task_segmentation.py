"""Draws task_segmentation.png: strips of digits, how they were segmented, and how surely that can be told.

Run it as `python docs/figures/task_segmentation.py`; seconds.
"""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch
from drawing import save

import ebm_vs_prob as evp

THICKNESSES, LENGTH = (0.1, 0.4, 0.8), 6


def main() -> None:
    figure, panels = plt.subplots(
        2, len(THICKNESSES), figsize=(11.0, 3.4), layout="constrained", height_ratios=(1.6, 1.0), sharex="col"
    )
    for (strip, chances), thickness in zip(panels.T, THICKNESSES, strict=True):
        task = evp.get_task("segmentation", length=LENGTH, thickness=thickness)
        x, y, z = task.sample_with_latent(1, seed=4)
        best = task.reference.answers(x)[0, 0]
        shape = task.strip
        starts = torch.cumsum(z[0] + shape.shortest, 0) - z[0] - shape.shortest
        strip.imshow(x.reshape(shape.columns, shape.rows).T, cmap="Greys", vmin=0, vmax=1.1, aspect="auto")
        places = zip(y[0].tolist(), starts.tolist(), z[0].tolist(), strict=True)
        for place, (symbol, start, width) in enumerate(places):
            end, colour = start + width + shape.narrowest, f"C{place % 2}"
            strip.plot(
                [start - 0.5, end - 0.5], [8.0 + 0.6 * (place % 2)] * 2, color=colour, lw=3, solid_capstyle="butt"
            )
            strip.text((start + end - 1) / 2, -0.9, str(symbol), ha="center", color=colour)
        strip.set(yticks=[], ylim=(9.1, -0.5))
        told = "".join(map(str, best.tolist()))
        chance = float(task.reference.log_prob(x, best[None]).exp())
        strip.set_title(f"ε = {thickness}: most probable {told}, P = {chance:.2g}", pad=18, fontsize=10)
        chances.bar(range(shape.cells), task.reference.boundaries(x)[0], color="0.6", width=0.9)
        chances.plot(starts, torch.ones(LENGTH), ls="", marker="v", color="C0", clip_on=False)
        chances.set(ylim=(0, 1), xlabel="column", ylabel="P(a digit begins)")
    save(figure, __file__)


if __name__ == "__main__":
    main()
