"""Draws task_fusion.png: the classes in both views, and what rules of fusion lose against Bayes' as views correlate.

Run it as `python docs/figures/task_fusion.py`; a minute.
"""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from drawing import save

import ebm_vs_prob as evp
from ebm_vs_prob.comparison.fusion import divergence

CORRELATION = (0.0, 0.15, 0.3, 0.45, 0.6, 0.7, 0.8, 0.9)
SCALES = np.array([3.0, 0.4]).reshape(2, 1, 1)
COLOURS = ("#2a6f97", "#c1440e", "#6a994e")
RULES = {
    "raw": ("#888888", "-"),
    "rescaled": ("#888888", "--"),
    "temperature": ("#c1440e", "-"),
    "temperature_over_prior": ("#2a6f97", "-"),
    "isotonic_over_prior": ("#2a6f97", ":"),
    "stacked": ("#6a994e", "-"),
}


def draw_classes(panel: plt.Axes, correlation: float) -> None:
    task = evp.get_task("fusion", correlation=correlation)
    side = torch.linspace(-1.6, 2.4, 301, dtype=torch.float64)
    chance, label = task.reference.log_posterior(torch.cartesian_prod(side, side)).exp().max(-1)
    hues = torch.tensor([mpl.colors.to_rgb(colour) for colour in COLOURS], dtype=torch.float64)
    strength = 0.45 * ((chance - 1 / 3) * 1.5).unsqueeze(-1)
    shade = (1 - strength) + strength * hues[label]
    panel.imshow(shade.reshape(301, 301, 3).transpose(0, 1), origin="lower", extent=(-1.6, 2.4, -1.6, 2.4))
    x, y = task.sample(500)
    panel.scatter(x[:, 0], x[:, 1], s=5, c=[COLOURS[k] for k in y], edgecolors="none")
    panel.set(xlim=(-1.6, 2.4), ylim=(-1.6, 2.4), xlabel="first view", aspect="equal")
    panel.set_title(f"correlation {correlation:g}, entropy {task.reference.entropy():.2f} nats", fontsize=9)


def draw_losses(panel: plt.Axes, views: str) -> None:
    losses: dict[str, list[float]] = {rule: [] for rule in RULES}
    for correlation in CORRELATION:
        task = evp.get_task("fusion", correlation=correlation, views=views)
        (x, y), (at, _) = task.sample(10_000, split="validation"), task.sample(20_000, split="test")
        fit, test = (SCALES * task.reference.log_posteriors_of_views(part).numpy() for part in (x, at))
        posterior = task.reference.log_posterior(at).numpy()
        for rule, values in losses.items():
            values.append(divergence(posterior, evp.fit_fusion(rule, fit, y.numpy())(test))[0])
    for rule, (colour, line) in RULES.items():
        panel.plot(CORRELATION, losses[rule], color=colour, linestyle=line, label=rule.replace("_", " "))
    panel.axhline(0.1, color="k", linewidth=0.5)
    panel.set(yscale="log", ylim=(1e-4, 1.0), xlabel="correlation")
    panel.set_title(f"nats lost, {views} views", fontsize=9)


def main() -> None:
    figure, panels = plt.subplots(1, 4, figsize=(13.0, 3.2), layout="constrained")
    draw_classes(panels[0], 0.0)
    draw_classes(panels[1], 0.7)
    panels[0].set_ylabel("second view")
    draw_losses(panels[2], "complementary")
    draw_losses(panels[3], "redundant")
    figure.legend(*panels[2].get_legend_handles_labels(), fontsize=8, loc="outside right center")
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
    save(figure, __file__)


if __name__ == "__main__":
    main()
