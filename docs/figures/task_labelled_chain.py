"""Draws task_labelled_chain.png: one chain, what is seen of it and what can be told, at three thicknesses.

Run it as `python docs/figures/task_labelled_chain.py`; seconds.
"""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch
from drawing import save

import ebm_vs_prob as evp
from ebm_vs_prob.core.factor_graphs import FactorGraph
from ebm_vs_prob.tasks.labelled_chain import MEANS

THICKNESS = (0.2, 0.5, 1.0)
LENGTH = 24


def marginals(graph: FactorGraph) -> torch.Tensor:
    """P(y_t = k), (T, K): the slope of the free energy at beta = 1 in each unary energy."""
    unary = graph.unary.clone().requires_grad_()
    FactorGraph(unary, graph.pairwise, graph.parents).free_energy(1.0).sum().backward()
    return unary.grad


def main() -> None:
    places, means = torch.arange(LENGTH), torch.tensor(MEANS)
    figure, panels = plt.subplots(1, len(THICKNESS), figsize=(8.2, 3.1), sharey=True, layout="constrained")
    for panel, thickness in zip(panels, THICKNESS, strict=True):
        task = evp.get_task("labelled_chain", length=LENGTH, thickness=thickness)
        x, y = task.sample(1, seed=3)
        shares = marginals(task.reference.graph(x[0]))
        extent = (-0.5, LENGTH - 0.5, 1.5 * MEANS[0], 1.5 * MEANS[-1])
        panel.imshow(shares.T, cmap="Blues", vmin=0, vmax=1.6, origin="lower", extent=extent, aspect="auto")
        panel.step(places, means[y[0]], where="mid", color="black", linewidth=1.0, label="labels y")
        best = task.reference.answers(x)[0, 0]
        panel.plot(places, means[best], "o", ms=5.5, mfc="none", color="#2a6f97", label="Bayes answer")
        panel.plot(places, x[0], ".", ms=5, color="#c1440e", label="x")
        wrong = int((best != y[0]).sum())
        panel.set(xlabel="t", yticks=MEANS)
        panel.set_title(f"thickness {thickness:g}: {wrong} of {LENGTH} labels wrong", fontsize=9)
        panel.spines[["top", "right"]].set_visible(False)
    figure.legend(*panels[0].get_legend_handles_labels(), fontsize=8, loc="outside lower center", ncols=3)
    save(figure, __file__)


if __name__ == "__main__":
    main()
