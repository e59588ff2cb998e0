"""One pass for each place of a strip: what it sees, and that its weights read strips of any length."""

from __future__ import annotations

import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.prob.methods.place_classifier import PlaceEnergy
from ebm_vs_prob.testing import check_method

SHORT = evp.Budget(steps=30, batch_size=16, examples=200)


@pytest.mark.slow
def test_conforms():
    check_method("place_classifier")


def test_a_place_sees_two_widths_to_either_side_and_no_more():
    task = evp.get_task("segmentation", length=12, narrowest=4, widest=4, overlap=0)
    strip = task.strip
    energy = PlaceEnergy((0,), task.y_space, strip, evp.Network(hidden=(8,)))
    x = torch.zeros(1, strip.columns, strip.rows)
    middle = (2 * 5 + 1) * strip.cells // (2 * strip.length)
    seen = []
    for column in range(strip.columns):
        changed = x.clone()
        changed[0, column] = 1.0
        both = torch.stack([x, changed], 1).flatten(2)
        unary = energy.graph(both).unary
        seen.append(bool((unary[0, 0, 5] != unary[0, 1, 5]).any()))
    assert [c for c, was in enumerate(seen) if was] == list(range(middle - 8, middle + 9))


def test_the_same_weights_read_longer_strips():
    task = evp.get_task("segmentation", length=2)
    model = evp.fit("place_classifier", task, seeds=[0, 1], budget=SHORT)
    longer = evp.get_task("segmentation", length=6)
    x, y = longer.sample(5, split="test")
    read = model.for_task(longer)
    answers = read.infer(x, 1)
    assert answers.y.shape == (2, 5, 1, 6)
    torch.testing.assert_close(answers.energy[:, :, 0], read.energy(x, answers.y[:, :, 0]))
    assert read.log_prob(x, y).shape == (2, 5)


def test_symbols_that_do_not_move_are_learned():
    """Of digits of one width, side by side, a window round the middle is all that there is to know."""
    task = evp.get_task("segmentation", length=2, narrowest=4, widest=4, overlap=0, thickness=0.1)
    budget = evp.Budget(steps=300, batch_size=64, examples=4000)
    model = evp.fit("place_classifier", task, budget=budget, network=evp.Network(hidden=(32,)))
    table = evp.evaluate(model, task, evp.Evaluation(test_examples=200, inputs=8, starts=1, samples=16))
    assert float(table[table.metric == "hamming_distance"].value.iloc[0]) < 0.05
