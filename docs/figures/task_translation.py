"""Draws task_translation.png: the right translations of one sentence, and how fast those of others add up.

Run it as `python docs/figures/task_translation.py`; seconds.
"""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch
from drawing import save

import ebm_vs_prob as evp

#: The task's twelve words, class by class, and where the prepositions begin.
WORDS = ("cat", "dog", "bird", "sees", "likes", "fears", "old", "red", "small", "near", "with", "under")
PREPOSITIONS = 9
#: Sentences by their words, the first of which is shown with its translations.
SENTENCES = (
    ("old", "dog", "sees", "cat"),
    ("dog", "sees", "cat"),
    ("old", "dog", "sees", "red", "cat"),
    ("old", "dog", "sees", "cat", "near", "bird"),
    ("old", "dog", "sees", "red", "cat", "near", "small", "bird"),
)
SHOWN, COLOURS = 20, ("#2a6f97", "#8a8a8a", "#468faf", "#c1440e", "#7a1f0a")


def name(symbol: int) -> str:
    """A symbol by the word it translates; the second synonym has a star, the particle is a ring."""
    if symbol < 2:
        return ("", "∘")[symbol]
    content = 2 + 2 * PREPOSITIONS
    if symbol >= content:
        return WORDS[PREPOSITIONS + symbol - content]
    return WORDS[(symbol - 2) // 2] + "*" * ((symbol - 2) % 2)


def main() -> None:
    task = evp.get_task("translation")
    figure, (bars, sums) = plt.subplots(1, 2, figsize=(9.2, 4.6), width_ratios=(1.0, 1.2), layout="constrained")
    for words, colour in zip(SENTENCES, COLOURS, strict=True):
        x = torch.zeros(1, task.options.length, len(WORDS), dtype=torch.float64)
        for place, word in enumerate(words):
            x[0, place, WORDS.index(word)] = 1.0
        strings, probability = task.reference.translations(x.flatten(1))
        label = f"{' '.join(words)}: {len(strings)}"
        sums.plot(range(1, len(strings) + 1), probability.cumsum(0), color=colour, linewidth=1.4, label=label)
        if words == SENTENCES[0]:
            bars.barh(range(SHOWN), probability[:SHOWN], color=colour, height=0.7)
            names = [" ".join(map(name, string.tolist())).strip() for string in strings[:SHOWN]]
            bars.set_yticks(range(SHOWN), names, fontsize=8)
            bars.set_title(f"{' '.join(words)}\nthe first {SHOWN} of {len(strings)} translations", fontsize=9)
    bars.invert_yaxis()
    bars.set(xlabel="probability")
    sums.set(xscale="log", xlabel="translations, the most probable first", ylabel="probability together")
    sums.set_ylim(0, 1.02)
    sums.set_title("sentences and their numbers of right translations", fontsize=9)
    figure.legend(fontsize=8, frameon=False, loc="outside lower center", ncols=2)
    for panel in (bars, sums):
        panel.spines[["top", "right"]].set_visible(False)
    save(figure, __file__)


if __name__ == "__main__":
    main()
